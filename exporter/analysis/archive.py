"""What the history file holds, and what it does not hold yet.

Comes in: packed buckets and scores. Goes out: the same, from the file or from here. What was not written stays pending
and is tried again with the next change; meanwhile it is read as if it were in the file. Without a file everything stays
pending: that is the history of `:memory:`. A write that fails is told by `error`, in the log once, and costs nothing
but memory. Writing is for one thread at a time; reading for any.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import merge
from threading import Lock
from typing import TypeVar

from exporter.analysis.codec import Packed
from exporter.analysis.sqlite_file import DamagedFileError
from exporter.analysis.store import BucketRow, Changes, SeriesRow, Store
from exporter.errors import HistoryError

K = TypeVar("K")
V = TypeVar("V")

log = logging.getLogger(__name__)


class Archive:
    """A store, or none, and the changes that wait for it."""

    def __init__(self, store: Store | None, error: str | None = None) -> None:
        self.store = store
        self.error = error
        self._buckets: dict[int, Packed] = {}
        self._scores: dict[int, Packed] = {}
        self._unscored: set[int] = set()
        self._marks: dict[str, str] = {}
        self._lock = Lock()

    def pending(self) -> list[int]:
        """Starts of the buckets that the file lacks."""
        with self._lock:
            return list(self._buckets)

    def put(self, start: int, counts: Packed, *, keeps_scores: bool) -> None:
        """Takes a bucket, in place of what was there."""
        with self._lock:
            self._buckets[start] = counts
            if not keeps_scores:
                self._scores.pop(start, None)
                self._unscored.add(start)

    def put_scores(self, start: int, scores: Packed) -> None:
        """Takes a bucket's scores."""
        with self._lock:
            self._scores[start] = scores

    def mark(self, name: str, value: str) -> None:
        """Takes a small fact."""
        with self._lock:
            self._marks[name] = value

    def counts(self, start: int) -> Packed | None:
        """One bucket's counts; HistoryError where the file cannot be read."""
        with self._lock:
            here = self._buckets.get(start)
        return here if here is not None or self.store is None else self.store.counts(start)

    @contextmanager
    def reading(self, first: int, end: int, *, scores: bool) -> Iterator[Iterator[BucketRow]]:
        """The buckets that start in [first, end), in time order, as they were when this was entered."""
        with self._lock:
            counts = {start: self._buckets[start] for start in sorted(self._buckets) if first <= start < end}
            scored = dict(self._scores) if scores else {}
            unscored = frozenset(self._unscored)
        if self.store is None:
            yield (BucketRow(start, packed, scored.get(start)) for start, packed in counts.items())
            return
        with self.store.reading(first, end, scores=scores) as rows:
            yield _overlaid(rows, counts, scored, unscored)

    def flush(
        self,
        series: Sequence[SeriesRow],
        totals: Packed | None,
        keep: tuple[int, int] | None = None,
        expired: Sequence[int] = (),
    ) -> bool:
        """Writes all that is pending, and the rest, in one transaction; tells whether the file has it now."""
        if self.store is None:
            return True
        with self._lock:
            buckets, scores, marks = dict(self._buckets), dict(self._scores), dict(self._marks)
            unscored = frozenset(self._unscored)
        try:
            self.store.write(Changes(buckets, scores, unscored, series, totals, marks, keep, expired))
        except HistoryError as trouble:
            self._failed(trouble)
            return False
        self._written(buckets, scores, marks, unscored)
        return True

    def trim(self, first: int, end: int) -> None:
        """Forgets pending buckets that start outside of [first, end)."""
        with self._lock:
            self._buckets = {start: each for start, each in self._buckets.items() if first <= start < end}
            self._scores = {start: each for start, each in self._scores.items() if first <= start < end}
            self._unscored = {start for start in self._unscored if first <= start < end}

    def begin_anew(self, trouble: DamagedFileError) -> bool:
        """Sets the file aside and begins an empty one; where even that is impossible, goes on in memory."""
        if self.store is None:
            return False
        try:
            self.store.replace(trouble)
        except HistoryError as worse:
            log.error("%s; %s", trouble, worse)
            self.close()
            self.error = f"{trouble}; {worse}"
            return False
        return True

    def close(self) -> None:
        """Lets go of the file."""
        if self.store is not None:
            self.store.close()
            self.store = None

    def _failed(self, trouble: HistoryError) -> None:
        if isinstance(trouble, DamagedFileError):
            raise trouble
        if self.error is None:
            log.error("%s; the exporter goes on from memory and tries again with every bucket", trouble)
        self.error = str(trouble)

    def _written(
        self,
        buckets: Mapping[int, Packed],
        scores: Mapping[int, Packed],
        marks: Mapping[str, str],
        unscored: frozenset[int],
    ) -> None:
        if self.error is not None:
            log.info("history file: works again, %d buckets that waited were written", len(buckets))
            self.error = None
        with self._lock:
            _remove(self._buckets, buckets)
            _remove(self._scores, scores)
            _remove(self._marks, marks)
            self._unscored -= unscored


def _remove(pending: dict[K, V], written: Mapping[K, V]) -> None:
    """Takes off what was written, unless something newer has come in its place."""
    for key in [key for key, value in written.items() if pending.get(key) is value]:
        del pending[key]


def _overlaid(
    rows: Iterator[BucketRow], counts: Mapping[int, Packed], scores: Mapping[int, Packed], unscored: frozenset[int]
) -> Iterator[BucketRow]:
    """The rows of the file with what is pending laid over them."""
    last = None
    for row in merge(rows, (BucketRow(start, packed, None) for start, packed in counts.items()), key=_start):
        if row.start != last:  # of two equal starts the file's comes first, and may have scores
            kept = None if row.start in unscored else row.scores
            yield BucketRow(row.start, counts.get(row.start, row.counts), scores.get(row.start, kept))
        last = row.start


def _start(row: BucketRow) -> int:
    return row.start
