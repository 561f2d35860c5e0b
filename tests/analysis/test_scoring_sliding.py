"""Many baselines at once have the moments of the formula, to 1e-9, whatever they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analysis.scoring import ScoreOptions, buckets_between, method
from exporter.analysis.scoring.sliding import sliding_moments
from exporter.analysis.scoring.walk import blocks
from exporter.analysis.scoring.zscore import moments_of
from exporter.models import ABANDONMENT, SLA_BREACH
from tests.analysis.traffic import MONDAY, STEP, history, weeks


def compare(whole, firsts, ends):
    found = sliding_moments(whole, ABANDONMENT, np.array(firsts), np.array(ends), 3)
    for row, (first, end) in enumerate(zip(firsts, ends, strict=True)):
        part = buckets_between(whole, MONDAY + first * STEP, MONDAY + end * STEP)
        wanted = moments_of(part, ABANDONMENT, 3)
        for name in ("mean", "stddev", "samples"):
            np.testing.assert_allclose(getattr(found, name)[row], getattr(wanted, name), rtol=1e-10, atol=1e-13)


def test_a_week_of_quarter_hours():
    offered, abandoned = weeks(3, [0.3, 2.0, 60.0, 900.0], days=9)
    whole = history(offered, abandoned)
    compare(whole, list(range(100, 190)), list(range(772, 862)))


def test_ratios_that_never_vary_have_no_deviation_and_tiny_ones_keep_their_digits():
    offered = np.full((60, 2), 1_000_000)
    abandoned = np.full((60, 2), 300_000)
    abandoned[0] = 1_000_000  # in the first baseline alone
    abandoned[20:, 1] += np.arange(40) % 2  # a deviation of half a millionth
    whole = history(offered, abandoned)
    compare(whole, list(range(10)), list(range(30, 40)))
    found = sliding_moments(whole, ABANDONMENT, np.array([0, 1, 2]), np.array([38, 39, 40]), 3)
    assert found.stddev[1:, 0].tolist() == [0, 0]
    assert found.mean[1:, 0].tolist() == [0.3, 0.3]
    assert np.all(found.stddev[1:, 1] > 4e-7)


def test_baselines_that_do_not_overlap_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        sliding_moments(history(np.ones((9, 1))), ABANDONMENT, np.array([0, 5]), np.array([4, 9]), 3)


@given(st.data())
def test_any_counts_and_any_baselines(data):
    buckets, series = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 3))
    counts = st.sampled_from([0, 0, 1, 2, 7, 10_000])
    offered = np.array(data.draw(st.lists(counts, min_size=buckets * series, max_size=buckets * series)))
    shares = np.array(data.draw(st.lists(st.floats(0, 1), min_size=buckets * series, max_size=buckets * series)))
    shape = (buckets, series)
    whole = history(offered.reshape(shape), np.floor(offered * shares).reshape(shape))
    span = data.draw(st.integers(0, buckets))
    ends = np.arange(buckets)
    firsts = np.maximum(ends - span, 0)
    last = int(np.searchsorted(firsts, ends[0], side="right"))
    compare(whole, firsts[:last].tolist(), ends[:last].tolist())


@pytest.mark.parametrize("days", [1, 7])
def test_the_walk_gives_what_the_method_gives_bucket_by_bucket(days):
    offered, abandoned = weeks(7, [0.5, 40.0], days=10)
    whole, classic, options = history(offered, abandoned), method("zscore"), ScoreOptions()
    span = days * 86_400
    slid = list(blocks(classic, whole, options, baseline_seconds=span))
    one_by_one = list(blocks(classic, whole, options, baseline_seconds=span, refit_seconds=0))
    for metric in (ABANDONMENT, SLA_BREACH):
        for name in ("value", "z", "anomaly", "mean", "stddev", "samples"):
            found, wanted = (
                np.concatenate([getattr(block.scores.metrics[metric], name) for block in walked])
                for walked in (slid, one_by_one)
            )
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
