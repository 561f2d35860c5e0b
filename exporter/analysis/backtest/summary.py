"""How often it would have rung: alarms per queue and week, and what raised them.

Comes in: the scores of one bucket after the other. Goes out: a `MethodSummary` for each method. An alarm is an
unbroken run of flagged buckets, as an alert rule would see it; a pause of less than an hour does not end it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from exporter.analysis.backtest.reading import Past
from exporter.analysis.scoring import METRIC_COUNTS, Method, ScoreOptions
from exporter.analysis.scoring.base import exceeds, flag
from exporter.analysis.scoring.walk import Step
from exporter.models import FloatColumn, ScoreColumns, SeriesKey

PAUSE_SECONDS = 3600


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


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """What one method would have done, at its own threshold (`flagged`) and at others (`queues`)."""

    method: str
    threshold: float
    flagged: tuple[Flagged, ...]
    queues: tuple[QueueSummary, ...]

    def alarms(self, threshold: float) -> int:
        """Alarms of all queues and metrics."""
        return sum(queue.alarms[threshold] for queue in self.queues)


class Tally:
    """Counts as the walk goes on."""

    def __init__(self, method: Method, past: Past, options: ScoreOptions, thresholds: Sequence[float]) -> None:
        self._method, self._past, self._options = method, past, options
        self._threshold = method.default_threshold if options.threshold is None else options.threshold
        self._thresholds = sorted({*thresholds, self._threshold})
        size, metrics = past.history.series, method.metrics
        self._scored = {metric: np.zeros(size, np.int64) for metric in metrics}
        self._counts = {metric: np.zeros(size, np.int64) for metric in metrics}
        self._alarms = {(metric, at): np.zeros(size, np.int64) for metric in metrics for at in self._thresholds}
        self._rang = {each: np.full(size, np.iinfo(np.int64).min // 2) for each in self._alarms}
        self._flagged: list[Flagged] = []

    def add(self, step: Step) -> None:
        """Takes the scores of one bucket."""
        for metric, scores in step.scores.metrics.items():
            self._scored[metric] += ~np.isnan(scores.z)
            for threshold in self._thresholds:
                self._ring((metric, threshold), self._raised(metric, threshold, step, scores), step.start_seconds)
            rows = np.flatnonzero(scores.anomaly == 1)
            self._counts[metric][rows] += 1
            self._flagged.extend(self._describe(row, metric, step, scores) for row in rows.tolist())

    def summary(self) -> MethodSummary:
        """All that was counted; the flagged in order of time."""
        return MethodSummary(self._method.name, self._threshold, tuple(self._flagged), tuple(self._queues()))

    def _raised(self, metric: str, threshold: float, step: Step, scores: ScoreColumns) -> FloatColumn:
        """The flag at another threshold."""
        if self._method.name == "zscore":
            return exceeds(scores.z, threshold)
        events = step.counts[METRIC_COUNTS[metric][1]]
        options = replace(self._options, threshold=threshold)
        return flag(scores.z, scores.value - scores.mean, events, metric, threshold, options)

    def _ring(self, key: tuple[str, float], raised: FloatColumn, start: int) -> None:
        rows = raised == 1
        quiet = start - self._rang[key] > PAUSE_SECONDS + self._past.history.bucket_seconds
        self._alarms[key] += rows & quiet
        self._rang[key][rows] = start

    def _describe(self, row: int, metric: str, step: Step, scores: ScoreColumns) -> Flagged:
        contacts, events = (int(step.counts[name][row]) for name in METRIC_COUNTS[metric])
        columns = (scores.value, scores.mean, scores.stddev, scores.samples, scores.z)
        key, name = self._past.keys[row], self._past.names[row]
        return Flagged(key, name, step.start_seconds, metric, contacts, events, *(float(each[row]) for each in columns))

    def _queues(self) -> Iterator[QueueSummary]:
        for row, (key, name) in enumerate(zip(self._past.keys, self._past.names, strict=True)):
            for metric in self._method.metrics:
                alarms = {each: int(self._alarms[metric, each][row]) for each in self._thresholds}
                yield QueueSummary(
                    key, name, metric, int(self._scored[metric][row]), int(self._counts[metric][row]), alarms
                )
