"""History: merging, gaps, the baseline, the counters, and what survives a restart."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.analysis.history import History
from exporter.models import BucketBatch, SeriesKey
from tests.analysis.building import (
    DAY,
    QUARTER,
    A,
    B,
    C,
    Cell,
    at,
    batch,
    cell,
    content,
    open_history,
    start_of,
)

Buckets = dict[int, dict[SeriesKey, Cell]]

#: A machine under load must not fail a property; forty examples find what a thousand do.
quickly = settings(deadline=None, max_examples=40)


def baseline_cells(history: History, first: int, end: int) -> dict[int, dict[SeriesKey, tuple[int, ...]]]:
    """The baseline of a window [first, end) as offered, abandoned, breached, contacts of the series that have any."""
    with history.baseline(start_of(first), start_of(end)) as pinned:
        table = np.stack([pinned.baseline.counts[n] for n in ("offered", "abandoned", "sla_breached", "sla_contacts")])
        return {
            start: {key: tuple(table[:, i, j].tolist()) for j, key in enumerate(pinned.keys) if table[:, i, j].any()}
            for i, start in enumerate(pinned.baseline.starts.tolist())
        }


@pytest.fixture
def history(tmp_path: Path) -> History:
    return open_history(tmp_path / "h.sqlite3", now=at(0))


def test_a_merged_bucket_is_read_back_whole(history: History) -> None:
    buckets = {start_of(0): {A: (9, 6, 3, 1, 2, 8), C: (1, 0, 1, 0, 1, 1)}, start_of(1): {}}
    report = history.merge(batch(buckets))
    assert (report.new, report.changed, report.series, report.stored) == (tuple(buckets), (), 2, True)
    assert content(history) == buckets


def test_the_same_batch_again_changes_nothing(history: History) -> None:
    again = batch({start_of(0): {A: cell(9, 3)}, start_of(1): {B: cell(4)}})
    history.merge(again)
    before = history.version
    report = history.merge(again)
    assert (report.new, report.changed) == ((), ())
    assert history.version == before
    assert history.counters([A])["offered"].tolist() == [9]


def test_a_correction_replaces_the_whole_bucket(history: History) -> None:
    history.merge(batch({start_of(0): {A: cell(9, 3), B: cell(2)}}))
    report = history.merge(batch({start_of(0): {A: cell(10, 4)}}))
    assert report.changed == (start_of(0),)
    assert content(history) == {start_of(0): {A: cell(10, 4)}}
    assert baseline_cells(history, 1, 2) == {start_of(0): {A: (10, 4, 0, 10)}}


def test_missing_buckets_are_named_newest_first(history: History) -> None:
    history.merge(batch({start_of(2): {}, start_of(4): {A: cell(1)}}))
    assert history.missing(start_of(0) + 1, start_of(6) + 899) == [start_of(5), start_of(3), start_of(1)]


def test_the_baseline_leaves_out_the_window_and_what_is_older_than_its_days(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0), baseline_days=1)
    history.merge(batch({start_of(quarter): {A: cell(quarter + 1)} for quarter in range(98)}))
    with history.baseline(start_of(96) + 60, start_of(97) + 60) as pinned:
        assert pinned.baseline.starts.tolist() == [start_of(quarter) for quarter in range(2, 96)]
    with history.baseline(start_of(96), start_of(97)) as pinned:
        assert pinned.baseline.starts.tolist() == [start_of(quarter) for quarter in range(1, 96)]
        assert pinned.baseline.counts["offered"][0].tolist() == [2]


def test_a_baseline_has_no_rows_for_buckets_that_were_not_fetched(history: History) -> None:
    history.merge(batch({start_of(0): {A: cell(1)}, start_of(3): {A: cell(3)}}))
    history.merge(batch({start_of(1): {A: cell(2)}}))
    cells = baseline_cells(history, 9, 10)
    assert [cells[start][A][0] for start in cells] == [1, 2, 3]
    assert list(cells) == [start_of(0), start_of(1), start_of(3)]


def test_counts_beyond_sixteen_bits_are_kept(history: History) -> None:
    history.merge(batch({start_of(0): {A: cell(65_535)}, start_of(1): {A: cell(65_536), B: cell(2**33)}}))
    assert baseline_cells(history, 2, 3) == {
        start_of(0): {A: (65_535, 0, 0, 65_535)},
        start_of(1): {A: (65_536, 0, 0, 65_536), B: (2**33, 0, 0, 2**33)},
    }


def test_the_summary_contract_leaves_out_what_it_does_not_tell(history: History) -> None:
    told = {name: np.array([[5]]) for name in ("offered", "abandoned", "sla_breached", "sla_contacts")}
    history.merge(BucketBatch(QUARTER, np.array([start_of(0)]), (A,), told))
    (bucket,) = history.read(start_of(0), start_of(1))
    assert set(bucket.counts) == set(told)


@pytest.mark.parametrize(
    "wrong",
    [
        batch({start_of(0): {}}, seconds=3600),
        batch({start_of(0) + 1: {}}),
        BucketBatch(QUARTER, np.array([start_of(0)] * 2), (), {}),
        BucketBatch(QUARTER, np.array([start_of(0)]), (A, A), {"offered": np.ones((1, 2), np.int64)}),
        BucketBatch(QUARTER, np.array([start_of(0)]), (A,), {"offered": np.ones((1, 2), np.int64)}),
        BucketBatch(QUARTER, np.array([start_of(0)]), (A,), {"of": np.ones((1, 1), np.int64)}),
        BucketBatch(QUARTER, np.array([start_of(0)]), (A,), {"offered": np.array([[-1]])}),
    ],
    ids=["length", "alignment", "bucket twice", "series twice", "shape", "unknown count", "negative"],
)
def test_a_batch_that_contradicts_itself_is_refused(history: History, wrong: BucketBatch) -> None:
    with pytest.raises(ValueError, match=r".+"):
        history.merge(wrong)
    assert content(history) == {}


def test_a_series_that_comes_later_has_the_name_that_its_queue_was_told_by(history: History) -> None:
    history.name_queues({"a": "Alpha"})
    history.merge(batch({start_of(0): {A: cell(1)}}))
    assert [bucket.rows.names for bucket in history.read(0, start_of(1))] == [("Alpha",)]


def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    buckets = {start_of(0): {A: cell(9, 3), B: cell(2)}, start_of(1): {}, start_of(2): {C: cell(70_000)}}
    first = open_history(tmp_path / "h", now=at(0))
    first.merge(batch(buckets, names={"a": "Alpha"}))
    first.close()
    second = open_history(tmp_path / "h", now=at(4))
    assert content(second) == buckets
    assert second.missing(start_of(0), start_of(4)) == [start_of(3)]
    assert baseline_cells(second, 4, 5)[start_of(2)] == {C: (70_000, 0, 0, 70_000)}
    assert second.counters([A, B, C])["offered"].tolist() == [9, 2, 70_000]
    assert second.names() == {"a": "Alpha"}
    assert second.merge(batch(buckets)).changed == ()


cells = st.builds(cell, st.integers(0, 70_000), st.integers(0, 9), st.integers(0, 9))
some_buckets = st.dictionaries(
    st.integers(0, 40).map(start_of), st.dictionaries(st.sampled_from([A, B, C]), cells, max_size=3), min_size=1
)


def true_cells(model: Buckets) -> Buckets:
    return {start: {k: c for k, c in found.items() if any(c)} for start, found in sorted(model.items())}


@quickly
@given(st.lists(some_buckets, max_size=6))
def test_merging_equals_a_dictionary_of_dictionaries(merges: list[Buckets]) -> None:
    model: Buckets = {}
    history = open_history(None, now=at(0))
    for buckets in merges:
        report = history.merge(batch(buckets))
        assert set(report.new) == set(buckets) - set(model)
        model |= buckets
    truth = true_cells(model)
    assert content(history) == truth
    assert set(history.missing(start_of(0), start_of(41))) == {start_of(i) for i in range(41)} - set(model)
    short = {s: {k: (c[0], c[2], c[4], c[5]) for k, c in found.items()} for s, found in truth.items()}
    assert baseline_cells(history, 41, 42) == short


days_apart = st.dictionaries(
    st.integers(0, 260).map(start_of), st.dictionaries(st.sampled_from([A, B, C]), cells, max_size=3), min_size=1
)


@quickly
@given(st.lists(days_apart, min_size=1, max_size=8))
def test_the_day_before_the_newest_bucket_is_in_memory_whatever_came_when(merges: list[Buckets]) -> None:
    model: Buckets = {}
    history = open_history(None, now=at(0), baseline_days=1)
    for buckets in merges:
        history.merge(batch(buckets))
        model |= buckets
        newest = (max(model) - start_of(0)) // QUARTER
        recent = {start: found for start, found in true_cells(model).items() if start >= start_of(newest - 94)}
        short = {s: {k: (c[0], c[2], c[4], c[5]) for k, c in found.items()} for s, found in recent.items()}
        assert baseline_cells(history, newest + 1, newest + 2) == short
    assert content(history) == true_cells(model)


@quickly
@given(some_buckets, st.randoms())
def test_the_order_of_merges_does_not_matter(buckets: Buckets, random: object) -> None:
    one, other = open_history(None, now=at(0)), open_history(None, now=at(0))
    one.merge(batch(buckets))
    starts = list(buckets)
    random.shuffle(starts)  # type: ignore[attr-defined]
    for start in starts:
        other.merge(batch({start: buckets[start]}))
    assert content(one) == content(other)
    assert baseline_cells(one, 41, 42) == baseline_cells(other, 41, 42)
    for name, column in one.counters([A, B, C]).items():
        assert column.tolist() == other.counters([A, B, C])[name].tolist()


@quickly
@given(st.lists(some_buckets, min_size=1, max_size=6))
def test_counters_never_fall_and_reach_the_highest_true_sum(merges: list[Buckets]) -> None:
    model: Buckets = {}
    highest = 0
    history = open_history(None, now=at(0))
    for buckets in merges:
        history.merge(batch(buckets))
        model |= buckets
        highest = max(highest, sum(found.get(A, (0,))[0] for found in model.values()))
        assert history.counters([A])["offered"].tolist() == [highest]


def test_a_late_correction_downward_makes_the_counter_wait(history: History) -> None:
    shown = []
    for quarter, offered in ((0, 10), (1, 5), (1, 3), (2, 1), (3, 4)):
        history.merge(batch({start_of(quarter): {A: cell(offered)}}))
        shown.append(int(history.counters([A])["offered"][0]))
    assert shown == [10, 15, 15, 15, 18]


def test_memory_holds_the_baseline_and_the_file_the_retention(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0), baseline_days=1, retention_days=3)
    for day in range(5):
        history.merge(batch({start_of(96 * day + i): {A: cell(1)} for i in range(96)}))
    history.prune(at(5 * 96))
    assert history.buckets in (96, 97)
    assert len(content(history)) in (3 * 96, 3 * 96 + 1)
    assert history.counters([A])["offered"].tolist() == [5 * 96]


def test_a_series_without_contacts_in_retention_is_forgotten_and_its_place_given_away(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0), baseline_days=1, retention_days=2)
    history.merge(batch({start_of(0): {A: cell(5), B: cell(1)}}))
    history.merge(batch({start_of(300): {B: cell(2)}}))
    history.prune(at(301))
    history.merge(batch({start_of(301): {C: cell(7)}}))
    assert content(history) == {start_of(300): {B: cell(2)}, start_of(301): {C: cell(7)}}
    assert history.counters([A, B, C])["offered"].tolist() == [0, 3, 7]
    history.close()
    again = open_history(tmp_path / "h", now=at(302), baseline_days=1, retention_days=2)
    assert content(again) == {start_of(300): {B: cell(2)}, start_of(301): {C: cell(7)}}
    assert again.counters([A, B, C])["offered"].tolist() == [0, 3, 7]


def test_a_file_does_not_grow_with_queues_that_come_and_go(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0), baseline_days=1, retention_days=2)
    for day in range(20):
        history.merge(batch({start_of(96 * day): {SeriesKey(f"campaign {day}", "voice"): cell(1)}}))
        history.prune(at(96 * day))
        if day % 7 == 0:
            history.close()
            history = open_history(tmp_path / "h", now=at(96 * day), baseline_days=1, retention_days=2)
            assert start_of(96 * day) in content(history)
    with sqlite3.connect(tmp_path / "h") as connection:
        (highest,) = connection.execute("SELECT max(position) FROM series").fetchone()
    assert highest < 5


def test_the_baseline_of_a_week_of_polls_is_always_the_last_days(tmp_path: Path) -> None:
    history = open_history(None, now=at(0), baseline_days=1)
    for quarter in range(300):
        history.merge(batch({start_of(quarter): {A: cell(quarter)}}))
        found = baseline_cells(history, quarter + 1, quarter + 2)
        expected = {start_of(i): {A: (i, 0, 0, i)} if i else {} for i in range(max(0, quarter - 94), quarter + 1)}
        assert found == expected


def test_buckets_from_a_clock_that_ran_ahead_are_dropped(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0), baseline_days=1)
    history.merge(batch({start_of(i): {A: cell(1)} for i in range(96)}))
    history.merge(batch({start_of(i): {B: cell(1), C: cell(2)} for i in range(9600, 9696)}))
    history.prune(at(96))
    found = baseline_cells(history, 96, 97)
    assert found == {start_of(i): {A: (1, 0, 0, 1)} for i in range(1, 96)}
    assert history.missing(start_of(0), start_of(96)) == []
    history.merge(batch({start_of(96): {A: cell(1), B: cell(3)}}))
    assert baseline_cells(history, 97, 98)[start_of(96)] == {A: (1, 0, 0, 1), B: (3, 0, 0, 3)}
    assert history.counters([A, B])["offered"].tolist() == [97, 96]  # B's 96 were never true: its counter waits


def test_reading_the_baseline_anew_leaves_out_series_that_went_quiet(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0), baseline_days=1)
    many = {SeriesKey(f"q{i}", "voice"): cell(i + 1) for i in range(20)}
    history.merge(batch({start_of(0): {A: cell(7)}} | {start_of(i): many for i in range(1, 150)}))
    history.merge(batch({start_of(9600): {}}))
    history.prune(at(150))
    found = baseline_cells(history, 150, 151)
    assert list(found) == [start_of(i) for i in range(55, 150)]
    assert all(cells == {key: (c[0], 0, 0, c[0]) for key, c in many.items()} for cells in found.values())
    with history.baseline(start_of(150), start_of(151)) as pinned:
        assert pinned.baseline.series == len(pinned.keys)


def test_buckets_of_another_selection_count_as_not_fetched_and_are_counted_once(tmp_path: Path) -> None:
    first = open_history(tmp_path / "h", now=at(0), selection="all")
    first.merge(batch({start_of(0): {A: cell(5), B: cell(1)}, start_of(1): {A: cell(2)}}))
    first.close()
    second = open_history(tmp_path / "h", now=at(2), selection="only a")
    assert second.missing(start_of(0), start_of(2)) == [start_of(1), start_of(0)]
    assert baseline_cells(second, 2, 3) == {}
    assert second.merge(batch({start_of(0): {A: cell(5)}})).new == (start_of(0),)
    assert second.counters([A, B])["offered"].tolist() == [7, 1]


def test_series_are_active_by_their_contacts_in_the_baseline_of_this_selection(tmp_path: Path) -> None:
    first = open_history(tmp_path / "h", now=at(0), selection="all")
    first.merge(batch({start_of(0): {A: cell(5), C: cell(1)}, start_of(9): {A: cell(1), B: cell(1)}}))
    assert set(first.active(start_of(0))) == {A, B, C}
    assert set(first.active(start_of(0) + 1)) == {A, B}
    first.merge(batch({start_of(9): {B: cell(1)}}))
    assert set(first.active(start_of(1))) == {B}
    first.close()
    second = open_history(tmp_path / "h", now=at(10), selection="voice")
    second.merge(batch({start_of(0): {A: cell(5)}}))
    assert set(second.active(start_of(0))) == {A}
    second.close()
    third = open_history(tmp_path / "h", now=at(10), selection="voice")
    assert set(third.active(start_of(0))) == {A}


def test_other_scopes_in_the_same_file_are_not_seen(tmp_path: Path) -> None:
    one = open_history(tmp_path / "h", now=at(0), scope="one")
    one.merge(batch({start_of(0): {A: cell(5)}}))
    one.close()
    other = open_history(tmp_path / "h", now=at(1), scope="other")
    assert content(other) == {}
    other.merge(batch({start_of(0): {B: cell(1)}}))
    other.close()
    one = open_history(tmp_path / "h", now=at(1), scope="one")
    assert content(one) == {start_of(0): {A: cell(5)}}


def test_scores_of_a_bucket_are_read_back_with_it(history: History) -> None:
    history.merge(batch({start_of(0): {A: cell(5), B: cell(1)}}))
    assert history.unscored() == [start_of(0)]
    with history.baseline(start_of(1), start_of(2)) as pinned:
        z = {A: 2.5, B: np.nan}
        flag = {A: 1.0, B: np.nan}
        columns = (np.array([z[k] for k in pinned.keys]), np.array([flag[k] for k in pinned.keys]))
        history.set_scores(pinned.positions, {start_of(0): {"abandonment_ratio": columns}})
    assert history.unscored() == []
    (bucket,) = history.read(0, 2**40)
    assert bucket.rows.keys == (A, B)
    np.testing.assert_array_equal(bucket.z["abandonment_ratio"], [2.5, np.nan])
    np.testing.assert_array_equal(bucket.anomaly["abandonment_ratio"], [1.0, np.nan])


def test_backfilled_is_remembered_for_a_restart_but_not_after_a_gap(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0))
    assert not history.backfilled
    history.merge(batch({start_of(0): {A: cell(5)}}))
    history.mark_backfilled()
    history.close()
    for now, expected in ((at(2), True), (at(9), False)):
        again = open_history(tmp_path / "h", now=now)
        assert again.backfilled is expected
        again.close()
    other = open_history(tmp_path / "h", now=at(2), selection="other")
    assert not other.backfilled


def test_reading_goes_on_while_merges_and_pruning_do(history: History) -> None:
    history.merge(batch({start_of(i): {A: cell(i + 1)} for i in range(10)}))
    reading = history.read(start_of(0), start_of(100))
    first = next(reading)
    history.merge(batch({start_of(i): {B: cell(99)} for i in range(20)}))
    history.prune(at(40 * 96))
    seen = [first, *reading]
    assert [bucket.counts["offered"].tolist() for bucket in seen] == [[i + 1] for i in range(10)]


def test_a_baseline_of_a_day_at_most_is_left_in_a_history_without_a_file() -> None:
    history = open_history(None, now=at(0), baseline_days=1)
    history.merge(batch({start_of(i): {A: cell(1)} for i in range(300)}))
    history.prune(at(300))
    assert len(content(history)) <= DAY // QUARTER + 2
