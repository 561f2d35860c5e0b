"""Benjamini and Hochberg's bound, by hand and by its promise."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from exporter.analysis.scoring.discovery import discoveries


def z_of(*tails: float) -> np.ndarray:
    return np.array([-NormalDist().inv_cdf(tail) for tail in tails])


def test_hand_worked():
    """Of 4, at q 0.05, the bounds are 0.0125, 0.025, 0.0375, 0.05: the third holds and carries the first two."""
    assert discoveries(z_of(0.02, 0.036, 0.3, 0.03)).tolist() == [1, 1, 0, 1]
    assert discoveries(z_of(0.02, 0.04, 0.3, 0.06)).tolist() == [0, 0, 0, 0]


def test_sides_and_missing_values():
    z = np.array([5.0, -5.0, np.nan, 0.1])
    np.testing.assert_array_equal(discoveries(z), [1, 0, np.nan, 0])
    np.testing.assert_array_equal(discoveries(z, "low"), [0, 1, np.nan, 0])
    np.testing.assert_array_equal(discoveries(z, "both"), [1, 1, np.nan, 0])
    np.testing.assert_array_equal(discoveries(np.full(2, np.nan)), [np.nan, np.nan])
    assert discoveries(np.zeros(0)).tolist() == []


@pytest.mark.parametrize("surges", [0, 20])
def test_false_flags_stay_below_their_share(surges):
    rng, shares = np.random.default_rng(1), []
    for _ in range(300):
        z = rng.normal(size=600)
        z[:surges] += 5
        flags = discoveries(z) == 1
        shares.append(flags[surges:].sum() / max(1, flags.sum()))
    assert np.mean(shares) < 0.07
