"""How often it would have rung: alarms per queue and week, and what raised them.

Comes in: the scores of one block of buckets after the other. Goes out: a `MethodSummary` for each method. An alarm is
an episode: an unbroken run of flagged buckets, as an alert rule would see it; a pause of less than an hour does not end
it. Memory holds sums and the farthest out of the flagged buckets, not every score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.backtest.reading import Past
from exporter.analysis.scoring import METRIC_COUNTS, Method, ScoreOptions
from exporter.analysis.scoring.base import matters
from exporter.analysis.scoring.walk import Block
from exporter.models import FloatColumn, IntColumn, ScoreColumns, SeriesKey

PAUSE_SECONDS = 3600
#: Beyond it lie 0.27 % of all normal deviates: how often a method is surprised when nothing happened.
SURPRISED = 3.0
_LONG_AGO = np.iinfo(np.int64).min // 2


@dataclass(frozen=True, slots=True)
class Flagged:
    """One bucket that would have been flagged."""

    key: SeriesKey
    name: str
    start_seconds: int
    metric: str
    contacts: int
    events: int
    value: float
    mean: float
    stddev: float
    samples: float
    z: float


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """One queue and metric: buckets with a score, and alarms by threshold."""

    key: SeriesKey
    name: str
    metric: str
    scored: int
    flagged: int
    alarms: Mapping[float, int]


@dataclass(frozen=True, slots=True, eq=False)
class MethodSummary:
    """What one method would have done, at its own threshold (`flagged`) and at others (`queues`).

    `flagged` holds the farthest out; `places` tells all of them, by metric: bucket × series of the file, rising.
    """

    method: str
    threshold: float
    flagged: tuple[Flagged, ...]
    queues: tuple[QueueSummary, ...]
    surprised: Mapping[str, float]  # metric → share of scored buckets with |z| > 3
    places: Mapping[str, IntColumn]

    @property
    def flags(self) -> int:
        """Buckets flagged, of all queues and metrics."""
        return sum(queue.flagged for queue in self.queues)

    def alarms(self, threshold: float) -> int:
        """Alarms of all queues and metrics."""
        return sum(queue.alarms[threshold] for queue in self.queues)


class Tally:
    """Counts as the walk goes on; `kept` = how many of the flagged are remembered one by one."""

    def __init__(
        self, method: Method, past: Past, options: ScoreOptions, thresholds: Sequence[float], kept: int
    ) -> None:
        self._method, self._past, self._options, self._kept = method, past, options, kept
        self._threshold = method.default_threshold if options.threshold is None else options.threshold
        self._thresholds = sorted({*thresholds, self._threshold})
        size, metrics = past.history.series, method.metrics
        self._scored = {metric: np.zeros(size, np.int64) for metric in metrics}
        self._flags = {metric: np.zeros(size, np.int64) for metric in metrics}
        self._surprised = dict.fromkeys(metrics, 0)
        self._places: dict[str, list[IntColumn]] = {metric: [np.empty(0, np.int64)] for metric in metrics}
        self._alarms = {(metric, at): np.zeros(size, np.int64) for metric in metrics for at in self._thresholds}
        self._rang = {each: np.full(size, _LONG_AGO) for each in self._alarms}
        self._flagged: list[Flagged] = []

    def add(self, block: Block, counted: NDArray[np.bool_]) -> None:
        """Takes the scores of those buckets of a block that count."""
        for metric, scores in block.scores.metrics.items():
            z = np.where(counted[:, None], scores.z, np.nan)
            self._scored[metric] += np.count_nonzero(~np.isnan(z), axis=0)
            self._surprised[metric] += int(np.count_nonzero(np.abs(z) > SURPRISED))
            self._ring(metric, block, z, scores)
            rows, series = np.nonzero((scores.anomaly == 1) & counted[:, None])
            if len(rows):
                self._flags[metric] += np.bincount(series, minlength=len(self._past.keys))
                buckets = np.searchsorted(self._past.history.starts, block.starts[rows])
                self._places[metric].append(buckets * len(self._past.keys) + series)
                self._remember(metric, block, scores, rows, series)

    def summary(self) -> MethodSummary:
        """All that was counted; the flagged in order of time."""
        self._forget(self._kept)
        flagged = sorted(self._flagged, key=lambda each: (each.start_seconds, each.key, each.metric))
        surprised = {
            metric: times / max(1, int(self._scored[metric].sum())) for metric, times in self._surprised.items()
        }
        places = {metric: np.concatenate(each) for metric, each in self._places.items()}
        return MethodSummary(
            self._method.name, self._threshold, tuple(flagged), tuple(self._queues()), surprised, places
        )

    def _ring(self, metric: str, block: Block, z: FloatColumn, scores: ScoreColumns) -> None:
        """Alarms at every threshold."""
        far = self._far(metric, block, z, scores)
        series, rows = np.nonzero((far > self._thresholds[0]).T)
        starts, far = block.starts[rows], far[rows, series]
        for threshold in self._thresholds:
            above = far > threshold
            self._alarm((metric, threshold), series[above], starts[above])

    def _far(self, metric: str, block: Block, z: FloatColumn, scores: ScoreColumns) -> FloatColumn:
        """|z| where a flag may be raised if a threshold is passed, else NaN: the rule of `flag` for any threshold."""
        if self._method.name == "zscore":
            return np.abs(z)
        direction = self._options.directions.get(metric, "both")
        side = {"high": z, "low": -z, "both": np.abs(z)}[direction]
        events = block.counts[METRIC_COUNTS[metric][1]]
        return np.where(matters(scores.value - scores.mean, events, metric, self._options), side, np.nan)

    def _alarm(self, key: tuple[str, float], series: NDArray[np.intp], starts: IntColumn) -> None:
        """Counts the flagged that come after a pause; by series, then by time."""
        if not len(series):
            return
        rang = self._rang[key]
        before = np.where(np.diff(series, prepend=-1) == 0, np.roll(starts, 1), rang[series])
        quiet = starts - before > PAUSE_SECONDS + self._past.history.bucket_seconds
        self._alarms[key] += np.bincount(series[quiet], minlength=len(rang))
        rang[series] = starts  # the last of each series stays

    def _remember(
        self, metric: str, block: Block, scores: ScoreColumns, rows: NDArray[np.intp], series: NDArray[np.intp]
    ) -> None:
        farthest = np.argsort(-np.abs(scores.z[rows, series]), kind="stable")[: self._kept]
        places = zip(rows[farthest].tolist(), series[farthest].tolist(), strict=True)
        self._flagged += [self._describe(row, column, metric, block, scores) for row, column in places]
        if len(self._flagged) > 4 * self._kept:
            self._forget(self._kept)

    def _forget(self, but: int) -> None:
        """Keeps the farthest out; of equals the first."""
        self._flagged = sorted(self._flagged, key=lambda each: (-abs(each.z), each.start_seconds))[:but]

    def _describe(self, row: int, column: int, metric: str, block: Block, scores: ScoreColumns) -> Flagged:
        contacts, events = (int(block.counts[name][row, column]) for name in METRIC_COUNTS[metric])
        columns = (scores.value, scores.mean, scores.stddev, scores.samples, scores.z)
        key, name, start = self._past.keys[column], self._past.names[column], int(block.starts[row])
        return Flagged(key, name, start, metric, contacts, events, *(float(each[row, column]) for each in columns))

    def _queues(self) -> Iterator[QueueSummary]:
        for row, (key, name) in enumerate(zip(self._past.keys, self._past.names, strict=True)):
            for metric in self._method.metrics:
                alarms = {each: int(self._alarms[metric, each][row]) for each in self._thresholds}
                scored, flags = int(self._scored[metric][row]), int(self._flags[metric][row])
                yield QueueSummary(key, name, metric, scored, flags, alarms)
