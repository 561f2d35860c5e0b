"""Traffic: the contacts of a simulated contact centre, made on demand and always the same for a seed and a moment.

In: streams, incidents and a time range. Out: `Contacts`, slab by slab (a slab is a chunk of streams over some quarter
hours). Slabs are made when somebody asks and kept in a bounded cache. Replaced as a whole when queues or incidents
change. Safe to call from several threads. Knows no contract.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import numpy as np

from exporter.simulator.arrivals import quarters_of
from exporter.simulator.contacts import Contacts
from exporter.simulator.incidents import Incident
from exporter.simulator.outcomes import ON_TIME, Draft, Lateness, streams_touched
from exporter.simulator.profiles import CELL_MS, CELLS_A_DAY, profile_of
from exporter.simulator.streams import Chunk, Ints, StreamTable, chunks_of

#: Contacts kept ready, over all slabs: some 150 MB at the most.
CACHED_CONTACTS = 1_500_000
#: Cells (stream × quarter hour) made at once.
_CELLS_PER_SLAB = 2_048


class Traffic:
    """Makes the contacts of one org's streams."""

    def __init__(self, table: StreamTable, incidents: Sequence[Incident] = (), lateness: Lateness = ON_TIME) -> None:
        self.table = table
        self.chunks = chunks_of(table)
        self._incidents = [(incident, incident.start_ms, incident.end_ms) for incident in incidents]
        self._lateness = lateness
        self._touched = lru_cache(maxsize=64)(partial(streams_touched, table=table))
        self._slabs: OrderedDict[tuple[int, int], Contacts] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()

    def contacts(self, chunk_index: int, start_ms: int, end_ms: int) -> Iterator[Contacts]:
        """Everything that may have a stamp in [start_ms, end_ms), in slabs; also much that has not."""
        chunk = self.chunks[chunk_index]
        cells = max(1, min(CELLS_A_DAY // 2, _CELLS_PER_SLAB // len(chunk.streams)))
        first = (start_ms - profile_of(chunk.media_type).lookback_ms) // (cells * CELL_MS)
        last = (end_ms - 1) // (cells * CELL_MS)
        for slab in range(first, last + 1):
            yield self._slab(chunk_index, slab, cells)

    def in_progress(self, chunk_index: int, now_ms: int) -> Iterator[Contacts]:
        """Contacts that may be waiting or talking at `now_ms`."""
        return self.contacts(chunk_index, now_ms, now_ms + 1)

    def _slab(self, chunk_index: int, slab: int, cells: int) -> Contacts:
        with self._lock:
            known = self._slabs.get((chunk_index, slab))
            if known is not None:
                self._slabs.move_to_end((chunk_index, slab))
                return known
        made = self._make(self.chunks[chunk_index], np.arange(slab * cells, (slab + 1) * cells, dtype=np.int64))
        with self._lock:
            self._keep((chunk_index, slab), made)
        return made

    def _keep(self, address: tuple[int, int], made: Contacts) -> None:
        if address not in self._slabs:
            self._slabs[address] = made
            self._cached += len(made)
        while self._cached > CACHED_CONTACTS and len(self._slabs) > 1:
            self._cached -= len(self._slabs.popitem(last=False)[1])

    def _make(self, chunk: Chunk, cells: Ints) -> Contacts:
        draft = Draft.of(self.table, profile_of(chunk.media_type), quarters_of(self.table, chunk.streams, cells))
        start_ms, end_ms = int(cells[0]) * CELL_MS, int(cells[-1] + 1) * CELL_MS
        for incident, begins_ms, ends_ms in self._incidents:
            if begins_ms < end_ms and start_ms < ends_ms:
                draft.strike(incident, self._touched(incident))
        return draft.finish(self._lateness)
