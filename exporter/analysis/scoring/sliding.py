"""The classic score of many past buckets: every one measured against its own baseline, at a tenth of the effort.

Comes in: a history, and for each bucket to score the rows of its baseline. Goes out: `Moments` with a row per bucket.
Neighbouring buckets share all of their baselines but for the ends, so the shared rows are summed once and the ends are
added, never taken away: sums of squares are then as good as the formula's (tests hold them to 1e-9). Where the digits
could run out all the same, the few series concerned are worked out by the formula itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import METRIC_COUNTS
from exporter.analysis.scoring.zscore import Moments, moments_of
from exporter.models import FloatColumn, IntColumn

#: A variance below this share of the mean square about the pivot has lost six digits of sixteen.
DOUBTFUL = 1e-6
#: Cells (buckets × series) worked on at once: 1 MB for each of a dozen columns.
CHUNK_CELLS = 120_000


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of some buckets' ratios, by series: how many, their sum and squares about a pivot, the lowest and the highest."""

    samples: FloatColumn
    total: FloatColumn
    squares: FloatColumn
    lowest: FloatColumn
    highest: FloatColumn

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.samples + other.samples,
            self.total + other.total,
            self.squares + other.squares,
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
        )

    def rows(self, index: IntColumn) -> _Sums:
        return _Sums(
            self.samples[index], self.total[index], self.squares[index], self.lowest[index], self.highest[index]
        )


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
    ratios, sampled = _ratios(part, metric)
    pivot = _pivot(ratios[low:high], sampled[low:high])
    middle = _last(_running(ratios[low:high] - pivot, sampled[low:high], ratios[low:high]))
    before = _running((ratios[:low] - pivot)[::-1], sampled[:low][::-1], ratios[:low][::-1])
    after = _running(ratios[high:] - pivot, sampled[high:], ratios[high:])
    sums = before.rows(low - firsts).plus(middle).plus(after.rows(ends - high))
    return _moments(part, metric, sums, pivot, (firsts, ends), min_samples)


def _ratios(history: Baseline, metric: str) -> tuple[FloatColumn, NDArray[np.bool_]]:
    n, x = (history.counts[name].astype(np.float64) for name in METRIC_COUNTS[metric])
    sampled = n > 0
    return np.divide(x, n, out=np.zeros_like(n), where=sampled), sampled


def _pivot(ratios: FloatColumn, sampled: NDArray[np.bool_]) -> FloatColumn:
    """The mean of each series, 0 where there is none."""
    samples = sampled.sum(axis=0)
    pivot = np.zeros(samples.shape)
    np.divide(ratios.sum(axis=0), samples, out=pivot, where=samples > 0)
    return pivot


def _running(distance: FloatColumn, sampled: NDArray[np.bool_], ratios: FloatColumn) -> _Sums:
    """Sums of the first 0, 1, 2 … rows."""
    distance = np.where(sampled, distance, 0.0)
    return _Sums(
        _headed(np.cumsum(sampled, axis=0, dtype=np.float64), 0.0),
        _headed(np.cumsum(distance, axis=0), 0.0),
        _headed(np.cumsum(distance**2, axis=0), 0.0),
        _headed(np.minimum.accumulate(np.where(sampled, ratios, np.inf), axis=0), np.inf),
        _headed(np.maximum.accumulate(np.where(sampled, ratios, -np.inf), axis=0), -np.inf),
    )


def _headed(column: FloatColumn, empty: float) -> FloatColumn:
    return np.concatenate([np.full((1, column.shape[1]), empty), column])


def _last(sums: _Sums) -> _Sums:
    return sums.rows(np.array([-1]))


def _moments(
    history: Baseline,
    metric: str,
    sums: _Sums,
    pivot: FloatColumn,
    bounds: tuple[IntColumn, IntColumn],
    min_samples: int,
) -> Moments:
    enough = sums.samples >= max(min_samples, 1)
    number = np.where(enough, sums.samples, np.nan)
    away, square = sums.total / number, sums.squares / number
    variance = np.maximum(square - away**2, 0.0)
    constant = enough & (sums.highest == sums.lowest)
    mean = np.where(constant, sums.highest, pivot + away)
    stddev = np.where(constant, 0.0, np.sqrt(variance))
    with np.errstate(invalid="ignore"):
        doubtful = ~constant & (variance < DOUBTFUL * square)
    for row, columns in _by_row(doubtful):
        exact = _exact(history, metric, bounds[0][row], bounds[1][row], columns, min_samples)
        mean[row, columns], stddev[row, columns] = exact.mean, exact.stddev
    return Moments(mean, stddev, sums.samples)


def _by_row(marked: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    for row in np.flatnonzero(marked.any(axis=1)).tolist():
        yield row, np.flatnonzero(marked[row])


def _exact(
    history: Baseline, metric: str, first: int, end: int, columns: NDArray[np.intp], min_samples: int
) -> Moments:
    """The formula itself, for some series."""
    counts = {name: column[first:end, columns] for name, column in history.counts.items()}
    return moments_of(Baseline(history.bucket_seconds, history.starts[first:end], counts), metric, min_samples)
