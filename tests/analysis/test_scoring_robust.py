"""Median and MAD of the hour, by hand and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.analysis.scoring import ScoreOptions, method
from exporter.models import ABANDONMENT
from tests.analysis.test_scoring_seasonal import at, scored
from tests.analysis.traffic import DAY, STEP, WEEK, history, weeks


def model_of(offered, abandoned, **options):
    return method("robust").fit(history(offered, abandoned), ScoreOptions(**options))


def test_equals_plain_numpy():
    offered, abandoned = weeks(1, [3, 30], days=7)
    model = model_of(offered, abandoned)
    for hour in (0, 9, 23):
        second = (np.arange(WEEK) * STEP + STEP // 2) % (DAY * STEP)
        apart = np.abs(second - hour * 3600 - 1800)
        near = np.minimum(apart, DAY * STEP - apart) <= 5400
        columns = scored(model, [10, 10], [4, 4], at(WEEK + 4 * hour))
        for series in (0, 1):
            rates = [x / n for n, x in zip(offered[near, series], abandoned[near, series], strict=True) if n]
            middle, spread = np.median(rates), 1.4826 * np.median(np.abs(rates - np.median(rates)))
            spread = spread or 1.2533 * np.mean(np.abs(rates - middle))
            assert columns.z[series] == pytest.approx((0.4 - middle) / spread, rel=1e-5)
            assert columns.samples[series] == len(rates)


@pytest.mark.parametrize(
    ("abandoned", "x", "z"),
    [
        ([1, 2, 3, 4, 9], 6, 3 / (1.4826 * 1)),  # of 10: median 0.3, MAD 0.1; (0.6 − 0.3) / 0.14826
        ([2, 2, 2, 2, 7], 4, 2 / (1.2533 * 1)),  # MAD 0, mean distance 0.5 / 5 = 0.1
        ([2, 2, 2, 2, 2], 9, 0),  # no deviation at all
    ],
)
def test_hand_worked(abandoned, x, z):
    assert scored(model_of([10] * 5, abandoned), 10, x, at(5)).z[0] == pytest.approx(z, rel=1e-5)


def test_one_wild_bucket_moves_little_and_the_guards_hold():
    model = model_of([10] * 9, [1, 2, 1, 2, 1, 2, 1, 2, 10])
    assert scored(model, 10, 8, at(9)).anomaly[0] == 1
    assert scored(model, 1, 1, at(9)).anomaly[0] == 0  # one event
    assert np.isnan(scored(model, 0, 0, at(9)).z[0])


def test_too_few_samples_at_this_hour_give_no_score():
    columns = scored(model_of([10] * 2, [1, 2]), 10, 9, at(2), ABANDONMENT)
    assert np.isnan([columns.z[0], columns.anomaly[0], columns.mean[0]]).all()
    assert columns.samples[0] == 2
    assert np.isnan(scored(model_of(np.zeros((0, 1)), np.zeros((0, 1))), 10, 9, at(2)).z).all()
