"""History under bad luck: killed, out of disk, damaged while in use, used by several threads at once."""

from __future__ import annotations

import contextlib
import logging
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from exporter.analysis.history import History
from exporter.errors import HistoryError
from exporter.models import ABANDONMENT, SeriesKey
from tests.analysis.building import A, B, Cell, at, batch, cell, content, open_history, start_of

#: How often the process is killed; a soak may ask for more.
KILLS = 4
#: How often a copy of the file is harmed, in each way.
HARMS = 25


def final(quarter: int) -> dict[SeriesKey, Cell]:
    """What a bucket holds in the end."""
    return {
        A: cell(quarter % 50 + 2, quarter % 3),
        SeriesKey(f"q{quarter % 40}", "voice"): cell(70_000 + quarter, 1, 2),
    }


def first_seen(quarter: int) -> dict[SeriesKey, Cell]:
    """What was known of it when it had just closed."""
    return {A: cell(quarter % 50 + 1, quarter % 3), B: cell(quarter % 2)}


def polling(quarter: int) -> dict[int, dict[SeriesKey, Cell]]:
    """The batch of one close: the new bucket, and the corrections of the one before."""
    before = {start_of(quarter - 1): final(quarter - 1)} if quarter else {}
    return before | {start_of(quarter): first_seen(quarter)}


def truth(quarters: int) -> dict[int, dict[SeriesKey, Cell]]:
    """The content after so many closes."""
    buckets: dict[int, dict[SeriesKey, Cell]] = {}
    for quarter in range(quarters):
        buckets |= polling(quarter)
    return {start: {key: each for key, each in cells.items() if any(each)} for start, cells in buckets.items()}


def merge_for_ever(path: Path) -> None:
    """The body of the process that is killed: goes on where the file ends, and says what was acknowledged."""
    history = open_history(path, now=at(5000), baseline_days=90, lock_seconds=10)
    quarter = len(content(history))
    while True:
        history.merge(batch(polling(quarter)))
        quarter += 1
        print(quarter, flush=True)


def run_and_kill(path: Path, acknowledged: int, seconds: float) -> int:
    """Lets the process merge some buckets, and kills it in the middle of others; returns what it acknowledged."""
    code = f"from pathlib import Path; from {__name__} import *; merge_for_ever(Path({str(path)!r}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:  # noqa: S603
        assert child.stdout is not None
        for _ in range(3):
            acknowledged = int(child.stdout.readline())
        Event().wait(seconds)
        child.send_signal(signal.SIGKILL)
        return max([acknowledged, *map(int, child.stdout.read().split())])


def test_killed_in_the_middle_of_merges_nothing_acknowledged_is_lost_nor_counted_twice(tmp_path: Path) -> None:
    chance, acknowledged = random.Random(7), 0
    for _ in range(KILLS):
        acknowledged = run_and_kill(tmp_path / "h", acknowledged, chance.uniform(0, 0.05))
        history = open_history(tmp_path / "h", now=at(5000), baseline_days=90, lock_seconds=10)
        found = content(history)
        assert len(found) in (acknowledged, acknowledged + 1)
        assert found == truth(len(found))
        keys = list({key for cells in found.values() for key in cells})
        sums = [sum(cells.get(key, (0,))[0] for cells in found.values()) for key in keys]
        shown = dict(zip(keys, history.counters(keys)["offered"].tolist(), strict=True))
        assert all(shown[key] >= total for key, total in zip(keys, sums, strict=True))
        assert {k: v for k, v in shown.items() if k != B} == {
            k: v for k, v in zip(keys, sums, strict=True) if k != B
        }  # B's contacts are corrected away again: its counter waits
        history.close()


