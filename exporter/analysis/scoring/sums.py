"""Mean and deviation of ratios from sums that can be added up: of parts of a baseline, each summed once.

Comes in: counts of some buckets, and by series a pivot near its ratios. Goes out: `Sums` about the pivot, and the
moments of what was added up. Parts are added, never taken away, so nothing drifts: the moments are those of the formula
(`zscore.moments_of`) to 1e-9 wherever they are not in doubt. Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.scoring.zscore import Counts, Moments
from exporter.models import Flags, FloatColumn

#: A variance below this share of the mean square about the pivot has lost four digits of sixteen.
DOUBTFUL = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Of some buckets' ratios, by series: how many, and the sums of their distances from a pivot and of the squares."""

    samples: NDArray[Any]
    total: FloatColumn
    squares: FloatColumn

    @classmethod
    def of(cls, distance: FloatColumn, sampled: Flags) -> Sums:
        """Sums over the rows of what `distances` gives."""
        samples = sampled.sum(axis=0, dtype=np.min_scalar_type(len(sampled)))
        return cls(samples, distance.sum(axis=0), np.einsum("bs,bs->s", distance, distance))

    @classmethod
    def joined(cls, parts: Sequence[Sums]) -> Sums:
        """Of the series of one part after the other; none where there are none."""
        if not parts:
            return cls(*np.zeros((3, 0)))
        names = ("samples", "total", "squares")
        return cls(*(np.concatenate([getattr(each, name) for each in parts]) for name in names))

    def wider(self, more: int) -> Sums:
        """With `more` series that have no samples."""
        return Sums(*(np.pad(each, (0, more)) for each in (self.samples, self.total, self.squares)))

    def plus(self, other: Sums) -> Sums:
        """Of the buckets of both; in the precision of floats, not of the samples' small type."""
        samples = np.add(self.samples, other.samples, dtype=np.float64)
        return Sums(samples, self.total + other.total, self.squares + other.squares)


def distances(n: Counts, x: Counts, pivot: FloatColumn) -> tuple[FloatColumn, Flags]:
    """By bucket and series, how far x / n lies from the series' pivot, 0 where n is; and where n is not."""
    sampled = n > 0
    distance = np.true_divide(x, np.maximum(n, 1), dtype=np.float64)
    distance -= pivot
    distance *= sampled
    return distance, sampled


def pivots(n: Counts, x: Counts) -> FloatColumn:
    """The ratio of each series over all buckets (rows) with contacts, 0 where there are none.

    Equal ratios are this very number, to the last digit: about it they have sums of exactly 0, and so no deviation.
    It is also never far off: the variance is at least 1 / (buckets + 1) of the mean square about it, since no
    weighted mean lies farther from the mean than the farthest ratio.
    """
    contacts, events = _total(n), _total(np.multiply(x, n > 0))
    over_all: FloatColumn = np.true_divide(events, np.maximum(contacts, 1))
    return over_all


def _total(counts: Counts) -> Counts:
    """Sums of series, in the smallest type that holds them: twice as fast."""
    total: Counts = counts.sum(axis=0, dtype=np.min_scalar_type(len(counts) * int(np.iinfo(counts.dtype).max)))
    return total


def moments(sums: Sums, pivot: FloatColumn, min_samples: int) -> tuple[Moments, Flags]:
    """The moments, and those in doubt: there the pivot lies too far off for the digits that are left."""
    samples = sums.samples.astype(np.float64)
    number = np.where(samples >= max(min_samples, 1), samples, np.nan)
    away, square = sums.total / number, sums.squares / number
    variance = np.maximum(square - away**2, 0.0)  # NaN stays
    return Moments(pivot + away, np.sqrt(variance), samples), variance < DOUBTFUL * square
