"""Metrics of aggregate answers as JSON text, a fragment for each cell that holds something.

In: the metrics of a query and the tally of their measures. Out: per row and bucket the `metrics` array's inside, in
the service's order. Counters have a count; timers max, min, count and sum in ms; the service level its ratio with
numerator and denominator; the target stands in every bucket that has any activity at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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

    def render(self, tally: Tally, targets: Sequence[float]) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        """Rows that hold anything: (row, its (bucket, metrics text))."""
        present = {name: self._present(name, tally) for name in self._metrics}
        any_metric = _any(
            [flags for flags in present.values() if flags is not None] or [np.zeros((1, 1), dtype=np.bool_)]
        )
        texts = {
            name: _texts(name, flags, tally, targets)
            for name, flags in present.items()
            if flags is not None and flags.any()
        }
        for row in np.flatnonzero(any_metric.any(axis=1)).tolist():
            yield row, _buckets_of(row, np.flatnonzero(any_metric[row]).tolist(), texts)

    def _present(self, name: str, tally: Tally) -> Flags | None:
        if name == SERVICE_TARGET:
            return _any([tally.cells[activity].count > 0 for activity in _ACTIVITY])
        if name == SERVICE_LEVEL:
            return np.asarray(tally.cells[_SLA_CONTACTS].count > 0)
        return np.asarray(tally.cells[name].count > 0) if name in tally.cells else None


def _any(flags: Sequence[Flags]) -> Flags:
    return np.asarray(np.logical_or.reduce(flags))


Texts = dict[tuple[int, int], bytes]


def _buckets_of(row: int, buckets: Sequence[int], texts: dict[str, Texts]) -> Iterator[tuple[int, bytes]]:
    for bucket in buckets:
        address = (row, bucket)
        yield bucket, b",".join([found[address] for found in texts.values() if address in found])


def _texts(name: str, present: Flags, tally: Tally, targets: Sequence[float]) -> Texts:
    rows, buckets = np.nonzero(present)
    addresses = list(zip(rows.tolist(), buckets.tolist(), strict=True))
    if name == SERVICE_TARGET:
        texts = _target_texts(rows, targets)
    elif name == SERVICE_LEVEL:
        texts = _level_texts(tally, rows, buckets, targets)
    elif name.startswith("t"):
        texts = _timer_texts(name, tally.cells[name], rows, buckets)
    else:
        head = b'{"metric":"%b","stats":{"count":' % name.encode()
        texts = [b"%b%d}}" % (head, count) for count in tally.cells[name].count[rows, buckets].tolist()]
    return dict(zip(addresses, texts, strict=True))


def _timer_texts(name: str, cells: Cells, rows: Ints, buckets: Ints) -> list[bytes]:
    head = b'{"metric":"%b","stats":{"max":' % name.encode()
    columns = (array[rows, buckets].tolist() for array in (cells.most, cells.least, cells.count, cells.sum))
    return [
        b'%b%d,"min":%d,"count":%d,"sum":%d}}' % (head, most, least, count, total)
        for most, least, count, total in zip(*columns, strict=True)
    ]


def _target_texts(rows: Ints, targets: Sequence[float]) -> list[bytes]:
    by_row = [f'{{"metric":"oServiceTarget","stats":{{"current":{target:g}}}}}'.encode() for target in targets]
    return [by_row[row] for row in rows.tolist()]


def _level_texts(tally: Tally, rows: Ints, buckets: Ints, targets: Sequence[float]) -> list[bytes]:
    met = tally.cells[_SLA_MET].count[rows, buckets].tolist()
    contacts = tally.cells[_SLA_CONTACTS].count[rows, buckets].tolist()
    return [
        f'{{"metric":"oServiceLevel","stats":{{"ratio":{numerator / denominator!r},"numerator":{numerator},'
        f'"denominator":{denominator},"target":{targets[row]:g}}}}}'.encode()
        for row, numerator, denominator in zip(rows.tolist(), met, contacts, strict=True)
    ]
