"""The last hours of single rows, for the live page's small charts.

In comes the history, read in a worker thread once per closed bucket; out go the counts of the rows that a page shows
at the moment, some tens of kilobytes at 5,000 queues. Held in memory: four counts of the last buckets, as 32-bit
integers; nothing until somebody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.models import HISTORY, HistoryBucket, SeriesKey, Snapshot, Window
from exporter.publish.csv_export import HistoryReader

#: Twelve hours of quarter hours, two days of hours.
BUCKETS = 48
#: Key in the document → count of a closed bucket.
COUNTS = {"offered": "offered", "abandoned": "abandoned", "slaBreached": "sla_breached", "slaContacts": "sla_contacts"}

#: In place of a count that nobody knows.
UNKNOWN = -1

Counts = NDArray[np.int32]
Places = dict[SeriesKey, int]


def state_of(snapshot: Snapshot) -> str:
    """Equal as long as the history holds the same last buckets."""
    end = snapshot.datasets[HISTORY].data_end if HISTORY in snapshot.datasets else None
    return f"{int(end.timestamp()) if end else 0}-{snapshot.history_buckets}"


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """The last buckets: where each series stands in them, and the counts by name."""

    state: str
    first: int
    step: int
    buckets: dict[int, tuple[Places, dict[str, Counts]]]  # by start, in seconds

    def of(self, keys: Sequence[SeriesKey]) -> list[dict[str, list[int | None]]]:
        """Of each key the counts by bucket; None for a bucket that was never fetched or read."""
        rows: list[dict[str, list[int | None]]] = [{name: [None] * BUCKETS for name in COUNTS} for _ in keys]
        for start, (places, counts) in self.buckets.items():
            bucket = (start - self.first) // self.step
            for row, key in zip(rows, keys, strict=True):
                place = places.get(key, -1)
                for name, column in counts.items():
                    count = int(column[place]) if place >= 0 else 0
                    row[name][bucket] = count if count != UNKNOWN else None
        return rows


class Sparklines:
    """Reads the last buckets when first asked after they have changed; everyone else waits for the same reading."""

    def __init__(self, history: HistoryReader) -> None:
        self._history = history
        self._reading: tuple[str, asyncio.Task[Past]] | None = None

    async def document(self, snapshot: Snapshot, rows: Sequence[int]) -> dict[str, Any]:
        """`rows` are positions in the snapshot."""
        past = await self._past(snapshot)
        keys = [snapshot.rows.keys[row] for row in rows]
        of_rows = await asyncio.to_thread(past.of, keys)
        return {
            "history": past.state,
            "first": past.first * 1000,
            "step": past.step * 1000,
            "buckets": BUCKETS,
            "rows": {str(row): counts for row, counts in zip(rows, of_rows, strict=True)},
        }

    async def _past(self, snapshot: Snapshot) -> Past:
        state, step = state_of(snapshot), _bucket_seconds(snapshot.window)
        if self._reading is None or self._reading[0] != state or _failed(self._reading[1]):
            self._reading = state, asyncio.create_task(asyncio.to_thread(self._read, state, step, snapshot))
        return await asyncio.shield(self._reading[1])

    def _read(self, state: str, step: int, snapshot: Snapshot) -> Past:
        end = snapshot.datasets[HISTORY].data_end if HISTORY in snapshot.datasets else None
        last = int((end or snapshot.created).timestamp()) // step * step
        first = last - BUCKETS * step
        return Past(state, first, step, dict(_counted(self._history.read(first, last))))


def _counted(buckets: Iterator[HistoryBucket]) -> Iterator[tuple[int, tuple[Places, dict[str, Counts]]]]:
    """Buckets that share their rows share their places."""
    known, places = None, {}
    for bucket in buckets:
        if bucket.rows is not known:
            known, places = bucket.rows, {key: place for place, key in enumerate(bucket.rows.keys)}
        counts = {key: bucket.counts[name].astype(np.int32) for key, name in COUNTS.items() if name in bucket.counts}
        if bucket.lost is not None:
            counts = {key: np.where(bucket.lost, UNKNOWN, column) for key, column in counts.items()}
        yield bucket.start_seconds, (places, counts)


def _bucket_seconds(window: Window | None) -> int:
    return window.end_seconds - window.start_seconds if window else 900


def _failed(task: asyncio.Task[Past]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
