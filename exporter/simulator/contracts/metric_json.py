"""Metrics of aggregate answers as JSON text, a fragment for each cell that holds something.

In: the metrics of a query and the tally of their measures. Out: per row and bucket the `metrics` array's inside, in
the service's order. Counters have a count; timers max, min, count and sum in ms; the service level its ratio with
numerator and denominator; the target stands in every bucket that has any activity at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from exporter.simulator.contacts import Flags
from exporter.simulator.measures import DERIVED_ORDER, MEASURES, SERVICE_LEVEL, SERVICE_TARGET, SLA_CONTACTS, SLA_MET
from exporter.simulator.streams import Ints
from exporter.simulator.tally import Cells, Tally

# Names of the tally's own measures beside those of the metrics.
_SLA_CONTACTS, _SLA_MET = "sla contacts", "sla met"
#: Whatever contacts do shows in one of these: what "activity" means for the service-level target.
_ACTIVITY = ("nOffered", "nCobrowseSessions", "tAcd", "tTalk", "tHandle")


def metric_order(metrics: Iterable[str]) -> tuple[str, ...]:
    """Stored metrics by alphabet, then the derived ones in the service's order."""
    return tuple(
        sorted(metrics, key=lambda name: (name in DERIVED_ORDER, DERIVED_ORDER.index(name), "")
               if name in DERIVED_ORDER else (False, 0, name))
    )  # fmt: skip


class Fragments:
    """Renders the metrics of one query."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._metrics = metrics
        self.measures = {name: MEASURES[name] for name in metrics if name in MEASURES}
        if SERVICE_LEVEL in metrics:
            self.measures |= {_SLA_CONTACTS: SLA_CONTACTS, _SLA_MET: SLA_MET}
        if SERVICE_TARGET in metrics:
            self.measures |= {name: MEASURES[name] for name in _ACTIVITY}

    def render(self, tally: Tally, targets: Sequence[float]) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
        """Rows that hold anything: (row, its (bucket, metrics text))."""
        present = {name: flags for name in self._metrics if (flags := self._present(name, tally)) is not None}
        if not present:
            return
        rows, buckets = np.nonzero(_any(list(present.values())))
        columns = [
            _column(name, flags[rows, buckets], tally, targets, rows, buckets) for name, flags in present.items()
        ]
        # Fragments begin with a comma, absent ones are empty: joining cells is all that is left to do in Python.
        cells = [b"".join(fragments)[1:] for fragments in zip(*columns, strict=True)]
        ends = np.searchsorted(rows, np.unique(rows), side="right").tolist()
        for start, end in pairwise([0, *ends]):
            yield int(rows[start]), list(zip(buckets[start:end].tolist(), cells[start:end], strict=True))

    def _present(self, name: str, tally: Tally) -> Flags | None:
        if name == SERVICE_TARGET:
            return _any([tally.cells[activity].count > 0 for activity in _ACTIVITY])
        if name == SERVICE_LEVEL:
            return np.asarray(tally.cells[_SLA_CONTACTS].count > 0)
        return np.asarray(tally.cells[name].count > 0) if name in tally.cells else None


def _any(flags: Sequence[Flags]) -> Flags:
    return np.asarray(np.logical_or.reduce(flags))


def _column(
    name: str, present: Flags, tally: Tally, targets: Sequence[float], rows: Ints, buckets: Ints
) -> Sequence[bytes]:
    """One metric's fragment for each cell, empty where the cell does not have it."""
    texts = _texts(name, tally, targets, rows[present], buckets[present])
    if len(texts) == len(rows):
        return texts
    column = [b""] * len(rows)
    for position, text in zip(np.flatnonzero(present).tolist(), texts, strict=True):
        column[position] = text
    return column


def _texts(name: str, tally: Tally, targets: Sequence[float], rows: Ints, buckets: Ints) -> list[bytes]:
    if name == SERVICE_TARGET:
        return _target_texts(rows, targets)
    if name == SERVICE_LEVEL:
        return _level_texts(tally, rows, buckets, targets)
    if name.startswith("t"):
        return _timer_texts(name, tally.cells[name], rows, buckets)
    template = b',{"metric":"%b","stats":{"count":%%d}}' % name.encode()
    return [template % count for count in tally.cells[name].count[rows, buckets].tolist()]


def _timer_texts(name: str, cells: Cells, rows: Ints, buckets: Ints) -> list[bytes]:
    template = b',{"metric":"%b","stats":{"max":%%d,"min":%%d,"count":%%d,"sum":%%d}}' % name.encode()
    columns = (array[rows, buckets].tolist() for array in (cells.most, cells.least, cells.count, cells.sum))
    return [template % numbers for numbers in zip(*columns, strict=True)]


def _target_texts(rows: Ints, targets: Sequence[float]) -> list[bytes]:
    by_row = [f',{{"metric":"oServiceTarget","stats":{{"current":{target:g}}}}}'.encode() for target in targets]
    return [by_row[row] for row in rows.tolist()]


def _level_texts(tally: Tally, rows: Ints, buckets: Ints, targets: Sequence[float]) -> list[bytes]:
    template = b',{"metric":"oServiceLevel","stats":{"ratio":%r,"numerator":%d,"denominator":%d,"target":%r}}'
    met = tally.cells[_SLA_MET].count[rows, buckets].tolist()
    contacts = tally.cells[_SLA_CONTACTS].count[rows, buckets].tolist()
    return [
        template % (numerator / denominator, numerator, denominator, targets[row])
        for row, numerator, denominator in zip(rows.tolist(), met, contacts, strict=True)
    ]
