"""The walk through a file: every bucket scored by every wanted method, without looking ahead.

Comes in: `Past` and what to do with it. Goes out: a `Report`; every score on the way to the sinks that were given
(`ScoreSheet` writes them as CSV). Buckets with less than a whole baseline before them are scored, too, but not counted:
there, a running exporter would have had its history from the back-fill.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.backtest.reading import UNKNOWN_SECONDS, Past, Progress
from exporter.analysis.backtest.report import BacktestOptions, Report
from exporter.analysis.backtest.rows import FORMULA_STARTS
from exporter.analysis.backtest.summary import Tally
from exporter.analysis.scoring import METRIC_COUNTS, Method, method
from exporter.analysis.scoring.walk import Step, blocks, model_age
from exporter.models import OFFERED

#: What explains a score, as columns of ScoreColumns.
SCORE_COLUMNS = ("value", "mean", "stddev", "samples", "z")
SHEET_COLUMNS = (
    "queue",
    "name",
    "media_type",
    "t",
    "method",
    "metric",
    "contacts",
    "events",
    *SCORE_COLUMNS,
    "anomaly",
)


class Sink(Protocol):
    """Takes the scores of one bucket."""

    def __call__(self, method_name: str, step: Step) -> None: ...


def run_backtest(
    past: Past,
    options: BacktestOptions,
    progress: Progress = lambda done, total: None,
    sinks: Sequence[Sink] = (),
) -> Report:
    """Walks the past once for each method; `progress` is told buckets done and buckets in all."""
    starts = past.history.starts
    counted = counted_buckets(past, options.baseline_seconds)
    total, done = len(starts) * len(options.methods), 0
    summaries, ages = [], []
    for name in options.methods:
        chosen = method(name)
        span = walked_seconds(chosen, past, options.baseline_seconds)
        tally = Tally(chosen, past, options.scores, options.thresholds, options.kept)
        for block in blocks(chosen, past.history, options.scores, baseline_seconds=span):
            tally.add(block, counted[np.searchsorted(starts, block.starts)])
            for sink in sinks:
                for step in block.steps():
                    sink(name, step)
            done += len(block.starts)
            progress(done, total)
        summaries.append(tally.summary())
        ages.append(model_age(chosen, past.history, span))
    seconds = int(counted.sum()) * past.history.bucket_seconds
    return Report(past, options, seconds, tuple(summaries), tuple(ages))


def walked_seconds(chosen: Method, past: Past, baseline_seconds: int) -> int:
    """How far before a bucket its baseline begins. As in operation: it reaches back from the *end* of what is scored,
    and one bucket further where volume is scored, so that a week holds its slot of the week."""
    return baseline_seconds - (0 if OFFERED in chosen.metrics else past.history.bucket_seconds)


def counted_buckets(past: Past, baseline_seconds: int) -> NDArray[np.bool_]:
    """The buckets with a whole baseline before them, also after a time that was not recorded; all where none has."""
    starts = past.history.starts
    begins = np.flatnonzero(np.diff(starts, prepend=starts[0] - UNKNOWN_SECONDS - 1) > UNKNOWN_SECONDS)
    begun = np.repeat(starts[begins], np.diff(np.append(begins, len(starts))))
    counted: NDArray[np.bool_] = starts - begun >= baseline_seconds
    return counted if counted.any() else ~counted


@dataclass(frozen=True, slots=True)
class ScoreSheet:
    """A sink that writes a line for every score."""

    past: Past
    write: Callable[[Sequence[object]], object]

    @classmethod
    def to(cls, file: TextIO, past: Past) -> ScoreSheet:
        """Writes the header, too."""
        writer = csv.writer(file)
        writer.writerow(SHEET_COLUMNS)
        return cls(past, writer.writerow)

    def __call__(self, method_name: str, step: Step) -> None:
        moment = f"{datetime.fromtimestamp(step.start_seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for metric, scores in step.scores.metrics.items():
            contacts, events = (step.counts[name] for name in METRIC_COUNTS[metric])
            for row in np.flatnonzero(~np.isnan(scores.z)).tolist():
                key, name = self.past.keys[row], self.past.names[row]
                text = [defused(cell) for cell in (key.queue_id, name, key.media_type)]
                counts = [int(contacts[row]), int(events[row])]
                values = [float(getattr(scores, column)[row]) for column in SCORE_COLUMNS]
                self.write([*text, moment, method_name, metric, *counts, *values, int(scores.anomaly[row])])


def defused(text: str) -> str:
    """Text that no spreadsheet runs."""
    return "'" + text if text.startswith(FORMULA_STARTS) else text
