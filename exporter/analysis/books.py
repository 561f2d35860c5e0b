"""What history knows, and how a batch, a start and a clean-up change it.

    series (who) · memory (the baseline) · register (which buckets) · archive (the file)

Comes in: checked batches, the file's content. Goes out: the same four, always in step: whatever changes a bucket
changes the counters by the difference, so that no bucket is ever counted twice. Not thread-safe: `history` puts the
locks around it, and calls only what says so without the readers' lock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.archive import Archive
from exporter.analysis.codec import DamagedError, unpack
from exporter.analysis.memory import Memory
from exporter.analysis.mending import LOST, Untold, is_veiled, mended
from exporter.analysis.merging import Change, Counted, Incoming, digest, packed
from exporter.analysis.register import Register
from exporter.analysis.series import COUNTERS, SeriesTable
from exporter.analysis.sqlite_file import DamagedFileError
from exporter.analysis.store import BucketRow
from exporter.errors import HistoryError
from exporter.models import BUCKET_COUNTS, Flags, IntColumn

#: The mark that the first back-fill is complete; its value is the selection for which it is.
BACKFILLED = "backfilled"

#: A restart within so many buckets leaves no gap in the counters that a back-fill would fill step by step.
GAP_BUCKETS = 3

NOBODY = np.zeros(0, np.int64)

log = logging.getLogger(__name__)


class Books:
    """Everything by `baseline_seconds` of buckets in memory and `kept_seconds` on disk."""

    def __init__(
        self, archive: Archive, *, bucket_seconds: int, baseline_seconds: int, kept_seconds: int, selection: str
    ) -> None:
        self.archive = archive
        self.bucket_seconds = bucket_seconds
        self.baseline_seconds = baseline_seconds
        self._kept_seconds = kept_seconds
        self._selection = selection
        self.series = SeriesTable()
        self.memory = Memory(self.series, -(-baseline_seconds // bucket_seconds) + 1, bucket_seconds)
        self.register = Register(bucket_seconds)
        self.version = 0  # grows with every change of the baseline
        self.backfilled = False
        self._marked = False

    def changes(self, incoming: Incoming, positions: IntColumn) -> list[Change]:
        """Those buckets of a batch that are not as they are known. Changes nothing; no lock needed."""
        starts = enumerate(incoming.batch.starts.tolist())
        foreign = self.series.of_other_queues(incoming.batch.about)
        found = (self._change(incoming, bucket, start, positions, foreign) for bucket, start in starts)
        return [change for change in found if change is not None]

    def apply(self, changes: Sequence[Change]) -> None:
        """Takes the changes over, all but the file."""
        ring = self.memory.ring
        admitted = ring.admit(np.array(sorted(change.start for change in changes), np.int64))
        ring.reserve(admitted)
        in_memory = frozenset(admitted.tolist())
        for change in changes:
            if change.counted is not None:
                self.series.count(*change.counted, sign=-1)
            self.series.count(change.positions, change.counts)
            self.series.touch(change.positions, change.counts, change.start)
            self.series.keep_alive(change.lost, change.start)
            if change.start in in_memory:
                self.memory.write(change.start, change.positions, change.counts, change.lost, veiled=change.veiled)
            self.archive.put(change.start, change.packed, keeps_scores=self.register.fetched(change.start))
            self.register.put(change.start, change.digest)
        self.series.settle()
        self.version += bool(changes)

    def flush(self, keep: tuple[int, int] | None = None, expired: Sequence[int] = ()) -> bool:
        """Writes what is pending in one transaction; tells whether the file has it. No lock needed."""
        try:
            return self._written(keep, expired)
        except DamagedFileError as trouble:
            return self._begin_anew(trouble)

    def mark_backfilled(self) -> bool:
        """Notes that counters may be published; tells whether that is news to the file."""
        news, self.backfilled, self._marked = not self._marked, True, True
        if news:
            self.archive.mark(BACKFILLED, self._selection)
        return news

    def ahead(self, end: int) -> list[Counted]:
        """What the counters hold of buckets from `end` on. Reads the file; no lock needed."""
        found = (self._counted(start, None) for start in self.register.ahead(end))
        return [counted for counted in found if counted is not None]

    def forget(self, end: int, ahead: Sequence[Counted]) -> tuple[tuple[int, int], list[int]]:
        """Drops what is too old or not yet due from memory; returns what the file shall keep, and the positions of
        the series that it shall forget."""
        for counted in ahead:
            self.series.count(*counted, sign=-1)
        keep = end - self._kept_seconds, end
        self.register.keep(*keep)
        self.memory.ring.drop(self._baseline_start(end), end)
        self.version += self.memory.compact() or bool(ahead)
        return keep, self.series.expire(keep[0], self.memory.owners)

    def trim(self, end: int) -> None:
        """What no file takes is kept no longer than the baseline."""
        self.archive.trim(self._baseline_start(end), end)

    def load(self, end: int) -> None:
        """Fills everything from the file; DamagedFileError where its parts contradict each other."""
        store, began = self.archive.store, perf_counter()
        if store is None:
            return
        try:
            marks, totals = store.bucket_marks(), store.totals()
            if marks and totals is None:
                raise DamagedError("there are buckets, but no totals of them")
            self.series.load(store.series(), totals)
            self.register.load(marks, end)
            self.refill(end)
        except DamagedError as error:
            raise DamagedFileError(f"history file {store.path} is damaged ({error})") from error
        recent = self.register.newest() + GAP_BUCKETS * self.bucket_seconds >= end
        self.backfilled = self._marked = recent and store.marks().get(BACKFILLED) == self._selection
        held, width, took = len(self.memory.ring.starts), len(self.memory.owners), perf_counter() - began
        log.info("history: %s holds %d buckets of %d series, loaded in %.2f s", store.path, held, width, took)

    def refill(self, end: int) -> None:
        """Reads the ring anew from the archive."""
        first = self._baseline_start(end)
        starts = np.array(self.register.fetched_between(first, end), np.int64)
        with self.archive.reading(first, end, scores=False) as rows:
            self.memory.load(self.memory.ring.admit(starts), self._digested(rows))

    def refill_or_miss(self, end: int) -> None:
        """As `refill`; where the archive cannot be read, all its buckets are missing and will be fetched again."""
        try:
            self.refill(end)
        except (HistoryError, DamagedError) as trouble:
            log.error("the baseline cannot be read from the history file, it is fetched again: %s", trouble)
            self.memory.ring.drop(0, 0)
            self.register.unfetch()

    def _baseline_start(self, end: int) -> int:
        return end - self.baseline_seconds - self.bucket_seconds

    def _digested(self, rows: Iterable[BucketRow]) -> Iterator[BucketRow]:
        for row in rows:
            self.register.learn(row.start, digest(row.counts))
            yield row

    def _change(
        self, incoming: Incoming, bucket: int, start: int, positions: IntColumn, foreign: Flags
    ) -> Change | None:
        counts = incoming.counts(bucket)
        dense = incoming.dense(bucket, positions, len(self.series))
        if not incoming.is_whole:
            dense = self._mended(dense, incoming, bucket, start, positions, foreign)
            positions, counts = _with_contacts(dense)
        found = packed(dense)
        if self.register.digest(start) == digest(found):
            return None
        counted = self._counted(start, (positions, counts))
        lost = np.flatnonzero(dense[LOST]) if LOST in dense else positions[:0]
        return Change(start, found, digest(found), counted, positions, counts, lost, is_veiled(dense))

    def _mended(
        self,
        dense: Mapping[str, IntColumn],
        incoming: Incoming,
        bucket: int,
        start: int,
        positions: IntColumn,
        foreign: Flags,
    ) -> dict[str, IntColumn]:
        """The bucket with what history knows in the place of what the batch does not tell."""
        lost = incoming.is_lost(bucket, positions, len(self.series))
        untold = Untold(lost, foreign, incoming.batch.lost.others)
        return mended(dense, untold, self._known(start) if untold else None)

    def _known(self, start: int) -> dict[str, NDArray[Any]] | None:
        """The bucket as history has it, None where it has not or cannot read it."""
        if not self.register.fetched(start):
            return None
        try:
            found = self.archive.counts(start)
            return None if found is None else unpack(found)
        except (HistoryError, DamagedError) as trouble:
            log.warning("bucket %d cannot be read, what is lost of it now stays unknown: %s", start, trouble)
            return None

    def _counted(self, start: int, otherwise: Counted | None) -> Counted | None:
        """What the counters hold of a bucket, None where they never saw it, `otherwise` where that cannot be read."""
        in_memory = self.memory.by_position(start)
        if in_memory is not None or not self.register.held(start):
            return in_memory
        try:
            found = self.archive.counts(start)
            if found is None or found.length > len(self.series):
                raise DamagedError("it is listed but not there")
            return slice(found.length), unpack(found, COUNTERS)
        except (HistoryError, DamagedError) as trouble:
            log.warning("bucket %d was counted before and cannot be read, its counters stay: %s", start, trouble)
            return otherwise

    def _written(self, keep: tuple[int, int] | None = None, expired: Sequence[int] = ()) -> bool:
        rows = self.series.unsaved()
        written = self.archive.flush(rows, self.series.pack_totals(), keep, expired)
        if written:
            self.series.saved(rows)
        return written

    def _begin_anew(self, trouble: DamagedFileError) -> bool:
        """The file broke while in use: what only it held is missing again; memory and counters stay."""
        if not self.archive.begin_anew(trouble):
            return False
        self.series.unsave()
        self.register.keep_only(self.archive.pending())
        self._marked = False
        try:
            return self._written()
        except DamagedFileError as again:
            log.error("%s; it is tried again with the next bucket", again)
            return False


def _with_contacts(dense: Mapping[str, IntColumn]) -> tuple[IntColumn, dict[str, IntColumn]]:
    """Positions with a contact, and their counts."""
    counts = {name: column for name, column in dense.items() if name in BUCKET_COUNTS}
    positions = np.flatnonzero(np.any([column > 0 for column in counts.values()], axis=0)) if counts else NOBODY
    return positions, {name: column[positions] for name, column in counts.items()}
