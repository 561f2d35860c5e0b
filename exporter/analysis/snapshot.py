"""The columns of a snapshot, from what was read and the rows it shall have.

Comes in: the tables of the current window and of the observations, counters, and `Rows`. Goes out: columns by row
under the names of the family table, scores by row, sums over the org, and the choice of rows where there are too many.
A row that the window's answer does not name was idle: its counts are a true 0 and its ratios have no value; what was
lost, and a count that the contract does not know, has no value. Keeps nothing between calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from exporter.analysis import rates
from exporter.analysis.rows import places, spread
from exporter.models import (
    BUCKET_COUNTS,
    Directory,
    Flags,
    FloatColumn,
    IntColumn,
    Lost,
    ObservationTable,
    QueueTable,
    Rows,
    ScoreColumns,
    Scores,
    SeriesKey,
)

#: Counts that a contract does not tell; every other count of an idle queue is 0.
UNTOLD: Mapping[str, frozenset[str]] = {"summary": frozenset({"answered", "flow_out"})}

#: Published column → column of the observations.
OBSERVED: Mapping[str, str] = {
    "waiting": "waiting",
    "interacting": "interacting",
    "alerting": "alerting",
    "oldest_waiting_timestamp_seconds": "oldest_waiting",
}

#: Columns that are for JSON and CSV alone: no sample of /metrics.
NO_SAMPLE = frozenset({"sla_contacts"})


def window_columns(
    window: QueueTable, index: Mapping[SeriesKey, int], contract: str, targets: FloatColumn
) -> dict[str, FloatColumn]:
    """Counts, ratios and averages by row; `targets` are the directory's service levels, where the window has none."""
    at, rows, untold = places(window.keys, index), len(index), UNTOLD.get(contract, frozenset())
    idle = {} if window.lost.others else {name: 0.0 for name in BUCKET_COUNTS if name not in untold}
    derived = rates.derive(window.columns)
    columns = {name: spread(column, at, rows, idle.get(name, np.nan)) for name, column in derived.items()}
    lost = [index[key] for key in window.lost.series() if key in index]
    for name in idle:
        columns[name][lost] = np.nan
    own = columns["service_level_target_ratio"]
    columns["service_level_target_ratio"] = np.where(np.isnan(own), targets, own)
    return columns


def observed_columns(observations: ObservationTable, index: Mapping[SeriesKey, int]) -> dict[str, FloatColumn]:
    """What is happening now, by row; a row that the answer does not name has no value."""
    at = places(observations.keys, index)
    return {name: spread(observations.columns[mine], at, len(index), np.nan) for name, mine in OBSERVED.items()}


def service_level_targets(rows: Rows, directory: Directory | None) -> FloatColumn:
    """The directory's service-level target of each row's queue and media type; NaN where it has none."""
    queues = directory.queues if directory else {}
    found = (
        queues[key.queue_id].service_level_targets.get(key.media_type, np.nan) if key.queue_id in queues else np.nan
        for key in rows.keys
    )
    return np.fromiter(found, np.float64, len(rows.keys))


def samples_by_row(columns: Mapping[str, FloatColumn], scores: Scores | None, rows: int) -> IntColumn:
    """How many samples each row will put on /metrics."""
    samples = np.zeros(rows, np.int64)
    for name, column in columns.items():
        if name not in NO_SAMPLE:
            samples += ~np.isnan(column)
    for score in scores.metrics.values() if scores else ():
        for column in (score.z, score.anomaly, score.mean, score.stddev, score.samples):
            samples += ~np.isnan(column)
    for stands in scores.discoveries.values() if scores else ():
        samples += ~np.isnan(stands)
    return samples


def take_scores(scores: Scores | None, rows: IntColumn) -> Scores | None:
    """The scores of some rows."""
    if scores is None:
        return None
    metrics = {
        metric: ScoreColumns(*(getattr(score, each.name)[rows] for each in fields(ScoreColumns)))
        for metric, score in scores.metrics.items()
    }
    discoveries = {metric: stands[rows] for metric, stands in scores.discoveries.items()}
    return Scores(scores.method, scores.threshold, metrics, discoveries)


@dataclass(frozen=True, slots=True, eq=False)
class MediaTypes:
    """Which media type each of some keys has."""

    names: tuple[str, ...]  # sorted
    codes: IntColumn  # by key

    @classmethod
    def of(cls, keys: tuple[SeriesKey, ...]) -> MediaTypes:
        """The media types that occur among the keys."""
        names = tuple(sorted({key.media_type for key in keys}))
        code = {name: i for i, name in enumerate(names)}
        return cls(names, np.fromiter((code[key.media_type] for key in keys), np.int64, len(keys)))

    def sums(self, column: FloatColumn) -> FloatColumn:
        """Sums of a column by media type; NaN counts as nothing."""
        return np.bincount(self.codes, np.nan_to_num(column), len(self.names)).astype(np.float64)

    def complete(self, lost: Lost) -> Flags:
        """By media type, whether nothing was lost of it, so that its sum is one."""
        broken = {key.media_type for key in lost.series()}
        return np.array([not lost.others and name not in broken for name in self.names], bool)
