"""The classic score equals ten lines of NumPy, and its edges are decided, not left to rounding."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring import NO_HISTORY, ScoreOptions, buckets_between, method, score_all
from exporter.analysis.scoring.zscore import CHUNK_CELLS, ZScore
from exporter.models import ABANDONMENT, SLA_BREACH

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
STEP = 900


def baseline_of(offered, abandoned, breached=None, sla=None) -> Baseline:
    n = np.asarray(offered, np.uint32)
    n = n[:, None] if n.ndim == 1 else n
    x = np.asarray(abandoned, np.uint32).reshape(n.shape)
    counts = {
        "offered": n,
        "abandoned": x,
        "sla_breached": x if breached is None else np.asarray(breached, np.uint32).reshape(n.shape),
        "sla_contacts": n if sla is None else np.asarray(sla, np.uint32).reshape(n.shape),
    }
    return Baseline(STEP, np.arange(len(n), dtype=np.int64) * STEP, counts)


def score_one(baseline, n, x, metric=ABANDONMENT, **options):
    model = ZScore().fit(baseline, ScoreOptions(**options))
    columns = model.score(metric, np.array([float(n)]), np.array([float(x)]), NOON, np.array([0]))
    return {name: float(getattr(columns, name)[0]) for name in ("value", "z", "anomaly", "mean", "stddev", "samples")}


def plain_numpy(offered, abandoned, n, x):
    """The formula as anyone would write it, one series at a time."""
    out = []
    for j in range(offered.shape[1]):
        some = offered[:, j] > 0
        rates = abandoned[some, j] / offered[some, j]
        if len(rates) < 3 or n[j] == 0:
            out.append(np.nan)
        else:
            out.append(0.0 if np.ptp(rates) == 0 else (x[j] / n[j] - np.mean(rates)) / np.std(rates))
    return np.array(out)


@pytest.mark.parametrize("series", [1, 7, CHUNK_CELLS // 672 * 2 + 5])
def test_equals_plain_numpy_for_both_metrics(series):
    rng = np.random.default_rng(series)
    n = rng.poisson(rng.gamma(0.5, 30, series), (672, series)).astype(np.uint16)
    x, breached = rng.binomial(n, 0.07).astype(np.uint16), rng.binomial(n, 0.9).astype(np.uint16)
    window, events = rng.poisson(9, series), rng.poisson(2, series)
    model = ZScore().fit(baseline_of(n, x, breached), ScoreOptions())
    for metric, column in ((ABANDONMENT, x), (SLA_BREACH, breached)):
        z = model.score(metric, window.astype(float), events.astype(float), NOON, np.arange(series)).z
        np.testing.assert_allclose(z, plain_numpy(n, column, window, events), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("offered", "abandoned", "n", "x", "expected"),
    [
        # 0.1, 0.2, 0.3: mean 0.2, population deviation sqrt(0.02/3) = 0.081650; (0.5 − 0.2) / 0.081650 = 3.674235
        ([10, 10, 10], [1, 2, 3], 10, 5, {"z": 3.674234614174767, "anomaly": 1, "mean": 0.2, "samples": 3}),
        # the same, below the mean: a low rate is flagged too
        ([10, 10, 10], [1, 2, 3], 10, 0, {"z": -2.449489742783178, "anomaly": 1}),
        # a bucket without volume is no sample
        ([10, 0, 10, 0, 10], [1, 0, 2, 0, 3], 10, 2, {"z": 0, "anomaly": 0, "samples": 3}),
        # two samples are too few; the count still tells why
        ([10, 10], [1, 2], 10, 5, {"z": np.nan, "anomaly": np.nan, "mean": np.nan, "stddev": np.nan, "samples": 2}),
        # no volume in the window: no value and no z, the baseline still shows
        ([10, 10, 10], [1, 2, 3], 0, 0, {"value": np.nan, "z": np.nan, "anomaly": np.nan, "mean": 0.2}),
        # no history at all
        ([0, 0, 0, 0], [0, 0, 0, 0], 4, 1, {"value": 0.25, "z": np.nan, "samples": 0}),
        # events of contacts offered earlier: the quotient stays as it is
        ([2, 2, 2, 2], [0, 1, 2, 3], 2, 6, {"value": 3.0, "mean": 0.75}),
    ],
)
def test_hand_worked(offered, abandoned, n, x, expected):
    found = score_one(baseline_of(offered, abandoned), n, x)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("length", [3, 10, 671])
@pytest.mark.parametrize(("n", "x"), [(10, 1), (3, 1), (49, 5)])
def test_a_constant_rate_has_exactly_no_deviation_and_z_zero(length, n, x):
    """np.std of ten times 0.1 is 1.4e-17; a division by it would be a z of 10^16."""
    found = score_one(baseline_of([n] * length, [x] * length), 2, 2)
    assert (found["z"], found["anomaly"], found["stddev"], found["mean"]) == (0, 0, 0, x / n)


def test_equal_rates_of_different_volumes_are_constant():
    assert score_one(baseline_of([2, 4, 40], [1, 2, 20]), 8, 8)["stddev"] == 0


def test_threshold_is_two_unless_told_and_must_be_exceeded():
    history = baseline_of([10, 10, 10, 10], [2, 2, 4, 4])  # mean 0.3, deviation 0.1
    assert score_one(history, 100, 49)["anomaly"] == 0
    assert score_one(history, 100, 51)["anomaly"] == 1
    assert score_one(history, 100, 51, threshold=2.5)["anomaly"] == 0


def test_minimum_of_samples_is_honoured_even_at_zero():
    assert score_one(baseline_of([10, 10], [1, 3]), 10, 4, min_samples=2)["z"] == pytest.approx(2)
    assert np.isnan(score_one(baseline_of([0, 0], [0, 0]), 10, 4, min_samples=0)["z"])


def test_a_row_without_history_has_no_score_and_rows_follow_the_series_map():
    model = ZScore().fit(baseline_of([[10, 20]] * 4, [[1, 2], [2, 4], [3, 6], [2, 8]]), ScoreOptions())
    columns = model.score(ABANDONMENT, np.full(3, 10.0), np.full(3, 3.0), NOON, np.array([1, NO_HISTORY, 0]))
    assert np.isnan(columns.z[1])
    assert np.isnan(columns.samples[1])
    assert columns.mean[[0, 2]] == pytest.approx([0.25, 0.2])


def test_an_empty_baseline_scores_nothing():
    model = ZScore().fit(baseline_of(np.zeros((0, 2)), np.zeros((0, 2))), ScoreOptions())
    assert np.isnan(model.score(ABANDONMENT, np.ones(2), np.ones(2), NOON, np.array([0, 1])).z).all()
    none = ZScore().fit(baseline_of(np.zeros((5, 0)), np.zeros((5, 0))), ScoreOptions())
    assert np.isnan(none.score(ABANDONMENT, np.ones(1), np.ones(1), NOON, np.array([NO_HISTORY])).z).all()


def test_score_all_takes_each_metrics_own_denominator():
    history = baseline_of([10] * 4, [1, 2, 3, 2], breached=[1, 2, 1, 2], sla=[5] * 4)
    counts = {name: np.array([value]) for name, value in
              (("offered", 10.0), ("abandoned", 2.0), ("sla_contacts", 5.0), ("sla_breached", 2.0))}  # fmt: skip
    scores = score_all(method("zscore").fit(history, ScoreOptions()), counts, NOON, np.array([0]))
    assert (scores.method, scores.threshold, set(scores.metrics)) == ("zscore", 2.0, {ABANDONMENT, SLA_BREACH})
    assert scores.metrics[ABANDONMENT].z == pytest.approx([0])
    assert scores.metrics[SLA_BREACH].z == pytest.approx([1])


def test_buckets_between_keeps_only_whole_buckets():
    history = baseline_of([1] * 6, [0] * 6)
    assert list(buckets_between(history, 900, 3600).starts) == [900, 1800, 2700]
    assert list(buckets_between(history, 901, 3599).starts) == [1800]
    assert list(buckets_between(history, 9000, 9900).starts) == []
    assert len(buckets_between(history, 900, 3600).counts["offered"]) == 3


def test_unknown_method_names_the_known_ones():
    with pytest.raises(KeyError, match="zscore"):
        method("magic")


counts = hnp.arrays(np.uint16, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(0, 50))


@given(offered=counts, data=st.data())
def test_finite_wherever_scored_and_blind_to_the_order_of_series(offered, data):
    abandoned = data.draw(hnp.arrays(np.uint16, offered.shape, elements=st.integers(0, 50)))
    order = data.draw(st.permutations(range(offered.shape[1])))
    n, x = offered[-1].astype(float), abandoned[0].astype(float)
    model = ZScore().fit(baseline_of(offered, abandoned), ScoreOptions())
    columns = model.score(ABANDONMENT, n, x, NOON, np.arange(len(n)))
    assert np.isfinite(columns.z[~np.isnan(columns.z)]).all()
    assert (np.isnan(columns.z) == ((n == 0) | (columns.samples < 3))).all()
    shuffled = ZScore().fit(baseline_of(offered[:, order], abandoned[:, order]), ScoreOptions())
    again = shuffled.score(ABANDONMENT, n[order], x[order], NOON, np.arange(len(n)))
    np.testing.assert_allclose(again.z, columns.z[order], rtol=1e-12, atol=1e-12)
