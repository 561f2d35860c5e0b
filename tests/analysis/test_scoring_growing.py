"""Whatever happens to a history, the classic score that goes on from its last fit is the formula's, to 1e-9."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from exporter.analysis.analyst import Analyst
from exporter.analysis.baseline import Baseline, Marks
from exporter.analysis.ring import Ring
from exporter.analysis.scoring import METHODS, ScoreOptions, for_one_history, method
from exporter.analysis.scoring.growing import STRETCH_BUCKETS, GrowingMoments, GrowingZScore
from exporter.analysis.scoring.sums import pivots
from exporter.analysis.scoring.zscore import ZScore, moments_of
from exporter.models import ABANDONMENT, SLA_BREACH, Window
from tests.analysis.building import QUARTER, A, B, at, batch, cell, open_history, start_of, window_table
from tests.analysis.lives import HAPPENINGS, OPTIONS, Life, same
from tests.analysis.traffic import history as baseline_of
from tests.analysis.traffic import weeks

WEEK = 672


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_moments_are_those_of_the_formula(seed: int) -> None:
    life = Life(seed)
    order = [each for _ in range(4) for each in life.rng.permutation(np.arange(len(HAPPENINGS)))]
    life.check()
    for each in order:
        HAPPENINGS[each](life)
        if life.rng.integers(3):  # some fits see what two changes did
            life.check()
    life.check()


def test_equal_ratios_have_no_deviation_also_when_they_have_just_become_equal() -> None:
    life = Life(1)
    life.history.merge(batch({start_of(100): {A: cell(3, 2)}, start_of(101): {A: cell(3, 1)}}))
    life.end = 102
    life.check()
    life.history.merge(batch({start_of(each): {A: cell(3 * each, each)} for each in range(102, 293)}))
    life.end = 292  # two days later: the one that differed has just left
    life.check()
    life.end = 293
    life.check()
    with life.history.baseline(start_of(293), start_of(294)) as pinned:
        found = life.grown.fit(pinned.baseline, OPTIONS).moments[ABANDONMENT]
        column = pinned.keys.index(A)
    assert (found.mean[column], found.stddev[column]) == (1 / 3, 0)


def marked(baseline: Baseline, editions: np.ndarray, layout: object) -> Baseline:
    return replace(baseline, marks=Marks(layout, editions))


def summed_again(grown: GrowingMoments, baseline: Baseline) -> int:
    """How many stretches a fit works on."""
    before = dict(grown.stretches)
    assert baseline.marks is not None
    grown.moments(baseline, baseline.marks, 3)
    return sum(grown.stretches[place] is not before.get(place) for place in grown.stretches)


def test_a_closed_bucket_with_eight_corrected_costs_a_few_stretches_of_the_week() -> None:
    offered, abandoned = weeks(1, [3.0, 50.0], days=9)
    history, grown = open_history(None, now=at(0)), GrowingMoments(ABANDONMENT)

    def merge(first: int, end: int, more: int = 0) -> None:
        cells = {
            start_of(i): {A: cell(offered[i, 0] + more, abandoned[i, 0]), B: cell(offered[i, 1])}
            for i in range(first, end)
        }
        history.merge(batch(cells))

    def cost(quarter: int) -> int:
        with history.baseline(start_of(quarter), start_of(quarter + 1)) as pinned:
            return summed_again(grown, pinned.baseline)

    merge(0, WEEK)
    assert cost(WEEK) == WEEK // STRETCH_BUCKETS
    assert cost(WEEK) == 0
    merge(WEEK - 8, WEEK)  # nothing but what is known
    assert cost(WEEK) == 0
    costs = []
    for now in range(WEEK + 1, WEEK + 97):
        merge(now - 9, now, more=now)
        costs.append(cost(now))
        merge(now - 9, now, more=now)
        assert cost(now) == 0
    assert max(costs) <= 3
    merge(300, 301, more=1)  # a late correction
    assert cost(WEEK + 96) == 1


def test_rows_keep_their_editions_when_the_ring_moves_and_change_them_with_their_counts() -> None:
    history = open_history(None, now=at(0), baseline_days=1)

    def editions() -> dict[int, int]:
        with history.baseline(start_of(200), start_of(201)) as pinned:
            assert pinned.baseline.marks is not None
            told = pinned.baseline.marks.editions.tolist()
            return dict(zip(pinned.baseline.starts.tolist(), told, strict=True))

    def changed(quarters: Iterable[int], offered: int) -> set[int]:
        before = editions()
        history.merge(batch({start_of(each): {A: cell(offered)} for each in quarters}))
        after = editions()
        assert len(set(after.values())) == len(after)
        return {(start - start_of(0)) // QUARTER for start, told in after.items() if before.get(start) != told}

    assert changed([*range(110, 150), *range(155, 200)], 5) == {*range(110, 150), *range(155, 200)}
    assert changed(range(190, 200), 5) == set()
    assert changed([120, 199], 6) == {120, 199}
    assert changed(range(150, 155), 5) == set(range(150, 155))  # in the middle: all rows move
    assert changed([105], 5) == {105}


def test_a_ring_whose_columns_change_hands_says_so() -> None:
    ring = Ring(4, QUARTER)
    layouts = []
    for change in (lambda: ring.widen(3), lambda: ring.select(np.array([2, 0])), lambda: ring.clear(2)):
        change()
        layouts.append(ring.marks(slice(0, 0)).layout)
    assert len(set(map(id, layouts))) == 3
    ring.widen(5)
    ring.reserve(np.array([QUARTER]))
    ring.write(QUARTER, {}, slice(0, 0))
    assert ring.marks(slice(0, 1)).layout is layouts[-1]


def test_a_series_that_comes_costs_its_own_column_and_no_more() -> None:
    """Wrong counts behind editions that are known are not seen, for nobody looks."""
    offered, abandoned = weeks(5, [5.0, 80.0, 7.0], days=3)
    offered[:-1, 2] = abandoned[:-1, 2] = 0
    editions, layout, grown = np.arange(1, len(offered) + 1), object(), GrowingMoments(ABANDONMENT)
    before = marked(baseline_of(offered[:-1, :2], abandoned[:-1, :2]), editions[:-1], layout)
    whole = marked(baseline_of(offered, abandoned), editions, layout)
    offered[: 2 * STRETCH_BUCKETS, :2] += 9
    spoilt = replace(whole, counts=baseline_of(offered, abandoned).counts)
    assert before.marks is not None
    assert spoilt.marks is not None
    grown.moments(before, before.marks, 3)
    same(grown.moments(spoilt, spoilt.marks, 3), moments_of(whole, ABANDONMENT, 3))


def test_other_columns_are_summed_anew_whatever_the_editions_say() -> None:
    offered, abandoned = weeks(2, [5.0, 80.0], days=3)
    editions, grown = np.arange(1, len(offered) + 1), GrowingMoments(ABANDONMENT)
    for order in ([0, 1], [1, 0], [1]):
        mirrored = marked(baseline_of(offered[:, order], abandoned[:, order]), editions, object())
        assert mirrored.marks is not None
        same(grown.moments(mirrored, mirrored.marks, 3), moments_of(mirrored, ABANDONMENT, 3))


def test_digits_do_not_run_out_when_ratios_move_far_from_where_they_were() -> None:
    """All contacts of a year are breached; then a millionth more or less than three in ten."""
    offered, layout = np.full((400, 2), 1_000_000), object()
    abandoned, editions = offered.copy(), np.arange(1, 401)
    abandoned[:, 1] = 300_000
    grown = GrowingMoments(ABANDONMENT)
    for end in range(200, 401):
        if end > 200:
            abandoned[end - 1, 0] = 300_000 + end % 2
        part = baseline_of(offered[end - 200 : end], abandoned[end - 200 : end], start=(end - 200) * QUARTER)
        seen = marked(part, editions[end - 200 : end], layout)
        assert seen.marks is not None
        found = grown.moments(seen, seen.marks, 3)
        same(found, moments_of(part, ABANDONMENT, 3))
    assert found.stddev[0] == pytest.approx(5e-7, rel=1e-6)
    assert found.stddev[1] == 0
    assert summed_again(grown, seen) == 0


def test_a_baseline_without_marks_leaves_no_trace() -> None:
    offered, abandoned = weeks(3, [5.0], days=2)
    grown, layout, editions = GrowingZScore(), object(), np.arange(1, 193)
    first = marked(baseline_of(offered, abandoned), editions, layout)
    wanted = grown.fit(first, OPTIONS)
    grown.fit(baseline_of(offered[::-1], abandoned), OPTIONS)
    same(grown.fit(first, OPTIONS).moments[ABANDONMENT], wanted.moments[ABANDONMENT])


@pytest.mark.parametrize(("n", "x"), [(10, 1), (3, 1), (49, 5), (1_000_003, 7)])
def test_the_pivot_of_equal_ratios_is_that_ratio_to_the_last_digit(n: int, x: int) -> None:
    times = np.arange(700)[:, None].astype(np.uint32)
    events = x * times
    events[0] = 5  # of contacts that were offered earlier
    assert pivots(n * times, events).tolist() == [x / n]
    assert pivots(0 * times, events).tolist() == [0]


def test_an_empty_baseline_has_no_moments() -> None:
    history, grown = open_history(None, now=at(0)), GrowingZScore()
    for _ in range(2):
        with history.baseline(start_of(9), start_of(10)) as pinned:
            assert len(grown.fit(pinned.baseline, OPTIONS).moments[SLA_BREACH].mean) == len(pinned.keys)
        history.merge(batch({start_of(8): {A: cell(0)}}))
    history.merge(batch({start_of(8): {A: cell(4, 1)}}))
    with history.baseline(start_of(9), start_of(10)) as pinned:
        assert grown.fit(pinned.baseline, ScoreOptions(min_samples=1)).moments[ABANDONMENT].mean.tolist() == [0.25]


def test_only_the_classic_method_goes_on_and_each_caller_from_its_own_fits() -> None:
    for name, each in METHODS.items():
        assert (for_one_history(each) is each) == (name != "zscore")
    ours, theirs = (for_one_history(method("zscore")) for _ in range(2))
    assert isinstance(ours, GrowingZScore)
    assert ours is not theirs
    assert (ours.name, ours.metrics, ours.default_threshold) == ("zscore", ZScore.metrics, 2.0)


def test_an_analyst_who_goes_on_scores_as_one_who_has_just_begun() -> None:
    rng = np.random.default_rng(4)
    history = open_history(None, now=at(0), baseline_days=1)

    def scored(analyst: Analyst, quarter: int) -> list[float]:
        table = window_table(
            Window(at(quarter - 1), at(quarter)), {A: {"offered": 9.0, "abandoned": 4.0}, B: {"offered": 5.0}}
        )
        shot = analyst.snapshot(now=at(quarter), directory=None, window=table, observations=None, datasets={})
        assert shot.scores is not None
        return shot.scores.metrics[ABANDONMENT].z.tolist()

    def new() -> Analyst:
        return Analyst(history, method("zscore"), OPTIONS, contract="aggregates", bucket="PT15M", max_series=99)

    old = new()
    for quarter in range(100, 130):
        counts = {start_of(i): {key: random_cell(rng) for key in (A, B)} for i in range(quarter - 8, quarter)}
        history.merge(batch(counts))
        assert scored(old, quarter) == pytest.approx(scored(new(), quarter), abs=1e-9, nan_ok=True)


def random_cell(rng: np.random.Generator) -> tuple[int, ...]:
    offered = int(rng.poisson(6))
    return cell(offered, int(rng.binomial(offered, 0.2)), int(rng.binomial(offered, 0.4)))
