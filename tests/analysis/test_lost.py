"""What an answer lost is never a zero: not in the window, not in history, not in the baseline, not in an export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporter.analysis.fitting import summed
from exporter.analysis.history import History
from exporter.analysis.scoring import ScoreOptions
from exporter.analysis.scoring.seasonal import Seasonal
from exporter.analysis.snapshot import MediaTypes
from exporter.models import OFFERED, HistoryBucket, Lost, SeriesKey, Window
from exporter.publish.csv_export import history_chunks
from exporter.replicas.wire import Readings, bucket_bytes, bucket_of, readings_bytes, readings_of
from tests.analysis.building import (
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
    window_table,
)
from tests.analysis.test_snapshot import Desk, directory, value
from tests.analysis.traffic import DAY, history, weeks

LOST_A = Lost(frozenset({(0, A)}))
OTHERS = Lost(others=True)


@pytest.fixture(params=["file", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> History:
    return open_history(tmp_path / "h.sqlite3" if request.param == "file" else None, now=at(0))


def lost_in(kept: History, quarter: int) -> set[SeriesKey]:
    bucket = next(each for each in kept.read(0, 2**40) if each.start_seconds == start_of(quarter))
    rows = [] if bucket.lost is None else np.flatnonzero(bucket.lost).tolist()
    return {bucket.rows.keys[row] for row in rows}


def unknown_in_baseline(kept: History, quarter: int) -> set[SeriesKey]:
    with kept.baseline(start_of(quarter + 1), start_of(quarter + 2)) as pinned:
        row = pinned.baseline.starts.tolist().index(start_of(quarter))
        flags = pinned.baseline.lost
        return set() if flags is None else {pinned.keys[column] for column in np.flatnonzero(flags[row]).tolist()}


def open_history_again(kept: History, folder: Path) -> History:
    kept.close()
    return open_history(folder / "h.sqlite3", now=at(4))


@pytest.mark.parametrize("lost", [LOST_A, OTHERS])
def test_what_is_known_of_a_bucket_stays_where_a_later_answer_lost_it(kept: History, lost: Lost) -> None:
    kept.merge(batch({start_of(0): {A: (9, 6, 3, 1, 2, 8), B: cell(2)}}))
    report = kept.merge(batch({start_of(0): {B: cell(4)}}, lost=lost))
    assert report.changed == (start_of(0),)
    assert content(kept) == {start_of(0): {A: (9, 6, 3, 1, 2, 8), B: cell(4)}}
    assert lost_in(kept, 0) == unknown_in_baseline(kept, 0) == set()
    assert kept.counters([A, B])["offered"].tolist() == [9, 4]


def test_an_answer_that_tells_nothing_new_changes_nothing(kept: History) -> None:
    kept.merge(batch({start_of(0): {A: cell(9), B: cell(2)}}))
    assert kept.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A)).changed == ()
    assert kept.merge(batch({start_of(0): {}}, lost=OTHERS)).changed == ()


def test_what_was_never_known_is_marked_until_it_is(kept: History) -> None:
    kept.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A))
    assert lost_in(kept, 0) == unknown_in_baseline(kept, 0) == {A}
    assert kept.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A)).changed == ()
    kept.merge(batch({start_of(0): {A: cell(9), B: cell(2)}}))
    assert lost_in(kept, 0) == unknown_in_baseline(kept, 0) == set()
    assert kept.counters([A])["offered"].tolist() == [9]


def test_a_true_zero_ends_the_mark_too(kept: History) -> None:
    kept.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A))
    assert kept.merge(batch({start_of(0): {B: cell(2)}})).changed == (start_of(0),)
    assert lost_in(kept, 0) == unknown_in_baseline(kept, 0) == set()


def test_of_series_that_nobody_names_the_silence_is_not_believed(kept: History) -> None:
    kept.merge(batch({start_of(0): {A: cell(1), C: cell(1)}}))
    kept.merge(batch({start_of(1): {B: cell(2)}}, lost=OTHERS))
    assert lost_in(kept, 1) == unknown_in_baseline(kept, 1) == {A, C}


def test_a_series_that_becomes_known_later_is_unknown_there_too(tmp_path: Path) -> None:
    kept = open_history(tmp_path / "h.sqlite3", now=at(0))
    kept.merge(batch({start_of(1): {B: cell(2)}}, lost=OTHERS))
    kept.merge(batch({start_of(0): {A: cell(1)}, start_of(2): {A: cell(1), B: cell(1)}}))
    for _ in range(2):
        assert lost_in(kept, 1) == unknown_in_baseline(kept, 1) == {A}
        assert lost_in(kept, 2) == unknown_in_baseline(kept, 2) == set()
        kept = open_history_again(kept, tmp_path)


@pytest.mark.parametrize("told", [{}, {A: cell(3)}])
def test_a_whole_answer_lifts_the_veil(kept: History, told: dict[SeriesKey, Cell]) -> None:
    kept.merge(batch({start_of(0): {A: cell(1), B: cell(1)}}))
    kept.merge(batch({start_of(1): {B: cell(2)}}, lost=OTHERS))
    kept.merge(batch({start_of(1): {B: cell(2)}}, lost=OTHERS))
    assert lost_in(kept, 1) == {A}
    kept.merge(batch({start_of(1): {B: cell(2), **told}}))
    assert lost_in(kept, 1) == unknown_in_baseline(kept, 1) == set()
    assert content(kept)[start_of(1)] == {B: cell(2), **told}


def test_of_an_answer_that_lost_one_series_only_that_stays_veiled(kept: History) -> None:
    kept.merge(batch({start_of(0): {A: cell(1), B: cell(1), C: cell(1)}}))
    kept.merge(batch({start_of(1): {B: cell(2)}}, lost=OTHERS))
    kept.merge(batch({start_of(1): {B: cell(2)}}, lost=Lost(frozenset({(0, A)}))))
    assert lost_in(kept, 1) == unknown_in_baseline(kept, 1) == {A}


def test_a_series_of_which_all_was_lost_is_known_by_that(kept: History) -> None:
    kept.merge(batch({start_of(0): {}}, lost=LOST_A))
    assert lost_in(kept, 0) == {A}
    assert kept.counters([A])["offered"].tolist() == [0]


def test_each_bucket_has_its_own(kept: History) -> None:
    lost = Lost(frozenset({(1, A)}))
    kept.merge(batch({start_of(0): {A: cell(1)}, start_of(1): {B: cell(1)}}, lost=lost))
    assert (lost_in(kept, 0), lost_in(kept, 1)) == (set(), {A})


def test_queues_that_were_not_asked_for_keep_what_is_known(kept: History) -> None:
    kept.merge(batch({start_of(0): {A: cell(9), B: cell(2)}}))
    kept.merge(batch({start_of(0): {A: cell(10)}, start_of(1): {A: cell(1)}}, about=frozenset({"a"})))
    assert content(kept) == {start_of(0): {A: cell(10), B: cell(2)}, start_of(1): {A: cell(1)}}
    assert lost_in(kept, 1) == set()


def test_a_restart_knows_what_is_not_known(tmp_path: Path) -> None:
    first = open_history(tmp_path / "h.sqlite3", now=at(0))
    first.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A))
    first.close()
    again = open_history(tmp_path / "h.sqlite3", now=at(4))
    assert lost_in(again, 0) == unknown_in_baseline(again, 0) == {A}
    assert again.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A)).changed == ()


def test_a_mark_goes_with_its_bucket_and_its_series(kept: History) -> None:
    kept.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A))
    kept.prune(at(40 * 96))
    kept.merge(batch({start_of(40 * 96): {C: cell(2)}}))
    assert lost_in(kept, 40 * 96) == unknown_in_baseline(kept, 40 * 96) == set()


def test_scores_of_unknown_counts_are_not_kept(kept: History) -> None:
    kept.merge(batch({start_of(0): {B: cell(2)}}, lost=LOST_A))
    with kept.baseline(start_of(1), start_of(2)) as pinned:
        positions, keys = pinned.positions, pinned.keys
    ones = np.ones(len(keys))
    kept.set_scores(positions, {start_of(0): {OFFERED: (ones, ones)}})
    bucket = next(kept.read(start_of(0), start_of(1)))
    scored = dict(zip(bucket.rows.keys, np.isfinite(bucket.z[OFFERED]).tolist(), strict=True))
    assert scored == {A: False, B: True}
    closed = kept.closed(start_of(0))
    assert closed is not None
    assert np.isnan(closed.counts["offered"][keys.index(A)])


def test_an_export_has_no_line_for_it(kept: History) -> None:
    kept.merge(batch({start_of(0): {B: cell(2)}, start_of(1): {A: cell(1), B: cell(1)}}, lost=LOST_A))
    lines = b"".join(history_chunks(kept.read(start_of(0), start_of(2)))).splitlines()[1:]
    assert [line.split(b",")[0] for line in lines] == [b"b", b"a", b"b"]


# Scores


def test_the_volume_baseline_passes_over_what_nobody_knows() -> None:
    """Half of the hours between ten and two were lost: taken for zeros they would halve what is expected there."""
    offered, _ = weeks(1, [20.0, 20.0], days=28)
    lost = np.zeros(offered.shape, bool)
    lost[[row for row in range(len(offered)) if 40 <= row % DAY < 56 and row // DAY % 2], 0] = True
    whole = history(offered)
    holed = replace(whole, counts=history(np.where(lost, 0, offered)).counts)
    noon = at(0).replace(year=2026, month=2, day=2, hour=12)

    def mean(baseline: object) -> float:
        scores = (
            Seasonal()
            .fit(baseline, ScoreOptions())
            .score(  # type: ignore[arg-type]
                OFFERED, np.array([20.0]), np.array([20.0]), noon, np.array([0])
            )
        )
        return float(scores.mean[0])

    assert mean(replace(holed, lost=lost)) == pytest.approx(mean(whole), rel=0.1)
    assert mean(holed) < 0.75 * mean(whole)


def test_the_org_does_not_know_a_bucket_in_which_a_queue_was_lost() -> None:
    keys = (SeriesKey("a", "voice"), SeriesKey("b", "voice"), SeriesKey("c", "chat"))
    lost = np.array([[False, True, False], [False, False, False]])
    whole = replace(history(np.ones((2, 3), int)), lost=lost)
    org = summed(whole, MediaTypes.of(keys))
    assert org.lost is not None
    assert org.lost.tolist() == [[False, True], [False, False]]


# The window


WINDOW = Window(at(0), at(1))
ROW = {"offered": 5.0}


@pytest.mark.parametrize(("lost", "unknown"), [(LOST_A, {"a"}), (OTHERS, {"a", "c"})])
def test_a_row_that_was_lost_has_no_value(lost: Lost, unknown: set[str]) -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(-1): {A: cell(3), C: cell(1)}}))
    table = window_table(WINDOW, {B: ROW}, lost=lost)
    snapshot = desk.snapshot(at(1), directory=directory("a", "b", "c"), window=table)
    told = {key.queue_id: value(snapshot, "offered", key) for key in snapshot.rows.keys}
    assert told.keys() == {"a", "b", "c"}
    assert {queue for queue, offered in told.items() if np.isnan(offered)} == unknown
    org = dict(zip(snapshot.org_media, snapshot.org_offered.tolist(), strict=True))
    assert np.isnan(org["voice"])
    assert np.isnan(org["chat"]) == lost.others


def test_what_is_not_lost_is_a_zero_as_ever() -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(-1): {A: cell(3), C: cell(1)}}))
    snapshot = desk.snapshot(at(1), directory=directory("a", "b", "c"), window=window_table(WINDOW, {B: ROW}))
    assert [value(snapshot, "offered", key) for key in (A, B, C)] == [0, 5, 0]
    assert snapshot.org_offered.tolist() == [0, 5]


def test_a_bucket_without_marks_has_none() -> None:
    kept = open_history(None, now=at(0))
    kept.merge(batch({start_of(0): {A: cell(1)}}))
    bucket: HistoryBucket = next(kept.read(0, 2**40))
    assert (bucket.lost, bucket.bucket_seconds) == (None, QUARTER)


# Other replicas


def test_another_replica_learns_what_is_not_known() -> None:
    told = batch({start_of(0): {B: cell(2)}, start_of(1): {A: cell(1)}}, lost=Lost(frozenset({(0, A), (1, C)})))
    for place, lost in ((0, A), (1, C)):
        there = bucket_of(bucket_bytes(replace(told, about=frozenset({"a"})), place))
        assert (there.lost, there.about) == (Lost(frozenset({(0, lost)})), {"a"})
    window = window_table(WINDOW, {B: ROW}, lost=replace(LOST_A, others=True))
    read = readings_of(readings_bytes(Readings(window, None)))
    assert read.window is not None
    assert read.window.lost == window.lost
