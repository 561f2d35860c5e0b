"""Past buckets, scored as the exporter would have lived them: in time order, each by what lay before it.

Comes in: a history of closed buckets. Goes out: the scores of one bucket after the other; none sees itself or what
came later. Where a history is short the model is made anew for every bucket, as in operation, and the numbers are those
of `fit` and `score`. Where that would take minutes a model serves several buckets, as long as its method bears it: it
is then up to some hours older, never newer.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import numpy as np

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import METRIC_COUNTS, SCORE_COLUMNS, Method, Model, ScoreOptions, buckets_between
from exporter.models import FloatColumn, ScoreColumns, Scores

#: What all fits of one walk may take together, roughly; a fit and the first score by it take FIT_SECONDS, and
#: CELL_SECONDS more for each bucket of each series, on one core of a small machine.
EFFORT_SECONDS, FIT_SECONDS, CELL_SECONDS = 15.0, 0.008, 5e-8
#: Scores worked out in one go.
SCORES_TOGETHER = 5000
#: A young history changes fast: its model grows no older than this share of it.
AGE_SHARE = 0.125


@dataclass(frozen=True, slots=True)
class Step:
    """One bucket: when it began, what was in it and what it was worth; arrays by series of the history."""

    start_seconds: int
    counts: Mapping[str, FloatColumn]
    scores: Scores


def steps(
    method: Method,
    history: Baseline,
    options: ScoreOptions,
    *,
    baseline_seconds: int | None = None,
    refit_seconds: float | None = None,
    wanted: Container[int] | None = None,
) -> Iterator[Step]:
    """Scores buckets of `history` by the `baseline_seconds` before each (None = all that lies before it).

    `wanted` names the starts that matter, None = all of them. A model serves until it is `refit_seconds` old (0 = for
    one bucket); None leaves that to the history's size.
    """
    span = baseline_seconds if baseline_seconds is not None else _span(history)
    age = _bearable_age(method, history, span) if refit_seconds is None else refit_seconds
    rows = [row for row, start in enumerate(history.starts.tolist()) if wanted is None or start in wanted]
    starts = history.starts[rows]
    first = 0
    while first < len(rows):
        start = int(starts[first])
        baseline = buckets_between(history, start - span, start)
        due = start + min(age, AGE_SHARE * _span(baseline))
        last = max(first + 1, int(np.searchsorted(starts, due)))
        yield from _scored(method.fit(baseline, options), history, rows[first:last])
        first = last


def _scored(model: Model, history: Baseline, every: Sequence[int]) -> Iterator[Step]:
    """The buckets at some rows, by one model; a few thousand scores at a time."""
    series = np.arange(history.series)
    together = max(1, SCORES_TOGETHER // max(1, history.series))
    for first in range(0, len(every), together):
        rows = every[first : first + together]
        starts = history.starts[rows].tolist()
        middles = [_middle(start, history.bucket_seconds) for start in starts]
        counts = {name: column[rows].astype(np.float64) for name, column in history.counts.items()}
        found = {
            metric: model.score_many(metric, counts[contacts], counts[events], middles, series)
            for metric in model.metrics
            for contacts, events in (METRIC_COUNTS[metric],)
        }
        for row, start in enumerate(starts):
            scores = {metric: _row(columns, row) for metric, columns in found.items()}
            bucket = {name: column[row] for name, column in counts.items()}
            yield Step(start, bucket, Scores(model.name, model.threshold, scores))


def _row(columns: ScoreColumns, row: int) -> ScoreColumns:
    return ScoreColumns(*(getattr(columns, name)[row] for name in SCORE_COLUMNS))


def walk(
    method: Method, history: Baseline, options: ScoreOptions, wanted: Container[int] | None = None
) -> Iterator[tuple[int, Mapping[str, tuple[FloatColumn, FloatColumn]]]]:
    """z and anomaly of every metric, bucket by bucket: what history keeps of the past."""
    for step in steps(method, history, options, wanted=wanted):
        yield step.start_seconds, {metric: (each.z, each.anomaly) for metric, each in step.scores.metrics.items()}


def _span(history: Baseline) -> int:
    return int(history.starts[-1] - history.starts[0]) + history.bucket_seconds if len(history.starts) else 0


def _bearable_age(method: Method, history: Baseline, span_seconds: int) -> float:
    """The age that keeps the fits of a walk within EFFORT_SECONDS, a whole number of buckets."""
    step = history.bucket_seconds
    cells = min(len(history.starts), span_seconds // step) * history.series * len(METRIC_COUNTS)
    buckets = ceil(len(history.starts) * (FIT_SECONDS + CELL_SECONDS * cells) / EFFORT_SECONDS)
    return min(max(1, buckets) * step, method.max_model_age_seconds)


def _middle(start_seconds: int, bucket_seconds: int) -> datetime:
    return datetime.fromtimestamp(start_seconds, UTC) + timedelta(seconds=bucket_seconds / 2)
