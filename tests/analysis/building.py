"""Small histories and tables for the tests of the analysis: quarter hours, counted from a Monday's midnight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from exporter.analysis.history import History
from exporter.models import (
    BUCKET_COUNTS,
    OBSERVATION_COLUMNS,
    WINDOW_COLUMNS,
    BucketBatch,
    HistoryBucket,
    ObservationTable,
    QueueTable,
    SeriesKey,
    Window,
)

QUARTER = 900
DAY = 86_400
MONDAY = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp())

A, B, C = SeriesKey("a", "voice"), SeriesKey("b", "voice"), SeriesKey("c", "chat")

#: offered, answered, abandoned, flow_out, sla_breached, sla_contacts of one cell.
Cell = tuple[int, int, int, int, int, int]


def start_of(quarter: int) -> int:
    """Start of the quarter hour `quarter` after Monday's midnight."""
    return MONDAY + quarter * QUARTER


def at(quarter: float) -> datetime:
    return datetime.fromtimestamp(MONDAY + quarter * QUARTER, UTC)


def batch(buckets: Mapping[int, Mapping[SeriesKey, Cell]], seconds: int = QUARTER, **more: Any) -> BucketBatch:
    """A batch of whole buckets by start."""
    keys = tuple(dict.fromkeys(key for cells in buckets.values() for key in cells))
    table = np.zeros((len(BUCKET_COUNTS), len(buckets), len(keys)), np.int64)
    for row, cells in enumerate(buckets.values()):
        for column, key in enumerate(keys):
            table[:, row, column] = cells.get(key, (0,) * len(BUCKET_COUNTS))
    counts = dict(zip(BUCKET_COUNTS, table, strict=True))
    return BucketBatch(seconds, np.array(list(buckets), np.int64), keys, counts, **more)


def cell(offered: int, abandoned: int = 0, breached: int = 0) -> Cell:
    return (offered, max(0, offered - abandoned), abandoned, 0, breached, offered)


def open_history(path: Path | None, *, now: datetime, **other: Any) -> History:
    given = {
        "scope": "aggregates|PT15M|org",
        "selection": "all",
        "bucket_seconds": QUARTER,
        "baseline_days": 7,
        "retention_days": 35,
        "lock_seconds": 0.1,
    }
    return History.open(path, now=now, **(given | other))


def cells_of(bucket: HistoryBucket) -> dict[SeriesKey, Cell]:
    """The series with a contact in a bucket that was read back."""
    zeros = np.zeros(len(bucket.rows.keys), np.int64)
    table = zip(*(bucket.counts.get(name, zeros).tolist() for name in BUCKET_COUNTS), strict=True)
    return {key: row for key, row in zip(bucket.rows.keys, table, strict=True) if any(row)}


def content(history: History, first: int = 0, end: int = 2**40) -> dict[int, dict[SeriesKey, Cell]]:
    """All that can be read of a history, by bucket start; it must come in time order, and no bucket twice."""
    found = [(bucket.start_seconds, cells_of(bucket)) for bucket in history.read(first, end)]
    assert [start for start, _ in found] == sorted({start for start, _ in found})
    return dict(found)


def window_table(window: Window, rows: Mapping[SeriesKey, Mapping[str, float]], **more: Any) -> QueueTable:
    """A window's answer: zero for counts that are not given, no value for the target."""
    filled = {name: np.array([float(row.get(name, 0.0)) for row in rows.values()]) for name in WINDOW_COLUMNS}
    filled["service_level_target"] = np.array([row.get("service_level_target", np.nan) for row in rows.values()])
    return QueueTable(window, tuple(rows), filled, **more)


def observation_table(
    when: datetime, rows: Mapping[SeriesKey, Sequence[float]], agents: Mapping[tuple[str, str], float] | None = None
) -> ObservationTable:
    table = np.array(list(rows.values()), float).reshape(len(rows), len(OBSERVATION_COLUMNS))
    columns = {name: table[:, i] for i, name in enumerate(OBSERVATION_COLUMNS)}
    joined = agents or {}
    return ObservationTable(when, tuple(rows), columns, tuple(joined), np.array(list(joined.values()), float))
