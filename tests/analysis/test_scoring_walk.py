"""The past is scored without looking ahead, and with the numbers of fit and score."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.analysis.scoring import METHODS, ScoreOptions, buckets_between, method, score_all
from exporter.analysis.scoring.walk import blocks, steps, walk
from exporter.models import ABANDONMENT
from tests.analysis.test_scoring_seasonal import at
from tests.analysis.traffic import DAY, MONDAY, STEP, history, weeks


def past(seed=1, days=3):
    offered, abandoned = weeks(seed, [2, 20, 200], days=days)
    return history(offered, abandoned)


@pytest.mark.parametrize("name", METHODS)
def test_every_step_equals_fit_and_score_on_what_lay_before(name):
    whole, options, span = past(days=2), ScoreOptions(), DAY * STEP
    series = np.arange(whole.series)
    walked = blocks(method(name), whole, options, baseline_seconds=span, refit_seconds=0)
    for row, step in enumerate(steps(walked)):
        if row % 17:
            continue
        start = MONDAY + row * STEP
        model = method(name).fit(buckets_between(whole, start - span, start), options)
        counts = {each: column[row].astype(float) for each, column in whole.counts.items()}
        wanted = score_all(model, counts, at(row), series)
        assert step.start_seconds == start
        for metric, scores in wanted.metrics.items():
            for column in ("value", "z", "anomaly", "mean", "stddev", "samples"):
                np.testing.assert_array_equal(getattr(step.scores.metrics[metric], column), getattr(scores, column))


@pytest.mark.parametrize("name", METHODS)
def test_what_comes_later_changes_nothing(name):
    whole = past(days=2)
    spoiled = history(*(np.concatenate([whole.counts[each][:120], 7 + 0 * whole.counts[each][120:]])
                        for each in ("offered", "abandoned")))  # fmt: skip
    options = ScoreOptions()
    for first, second, _ in zip(
        *(walk(method(name), each, options) for each in (whole, spoiled)), range(120), strict=False
    ):
        for metric in first[1]:
            np.testing.assert_array_equal(first[1][metric][0], second[1][metric][0])


def test_the_classic_score_is_made_anew_for_every_bucket_however_long_the_walk():
    offered, abandoned = weeks(2, [20.0] * 3, days=4)
    ratios = np.divide(abandoned, offered, out=np.full(offered.shape, np.nan), where=offered > 0)
    for row, (_, scores) in enumerate(walk(method("zscore"), history(offered, abandoned), ScoreOptions())):
        if row > 10:
            wanted = (ratios[row] - np.nanmean(ratios[:row], axis=0)) / np.nanstd(ratios[:row], axis=0)
            np.testing.assert_allclose(scores[ABANDONMENT][0], wanted, atol=1e-9)


class Counting:
    """The classic method, that may be older, and knows the baselines it was given."""

    name, default_threshold, metrics, max_model_age_seconds = "counting", 2.0, (ABANDONMENT,), 6 * 3600.0

    def __init__(self):
        self.ends = []

    def fit(self, baseline, options):
        self.ends.append(MONDAY if not len(baseline.starts) else int(baseline.starts[-1]) + STEP)
        return method("zscore").fit(baseline, options)


def test_a_model_serves_several_buckets_where_it_may_but_a_young_history_is_learned_at_once():
    counting = Counting()
    walked = blocks(counting, past(days=3), ScoreOptions(), refit_seconds=4 * STEP)
    assert len(list(steps(walked))) == 3 * DAY
    ages = np.diff(counting.ends) // STEP
    assert ages[:8].tolist() == [1] * 8
    assert set(ages[40:].tolist()) == {4}


def test_an_empty_history_has_no_steps():
    assert list(walk(method("seasonal"), history(np.zeros((0, 2))), ScoreOptions())) == []
