"""Cells of aggregates answers read by the column: all cells that name the same metrics at once.

In come the lists of metrics of many cells; out go their numbers as one table, and which cells could be read. A cell
with anything unusual in it, such as a number that cannot be, a metric twice or a qualifier, is left to `aggregates`,
which reads one cell after another and says what is wrong: this module only says which are plain. At 20,000 queues it
takes a quarter of that time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.genesys.decode import MAX_COUNT, MAX_SUM_MILLISECONDS
from exporter.models import FloatColumn

#: Groups of fewer cells than this are not worth an array.
FEW_CELLS = 8

Flags = NDArray[np.bool_]


class MetricLike(Protocol):
    """What is read of a metric."""

    metric: str
    stats: Any
    qualifier: str | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of the table a metric's numbers belong into."""

    counts: Mapping[str, int]
    sums: Mapping[str, int]
    breached: int
    sla_contacts: int
    target: int


def read_cells(
    cells: Sequence[Sequence[MetricLike]], layout: Layout, empty: Sequence[float]
) -> tuple[NDArray[np.float64], Flags]:
    """A row per cell, filled from `empty`, and whether it holds all that the cell says."""
    table = np.tile(np.array(empty, np.float64), (len(cells), 1))
    plain = np.zeros(len(cells), bool)
    for names, rows in _alike(cells).items():
        if len(rows) >= FEW_CELLS and len(set(names)) == len(names):
            part = np.tile(np.array(empty, np.float64), (len(rows), 1))
            plain[rows] = _fill(part, names, [cells[row] for row in rows], layout)
            table[rows] = part
    return table, plain


def _alike(cells: Sequence[Sequence[MetricLike]]) -> dict[tuple[str, ...], list[int]]:
    """The places of the cells that name the same metrics in the same order."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, metrics in enumerate(cells):
        groups.setdefault(tuple([each.metric for each in metrics]), []).append(row)
    return groups


def _fill(
    part: NDArray[np.float64], names: Sequence[str], cells: Sequence[Sequence[MetricLike]], layout: Layout
) -> Flags:
    """Write the metrics of cells that all name `names`; which of the cells are plain."""
    plain = np.ones(len(cells), bool)
    for place, name in enumerate(names):
        metrics = [metrics[place] for metrics in cells]
        qualifiers = [each.qualifier for each in metrics]
        if qualifiers.count(None) < len(metrics):
            plain &= np.array([each is None for each in qualifiers], bool)
        stats = [each.stats for each in metrics]
        if name == "oServiceLevel":
            plain &= _fill_service_level(part, stats, layout)
        elif name == "oServiceTarget":
            plain &= _fill_target(part, [each.current for each in stats], layout)
        if name in layout.counts:
            part[:, layout.counts[name]] = counts = _numbers([each.count for each in stats])
            plain &= _are_counts(counts)
        if name in layout.sums:
            sums = _numbers([each.sum for each in stats])
            part[:, layout.sums[name]] = sums / 1000
            plain &= (sums >= 0) & (sums <= MAX_SUM_MILLISECONDS)
    return plain


def _fill_service_level(part: NDArray[np.float64], stats: Sequence[Any], layout: Layout) -> Flags:
    numerator = _numbers([each.numerator for each in stats])
    denominator = _numbers([each.denominator for each in stats])
    part[:, layout.sla_contacts], part[:, layout.breached] = denominator, denominator - numerator
    possible = _are_counts(numerator) & _are_counts(denominator) & (numerator <= denominator)
    return possible & _fill_target(part, [each.target for each in stats], layout)


def _fill_target(part: NDArray[np.float64], values: Sequence[float | None], layout: Layout) -> Flags:
    targets = _numbers(values)
    absent = np.isnan(targets)
    part[:, layout.target] = np.where(absent, part[:, layout.target], targets)
    return absent | ((targets >= 0) & (targets <= 1))


def _numbers(values: Sequence[float | None]) -> FloatColumn:
    """NaN, which JSON cannot say, where there is no number."""
    return np.array(values, np.float64)


def _are_counts(values: FloatColumn) -> Flags:
    """As `decode.is_count`; false for NaN."""
    possible: Flags = (values >= 0) & (values <= MAX_COUNT) & (values == np.floor(values))
    return possible
