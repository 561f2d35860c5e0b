"""The part of history that lives in memory: the ring, and which series owns which of its columns.

Comes in: one bucket's counts by position (see `series`). Goes out: the baseline by column. A series gets a column
with its first contact in a bucket that the ring holds, and loses it in `compact` when no such bucket is left, so that
memory follows the queues that are alive, not all that ever were. Not thread-safe; `history` takes care of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import BASELINE_COUNTS, Baseline
from exporter.analysis.codec import DamagedError, unpack
from exporter.analysis.mending import LOST, VEILED, silent
from exporter.analysis.ring import Ring
from exporter.analysis.series import SeriesTable
from exporter.analysis.store import BucketRow
from exporter.models import Flags, IntColumn, SeriesKey

#: Columns without a contact are dropped when they are more than this share: moving the ring is not free.
IDLE_SHARE = 1 / 8
NOBODY = np.zeros(0, np.int64)


class Memory:
    """The newest `most` buckets of every series with a contact in them."""

    def __init__(self, series: SeriesTable, most: int, bucket_seconds: int) -> None:
        self.ring = Ring(most, bucket_seconds)
        self._series = series
        self._bucket_seconds = bucket_seconds
        self._columns = np.zeros(0, np.int64)  # by position; -1 = none
        self.owners = np.zeros(0, np.int64)  # position, by column; replaced, never changed
        self._keys: tuple[SeriesKey, ...] | None = ()
        self._lost: dict[int, IntColumn] = {}  # positions whose counts nobody knows, by start of the bucket
        self._veiled: set[int] = set()  # buckets of which no silence is a zero

    def keys(self) -> tuple[SeriesKey, ...]:
        """The series of each column; the same object until a column comes or goes."""
        if self._keys is None:
            self._keys = tuple(self._series.key(position) for position in self.owners.tolist())
        return self._keys

    def baseline(self, first_start: int, end_start: int) -> Baseline:
        """The buckets that start in [first_start, end_start), as views."""
        rows = self.ring.between(first_start, end_start)
        starts = self.ring.starts[rows]
        lost, marks = self._lost_in(starts), self.ring.marks(rows)
        return Baseline(self._bucket_seconds, starts, self.ring.counts(rows), lost, marks)

    def lost(self, start: int) -> IntColumn:
        """Positions of the series with a column whose counts in a bucket nobody knows."""
        marked = self._lost.get(start, NOBODY)
        row = self.ring.row(start) if start in self._veiled else None
        return marked if row is None else np.union1d(marked, self.owners[silent(row, len(self.owners))])

    def write(
        self,
        start: int,
        positions: IntColumn,
        counts: Mapping[str, IntColumn],
        lost: IntColumn = NOBODY,
        *,
        veiled: bool = False,
    ) -> None:
        """Writes a bucket for which a row was reserved."""
        self._give_columns(np.union1d(positions, lost) if len(lost) else positions)
        self.ring.write(start, counts, self._columns[positions])
        self._note_lost(start, lost, veiled=veiled)

    def load(self, starts: IntColumn, rows: Iterable[BucketRow]) -> None:
        """Fills the ring anew with `starts` (ascending) from stored rows, of which it takes those it needs."""
        oldest = starts[0] if len(starts) else np.iinfo(np.int64).max
        self._own(np.flatnonzero(self._series.last_contact >= oldest))
        self.ring.clear(len(self.owners))
        self.ring.reserve(starts)
        self._lost.clear()
        self._veiled.clear()
        wanted = set(starts.tolist())
        for row in rows:
            if row.start in wanted:
                self._load_row(row)
                wanted.remove(row.start)
        if wanted:
            raise DamagedError(f"{len(wanted)} buckets are listed but not there")

    def active(self, since: int) -> IntColumn:
        """Positions of the series with a contact in a bucket that started at `since` or later."""
        counts = self.ring.counts(slice(self.ring.between(0, since).stop, len(self.ring.starts)))
        contact = np.zeros(self.ring.width, bool)
        for column in counts.values():
            contact |= column.any(axis=0)
        return self.owners[contact]

    def by_position(self, start: int) -> tuple[IntColumn, dict[str, NDArray[Any]]] | None:
        """Positions and counts of a bucket that the ring holds."""
        row = self.ring.row(start)
        return None if row is None else (self.owners, row)

    def compact(self) -> bool:
        """Drops the columns without a contact, when they are many; tells whether it did."""
        oldest = self.ring.starts[0] if len(self.ring.starts) else np.iinfo(np.int64).max
        alive = np.flatnonzero(self._series.last_contact[self.owners] >= oldest)
        if len(self.owners) - len(alive) <= IDLE_SHARE * len(self.owners):
            return False
        self.ring.select(alive)
        self._own(self.owners[alive])
        return True

    def _note_lost(self, start: int, lost: IntColumn, *, veiled: bool) -> None:
        self._lost.pop(start, None)
        self._veiled.discard(start)
        if len(lost) or veiled:
            oldest = self.ring.starts[0]
            self._lost = {each: of for each, of in self._lost.items() if each >= oldest}
            self._veiled = {each for each in self._veiled if each >= oldest}
        if len(lost):
            self._lost[start] = lost
        if veiled:
            self._veiled.add(start)

    def _lost_in(self, starts: IntColumn) -> Flags | None:
        """By bucket and column, whose counts nobody knows; None where all are known, as they mostly are."""
        if not self._lost and not self._veiled:
            return None
        if (self._lost.keys() | self._veiled).isdisjoint(starts.tolist()):
            return None
        flags = np.zeros((len(starts), self.ring.width), bool)
        for row, start in enumerate(starts.tolist()):
            columns = self._columns[self.lost(start)]
            flags[row, columns[columns >= 0]] = True
        return flags

    def _give_columns(self, positions: IntColumn) -> None:
        if len(self._columns) < len(self._series):
            more = len(self._series) - len(self._columns)
            self._columns = np.pad(self._columns, (0, more), constant_values=-1)
        new = positions[self._columns[positions] < 0]
        if len(new):
            self._own(np.concatenate([self.owners, new]))
            self.ring.widen(len(self.owners))

    def _own(self, owners: IntColumn) -> None:
        self.owners, self._keys = owners, None
        self._columns = np.full(len(self._series), -1, np.int64)
        self._columns[owners] = np.arange(len(owners))

    def _load_row(self, row: BucketRow) -> None:
        counts = unpack(row.counts, (*BASELINE_COUNTS, LOST, VEILED))
        length = row.counts.length
        lost, veiled = np.flatnonzero(counts.pop(LOST, NOBODY)), counts.pop(VEILED, None) is not None
        if length > len(self._series):
            raise DamagedError(f"a bucket of {length} series, but {len(self._series)} are known")
        here = slice(0, int(np.searchsorted(self.owners, length)))  # owners ascend while loading
        positions = self.owners[here]
        self.ring.write(row.start, {name: column[positions] for name, column in counts.items()}, here)
        self._note_lost(row.start, lost, veiled=veiled)
