"""The baseline's counts in memory: one array [bucket, series] per count, only fetched buckets, in time order.

Comes in: rows of counts by bucket start. Goes out: views of neighbouring rows, without a copy. Unsigned 8-bit until a
count needs more. Free rows lie before and after the used ones: the back-fill comes newest first and goes in front,
new buckets go behind; when the room behind is used up (every `SLACK_SHARE` of the baseline), or when a gap in the
middle is filled, the used rows move to new arrays, one count at a time. Not thread-safe; `history` takes care of that.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from exporter.analysis.baseline import BASELINE_COUNTS, Marks
from exporter.models import IntColumn

#: Rows kept free behind the newest bucket, as a share of the baseline: 42 buckets of a week of quarter hours.
SLACK_SHARE = 1 / 16

#: Columns beyond those asked for, as a share: a queue that joins should not move the whole ring. A ring that grows once
#: will grow again (during the back-fill every hour of the night has its own queues); one that is loaded will not soon.
GROWING_SHARE = 1 / 16
SPARE_SHARE = 1 / 64

Counts = NDArray[np.unsignedinteger[Any]]


class Ring:
    """At most `most` buckets of `width` series; the oldest leave first."""

    def __init__(self, most: int, bucket_seconds: int) -> None:
        self._most = most
        self._bucket_seconds = bucket_seconds
        self._slack = max(4, int(most * SLACK_SHARE))
        self._rows = most + self._slack
        self._starts = np.zeros(self._rows, np.int64)
        self._editions = np.zeros(self._rows, np.int64)
        self._writes = 0
        self._layout = object()
        self._first = self._end = most
        self.width = 0
        self._columns: dict[str, Counts] = {name: _zeros((self._rows, 0), np.uint8) for name in BASELINE_COUNTS}

    @property
    def starts(self) -> IntColumn:
        """Starts of the buckets held, ascending; a view."""
        return self._starts[self._first : self._end]

    def counts(self, rows: slice) -> dict[str, Counts]:
        """Views of `rows`, which count from the oldest bucket held."""
        held = slice(self._first + rows.start, self._first + rows.stop)
        return {name: column[held, : self.width] for name, column in self._columns.items()}

    def between(self, first_start: int, end_start: int) -> slice:
        """The rows of the buckets that start in [first_start, end_start)."""
        low, high = np.searchsorted(self.starts, (first_start, end_start))
        return slice(int(low), max(int(low), int(high)))

    def marks(self, rows: slice) -> Marks:
        """What becomes another when the counts of `rows` do; a view."""
        return Marks(self._layout, self._editions[self._first + rows.start : self._first + rows.stop])

    def row(self, start: int) -> dict[str, Counts] | None:
        """One bucket's counts as views, None where it is not held."""
        rows = self.between(start, start + 1)
        return {name: each[0] for name, each in self.counts(rows).items()} if rows.stop > rows.start else None

    def widen(self, width: int) -> None:
        """Makes room for series up to `width`; they are zero in every bucket held."""
        spare = GROWING_SHARE if self.width else SPARE_SHARE
        for name, column in self._columns.items():
            if width > column.shape[1]:
                wider = _zeros((self._rows, width + int(width * spare) + 16), column.dtype)
                wider[self._first : self._end, : self.width] = column[self._first : self._end, : self.width]
                self._columns[name] = wider
        self.width = max(self.width, width)

    def admit(self, starts: IntColumn) -> IntColumn:
        """Those of `starts` (any order) that the ring has room for in time: the newest, and not too old."""
        newest = max([*starts.tolist(), *self.starts[-1:].tolist()], default=0)
        return starts[starts > newest - self._most * self._bucket_seconds]

    def reserve(self, starts: IntColumn) -> None:
        """Makes rows for buckets; `starts` ascend and were admitted. A new row must be written before it is read."""
        self._make_room(np.setdiff1d(starts, self.starts))

    def write(self, start: int, counts: Mapping[str, NDArray[Any]], series: IntColumn | slice) -> None:
        """Writes one reserved bucket whole: `counts[name]` of `series` (below the width), zero for every other one."""
        row = self._first + self.between(start, start + 1).start
        self._writes += 1
        self._editions[row] = self._writes
        for name in BASELINE_COUNTS:
            values = counts.get(name)
            column = self._columns[name] if values is None else self._fitting(name, values)
            column[row] = 0
            if values is not None:
                column[row, series] = values

    def drop(self, first_start: int, end_start: int) -> None:
        """Forgets buckets that start outside of [first_start, end_start)."""
        keep = self.between(first_start, end_start)
        self._first, self._end = self._first + keep.start, self._first + keep.stop

    def clear(self, width: int) -> None:
        """Forgets everything, and makes room for series up to `width`."""
        self._first = self._end = self._most
        self.width, self._layout = 0, object()
        self.widen(width)

    def select(self, series: IntColumn) -> None:
        """Keeps these series alone, in this order."""
        used = slice(self._first, self._end)
        for name, column in self._columns.items():
            kept = _zeros((self._rows, len(series) + int(len(series) * SPARE_SHARE) + 16), column.dtype)
            kept[used, : len(series)] = column[used][:, series]
            self._columns[name] = kept
        self.width, self._layout = len(series), object()

    def _make_room(self, new: IntColumn) -> None:
        """Rows for the buckets `new` (ascending, none of them held)."""
        if not len(new):
            return
        if (not len(self.starts) or new[0] > self.starts[-1]) and self._end + len(new) <= self._rows:
            self._starts[self._end : self._end + len(new)] = new
            self._end += len(new)
        elif len(self.starts) and new[-1] < self.starts[0] and self._first >= len(new):
            self._first -= len(new)
            self._starts[self._first : self._first + len(new)] = new
        else:
            self._move(new)

    def _move(self, new: IntColumn) -> None:
        """New arrays with rows for `new` in their place among the old ones, less those that are too old."""
        union = self.admit(np.union1d(self.starts, new))
        old = self.between(int(union[0]), int(union[-1]) + 1)
        first = self._most - len(union)
        targets = first + np.searchsorted(union, self.starts[old])
        sources = slice(self._first + old.start, self._first + old.stop)
        for name, column in self._columns.items():
            moved = _zeros(column.shape, column.dtype)
            moved[targets, : self.width] = column[sources, : self.width]
            self._columns[name] = moved
        self._editions[targets] = self._editions[sources].copy()
        self._first, self._end = first, self._most
        self._starts[first : self._end] = union

    def _fitting(self, name: str, values: NDArray[Any]) -> Counts:
        """The array of `name`, in a type that holds `values`."""
        column, most = self._columns[name], int(values.max(initial=0))
        if most > np.iinfo(column.dtype).max:
            wider = _zeros(column.shape, np.min_scalar_type(most))
            wider[self._first : self._end] = column[self._first : self._end]
            self._columns[name] = column = wider
        return column


def _zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Counts:
    """Zeros straight from the system: pages that were never written cost nothing, and all go back when it is dropped.

    An array of the allocator would do neither once it has come to keep freed blocks of this size for itself.
    """
    size = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
    return np.ndarray(shape, dtype, buffer=mmap.mmap(-1, size, access=mmap.ACCESS_COPY))
