"""The classic score of many past buckets: every one measured against its own baseline, at a tenth of the effort.

Comes in: a history, and for each bucket to score the rows of its baseline. Goes out: `Moments` with a row per bucket.
Neighbouring buckets share all of their baselines but for the ends, so the shared rows are summed once and the ends are
added, never taken away (`sums`). Where the digits could run out all the same, the few series concerned are worked out
by the formula itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import METRIC_COUNTS
from exporter.analysis.scoring.sums import Sums, distances, moments, pivots
from exporter.analysis.scoring.zscore import Moments, moments_of
from exporter.models import Flags, FloatColumn, IntColumn

#: Cells (buckets × series) worked on at once: 1 MB for each of a dozen columns.
CHUNK_CELLS = 120_000


def sliding_moments(history: Baseline, metric: str, firsts: IntColumn, ends: IntColumn, min_samples: int) -> Moments:
    """Moments of the rows [first, end) of `history` for each pair, as (pairs, series).

    Both rise from pair to pair, and no baseline begins after the first one's end.
    """
    if firsts[-1] > ends[0]:
        raise ValueError("baselines that do not overlap")
    rows = slice(int(firsts[0]), int(ends[-1]))
    width = max(1, CHUNK_CELLS // max(1, rows.stop - rows.start))
    parts = []
    for first in range(0, history.series, width):
        counts = {name: column[rows, first : first + width] for name, column in history.counts.items()}
        part = Baseline(history.bucket_seconds, history.starts[rows], counts)
        parts.append(_slid(part, metric, firsts - rows.start, ends - rows.start, min_samples))
    columns = [[getattr(part, name) for part in parts] for name in ("mean", "stddev", "samples")]
    return Moments(*(np.concatenate(column, axis=1) if column else np.empty((len(ends), 0)) for column in columns))


def _slid(part: Baseline, metric: str, firsts: IntColumn, ends: IntColumn, min_samples: int) -> Moments:
    low, high = int(firsts[-1]), int(ends[0])  # the rows [low, high) belong to all baselines
    n, x = (part.counts[name] for name in METRIC_COUNTS[metric])
    pivot = pivots(n[low:high], x[low:high])
    distance, sampled = distances(n, x, pivot)
    middle = Sums.of(distance[low:high], sampled[low:high])
    before = _running(distance[:low][::-1], sampled[:low][::-1])
    after = _running(distance[high:], sampled[high:])
    sums = _rows(before, low - firsts).plus(middle).plus(_rows(after, ends - high))
    found, doubtful = moments(sums, pivot, min_samples)
    for row, columns in _by_row(doubtful):
        exact = _exact(part, metric, slice(firsts[row], ends[row]), columns, min_samples)
        found.mean[row, columns], found.stddev[row, columns] = exact.mean, exact.stddev
    return found


def _running(distance: FloatColumn, sampled: Flags) -> Sums:
    """Sums of the first 0, 1, 2 … rows."""
    columns = (sampled.astype(np.float64), distance, distance**2)
    return Sums(*(np.cumsum(np.pad(each, ((1, 0), (0, 0))), axis=0) for each in columns))


def _rows(sums: Sums, index: IntColumn) -> Sums:
    return Sums(sums.samples[index], sums.total[index], sums.squares[index])


def _by_row(marked: Flags) -> Iterator[tuple[int, NDArray[np.intp]]]:
    for row in np.flatnonzero(marked.any(axis=1)).tolist():
        yield row, np.flatnonzero(marked[row])


def _exact(history: Baseline, metric: str, rows: slice, columns: NDArray[np.intp], min_samples: int) -> Moments:
    """The formula itself, for some series."""
    counts = {name: column[rows, columns] for name, column in history.counts.items()}
    return moments_of(Baseline(history.bucket_seconds, history.starts[rows], counts), metric, min_samples)