def fill_up(path: Path) -> None:
    """The body of a process on a disk that is full after 400 kB, and has room again later."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    history = open_history(path, now=at(0))
    keys = [SeriesKey(f"q{i:04}", "voice") for i in range(2000)]
    noise = np.random.default_rng(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    quarter, acknowledged = 0, []
    while history.disk_error is None:
        report = history.merge(
            batch(
                {
                    start_of(quarter): {
                        key: cell(int(n)) for key, n in zip(keys, noise.integers(1, 9999, 2000), strict=True)
                    }
                }
            )
        )
        if report.stored:
            acknowledged.append(quarter)
        quarter += 1
    print("failed after", len(acknowledged), "of", quarter, history.disk_error)
    before = content(history)
    assert len(before) == quarter, "what is pending must be readable"
    with sqlite3.connect(path) as other:
        (on_disk,) = other.execute("SELECT count(*) FROM buckets").fetchone()
    assert on_disk == len(acknowledged)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    report = history.merge(batch({start_of(quarter): {A: cell(1)}}))
    assert report.stored
    assert history.disk_error is None
    counters = history.counters([A, *keys])["offered"].tolist()
    history.close()
    again = open_history(path, now=at(quarter + 1))
    assert content(again) == before | {start_of(quarter): {A: cell(1)}}
    assert again.counters([A, *keys])["offered"].tolist() == counters
    print("all there")


def test_a_full_disk_costs_nothing_but_memory_and_is_made_up_for_later(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from {__name__} import *; fill_up(Path({str(tmp_path / 'h')!r}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert ran.stdout.endswith("all there\n"), ran.stderr
    assert "disk" in ran.stdout


def flip_a_byte_of_a_bucket(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        (data,) = connection.execute("SELECT data FROM buckets ORDER BY start DESC LIMIT 1").fetchone()
        harmed = data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]
        connection.execute("UPDATE buckets SET data = ? WHERE start = (SELECT max(start) FROM buckets)", (harmed,))


def lose_the_series(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM series")


def lose_one_series(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM series WHERE queue_id = 'a'")


def rename_a_series(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE series SET queue_id = 'c' WHERE queue_id = 'a'")


def lose_the_totals(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM totals")


def spoil_the_totals(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE totals SET layout = 'offered:u1'")


def rename_a_count(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE buckets SET layout = replace(layout, 'sla_breached', 'sla_breachee')")


def move_a_bucket(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE buckets SET start = start - 900 * 256 WHERE start = (SELECT max(start) FROM buckets)"
        )


HARMFUL = (
    flip_a_byte_of_a_bucket,
    lose_the_series,
    lose_one_series,
    rename_a_series,
    lose_the_totals,
    spoil_the_totals,
    rename_a_count,
    move_a_bucket,
)


@pytest.mark.parametrize("harm", HARMFUL)
def test_content_that_contradicts_itself_is_set_aside_and_fetched_anew(
    tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "h"
    history = open_history(path, now=at(0))
    history.merge(batch({start_of(i): {A: cell(i + 1), B: cell(i + 1)} for i in range(4)}))
    history.close()
    harm(path)
    with caplog.at_level(logging.ERROR):
        history = open_history(path, now=at(4))
    assert len(history.missing(start_of(0), start_of(4))) == 4
    assert content(history) == {}
    assert "is damaged" in caplog.text
    assert len(list(tmp_path.glob("h.damaged-*Z"))) == 1
    history.merge(batch({start_of(0): {A: cell(1)}}))
    assert content(history) == {start_of(0): {A: cell(1)}}


def turned_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut_short(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def wiped_sector(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(data)) // 512 * 512
    data[place : place + 512] = bytes(len(data[place : place + 512]))


@pytest.mark.parametrize("tail", ["", "-wal"])
@pytest.mark.parametrize("harm", [turned_bit, cut_short, wiped_sector])
def test_harm_anywhere_in_the_file_brings_no_wrong_number(
    tmp_path: Path, tail: str, harm: Callable[[bytearray, random.Random], None]
) -> None:
    """What can still be read is the truth; the rest is missing, and will be fetched again."""
    buckets = truth(40)
    path, chance = tmp_path / "whole" / "h.sqlite3", random.Random(7)
    whole = open_history(path, now=at(40))
    whole.merge(batch(buckets))
    if not tail:
        whole.close()
    files = {each.name: each.read_bytes() for each in path.parent.iterdir() if not each.name.endswith(".lock")}
    whole.close()
    for turn in range(HARMS):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for name, content_of in files.items():
            data = bytearray(content_of)
            if name == path.name + tail:
                harm(data, chance)
            (folder / name).write_bytes(data)
        found = open_history(folder / path.name, now=at(40))
        with contextlib.suppress(HistoryError):  # a bucket older than the baseline may be damaged, and is told
            assert content(found).items() <= buckets.items()
        assert baseline_of(found).items() <= {start: cells.keys() for start, cells in buckets.items()}.items()
        found.merge(batch({start_of(40): {A: cell(1)}}))
        found.close()


def baseline_of(history: History) -> dict[int, frozenset[SeriesKey]]:
    """Who has contacts in which bucket of the baseline."""
    with history.baseline(start_of(40), start_of(41)) as pinned:
        offered = pinned.baseline.counts["offered"]
        return {
            start: frozenset(key for key, count in zip(pinned.keys, row.tolist(), strict=True) if count)
            for start, row in zip(pinned.baseline.starts.tolist(), offered, strict=True)
        }


def test_a_file_that_is_removed_while_in_use_is_begun_anew_and_its_buckets_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "h"
    history = open_history(path, now=at(0))
    history.merge(batch({start_of(i): {A: cell(10)} for i in range(4)}, names={"a": "Alpha"}))
    history.mark_backfilled()
    for each in tmp_path.iterdir():
        each.unlink()
    report = history.merge(batch({start_of(4): {A: cell(1)}}))
    assert report.stored
    assert history.missing(start_of(0), start_of(5)) == [start_of(i) for i in (3, 2, 1, 0)]
    assert history.counters([A])["offered"].tolist() == [41]
    history.merge(batch({start_of(i): {A: cell(10)} for i in range(4)}))
    history.mark_backfilled()
    history.close()
    again = open_history(path, now=at(5))
    assert again.counters([A])["offered"].tolist() == [41]
    assert again.names() == {"a": "Alpha"}
    assert again.backfilled
    assert len(content(again)) == 5


def test_a_history_that_cannot_have_its_file_serves_from_memory_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "h"
    owner = open_history(path, now=at(0))
    with pytest.raises(HistoryError) as refused:
        open_history(path, now=at(0))
    history = open_history(None, now=at(0), disk_error=str(refused.value))
    history.merge(batch({start_of(0): {A: cell(1)}}))
    assert content(history) == {start_of(0): {A: cell(1)}}
    assert "another exporter" in (history.disk_error or "")
    history.close()
    owner.close()


def test_a_failing_disk_is_told_once_and_its_recovery_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "h"
    history = open_history(path, now=at(0), busy_seconds=0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.INFO):
        for quarter in range(3):
            assert not history.merge(batch({start_of(quarter): {A: cell(quarter + 1)}})).stored
        assert "another program is using it" in (history.disk_error or "")
        assert len(content(history)) == 3
        other.execute("COMMIT")
        other.close()
        assert history.merge(batch({start_of(3): {A: cell(9)}})).stored
    assert history.disk_error is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    history.close()
    assert len(content(open_history(path, now=at(4)))) == 4


def test_what_no_disk_takes_is_kept_no_longer_than_the_baseline(tmp_path: Path) -> None:
    path = tmp_path / "h"
    history = open_history(path, now=at(0), baseline_days=1, busy_seconds=0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    history.merge(batch({start_of(i): {A: cell(1)} for i in range(300)}))
    history.prune(at(300))
    assert len(content(history)) == 96
    other.close()


def flags(history: History) -> dict[int, list[float]]:
    """The stored anomaly flags of abandonment, by bucket start."""
    none = np.zeros(0)
    return {each.start_seconds: each.anomaly.get(ABANDONMENT, none).tolist() for each in history.read(0, 2**40)}


def score(history: History, start: int, flag: float) -> None:
    with history.baseline(start, start) as pinned:
        columns = (np.full(len(pinned.keys), 2.5), np.full(len(pinned.keys), flag))
    history.set_scores(pinned.positions, {start: {ABANDONMENT: columns}})


def test_what_waits_for_the_disk_is_read_as_if_it_were_there(tmp_path: Path) -> None:
    path = tmp_path / "h"
    first = open_history(path, now=at(0))
    first.merge(batch({start_of(i): {A: cell(9)} for i in range(4)}))
    for quarter in range(3):
        score(first, start_of(quarter), 0.0)
    first.close()
    history = open_history(path, now=at(4), busy_seconds=0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    history.merge(batch({start_of(1): {A: cell(8)}, start_of(4): {A: cell(7)}}))
    score(history, start_of(2), 1.0)
    expected = {start_of(0): [0.0], start_of(1): [0.0], start_of(2): [1.0], start_of(3): [], start_of(4): []}
    assert flags(history) == expected
    assert [cells[A][0] for cells in content(history).values()] == [9, 8, 9, 9, 7]
    other.execute("COMMIT")
    other.close()
    history.merge(batch({start_of(5): {}}))
    assert flags(history) == expected | {start_of(5): []}


def test_scores_do_not_outlive_a_change_of_the_selection(tmp_path: Path) -> None:
    path = tmp_path / "h"
    first = open_history(path, now=at(0), selection="all")
    first.merge(batch({start_of(0): {A: cell(9)}}))
    score(first, start_of(0), 1.0)
    first.close()
    history = open_history(path, now=at(1), selection="only a", busy_seconds=0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    history.merge(batch({start_of(0): {A: cell(9)}}))
    assert flags(history) == {start_of(0): []}
    other.execute("COMMIT")
    other.close()
    history.merge(batch({start_of(1): {}}))
    assert flags(history) == {start_of(0): [], start_of(1): []}
    assert history.unscored() == [start_of(0), start_of(1)]


def check_baseline(history: History, quarters: int) -> None:
    """Every row of a pinned baseline holds what one merge wrote: offered = abandoned = 1 + number of the merge."""
    with history.baseline(start_of(quarters), start_of(quarters + 1)) as pinned:
        for _ in range(3):
            offered, abandoned = pinned.baseline.counts["offered"], pinned.baseline.counts["abandoned"]
            assert np.array_equal(offered, abandoned)
            assert len(pinned.baseline.starts) == len(offered)
            assert offered.shape[1] == len(pinned.keys)


def test_fits_reads_and_merges_at_once_never_see_half_of_a_merge(tmp_path: Path) -> None:
    history = open_history(tmp_path / "h", now=at(0), baseline_days=1)
    done = Event()

    def merging() -> None:
        for quarter in range(60):
            cells = {SeriesKey(f"q{i}", "voice"): cell(quarter + 1, quarter + 1) for i in range(quarter % 9 + quarter)}
            history.merge(batch({start_of(quarter): cells, start_of(max(0, quarter - 3)): cells}))
            if quarter % 20 == 0:
                history.prune(at(quarter))
        done.set()

    def fitting() -> None:
        while not done.is_set():
            check_baseline(history, 200)
            history.name_queues({"q1": str(random.random())})

    def reading() -> None:
        while not done.is_set():
            for bucket in history.read(0, 2**40):
                assert np.array_equal(bucket.counts["offered"], bucket.counts["abandoned"])
            history.active(0)
            history.counters([A])

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(each) for each in (merging, fitting, reading)]
        try:
            for future in futures:
                future.result(timeout=60)
        finally:
            done.set()
