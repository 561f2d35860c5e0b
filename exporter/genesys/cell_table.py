"""The cells of aggregates answers as columns: what each is about, what it says, and that each is told once.

Cells are read a portion at a time, and of a portion only the columns that are wanted are kept: an answer of 60 MB is
never in memory as objects, and a portion stays in the processor's cache, whatever the number of queues.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from exporter.genesys.cells import Flags, Metric, read_cell, read_cells
from exporter.genesys.decode import LostCell, Rejects
from exporter.models import WINDOW_COLUMNS, FloatColumn, IntColumn, SeriesKey

#: Cells that are objects at a time: few enough to stay in the processor's cache, enough to be worth arrays.
PORTION_CELLS = 2000
#: In place of a cell: two tell of it, and contradict each other.
_DOUBTED = -1


@dataclass(frozen=True, slots=True)
class Told:
    """Cells, each once: `positions` (of the bucket), `series` (places in `keys`) and each of `columns` have shape
    (cells,). Every one of `keys` has a cell."""

    keys: tuple[SeriesKey, ...]
    positions: IntColumn
    series: IntColumn
    columns: dict[str, FloatColumn]

    def cells(self) -> Iterator[LostCell]:
        """What they are about."""
        keys = self.keys
        pairs = zip(self.positions.tolist(), self.series.tolist(), strict=True)
        return ((position, keys[series]) for position, series in pairs)


class CellTable:
    """Takes the cells of answers in the order in which they tell them. What makes no sense goes to `rejects`."""

    def __init__(self, columns: Sequence[str], rejects: Rejects) -> None:
        self._names = tuple(columns)
        self._kept = [WINDOW_COLUMNS.index(name) for name in columns]
        self._rejects = rejects
        self._numbers: dict[SeriesKey, int] = {}
        self._keys: list[SeriesKey] = []
        self._series: list[int] = []
        self._positions: list[int] = []
        self._waiting: list[list[Metric]] = []
        self._portions: list[NDArray[np.float64]] = [np.empty((len(self._kept), 0))]
        self._readable: list[Flags] = [np.empty(0, bool)]

    def __len__(self) -> int:
        return len(self._series)

    def number(self, key: SeriesKey) -> int:
        """What `add` knows a series by."""
        number = self._numbers.setdefault(key, len(self._keys))
        if number == len(self._keys):
            self._keys.append(key)
        return number

    def add(self, number: int, position: int, metrics: list[Metric]) -> None:
        """One cell: whose it is, which bucket's, and what it says."""
        self._series.append(number)
        self._positions.append(position)
        self._waiting.append(metrics)
        if len(self._waiting) == PORTION_CELLS:
            self._read()

    def positions(self, since: int) -> set[int]:
        """The buckets of the cells after the first `since`."""
        return set(self._positions[since:])

    def told(self) -> Told:
        """The cells that make sense, but none that another one contradicts."""
        self._read()
        values, readable = np.concatenate(self._portions, axis=1), np.concatenate(self._readable)
        positions, series = np.array(self._positions, np.int64), np.array(self._series, np.int64)
        if not readable.all():
            values, positions, series = values[:, readable], positions[readable], series[readable]
        once = self._once(values, positions, series)
        if not once.all():
            values, positions, series = values[:, once], positions[once], series[once]
        there = np.bincount(series, minlength=len(self._keys)) > 0
        keys = tuple(compress(self._keys, there))
        told = Told(keys, positions, (np.cumsum(there) - 1)[series], dict(zip(self._names, values, strict=True)))
        self._rejects.found(told.cells())
        return told

    def _read(self) -> None:
        table, plain = read_cells(self._waiting)
        first = len(self._series) - len(self._waiting)
        for row in np.flatnonzero(~plain).tolist():
            values = read_cell(self._waiting[row])
            if isinstance(values, str):
                self._rejects.add(values, (self._cell(self._positions[first + row], self._series[first + row]),))
            else:
                table[row], plain[row] = values, True
        self._portions.append(table.T[self._kept])
        self._readable.append(plain)
        self._waiting = []

    def _once(self, values: NDArray[np.float64], positions: IntColumn, series: IntColumn) -> Flags:
        """The first of those cells that tell of the same, and none where they tell different things of it."""
        flat = positions * len(self._keys) + series
        again: Flags = np.bincount(flat)[flat] > 1
        taken: dict[int, int] = {}
        for place in np.flatnonzero(again).tolist():
            first = taken.setdefault(int(flat[place]), place)
            if first == place:
                continue
            if first != _DOUBTED and np.array_equal(values[:, first], values[:, place], equal_nan=True):
                self._rejects.add("duplicate", ())
            else:
                self._rejects.add("duplicate", (self._cell(int(positions[place]), int(series[place])),))
                taken[int(flat[place])] = _DOUBTED
        once = ~again
        once[[place for place in taken.values() if place != _DOUBTED]] = True
        return once

    def _cell(self, position: int, series: int) -> LostCell:
        return position, self._keys[series]
