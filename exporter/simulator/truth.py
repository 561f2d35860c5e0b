"""What really happened, counted apart from any contract, for tests to compare with.

Counts events by their own stamps, complete: no clock, no lateness, no permission stands between.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from exporter.simulator.measures import LEFT_AT, MEASURES, SLA_CONTACTS, Measure
from exporter.simulator.periods import Period, cut
from exporter.simulator.tally import ContactSource, Tally

_MEASURES = {
    "offered": MEASURES["nOffered"],
    "answered": MEASURES["tAnswered"],
    "abandoned": MEASURES["tAbandon"],
    "flow_out": MEASURES["tFlowOut"],
    "sla_breached": Measure(LEFT_AT, lambda contacts: contacts.breached),
    "sla_contacts": SLA_CONTACTS,
}
#: Later than any event, and far enough from the end of int64 to add to.
_END_OF_TIME_MS = 1 << 60


class Cell(NamedTuple):
    """A closed bucket of one queue and media type; `start` is aware UTC."""

    queue_id: str
    media_type: str
    start: datetime


class Counts(NamedTuple):
    offered: int
    answered: int
    abandoned: int
    flow_out: int
    sla_breached: int
    sla_contacts: int


def count(source: ContactSource, start: datetime, end: datetime, bucket_seconds: int) -> dict[Cell, Counts]:
    """All cells in which anything happened; buckets start at `start`."""
    buckets = cut(start, end, Period(seconds=bucket_seconds))
    starts = [datetime.fromtimestamp(edge / 1000, UTC) for edge in buckets.edges[:-1].tolist()]
    found: dict[Cell, Counts] = {}
    for index, chunk in enumerate(source.chunks):
        row_of_stream = np.full(len(source.table), -1, dtype=np.int64)
        row_of_stream[chunk.streams] = np.arange(len(chunk.streams))
        tally = Tally(len(chunk.streams), buckets, _MEASURES, _END_OF_TIME_MS)
        for contacts in source.contacts(index, buckets.start_ms, buckets.end_ms):
            tally.add(contacts, row_of_stream)
        columns = np.stack([tally.cells[name].count for name in _MEASURES])
        for row, bucket in np.argwhere(columns.any(axis=0)).tolist():
            stream = int(chunk.streams[row])
            cell = Cell(source.table.queue_ids[stream], source.table.media_types[stream], starts[bucket])
            found[cell] = Counts(*columns[:, row, bucket].tolist())
    return found
