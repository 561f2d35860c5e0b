"""Past buckets for people: stored bytes to the rows of /export.csv, and scores to stored bytes.

Comes in: rows of the archive. Goes out: `HistoryBucket`, one at a time. All buckets of one reading have the same
`Rows`, sorted; a series without a contact in a bucket has zero counts there. Scores are kept as float32, seven digits:
float64 would double the file, and noise does not compress.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.codec import Packed, pack, unpack
from exporter.analysis.mending import LOST, VEILED, unknown
from exporter.analysis.rows import sort_text
from exporter.analysis.series import SeriesTable
from exporter.analysis.store import BucketRow
from exporter.models import BUCKET_COUNTS, Flags, FloatColumn, HistoryBucket, IntColumn, Rows

#: How an anomaly flag is stored: 0 and 1 are themselves.
NO_FLAG = 2


@dataclass(frozen=True, slots=True, eq=False)
class PastRows:
    """The rows of an export, and the position of each in the packed columns."""

    rows: Rows
    positions: IntColumn
    revision: int  # of the series table

    @classmethod
    def of(cls, series: SeriesTable) -> PastRows:
        """Every known series, by queue and media type; a queue without a name keeps its id."""
        known = {key: (position, name or key.queue_id) for position, key, name in series.known()}
        keys = tuple(sorted(known, key=sort_text))
        names = tuple(known[key][1] for key in keys)
        positions = np.array([known[key][0] for key in keys], np.int64)
        return cls(Rows(keys, names), positions, series.revision)

    def since(self, last_contact: IntColumn, start: int) -> PastRows:
        """Without the series whose last contact (by position) is older than `start`."""
        recent = np.flatnonzero(last_contact[self.positions] >= start)
        if len(recent) == len(self.positions):
            return self
        keys, names = self.rows.keys, self.rows.names
        rows = Rows(tuple(keys[row] for row in recent), tuple(names[row] for row in recent))
        return PastRows(rows, self.positions[recent], self.revision)

    def bucket(self, row: BucketRow, bucket_seconds: int) -> HistoryBucket:
        """One stored bucket, decoded."""
        columns = unpack(row.counts)
        length = int(self.positions.max(initial=-1)) + 1

        def pick(column: NDArray[Any], absent: float) -> NDArray[Any]:
            """Values by row; `absent` for series that came later than the column."""
            missing = max(0, length - len(column))
            padded = np.pad(column, (0, missing), constant_values=absent) if missing else column
            return padded[self.positions]

        counts = {name: pick(columns[name], 0).astype(np.int64) for name in BUCKET_COUNTS if name in columns}
        lost = unknown(columns, length)[self.positions] if LOST in columns or VEILED in columns else None
        scores = {} if row.scores is None else unpack(row.scores)
        z = {name[:-2]: pick(each, np.nan) for name, each in scores.items() if name.endswith(".z")}
        flags = {name[:-8]: pick(each, NO_FLAG) for name, each in scores.items() if name.endswith(".anomaly")}
        anomaly = {name: np.where(each == NO_FLAG, np.nan, each) for name, each in flags.items()}
        z64 = {name: each.astype(np.float64) for name, each in z.items()}
        return HistoryBucket(
            row.start, bucket_seconds, self.rows, counts, z64, anomaly, None if lost is None else lost > 0
        )


def pack_scores(
    scores: Mapping[str, tuple[FloatColumn, FloatColumn]], positions: IntColumn, length: int, lost: Flags
) -> Packed:
    """z and anomaly by metric, of the series at `positions`, as columns by position; none where counts are unknown."""
    columns: dict[str, NDArray[Any]] = {}
    for metric, (z, anomaly) in scores.items():
        columns[f"{metric}.z"] = np.full(length, np.nan, np.float32)
        columns[f"{metric}.z"][positions] = np.where(lost, np.nan, z)
        columns[f"{metric}.anomaly"] = np.full(length, NO_FLAG, np.uint8)
        columns[f"{metric}.anomaly"][positions] = np.where(np.isnan(anomaly) | lost, NO_FLAG, anomaly)
    return pack(columns)
