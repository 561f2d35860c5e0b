"""Disks that fail an exporter at work: it serves on from memory, says so once and on /metrics, and makes up for it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from exporter.simulator import OrgConfig
from tests.end_to_end.conftest import Starter
from tests.end_to_end.moving import AtWork
from tests.end_to_end.reading import ALL_UP, Samples

STORED = "genesys_exporter_history_stored"


@contextmanager
def full(path: Path) -> Iterator[None]:
    """Every write of a history file fails with "disk is full", as SQLite tells it; reads go on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        tables = ("buckets", "scores")
        for table in tables:
            other.execute(
                f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )
        yield
        for table in tables:
            other.execute(f"DROP TRIGGER full_{table}")


async def closed(at_work: AtWork) -> Samples:
    """One more bucket has closed and was merged."""
    before = (await at_work.metrics()).get("genesys_exporter_data_end_timestamp_seconds", dataset="history")
    return await at_work.until(
        lambda samples: samples.get("genesys_exporter_data_end_timestamp_seconds", dataset="history") != before
    )


async def test_a_disk_that_takes_nothing_costs_nothing_but_memory(
    start: Starter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "history.sqlite3"
    at_work = await start(OrgConfig(queues=3))
    assert (await at_work.filled()).get(STORED) == 1
    with full(path):
        for _ in range(2):
            samples = await closed(at_work)
            assert (samples.up, samples.get(STORED)) == (ALL_UP, 0)
            await at_work.assert_window_is_true()
        rows = await at_work.history()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
            (on_disk,) = other.execute("SELECT count(*) FROM buckets").fetchone()
        assert len({row.start for row in rows}) == on_disk + 2
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert [each for each in errors if "goes on from memory" in each] == errors
    assert len(errors) == 1

    assert (await closed(at_work)).get(STORED) == 1
    assert "works again" in caplog.text
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
        (on_disk,) = other.execute("SELECT count(*) FROM buckets").fetchone()
    assert on_disk == len({row.start for row in await at_work.history()})


async def test_a_file_that_cannot_be_opened_leaves_memory(
    start: Starter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(tmp_path / "history.sqlite3")) as other:
        other.execute("CREATE TABLE recipes (name)")  # it is somebody else's, and stays as it is
    at_work = await start(OrgConfig(queues=3))
    samples = await at_work.filled()
    assert (samples.up, samples.get(STORED)) == (ALL_UP, 0)
    assert "history is kept in memory alone until a restart" in caplog.text
    await at_work.assert_window_is_true()


async def test_without_a_file_there_is_nothing_to_tell(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3), EXPORTER_HISTORY=":memory:")
    assert (await at_work.filled()).get(STORED) is None
