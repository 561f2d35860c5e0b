"""Memory stays flat over a simulated week of polls: history rolls on, snapshots are published and asked for, nothing
piles up.

A poll every two minutes of the fake clock (every quarter of an hour by the heavier method), and, as the exporter does
it, a closed bucket with the two hours before it whenever one has closed. What counts is the trend over the days of what
the interpreter and the C library have given out, not a difference of two. SOAK_QUEUES and SOAK_DAYS make it larger.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bench import org
from exporter.analysis.analyst import Analyst
from exporter.analysis.history import History
from exporter.analysis.scoring import ScoreOptions, method
from exporter.analysis.scoring.calendar import utc_offset
from exporter.models import DATASETS, WINDOW_COLUMNS, DatasetState, QueueTable, Window
from exporter.publish.csv_export import history_chunks
from exporter.publish.publisher import Publisher
from exporter.publish.self_metrics import SelfMetrics
from tests.conftest import FakeClock

QUEUES = int(os.environ.get("SOAK_QUEUES", "10"))
DAYS = int(os.environ.get("SOAK_DAYS", "7"))
DAY_SECONDS, HOUR_SECONDS, CORRECTED_SECONDS = 86_400, 3600, 7200
#: From one day to the next, on average: an object a poll would be hundreds of blocks, a kept column a poll much more.
BLOCKS_PER_DAY, BYTES_PER_DAY = 50 + QUEUES, 20_000 + 100 * QUEUES


class Exporter:
    """Analysis and publishing at work, one poll after the other."""

    def __init__(self, history: History, score: str, poll_seconds: int) -> None:
        self.poll_seconds = poll_seconds
        self.clock = FakeClock(org.NOW)
        options = ScoreOptions(min_samples=5)
        self.history = history
        self.analyst = Analyst(history, method(score), options, contract="aggregates", bucket="PT15M", max_series=10**6)
        self.metrics = SelfMetrics(self.clock, version="soak", contract="aggregates")
        self.publisher = Publisher(self.clock, self.metrics.on_series)
        self._closed = 0

    async def poll(self) -> None:
        """One poll at the clock's time, and now and then what scrapers and people ask for after it."""
        now = self.clock.now()
        end = int(now.timestamp())
        self._close(end - end % org.BUCKET_SECONDS)
        window = Window.of_epoch(end - org.BUCKET_SECONDS, end)
        columns = {name: np.full(QUEUES, float(end // self.poll_seconds % 9 + 1)) for name in WINDOW_COLUMNS}
        state = DatasetState(True, now, now, now + timedelta(hours=1))
        snapshot = self.analyst.snapshot(
            now=now,
            directory=None,
            window=QueueTable(window, org.keys(QUEUES), columns),
            observations=None,
            datasets=dict.fromkeys(DATASETS, state),
        )
        await self.publisher.publish(snapshot)
        self.metrics.on_snapshot(snapshot)
        if end % HOUR_SECONDS < self.poll_seconds:
            await self._ask(end)

    def _close(self, last: int) -> None:
        """Late events change every bucket of the last two hours a little."""
        if last != self._closed:
            self._closed = last
            self.analyst.merge(org.batch(QUEUES, range(last - CORRECTED_SECONDS, last, org.BUCKET_SECONDS), seed=last))

    async def _ask(self, now: int) -> None:
        view = await self.publisher.view()
        assert view is not None
        for openmetrics in (False, True):
            await view.metrics(self.metrics.exposition(openmetrics=openmetrics), openmetrics=openmetrics, gzip=True)
        await view.dashboard().get(gzip=True)
        if now % DAY_SECONDS < self.poll_seconds:
            assert sum(map(len, history_chunks(self.history.read(now - DAY_SECONDS, now)))) > 0


@pytest.mark.parametrize(("on_disk", "score", "poll_seconds"), [(True, "zscore", 120), (False, "seasonal", 900)])
async def test_memory_is_flat_over_a_week_of_polls(
    tmp_path: Path, on_disk: bool, score: str, poll_seconds: int
) -> None:
    history = History.open(
        tmp_path / "history.sqlite" if on_disk else None,
        scope="soak",
        selection="all",
        bucket_seconds=org.BUCKET_SECONDS,
        baseline_days=1,
        retention_days=1,
        now=org.NOW,
    )
    history.mark_backfilled()
    exporter = Exporter(history, score, poll_seconds)
    blocks, used = [], []
    try:
        for _ in range(DAYS):
            for _ in range(DAY_SECONDS // poll_seconds):
                await exporter.poll()
                exporter.clock.advance(poll_seconds)
            gc.collect()
            utc_offset.cache_clear()  # it has a limit, but one of years
            blocks.append(sys.getallocatedblocks())
            used.append(bytes_given_out())
    finally:
        history.close()
    assert trend(blocks) < BLOCKS_PER_DAY, blocks
    assert trend(used) < BYTES_PER_DAY, used


def trend(held: list[int]) -> float:
    """More a day, by the straight line through the days; the first, in which the ring fills, does not count."""
    return float(np.polyfit(np.arange(len(held) - 1), held[1:], 1)[0])


class Mallinfo(ctypes.Structure):
    """See mallinfo(3)."""

    _fields_ = tuple((f"{number}", ctypes.c_size_t) for number in range(10))


def bytes_given_out() -> int:
    """What large objects and arrays have of malloc; small objects are counted as blocks. 0 where it cannot be told."""
    told = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if told is None:
        return 0
    told.restype = Mallinfo
    found = told()
    in_mapped_regions, in_the_heap = getattr(found, "4"), getattr(found, "7")
    return int(in_mapped_regions + in_the_heap)
