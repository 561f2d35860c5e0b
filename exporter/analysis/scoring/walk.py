"""Past buckets, scored as the exporter would have lived them: in time order, each by what lay before it.

Comes in: a history of closed buckets. Goes out: the scores of one block of buckets after the other (`blocks`), or of
one bucket after the other (`steps`); none sees itself or what came later. Where a history is short the model is made
anew for every bucket, as in operation, and the numbers are those of `fit` and `score`. Where that would take minutes a
model serves several buckets, as long as its method bears it (`model_age`): it is then up to some hours older, never
newer. The classic score is made anew for every bucket however long the history is (`sliding`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import numpy as np

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import (
    METRIC_COUNTS,
    SCORE_COLUMNS,
    Method,
    Model,
    ScoreOptions,
    buckets_between,
    ratio,
)
from exporter.analysis.scoring.sliding import sliding_moments
from exporter.analysis.scoring.zscore import ZScore, score_ratio
from exporter.models import FloatColumn, IntColumn, ScoreColumns, Scores

#: What all fits of one walk may take together, roughly; a fit and the first score by it take FIT_SECONDS, and
#: CELL_SECONDS more for each bucket of each series, on one core of a small machine.
EFFORT_SECONDS, FIT_SECONDS, CELL_SECONDS = 15.0, 0.008, 5e-8
#: Scores worked out in one go.
SCORES_TOGETHER = 5000
#: A young history changes fast: its model grows no older than this share of it.
AGE_SHARE = 0.125
#: Buckets that slide together: the sums of their baselines' ends take 24 bytes a bucket and series, 10 MB.
SLIDING_CELLS, SLIDING_BUCKETS = 400_000, 256


@dataclass(frozen=True, slots=True)
class Block:
    """Buckets in a row: when they began, what was in them and what they were worth; arrays of (buckets, series)."""

    starts: IntColumn
    counts: Mapping[str, FloatColumn]
    scores: Scores

    def steps(self) -> Iterator[Step]:
        """One by one."""
        for row, start in enumerate(self.starts.tolist()):
            metrics = {metric: _row(columns, row) for metric, columns in self.scores.metrics.items()}
            counts = {name: column[row] for name, column in self.counts.items()}
            yield Step(start, counts, Scores(self.scores.method, self.scores.threshold, metrics))


@dataclass(frozen=True, slots=True)
class Step:
    """One bucket; arrays by series of the history."""

    start_seconds: int
    counts: Mapping[str, FloatColumn]
    scores: Scores


def blocks(
    method: Method,
    history: Baseline,
    options: ScoreOptions,
    *,
    baseline_seconds: int | None = None,
    refit_seconds: float | None = None,
    wanted: Container[int] | None = None,
) -> Iterator[Block]:
    """Scores buckets of `history` by the `baseline_seconds` before each (None = all that lies before it).

    `wanted` names the starts that matter, None = all of them. A model serves until it is `refit_seconds` old (0 = for
    one bucket); None leaves that to the history's size.
    """
    span = baseline_seconds if baseline_seconds is not None else _span(history)
    kept = [row for row, start in enumerate(history.starts.tolist()) if wanted is None or start in wanted]
    rows = np.array(kept, np.int64)
    if refit_seconds is None and isinstance(method, ZScore):
        yield from _slid(method, history, options, span, rows)
        return
    age = model_age(method, history, span) if refit_seconds is None else refit_seconds
    starts = history.starts[rows]
    first = 0
    while first < len(rows):
        start = int(starts[first])
        baseline = buckets_between(history, start - span, start)
        due = start + min(age, AGE_SHARE * _span(baseline))
        last = max(first + 1, int(np.searchsorted(starts, due)))
        yield from _scored(method.fit(baseline, options), history, rows[first:last])
        first = last


def steps(walked: Iterable[Block]) -> Iterator[Step]:
    """What `blocks` scored, one bucket after the other."""
    for block in walked:
        yield from block.steps()


def model_age(method: Method, history: Baseline, span_seconds: int) -> int:
    """How long one model serves, in seconds: a whole number of buckets that keeps all fits within EFFORT_SECONDS.

    One bucket where every bucket has a model of its own; never more than the method bears.
    """
    step = history.bucket_seconds
    cells = min(len(history.starts), span_seconds // step) * history.series * len(METRIC_COUNTS)
    buckets = ceil(len(history.starts) * (FIT_SECONDS + CELL_SECONDS * cells) / EFFORT_SECONDS)
    return max(step, int(min(buckets * step, method.max_model_age_seconds)) // step * step)


def walk(
    method: Method, history: Baseline, options: ScoreOptions, wanted: Container[int] | None = None
) -> Iterator[tuple[int, Mapping[str, tuple[FloatColumn, FloatColumn]]]]:
    """z and anomaly of every metric, bucket by bucket: what history keeps of the past."""
    for step in steps(blocks(method, history, options, wanted=wanted)):
        yield step.start_seconds, {metric: (each.z, each.anomaly) for metric, each in step.scores.metrics.items()}


def _scored(model: Model, history: Baseline, every: IntColumn) -> Iterator[Block]:
    """The buckets at some rows, by one model; a few thousand scores at a time."""
    series = np.arange(history.series)
    together = max(1, SCORES_TOGETHER // max(1, history.series))
    for first in range(0, len(every), together):
        rows = every[first : first + together]
        starts, counts = history.starts[rows], _counts(history, rows)
        middles = [_middle(start, history.bucket_seconds) for start in starts.tolist()]
        found = {
            metric: model.score_many(metric, counts[contacts], counts[events], middles, series)
            for metric in model.metrics
            for contacts, events in (METRIC_COUNTS[metric],)
        }
        yield Block(starts, counts, Scores(model.name, model.threshold, found))


def _slid(method: ZScore, history: Baseline, options: ScoreOptions, span: int, every: IntColumn) -> Iterator[Block]:
    """The classic score: a baseline of its own for every bucket."""
    threshold = method.fit(buckets_between(history, 0, 0), options).threshold
    firsts = np.searchsorted(history.starts, history.starts[every] - span)
    for together in _sliding_together(firsts, every, history.series):
        rows = every[together]
        counts, found = _counts(history, rows), {}
        for metric in method.metrics:
            moments = sliding_moments(history, metric, firsts[together], rows, options.min_samples)
            contacts, events = METRIC_COUNTS[metric]
            value = ratio(counts[contacts], counts[events])
            found[metric] = score_ratio(value, moments.mean, moments.stddev, moments.samples, threshold)
        yield Block(history.starts[rows], counts, Scores(method.name, threshold, found))


def _sliding_together(firsts: IntColumn, ends: IntColumn, series: int) -> Iterator[slice]:
    """Groups of buckets whose baselines overlap, of a size that memory bears."""
    most = int(np.clip(SLIDING_CELLS // max(1, series), 1, SLIDING_BUCKETS))
    first = 0
    while first < len(ends):
        overlapping = int(np.searchsorted(firsts, ends[first], side="right"))
        last = max(first + 1, min(first + most, overlapping))
        yield slice(first, last)
        first = last


def _counts(history: Baseline, rows: IntColumn) -> dict[str, FloatColumn]:
    """Counts of some buckets; no value where nobody knows them."""
    counts = {name: column[rows].astype(np.float64) for name, column in history.counts.items()}
    if history.lost is not None:
        for column in counts.values():
            column[history.lost[rows]] = np.nan
    return counts


def _row(columns: ScoreColumns, row: int) -> ScoreColumns:
    return ScoreColumns(*(getattr(columns, name)[row] for name in SCORE_COLUMNS))


def _span(history: Baseline) -> int:
    return int(history.starts[-1] - history.starts[0]) + history.bucket_seconds if len(history.starts) else 0


def _middle(start_seconds: int, bucket_seconds: int) -> datetime:
    return datetime.fromtimestamp(start_seconds, UTC) + timedelta(seconds=bucket_seconds / 2)
