"""Random numbers by address: the same for the same key, spread as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator.randomness import derive, exponentials, key_of, normals, poisson, uniforms

KEYS = derive(np.full(20_000, key_of("test"), dtype=np.uint64), np.arange(20_000))


def test_numbers_are_fixed_for_ever() -> None:
    keys = np.array([key_of(1, "queue", "voice"), key_of(2, "queue", "voice")], dtype=np.uint64)
    assert keys.tolist() == [1536058666569931133, 12048348881275639983]
    assert uniforms(keys, 1).tolist() == [0.3802446734121983, 0.10376138769097548]


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 40), st.integers(1, 50))
def test_a_number_depends_on_its_key_alone(key: int, purpose: int, others: int) -> None:
    alone = uniforms(np.array([key], dtype=np.uint64), purpose)
    among = uniforms(np.append(np.arange(others, dtype=np.uint64), np.uint64(key)), purpose)
    assert alone[0] == among[-1]
    assert 0.0 < alone[0] < 1.0


def test_children_of_a_key_and_purposes_are_unrelated() -> None:
    first, second = uniforms(KEYS, 1), uniforms(KEYS, 2)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03


def test_uniforms_normals_and_exponentials_have_their_moments() -> None:
    assert uniforms(KEYS, 3).mean() == pytest.approx(0.5, abs=0.01)
    assert uniforms(KEYS, 3).var() == pytest.approx(1 / 12, abs=0.003)
    assert normals(KEYS, 3).mean() == pytest.approx(0.0, abs=0.03)
    assert normals(KEYS, 3).std() == pytest.approx(1.0, abs=0.02)
    assert exponentials(KEYS, 3).mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("mean", [0.05, 1.0, 8.0, 29.9, 30.1, 400.0])
def test_poisson_counts_have_mean_and_variance_of_their_rate(mean: float) -> None:
    counts = poisson(np.full(len(KEYS), mean), KEYS, 5)
    assert counts.min() >= 0
    assert counts.mean() == pytest.approx(mean, rel=0.02, abs=0.01)
    assert counts.var() == pytest.approx(mean, rel=0.05, abs=0.01)


def test_no_rate_no_contacts() -> None:
    assert poisson(np.zeros(100), KEYS[:100], 5).sum() == 0
