"""Past buckets, scored as the exporter would have lived them: in time order, each by what lay before it.

Comes in: a history of closed buckets. Goes out: the scores of one bucket after the other; none sees itself or what
came later. Where a history is short the model is made anew for every bucket, as in operation, and the numbers are those
of `fit` and `score`. Where that would take minutes a model serves several buckets, as long as its method bears it: it
is then up to some hours older, never newer.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import numpy as np

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import METRIC_COUNTS, Method, Model, ScoreOptions, buckets_between, score_all
from exporter.models import FloatColumn, Scores

#: What all fits of one walk may take together, roughly; a fit takes FIT_SECONDS and CELL_SECONDS for each bucket of
#: each series, on one core of a small machine.
EFFORT_SECONDS, FIT_SECONDS, CELL_SECONDS = 15.0, 0.004, 5e-8
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
    """Scores every bucket of `history` by the `baseline_seconds` before it (None = all that lies before it).

    `wanted` names the starts that matter, None = all of them.
    A model serves until it is `refit_seconds` old (0 = for one bucket); None leaves that to the history's size.
    """
    span = baseline_seconds if baseline_seconds is not None else _span(history)
    age = _bearable_age(method, history, span) if refit_seconds is None else refit_seconds
    series = np.arange(history.series)
    model: Model | None = None
    due = 0.0
    for row, start in enumerate(history.starts.tolist()):
        if wanted is not None and start not in wanted:
            continue
        if model is None or start >= due:
            baseline = buckets_between(history, start - span, start)
            model, due = method.fit(baseline, options), start + min(age, AGE_SHARE * _span(baseline))
        counts = {name: column[row].astype(np.float64) for name, column in history.counts.items()}
        yield Step(start, counts, score_all(model, counts, _middle(start, history.bucket_seconds), series))


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
