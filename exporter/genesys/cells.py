"""The metrics of cells of aggregates answers as numbers: rows of WINDOW_COLUMNS.

All cells that name the same metrics are read at once, by the column, which takes a quarter of the time at 20,000
queues. A cell with anything unusual in it, such as a number that cannot be, a metric twice or a qualifier, is not plain
then: it is read by itself, and either makes sense or has a fault that can be told.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter.genesys.decode import MAX_COUNT, MAX_SUM_MILLISECONDS, fault_of, is_count, is_sum
from exporter.models import WINDOW_COLUMNS, FloatColumn

#: Groups of fewer cells than this are not worth an array.
FEW_CELLS = 8

#: Counts by the metric whose `stats.count` they are; times by the metric whose `stats.sum` they are.
_COUNTS = {
    "nOffered": "offered",
    "tAnswered": "answered",
    "tAbandon": "abandoned",
    "tFlowOut": "flow_out",
    "tHandle": "handled",
    "tWait": "waited",
}
_SUMS = {"tAnswered": "answered_seconds", "tHandle": "handled_seconds", "tWait": "waited_seconds"}
_COLUMN = {name: position for position, name in enumerate(WINDOW_COLUMNS)}
_COUNT_COLUMN = {metric: _COLUMN[name] for metric, name in _COUNTS.items()}
_SUM_COLUMN = {metric: _COLUMN[name] for metric, name in _SUMS.items()}
_TARGET, _BREACHED, _SLA_CONTACTS = (
    _COLUMN["service_level_target"],
    _COLUMN["sla_breached"],
    _COLUMN["sla_contacts"],
)
_NO_VALUE = float("nan")
_EMPTY_ROW = [0.0] * len(WINDOW_COLUMNS)
_EMPTY_ROW[_TARGET] = _NO_VALUE

Flags = NDArray[np.bool_]


class Stats(msgspec.Struct, gc=False):
    count: float | None = None
    sum: float | None = None
    numerator: float | None = None
    denominator: float | None = None
    target: float | None = None
    current: float | None = None


class Metric(msgspec.Struct, gc=False):
    metric: str
    stats: Stats
    qualifier: str | None = None


def read_cells(cells: Sequence[Sequence[Metric]]) -> tuple[NDArray[np.float64], Flags]:
    """Shapes (cells, len(WINDOW_COLUMNS)) and (cells,): a row per cell, and whether it holds all that the cell says."""
    table = np.tile(_EMPTY_ROW, (len(cells), 1))
    plain = np.zeros(len(cells), bool)
    for names, rows in _alike(cells).items():
        if len(rows) >= FEW_CELLS and len(set(names)) == len(names):
            part = np.tile(_EMPTY_ROW, (len(rows), 1))
            plain[rows] = _fill(part, names, [cells[row] for row in rows])
            table[rows] = part
    return table, plain


def _alike(cells: Sequence[Sequence[Metric]]) -> dict[tuple[str, ...], list[int]]:
    """The places of the cells that name the same metrics in the same order."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, metrics in enumerate(cells):
        groups.setdefault(tuple([each.metric for each in metrics]), []).append(row)
    return groups


def _fill(part: NDArray[np.float64], names: Sequence[str], cells: Sequence[Sequence[Metric]]) -> Flags:
    """Write the metrics of cells that all name `names`; which of the cells are plain."""
    plain = np.ones(len(cells), bool)
    for place, name in enumerate(names):
        metrics = [metrics[place] for metrics in cells]
        qualifiers = [each.qualifier for each in metrics]
        if qualifiers.count(None) < len(metrics):
            plain &= np.array([each is None for each in qualifiers], bool)
        stats = [each.stats for each in metrics]
        if name == "oServiceLevel":
            plain &= _fill_service_level(part, stats)
        elif name == "oServiceTarget":
            plain &= _fill_target(part, [each.current for each in stats])
        if name in _COUNT_COLUMN:
            part[:, _COUNT_COLUMN[name]] = counts = _numbers([each.count for each in stats])
            plain &= _are_counts(counts)
        if name in _SUM_COLUMN:
            sums = _numbers([each.sum for each in stats])
            part[:, _SUM_COLUMN[name]] = sums / 1000
            plain &= (sums >= 0) & (sums <= MAX_SUM_MILLISECONDS)
    return plain


def _fill_service_level(part: NDArray[np.float64], stats: Sequence[Stats]) -> Flags:
    numerator = _numbers([each.numerator for each in stats])
    denominator = _numbers([each.denominator for each in stats])
    part[:, _SLA_CONTACTS], part[:, _BREACHED] = denominator, denominator - numerator
    possible = _are_counts(numerator) & _are_counts(denominator) & (numerator <= denominator)
    return possible & _fill_target(part, [each.target for each in stats])


def _fill_target(part: NDArray[np.float64], values: Sequence[float | None]) -> Flags:
    targets = _numbers(values)
    absent = np.isnan(targets)
    part[:, _TARGET] = np.where(absent, part[:, _TARGET], targets)
    return absent | ((targets >= 0) & (targets <= 1))


def _numbers(values: Sequence[float | None]) -> FloatColumn:
    """NaN, which JSON cannot say, where there is no number."""
    return np.array(values, np.float64)


def _are_counts(values: FloatColumn) -> Flags:
    """As `decode.is_count`; false for NaN."""
    possible: Flags = (values >= 0) & (values <= MAX_COUNT) & (values == np.floor(values))
    return possible


def read_cell(metrics: Sequence[Metric]) -> list[float] | str:
    """One row of WINDOW_COLUMNS; the reason, of REJECT_REASONS, where a number cannot be."""
    values = _EMPTY_ROW.copy()
    seen = set()
    for metric in metrics:
        name = metric.metric
        if metric.qualifier is not None:
            continue
        fault = "duplicate" if name in seen else _place(values, name, metric.stats)
        if fault:
            return fault
        seen.add(name)
    return values


def _place(values: list[float], name: str, stats: Stats) -> str | None:
    """Write one metric's numbers into the row; the reason where they cannot be, else None."""
    if name == "oServiceLevel":
        return _place_service_level(values, stats)
    if name == "oServiceTarget":
        return _place_target(values, stats.current)
    if name in _COUNT_COLUMN:
        if stats.count is None or not is_count(stats.count):
            return fault_of(stats.count)
        values[_COUNT_COLUMN[name]] = stats.count
    if name in _SUM_COLUMN:
        if stats.sum is None or not is_sum(stats.sum):
            return fault_of(stats.sum)
        values[_SUM_COLUMN[name]] = stats.sum / 1000
    return None


def _place_service_level(values: list[float], stats: Stats) -> str | None:
    numerator, denominator = stats.numerator, stats.denominator
    if numerator is None and denominator is None:
        return _place_target(values, stats.target)
    if numerator is None or not is_count(numerator):
        return fault_of(numerator)
    if denominator is None or not is_count(denominator):
        return fault_of(denominator)
    if numerator > denominator:
        return "range"
    values[_SLA_CONTACTS], values[_BREACHED] = denominator, denominator - numerator
    return _place_target(values, stats.target)


def _place_target(values: list[float], target: float | None) -> str | None:
    if target is None:
        return None
    if not 0 <= target <= 1:
        return fault_of(target)
    values[_TARGET] = target
    return None
