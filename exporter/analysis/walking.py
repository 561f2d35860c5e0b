"""Scores for the past: the buckets that were fetched long after they had closed.

Comes in: history, and a walk: a function that goes through a baseline in time order and gives each bucket the scores it
would have had when it closed, without looking ahead. Goes out: scores kept in history, a few buckets at a time. Merges
wait while the walk is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from exporter.analysis.baseline import Baseline
from exporter.analysis.history import History
from exporter.analysis.scoring import Method, ScoreOptions
from exporter.models import FloatColumn

#: Start of a bucket, then z and anomaly by metric, a row per column of the baseline.
Walked = tuple[int, Mapping[str, tuple[FloatColumn, FloatColumn]]]
Walk = Callable[[Method, Baseline, ScoreOptions], Iterator[Walked]]

#: Buckets written in one transaction: a few MB of scores at 20,000 queues.
BUCKETS_PER_WRITE = 16


def score_past(history: History, walk: Walk, method: Method, options: ScoreOptions) -> int:
    """Scores the buckets in memory without scores, but for the newest, which the next poll scores; returns how many."""
    wanted = frozenset(history.unscored()) - {history.newest()}
    if not wanted:
        return 0
    end = history.newest() + history.bucket_seconds
    with history.baseline(end, end) as pinned:
        chunk: dict[int, Mapping[str, tuple[FloatColumn, FloatColumn]]] = {}
        for start, scores in walk(method, pinned.baseline, options):
            if start in wanted:
                chunk[start] = scores
            if len(chunk) >= BUCKETS_PER_WRITE:
                history.set_scores(pinned.positions, chunk)
                chunk = {}
        history.set_scores(pinned.positions, chunk)
    return len(wanted)
