"""Scores for the past: the buckets that were fetched long after they had closed.

Comes in: history, and a walk: a function that goes through a baseline in time order and gives the wanted buckets the
scores they would have had when they closed, without looking ahead. Goes out: scores kept in history. History is held
for a few buckets at a time, so that polls can merge in between.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping

from exporter.analysis.baseline import Baseline
from exporter.analysis.history import History
from exporter.analysis.scoring import Method, ScoreOptions
from exporter.models import FloatColumn

#: Start of a bucket, then z and anomaly by metric, a row per column of the baseline.
Walked = tuple[int, Mapping[str, tuple[FloatColumn, FloatColumn]]]
Walk = Callable[[Method, Baseline, ScoreOptions, Container[int]], Iterator[Walked]]

#: Buckets scored, and written in one transaction, while merges wait: a few seconds and MB at 20,000 queues.
BUCKETS_AT_A_TIME = 16


def score_past(
    history: History, walk: Walk, method: Method, options: ScoreOptions, stopping: Callable[[], bool] = lambda: False
) -> int:
    """Scores the buckets in memory without scores, but for the newest, which the next poll scores; returns how many.

    What was done when `stopping` turns true is kept; a later call goes on from there.
    """
    wanted = sorted(set(history.unscored()) - {history.newest()})
    for first in range(0, len(wanted), BUCKETS_AT_A_TIME):
        if stopping():
            return first
        _score(history, walk, method, options, frozenset(wanted[first : first + BUCKETS_AT_A_TIME]))
    return len(wanted)


def _score(history: History, walk: Walk, method: Method, options: ScoreOptions, wanted: frozenset[int]) -> None:
    end = max(wanted) + history.bucket_seconds
    with history.baseline(end, end) as pinned:
        history.set_scores(pinned.positions, dict(walk(method, pinned.baseline, options, wanted)))
