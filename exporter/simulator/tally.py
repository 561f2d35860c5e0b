"""Counting contacts into rows and buckets.

In: contacts, the row that each stream belongs to, buckets. Out: count, sum, min and max per measure, row and bucket.
Every event is counted where its own stamp falls. Events that lie ahead of `now`, or that analytics has not taken in
yet, are not there. Knows no contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np

from exporter.simulator.contacts import Contacts, Lengths, Longs
from exporter.simulator.measures import Measure
from exporter.simulator.periods import Buckets
from exporter.simulator.streams import Chunk, Ints, StreamTable

_NO_MINIMUM = np.iinfo(np.int64).max


class ContactSource(Protocol):
    """Where contacts come from: simulated traffic, or a replayed file."""

    table: StreamTable
    chunks: tuple[Chunk, ...]

    def contacts(self, chunk_index: int, start_ms: int, end_ms: int) -> Iterable[Contacts]:
        """Everything that may have a stamp in [start_ms, end_ms)."""

    def in_progress(self, chunk_index: int, now_ms: int) -> Iterable[Contacts]:
        """Contacts that may be waiting or talking at `now_ms`."""


class Cells:
    """One measure over all rows and buckets; arrays of shape (rows, buckets)."""

    def __init__(self, shape: tuple[int, int], timed: bool) -> None:
        size = shape[0] * shape[1]
        self._shape = shape
        self._count = np.zeros(size, dtype=np.int64)
        self._sum = np.zeros(size if timed else 0, dtype=np.int64)
        self._least = np.full(size if timed else 0, _NO_MINIMUM, dtype=np.int64)
        self._most = np.zeros(size if timed else 0, dtype=np.int64)

    def add(self, cell: Ints, lengths: Lengths | None) -> None:
        size = len(self._count)
        self._count += np.bincount(cell, minlength=size)
        if lengths is not None:
            self._sum += np.bincount(cell, weights=lengths, minlength=size).astype(np.int64)
            np.minimum.at(self._least, cell, lengths)
            np.maximum.at(self._most, cell, lengths)

    @property
    def count(self) -> Ints:
        return self._count.reshape(self._shape)

    @property
    def sum(self) -> Ints:
        return self._sum.reshape(self._shape)

    @property
    def least(self) -> Ints:
        return self._least.reshape(self._shape)

    @property
    def most(self) -> Ints:
        return self._most.reshape(self._shape)


class Tally:
    """`cells[name]` for every measure asked for."""

    def __init__(self, rows: int, buckets: Buckets, measures: Mapping[str, Measure], now_ms: int) -> None:
        self._buckets = buckets
        self._measures = measures
        self._now_ms = now_ms
        self.cells = {
            name: Cells((rows, len(buckets)), measure.length is not None) for name, measure in measures.items()
        }

    def add(self, contacts: Contacts, row_of_stream: Ints) -> None:
        """Count these contacts; `row_of_stream` is -1 where a stream is not wanted."""
        row = row_of_stream[contacts.stream]
        for stamp in sorted({measure.stamp for measure in self._measures.values()}):
            at = getattr(contacts, stamp)
            seen = (at >= self._buckets.start_ms) & (at < self._buckets.end_ms) & (at + contacts.delay <= self._now_ms)
            here = np.flatnonzero(seen & (row >= 0))
            if here.size:
                self._add_stamped(stamp, contacts.where(here), row[here], at[here])

    def _add_stamped(self, stamp: str, contacts: Contacts, row: Ints, at: Longs) -> None:
        cell = row * len(self._buckets) + self._buckets.index(at)
        for name, measure in self._measures.items():
            if measure.stamp == stamp:
                happened = np.flatnonzero(measure.happened(contacts))
                lengths = None if measure.length is None else measure.length(contacts)[happened]
                self.cells[name].add(cell[happened], lengths)


def streams_of(
    source: ContactSource, wanted: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> Iterator[tuple[int, Ints]]:
    """The wanted streams, chunk by chunk: (chunk index, stream indexes)."""
    for index, chunk in enumerate(source.chunks):
        streams = chunk.streams[wanted[chunk.streams]]
        if len(streams):
            yield index, streams
