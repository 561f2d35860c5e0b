"""`demo --replay` on the real call-centre data that lie beside the project, where they do."""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.processes import ROOT, Process
from tests.end_to_end.reading import QUARTER, Samples, Served, csv_rows

FILE = ROOT.parent / "shared/data/anonbank1999_15min.csv"
_SHIFT = re.compile(r"\(shifted by (-?\d+) s,")

Bucket = tuple[str, datetime]  # queue name, start
Counts = tuple[int, int, int]  # offered, abandoned, breached

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason=f"real data, not ours to copy: {FILE.name} is not beside the project"
)


def file_counts(shift_seconds: int) -> dict[Bucket, Counts]:
    """What the file says, at the times at which it is replayed."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {
            (row["queue"], datetime.fromtimestamp(int(row["t"]) + shift_seconds, UTC)): (
                int(row["offered"]),
                int(row["abandoned"]),
                int(row["sla_breach"]),
            )
            for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replay")


@pytest.fixture
async def replayed(replay: Path, http: aiohttp.ClientSession) -> AsyncIterator[tuple[Served, dict[Bucket, Counts]]]:
    """A demo of the file with its past complete, and what the file says."""
    with Process(replay, "demo", "--replay", str(FILE), "--port", "0") as process:
        served = Served(await asyncio.to_thread(process.url), http)
        shift = int(process.said(_SHIFT)[1])
        await served.filled()
        yield served, file_counts(shift)


async def test_window_counters_and_history_equal_the_file(replayed: tuple[Served, dict[Bucket, Counts]]) -> None:
    served, file = replayed
    metrics, table, past = await served.of_one_snapshot("/metrics", "/export.csv", "/export.csv?from=-30d")
    samples, history = Samples(metrics.text), csv_rows(past.body)

    told = {(row.name, row.start): _counts(row.cells) for row in history}
    starts = {row.start for row in history}
    assert len(starts) >= 7 * 96
    replayed_part = {bucket: counts for bucket, counts in file.items() if bucket[1] in starts}
    assert {bucket: counts for bucket, counts in told.items() if any(counts)} == replayed_part
    assert sum(offered for offered, _, _ in replayed_part.values()) > 3000

    windows = csv_rows(table.body)
    assert {row.name for row in windows} <= {name for name, _ in file}
    for row in windows:
        series = {"queue_id": row.series[0], "media_type": row.series[1]}
        in_window = _bucket_within(row.start, row.start + QUARTER)
        expected = file.get((row.name, in_window), (0, 0, 0))
        assert _counts(row.cells) == expected
        assert tuple(samples.get(f"genesys_queue_{name}_contacts", **series) for name in NAMES) == expected
        totals = [
            sum(column)
            for column in zip(*(c for (name, _), c in replayed_part.items() if name == row.name), strict=True)
        ]
        assert [samples.get(f"genesys_queue_{name}_contacts_total", **series) for name in NAMES] == totals
    assert windows


NAMES = ("offered", "abandoned", "sla_breached")


def _counts(cells: object) -> Counts:
    assert isinstance(cells, dict)
    return int(cells["totalContacts"]), int(cells["abandonedContacts"]), int(cells["slaBreaches"])


def _bucket_within(start: datetime, end: datetime) -> datetime:
    """The start of the one bucket of the file whose middle lies in [start, end): the replay's rule."""
    middle = timedelta(seconds=450)
    first = datetime.fromtimestamp(start.timestamp() // 900 * 900, UTC)
    (found,) = [first + n * QUARTER for n in range(3) if start <= first + n * QUARTER + middle < end]
    return found
