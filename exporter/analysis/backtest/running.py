"""The walk through a file: every bucket scored by every wanted method, without looking ahead.

Comes in: `Past` and what to do with it. Goes out: a `Report`; every score on the way to the sinks that were given
(`ScoreSheet` writes them as CSV). The first `baseline_seconds` of a file are scored, too, but not counted: there, a
running exporter would have had its history from the back-fill.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TextIO

import numpy as np

from exporter.analysis.backtest.reading import Past, Progress
from exporter.analysis.backtest.report import BacktestOptions, Report
from exporter.analysis.backtest.summary import Tally
from exporter.analysis.scoring import METRIC_COUNTS, method
from exporter.analysis.scoring.walk import Step, steps

DAY_SECONDS = 86_400
#: What a spreadsheet would take for a formula is defused with an apostrophe.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
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
    first = counted_from(past, options.baseline_seconds)
    counted = int((starts >= first).sum())
    total, done = len(starts) * len(options.methods), 0
    summaries = []
    for name in options.methods:
        chosen = method(name)
        tally = Tally(chosen, past, options.scores, options.thresholds)
        for step in steps(chosen, past.history, options.scores, baseline_seconds=options.baseline_seconds):
            if step.start_seconds >= first:
                tally.add(step)
            for sink in sinks:
                sink(name, step)
            done += 1
            progress(done, total)
        summaries.append(tally.summary())
    weeks = counted * past.history.bucket_seconds / (7 * DAY_SECONDS)
    return Report(past, options, weeks, tuple(summaries))


def counted_from(past: Past, baseline_seconds: int) -> int:
    """Start of the first bucket with a whole baseline; of the first of all where the file holds no more than that."""
    first, last = int(past.history.starts[0]), int(past.history.starts[-1])
    return first + baseline_seconds if first + baseline_seconds <= last else first


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
