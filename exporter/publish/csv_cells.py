"""The cells of /export.csv from totalContacts to the end of the line, as columns of text that lines are joined of.

In come columns of numbers, in the order of the rows; out go `Cells`, which make the texts of any part of the rows. Of
eleven cells eight follow from the counts and the flag alone. Few different counts come up, again and again: their text
is kept, so that of a week of 20,000 queues little but the z-scores has to be formatted. Of these every digit counts.
Where nearly every row has counts of its own, rows are formatted whole: that is what the others must not cost more than.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn, HistoryBucket, IntColumn
from exporter.publish.cells import csv_rows, decimals, percent, whole
from exporter.publish.filters import Index
from exporter.publish.kept import NO_CODE, TextTable
from exporter.publish.sheets import Piece

_HEAD = ("offered", "abandonment_ratio", "sla_breach_ratio", "answered", "abandoned", "sla_breached")
_SERVICE_LEVEL = "sla_contacts"
_METRICS = (ABANDONMENT, SLA_BREACH, OFFERED)
WINDOW_COLUMNS = (*_HEAD, _SERVICE_LEVEL)

#: The texts of a part of the rows, column by column.
Cells = Callable[[slice], list[Piece]]

_Columns = Mapping[str, NDArray[Any]]

_FLAGS = np.array([None, False, True], dtype=object)

#: The counts that a head follows from are one number, 12 bits each (all ones: there is no such column), the service
#: level last: a middle follows from it and the flag. Rows with greater counts are formatted each time.
_COUNTS = ("offered", "answered", "abandoned", "sla_breached", _SERVICE_LEVEL)
_BITS = 12
_ABSENT = (1 << _BITS) - 1

#: Places for texts: a quarter of an hour of 20,000 queues has some 2,000 different heads. Full they are 4 MB.
_HEAD_BITS, _MIDDLE_BITS = 15, 14


def flag_codes(anomalies: Iterable[FloatColumn], flagged: NDArray[np.bool_]) -> IntColumn:
    """By row: 0 where nothing was scored, 1 where nothing is flagged, 2 where something is."""
    scored = np.zeros(len(flagged), np.int64)
    for anomaly in anomalies:
        scored |= np.isfinite(anomaly)
    return scored + flagged


def window_cells(columns: _Columns, z: _Columns, flags: IntColumn) -> Cells:
    """The cells of the current window; counts, ratios and scores by name, all columns of the same rows."""

    def of(part: slice) -> list[Piece]:
        return [_plain(_each(columns, part), _each(z, part), flags[part])]

    return of


class ClosedCells:
    """Cells of closed buckets, one bucket after the other; keeps the texts of counts that it has seen."""

    def __init__(self) -> None:
        self._heads, self._middles = TextTable(_HEAD_BITS), TextTable(_MIDDLE_BITS)

    def of(self, closed: HistoryBucket, flags: IntColumn, index: Index) -> Cells:
        """The cells of the rows at `index`; `flags` has a code for every row of the bucket."""
        counts = {name: _at(closed.counts[name], index) for name in _COUNTS if name in closed.counts}
        z, flags = {metric: _at(column, index) for metric, column in closed.z.items()}, _at(flags, index)
        codes = _codes(counts)
        middle_codes = np.where(codes == NO_CODE, NO_CODE, flags << _BITS | codes & _ABSENT)
        scores = _scores(z)

        def of(part: slice) -> list[Piece]:
            some, marks = _each(counts, part), flags[part]
            heads = self._heads.of(codes[part], lambda rows: _heads(_with_ratios(_each(some, rows))))
            if heads is None:
                return [_plain(_with_ratios(some), _each(z, part), marks)]
            middles = self._middles.of(middle_codes[part], lambda rows: _middles(_each(some, rows), marks[rows]))
            first, second, third = scores(part)
            return [heads, first, b",", second, middles or _middles(some, marks), third]

        return of


def _at(column: NDArray[Any], index: Index) -> NDArray[Any]:
    """The values at `index`, which names no row twice; the column itself where that is all of it."""
    return column if len(index) == len(column) else column[index]


def _each(columns: _Columns, rows: slice | Index) -> _Columns:
    return {name: column[rows] for name, column in columns.items()}


def _codes(counts: Mapping[str, IntColumn]) -> IntColumn:
    """A number for each row, the same where all counts are; NO_CODE where one is too great."""
    codes, union = np.zeros((2, len(counts["offered"])), np.int64)
    for name in _COUNTS:
        codes = codes << _BITS | counts.get(name, _ABSENT)
        union |= counts.get(name, 0)
    return np.where(union.view(np.uint64) < _ABSENT, codes, NO_CODE)


def _plain(columns: _Columns, z: _Columns, flags: IntColumn) -> list[bytes]:
    """All cells of each row."""
    nothing = [None] * len(flags)
    first, second, third = (z[metric].tolist() if metric in z else nothing for metric in _METRICS)
    middle = _FLAGS[flags].tolist(), _numbers(columns, _SERVICE_LEVEL)
    return csv_rows([*(_numbers(columns, name) for name in _HEAD), first, second, *middle, third])


def _heads(columns: _Columns) -> list[bytes]:
    """`12,25.0,50.0,9,3,6,` of each row: what stands before the z-scores."""
    return csv_rows([*(_numbers(columns, name) for name in _HEAD), [None] * len(columns["offered"])])


def _middles(columns: _Columns, flags: IntColumn) -> list[bytes]:
    """`,true,12,` of each row: what stands between the z-scores."""
    nothing = [None] * len(flags)
    return csv_rows([nothing, _FLAGS[flags].tolist(), _numbers(columns, _SERVICE_LEVEL), nothing])


def _numbers(columns: _Columns, name: str) -> list[Any]:
    """A column as Python numbers, `None` where the contract has no such column."""
    if name not in columns:
        return [None] * len(columns["offered"])
    return percent(columns[name]).tolist() if name.endswith("_ratio") else whole(columns[name])


def _scores(z: _Columns) -> Callable[[slice], list[Piece]]:
    """The z-scores of a part of the rows, in the order of the cells; `b""` for one that none of all rows has."""
    known = {metric: np.isfinite(column) for metric, column in z.items()}
    present = [
        (z[metric], bool(known[metric].all())) if metric in z and known[metric].any() else None for metric in _METRICS
    ]

    def of(part: slice) -> list[Piece]:
        return [decimals(each[0][part], finite=each[1]) if each else b"" for each in present]

    return of


def _with_ratios(counts: _Columns) -> _Columns:
    """Ratios have no value without contacts; where the contract has no service level of its own, all offered count."""
    offered = counts["offered"]
    return {
        **counts,
        "abandonment_ratio": _ratio(counts["abandoned"], offered),
        "sla_breach_ratio": _ratio(counts["sla_breached"], counts.get(_SERVICE_LEVEL, offered)),
    }


def _ratio(part: IntColumn, whole: IntColumn) -> FloatColumn:
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
