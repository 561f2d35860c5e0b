"""The history file: what is written comes back, and what cannot be used is set aside or told."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from exporter.analysis.codec import DamagedError, Packed, pack, trim, unpack
from exporter.analysis.store import BucketRow, Changes, SeriesRow, Store
from exporter.errors import HistoryError

ONE = pack({"offered": np.array([1, 2, 300])})
TWO = pack({"offered": np.array([4])})
quickly = settings(deadline=None, max_examples=40)
SERIES = [SeriesRow(0, "a", "voice", "Alpha"), SeriesRow(1, "b", "", "")]


def open_store(path: Path, scope: str = "org", selection: str = "all") -> Store:
    return Store(path, scope, selection, lock_seconds=0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "history.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = open_store(path)
    yield opened
    opened.close()


def rows(store: Store, *, scores: bool = True) -> list[BucketRow]:
    with store.reading(0, 10_000, scores=scores) as found:
        return list(found)


def test_what_is_written_comes_back_after_reopening(path: Path) -> None:
    first = open_store(path)
    first.write(Changes({900: ONE, 1800: TWO}, {900: TWO}, series=SERIES, totals=ONE, marks={"backfilled": "x"}))
    first.close()
    second = open_store(path)
    assert rows(second) == [BucketRow(900, ONE, TWO), BucketRow(1800, TWO, None)]
    assert second.series() == SERIES
    assert second.totals() == ONE
    assert second.marks() == {"backfilled": "x"}
    assert second.counts(1800) == TWO
    assert second.counts(2700) is None
    assert [tuple(mark) for mark in second.bucket_marks()] == [(900, True, True), (1800, True, False)]
    second.close()


def test_a_later_write_replaces_a_bucket_and_may_take_its_scores(store: Store) -> None:
    store.write(Changes({900: ONE, 1800: ONE}, {900: TWO, 1800: TWO}))
    store.write(Changes({900: TWO, 1800: TWO}, unscored=[900]))
    assert rows(store) == [BucketRow(900, TWO, None), BucketRow(1800, TWO, TWO)]
    assert rows(store, scores=False)[1] == BucketRow(1800, TWO, None)


def test_a_write_that_fails_changes_nothing(store: Store) -> None:
    store.write(Changes({900: ONE}))
    with pytest.raises(HistoryError):
        store.write(Changes({900: TWO, 1800: TWO}, series=[SeriesRow(0, None, "", "")]))  # type: ignore[arg-type]
    assert rows(store) == [BucketRow(900, ONE, None)]
    store.write(Changes({1800: TWO}))
    assert len(rows(store)) == 2


def test_buckets_outside_of_what_is_kept_go_with_their_scores(store: Store) -> None:
    store.write(Changes({900: ONE, 1800: ONE, 2700: ONE}, {900: TWO, 1800: TWO}, series=SERIES))
    store.write(Changes(keep=(1800, 2700), expired=[1]))
    assert rows(store) == [BucketRow(1800, ONE, TWO)]
    assert store.series() == SERIES[:1]


def test_a_scope_without_buckets_leaves_nothing_behind(path: Path) -> None:
    other = open_store(path, scope="other")
    other.write(Changes({900: ONE}, series=SERIES, totals=ONE))
    other.close()
    store = open_store(path)
    store.write(Changes({9000: ONE}, keep=(1800, 10_000)))
    store.close()
    other = open_store(path, scope="other")
    assert (other.series(), other.totals(), other.bucket_marks()) == ([], None, [])
    other.close()


def test_buckets_of_another_selection_are_marked(path: Path) -> None:
    first = open_store(path, selection="all")
    first.write(Changes({900: ONE, 1800: ONE}))
    first.close()
    second = open_store(path, selection="some")
    second.write(Changes({900: TWO}))
    assert [(mark.start, mark.current) for mark in second.bucket_marks()] == [(900, True), (1800, False)]
    second.close()


def test_a_reader_sees_the_file_as_it_was_when_it_began(store: Store) -> None:
    store.write(Changes({900: ONE, 1800: ONE}))
    with store.reading(0, 10_000, scores=True) as found:
        store.write(Changes({900: TWO, 2700: TWO}, keep=(900, 1800)))
        assert list(found) == [BucketRow(900, ONE, None), BucketRow(1800, ONE, None)]
    assert rows(store) == [BucketRow(900, TWO, None)]


def test_two_exporters_cannot_share_a_file(path: Path, store: Store) -> None:
    with pytest.raises(HistoryError, match="another exporter is using it"):
        open_store(path)


def test_the_lock_goes_with_the_process_that_held_it(path: Path) -> None:
    code = f"from exporter.analysis.store import *; s = Store(Path({str(path)!r}), 'org', 'all'); print('up'); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # noqa: S603
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        with pytest.raises(HistoryError, match="another exporter is using it"):
            open_store(path)
        holder.kill()
        holder.wait()
        open_store(path).close()


def test_a_file_that_another_program_keeps_locked_is_told(path: Path) -> None:
    open_store(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(HistoryError, match="another program is using it"):
            Store(path, "org", "all", lock_seconds=0.05, busy_seconds=0.05)
    finally:
        other.close()


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE customers (name TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="another program"):
        open_store(path)
    assert path.read_bytes() == before


def _overwritten_header(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 400)


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _overwritten_pages(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))


def _newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=3")
    connection.close()


def _without_tables(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE scopes")
    connection.close()


@pytest.mark.parametrize(
    ("harm", "kind", "says"),
    [
        (_overwritten_header, "damaged", "is damaged"),
        (_cut_off, "damaged", "is damaged"),
        (_overwritten_pages, "damaged", "is damaged"),
        (_without_tables, "damaged", "is damaged"),
        (_newer, "version-3", "has version 3 of the schema, this exporter reads version 2"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside_and_a_new_one_begun(
    path: Path, harm: object, kind: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = open_store(path)
    first.write(Changes({900 * i: pack({"offered": np.random.default_rng(i).integers(0, 99, 9999)}) for i in range(9)}))
    first.close()
    harm(path)  # type: ignore[operator]
    before = path.read_bytes()
    with caplog.at_level(logging.ERROR):
        second = open_store(path)
    assert second.bucket_marks() == []
    second.write(Changes({900: ONE}))
    assert rows(second) == [BucketRow(900, ONE, None)]
    second.close()
    (aside,) = [each for each in path.parent.iterdir() if each.name.startswith(f"{path.name}.{kind}-")]
    assert aside.read_bytes() == before
    (record,) = caplog.records
    assert says in record.message
    assert str(aside) in record.message


def test_a_file_set_aside_never_overwrites_another(path: Path) -> None:
    for content in (b"one" * 999, b"two" * 999, b"three" * 999):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        open_store(path).close()
    contents = {each.read_bytes()[:3] for each in path.parent.iterdir() if ".damaged-" in each.name}
    assert contents == {b"one", b"two", b"thr"}


def test_a_path_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HistoryError, match="folder cannot be made"):
        open_store(tmp_path / "file" / "history.sqlite3")
    with pytest.raises(HistoryError, match=str(tmp_path)):
        open_store(tmp_path)


def test_a_read_only_file_is_told() -> None:
    code = """
