"""The classic score of a history that grows: a bucket that closes costs the sums around it, not those of the week.

Comes in: one reading of the same history after the other, with marks of what has changed. Goes out: the moments of the
formula, to 1e-9. The baseline is cut into stretches that begin at fixed times; the sums of each are kept, and those of
which a row was added, corrected or has become too old are summed again. All are then added up (`sums`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from exporter.analysis.baseline import Baseline, Marks
from exporter.analysis.scoring.base import METRIC_COUNTS
from exporter.analysis.scoring.sums import Sums, distances, moments, pivots
from exporter.analysis.scoring.zscore import CHUNK_CELLS, Counts, Moments, ZScore, moments_of
from exporter.models import FloatColumn, IntColumn

#: A closed bucket costs one or two stretches and the rest of the oldest one, and an addition for every stretch. Of 8 to
#: 96, 24 were the cheapest for a week of quarter hours. Their sums take 34 bytes a series, their counts 96 at least.
STRETCH_BUCKETS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Sums of neighbouring buckets that begin within one span of time, and the editions that they are of."""

    editions: bytes
    sums: Sums


class GrowingMoments:
    """The moments of one metric."""

    def __init__(self, metric: str) -> None:
        self._names = METRIC_COUNTS[metric]
        self._layout: object = None
        self._pivot = np.zeros(0)
        self.stretches: Mapping[int, Stretch] = {}  # by place in time, oldest first

    def moments(self, baseline: Baseline, marks: Marks, min_samples: int) -> Moments:
        """Those of `moments_of`."""
        n, x = (baseline.counts[name] for name in self._names)
        self._follow(marks.layout, n, x)
        rows = _rows(baseline)
        self.stretches = {place: self._stretch(place, marks.editions[part], n[part], x[part]) for place, part in rows}
        found, doubtful = moments(self._whole(), self._pivot, min_samples)
        if doubtful.any():
            columns = np.flatnonzero(doubtful)
            self._move_pivots(columns, n[:, columns], x[:, columns], rows)
            found, _ = moments(self._whole(), self._pivot, min_samples)
        return found

    def _follow(self, layout: object, n: Counts, x: Counts) -> None:
        """Begins anew for other columns; those that came behind have nothing in the stretches that are summed."""
        pivot, stretches = (self._pivot, self.stretches) if layout is self._layout else (np.zeros(0), {})
        new = slice(len(pivot), n.shape[1])
        if new.stop > new.start:
            pivot = np.concatenate([pivot, pivots(n[:, new], x[:, new])])
            more = new.stop - new.start
            stretches = {place: Stretch(each.editions, each.sums.wider(more)) for place, each in stretches.items()}
        self._layout, self._pivot, self.stretches = layout, pivot, stretches

    def _stretch(self, place: int, editions: IntColumn, n: Counts, x: Counts) -> Stretch:
        """The stretch as it is known, or summed again."""
        known, wanted = self.stretches.get(place), editions.tobytes()
        return known if known and known.editions == wanted else Stretch(wanted, _summed(n, x, self._pivot))

    def _whole(self) -> Sums:
        whole = Sums(*np.zeros((3, len(self._pivot))))
        for each in self.stretches.values():
            whole = whole.plus(each.sums)
        return whole

    def _move_pivots(self, columns: IntColumn, n: Counts, x: Counts, rows: Sequence[tuple[int, slice]]) -> None:
        """Gives some series pivots near their present ratios; `n` and `x` are theirs alone."""
        self._pivot[columns] = pivot = pivots(n, x)
        for place, part in rows:
            sums, mine = self.stretches[place].sums, _summed(n[part], x[part], pivot)
            sums.total[columns], sums.squares[columns] = mine.total, mine.squares


def _rows(baseline: Baseline) -> list[tuple[int, slice]]:
    """Place and rows of each stretch."""
    places, firsts = np.unique(baseline.starts // (STRETCH_BUCKETS * baseline.bucket_seconds), return_index=True)
    ends = np.append(firsts, len(baseline.starts))[1:]
    return list(zip(places.tolist(), map(slice, firsts.tolist(), ends.tolist()), strict=True))


def _summed(n: Counts, x: Counts, pivot: FloatColumn) -> Sums:
    """A few series at a time."""
    width = max(1, CHUNK_CELLS // max(1, len(n)))
    parts = [
        Sums.of(*distances(n[:, first : first + width], x[:, first : first + width], pivot[first : first + width]))
        for first in range(0, len(pivot), width)
    ]
    return Sums.joined(parts)


def _of_each_metric() -> dict[str, GrowingMoments]:
    return {metric: GrowingMoments(metric) for metric in ZScore.metrics}


@dataclass(frozen=True, slots=True, eq=False)
class GrowingZScore(ZScore):
    """`ZScore` for the one history that has marks, whose fits are those of one thread; a baseline without marks is
    fitted by the formula, by any thread."""

    _grown: dict[str, GrowingMoments] = field(default_factory=_of_each_metric)

    def moments(self, baseline: Baseline, metric: str, min_samples: int) -> Moments:
        """See `ZScore.moments`."""
        if baseline.marks is None:
            return moments_of(baseline, metric, min_samples)
        return self._grown[metric].moments(baseline, baseline.marks, min_samples)
