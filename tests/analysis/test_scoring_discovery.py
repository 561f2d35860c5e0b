"""Benjamini and Hochberg's bound, by hand and by its promise."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from exporter.analysis.scoring import ScoreOptions
from exporter.analysis.scoring.discovery import all_discoveries, discoveries
from exporter.models import ABANDONMENT, OFFERED, ScoreColumns, Scores


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


def test_only_differences_that_somebody_would_feel_stand():
    """Of four sure scores: a real surge, one on the side that does not count, one event, one point of difference."""
    value, mean = np.array([0.5, 0.0, 0.5, 0.11]), np.array([0.1, 0.4, 0.1, 0.1])
    score = ScoreColumns(value, np.array([6.0, -6, 6, 6]), *(np.zeros(4) for _ in range(4)))
    score = replace(score, mean=mean)
    counts = {"offered": np.array([20.0, 20, 2, 2000]), "abandoned": np.array([10.0, 0, 1, 220])}
    found = all_discoveries(Scores("seasonal", 3.0, {ABANDONMENT: score}), counts, ScoreOptions())
    assert found[ABANDONMENT].tolist() == [1, 0, 0, 0]
    lax = ScoreOptions(min_events=0, min_difference=0, directions={ABANDONMENT: "both"})
    found = all_discoveries(Scores("seasonal", 3.0, {ABANDONMENT: score}), counts, lax)
    assert found[ABANDONMENT].tolist() == [1, 1, 1, 1]


def test_each_metric_is_judged_by_itself():
    """0.012 stands among four, not among the forty that both metrics ask together."""
    few = ScoreColumns(np.full(4, 9.0), z_of(0.012, 0.5, 0.5, 0.5), *(np.zeros(4) for _ in range(4)))
    many = ScoreColumns(np.full(36, 9.0), np.zeros(36), *(np.zeros(36) for _ in range(4)))
    counts = {"abandoned": np.full(4, 9.0), "offered": np.full(36, 9.0)}
    options = ScoreOptions(directions={ABANDONMENT: "high", OFFERED: "both"})
    found = all_discoveries(Scores("seasonal", 3.0, {ABANDONMENT: few, OFFERED: many}), counts, options)
    assert (found[ABANDONMENT].sum(), found[OFFERED].sum()) == (1, 0)