import os, sys
from exporter.analysis.store import *
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Store(Path(sys.argv[1]), "org", "all", lock_seconds=0.1)
except HistoryError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.sqlite3"
        open_store(path).close()
        for each, mode in ((path, 0o444), (Path(folder, "history.sqlite3.lock"), 0o666), (Path(folder), 0o777)):
            each.chmod(mode)
        command = [sys.executable, "-c", code, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert f"history file {path}: it is read-only" in told.stdout


columns = npst.arrays(np.int64, st.shared(st.integers(0, 40), key="length"), elements=st.integers(0, 2**40))


@quickly
@given(st.dictionaries(st.sampled_from(["offered", "abandoned", "x.z"]), columns, min_size=1))
def test_packed_columns_come_back_equal(table: dict[str, np.ndarray]) -> None:
    back = unpack(pack(table))
    assert list(back) == list(table)
    for name, column in table.items():
        np.testing.assert_array_equal(back[name], column)


@quickly
@given(npst.arrays(np.float32, st.integers(0, 40)))
def test_packed_scores_come_back_equal(column: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack(pack({"z": column}))["z"], column)


@quickly
@given(columns, st.integers(0, 9))
def test_zeros_at_the_end_do_not_change_a_bucket(column: np.ndarray, more: int) -> None:
    wider = np.concatenate([column, np.zeros(more, np.int64)])
    assert pack(trim({"offered": wider})) == pack(trim({"offered": column}))


@pytest.mark.parametrize(
    "harmed",
    [
        ONE._replace(data=ONE.data[:-1]),
        ONE._replace(data=b""),
        ONE._replace(data=ONE.data[:6] + b"\xff" + ONE.data[7:]),
        ONE._replace(length=4),
        ONE._replace(layout="offered"),
        ONE._replace(layout="offered:u4"),
        ONE._replace(data=b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 12),  # a frame that claims to be enormous
    ],
)
def test_harmed_bytes_are_found_out(harmed: Packed) -> None:
    with pytest.raises(DamagedError):
        unpack(harmed)
