"""History: the closed buckets of every series, in memory for the scores and on disk for restarts and exports.

    BucketBatch ──merge──▶ ring (baseline, four counts) ──baseline──▶ scores
                      └──▶ archive (all counts, scores) ──read──▶ /export.csv

Comes in: batches of closed buckets, complete for the present selection of queues; the same batch again changes
nothing, a corrected one replaces the bucket. Goes out: the baseline as views, past buckets as a stream, the counters,
and which buckets are missing. Buckets start on multiples of their length in UTC. Never asks the API, never looks
at a clock. Without a file (`path=None`) it is the same, and forgets at the end.

Any method may be called in any thread. Merges exclude fits on the ring's views (`guard`); every other lock is held for
moments only. What was merged is on disk when `merge` returns, or `disk_error` tells why not and it is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from time import perf_counter

import numpy as np

from exporter.analysis.archive import Archive
from exporter.analysis.baseline import Baseline
from exporter.analysis.codec import DamagedError, unpack
from exporter.analysis.guard import Guard
from exporter.analysis.memory import Memory
from exporter.analysis.merging import Change, Counted, Incoming, check, digest
from exporter.analysis.past import PastRows, pack_scores
from exporter.analysis.series import COUNTERS, SeriesTable
from exporter.analysis.sqlite_file import DamagedFileError
from exporter.analysis.store import BucketRow, Store
from exporter.errors import HistoryError
from exporter.models import BucketBatch, FloatColumn, HistoryBucket, IntColumn, SeriesKey

#: The mark that the first back-fill is complete; its value is the selection for which it is.
BACKFILLED = "backfilled"
DAY_SECONDS = 86400

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did: starts of the buckets that were new and of those that were corrected, the number of series
    with contacts in the batch, and whether all of it is on disk (always true without a file)."""

    new: tuple[int, ...]
    changed: tuple[int, ...]
    series: int
    stored: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pinned:
    """A baseline that no merge moves, valid inside its `with`; `keys` and `positions` of its columns may be kept."""

    state: tuple[int, ...]
    baseline: Baseline
    keys: tuple[SeriesKey, ...]
    positions: IntColumn


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """One bucket's counts by column; `positions` is the very object of `Pinned` as long as the columns are the same."""

    positions: IntColumn
    counts: Mapping[str, FloatColumn]


class History:
    """See the module; made by `open`."""

    def __init__(
        self, archive: Archive, *, bucket_seconds: int, baseline_days: float, retention_days: float, selection: str
    ) -> None:
        self.bucket_seconds = bucket_seconds
        self.baseline_seconds = int(baseline_days * DAY_SECONDS)
        kept_days = max(retention_days, baseline_days) if archive.store else baseline_days
        self._kept_seconds = int(kept_days * DAY_SECONDS) + bucket_seconds
        self._selection = selection
        self._archive = archive
        self._series = SeriesTable()
        self._memory = Memory(self._series, -(-self.baseline_seconds // bucket_seconds) + 1, bucket_seconds)
        self._digests: dict[int, int | None] = {}  # by start, of buckets of this selection; None = not known
        self._held: set[int] = set()  # starts of buckets of any selection
        self._scored: set[int] = set()
        self._past_rows: PastRows | None = None
        self._guard = Guard()
        self._lock = Lock()
        self._filing = Lock()
        self.version = 0
        self.backfilled = self._marked = False

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        scope: str,
        selection: str,
        bucket_seconds: int,
        baseline_days: float,
        retention_days: float,
        now: datetime,
        disk_error: str | None = None,
        lock_seconds: float = 5.0,
    ) -> History:
        """Opens the file and loads the baseline from it; `None` keeps everything in memory.

        `scope` names contract, bucket length and org; `selection` the filter of queues. HistoryError where the file
        cannot be used: then open `None`, with the error's text as `disk_error`, and serve on. A file that is damaged
        or of another version is set aside by itself.
        """
        store = None if path is None else Store(path, scope, selection, lock_seconds=lock_seconds)
        archive = Archive(store, disk_error)

        def begin() -> History:
            return cls(
                archive,
                bucket_seconds=bucket_seconds,
                baseline_days=baseline_days,
                retention_days=retention_days,
                selection=selection,
            )

        try:
            history = begin()
            try:
                history._load(now)
            except DamagedFileError as trouble:
                archive.begin_anew(trouble)
                history = begin()
        except BaseException:
            archive.close()
            raise
        return history

    @property
    def disk_error(self) -> str | None:
        """Why closed buckets are not being written, None while they are."""
        return self._archive.error

    @property
    def buckets(self) -> int:
        """Buckets in memory."""
        with self._lock:
            return len(self._memory.ring.starts)

    def close(self) -> None:
        """Writes what is pending, if that can be done, and lets go of the file."""
        with self._guard.exclusive():
            self._flush()
            self._archive.close()

    def missing(self, since_seconds: int, until_seconds: int) -> list[int]:
        """Starts of the buckets within [since, until) that were never fetched for this selection, newest first."""
        step = self.bucket_seconds
        first, last = -(-since_seconds // step) * step, until_seconds // step * step - step
        with self._lock:
            return [start for start in range(last, first - 1, -step) if start not in self._digests]

    def merge(self, batch: BucketBatch) -> MergeReport:
        """Takes closed buckets, each of them complete: what the batch does not tell is a true zero.

        ValueError for a batch that contradicts itself or this history (a defect of the caller).
        """
        check(batch, self.bucket_seconds)
        incoming = Incoming.of(batch)
        with self._guard.exclusive():
            with self._lock:
                positions = self._series.admit(incoming.keys)
                renamed = self._series.name(batch.names)
            changes = [
                change
                for bucket, start in enumerate(batch.starts.tolist())
                if (change := self._change(incoming, bucket, start, positions)) is not None
            ]
            with self._lock:
                new = tuple(each.start for each in changes if each.start not in self._digests)
                self._apply(incoming, positions, changes)
            waiting = changes or renamed or self._archive.pending()
            stored = self._flush() if waiting else True
        changed = tuple(each.start for each in changes if each.start not in new)
        return MergeReport(new, changed, len(positions), stored)

    def name_queues(self, names: Mapping[str, str]) -> None:
        """Takes over the names of queues by id, for exports and restarts; written with the next change."""
        with self._guard.exclusive(), self._lock:
            self._series.name(names)

    @contextmanager
    def baseline(self, window_start: int, window_end: int) -> Iterator[Pinned]:
        """What a window [start, end) is scored against: the buckets of the baseline's length before `end` that end
        by `start`. Merges wait while this is held: fit, and leave."""
        with self._guard.shared():
            baseline = self._memory.baseline(*self._span(window_start, window_end))
            yield Pinned(self._state(baseline.starts), baseline, self._memory.keys(), self._memory.owners)

    def baseline_state(self, window_start: int, window_end: int) -> tuple[int, ...]:
        """Equal as long as `baseline` would give the same."""
        with self._lock:
            rows = self._memory.ring.between(*self._span(window_start, window_end))
            return self._state(self._memory.ring.starts[rows])

    def active(self, since_seconds: int) -> tuple[SeriesKey, ...]:
        """The series with a contact in a bucket that started at `since_seconds` or later."""
        with self._lock:
            recent = np.flatnonzero(self._series.last_contact >= since_seconds)
            return tuple(self._series.key(position) for position in recent.tolist())

    def counters(self, keys: Sequence[SeriesKey]) -> dict[str, IntColumn]:
        """Contacts, abandons and breaches of all closed buckets ever merged, by key; they never fall."""
        with self._lock:
            return self._series.counters(keys)

    def mark_backfilled(self) -> None:
        """The caller has fetched all it can: from now on the counters move only when a bucket closes."""
        if not self._marked:
            self.backfilled = self._marked = True
            self._archive.mark(BACKFILLED, self._selection)
            self._file()

    def is_scored(self, start: int) -> bool:
        """Whether the scores of a bucket are kept already."""
        with self._lock:
            return start in self._scored

    def unscored(self) -> list[int]:
        """Starts of the buckets in memory without stored scores, oldest first."""
        with self._lock:
            return [start for start in self._memory.ring.starts.tolist() if start not in self._scored]

    def closed(self, start: int) -> Closed | None:
        """A bucket in memory by column of the baseline, None where it is not there; copies."""
        with self._guard.shared():
            row = self._memory.ring.row(start)
            if row is None:
                return None
            return Closed(self._memory.owners, {name: column.astype(np.float64) for name, column in row.items()})

    def names(self) -> dict[str, str]:
        """Last known names of queues by id."""
        with self._lock:
            return {key.queue_id: name for _, key, name in self._series.known() if name}

    def set_scores(
        self, positions: IntColumn, scores: Mapping[int, Mapping[str, tuple[FloatColumn, FloatColumn]]]
    ) -> None:
        """Keeps z and anomaly by bucket start and metric; `positions` of the pinned baseline that they belong to."""
        for start, columns in scores.items():
            packed = pack_scores(columns, positions, len(self._series))
            with self._lock:
                if start in self._digests:
                    self._archive.put_scores(start, packed)
                    self._scored.add(start)
        self._file()

    def read(self, from_seconds: int, to_seconds: int) -> Iterator[HistoryBucket]:
        """The buckets that start in [from, to), in time order, decoded one at a time; for any thread.

        All share one `Rows`, the same object as long as no series or name is new. HistoryError where the file fails.
        """
        with ExitStack() as stack:
            with self._lock:  # rows and buckets of one moment: a position may change hands later
                past = self._past()
                reading = self._archive.reading(from_seconds, to_seconds, scores=True)
                stored = stack.enter_context(reading)
            try:
                for row in stored:
                    yield past.bucket(row, self.bucket_seconds)
            except DamagedError as error:
                raise HistoryError(f"the history holds a damaged bucket ({error})") from error

    def prune(self, now: datetime) -> None:
        """Forgets what is older than retention on disk and than the baseline in memory, series without contacts in
        either, and buckets that have not begun: a clock was wrong when they were fetched."""
        end = int(now.timestamp()) + 1
        first = end - self._kept_seconds
        with self._guard.exclusive():
            with self._lock:
                ahead = [start for start in self._held if start >= end]
            counted = [each for start in ahead if (each := self._counted(start)) is not None]
            with self._lock:
                expired = self._forget(first, end, counted)
            if self._flush((first, end), expired):
                self._series.release(expired)
            if ahead:
                self._refill(end)

    def _past(self) -> PastRows:
        if self._past_rows is None or self._past_rows.revision != self._series.revision:
            self._past_rows = PastRows.of(self._series)
        return self._past_rows

    def _state(self, starts: IntColumn) -> tuple[int, ...]:
        return (self.version, *starts[:1].tolist(), *starts[-1:].tolist())

    def _span(self, window_start: int, window_end: int) -> tuple[int, int]:
        return window_end - self.baseline_seconds, window_start - self.bucket_seconds + 1

    def _change(self, incoming: Incoming, bucket: int, start: int, positions: IntColumn) -> Change | None:
        """What one bucket of the batch changes; None where history has the same already."""
        packed = incoming.packed(bucket, positions, len(self._series))
        found = digest(packed)
        if self._digests.get(start) == found:
            return None
        try:
            counted = self._counted(start)
        except (HistoryError, DamagedError) as trouble:
            log.warning("bucket %d was counted before and cannot be read, its counters stay: %s", start, trouble)
            counted = (positions, incoming.counts(bucket))
        return Change(bucket, start, packed, found, counted)

    def _counted(self, start: int) -> Counted | None:
        """What the counters hold of a bucket, by position; None where they never saw it."""
        held = self._memory.by_position(start)
        if held is not None or start not in self._held:
            return held
        packed = self._archive.counts(start)
        if packed is None or packed.length > len(self._series):
            raise DamagedError("it is listed but not there")
        return slice(packed.length), unpack(packed, COUNTERS)

    def _apply(self, incoming: Incoming, positions: IntColumn, changes: Sequence[Change]) -> None:
        admitted = self._memory.ring.admit(np.array(sorted(change.start for change in changes), np.int64))
        self._memory.ring.reserve(admitted)
        in_memory = frozenset(admitted.tolist())
        for change in changes:
            counts = incoming.counts(change.bucket)
            if change.counted is not None:
                self._series.count(*change.counted, sign=-1)
            self._series.count(positions, counts)
            self._series.touch(positions, counts, change.start)
            if change.start in in_memory:
                self._memory.write(change.start, positions, counts)
            self._remember(change)
        self._series.settle()
        self.version += bool(changes)

    def _remember(self, change: Change) -> None:
        known = change.start in self._digests
        self._archive.put(change.start, change.packed, keeps_scores=known)
        if not known:
            self._scored.discard(change.start)
        self._digests[change.start] = change.digest
        self._held.add(change.start)

    def _file(self) -> None:
        with self._guard.shared(), self._filing:
            self._flush()

    def _flush(self, keep: tuple[int, int] | None = None, expired: Sequence[int] = ()) -> bool:
        """Writes what is pending; inside the guard, so that series, totals and buckets belong together."""
        rows = self._series.unsaved()
        try:
            written = self._archive.flush(rows, self._series.pack_totals(), keep, expired)
        except DamagedFileError as trouble:
            return self._begin_anew(trouble)
        if written:
            self._series.saved(rows)
        return written

    def _begin_anew(self, trouble: DamagedFileError) -> bool:
        """The file broke while in use: what only it held is missing again, memory and counters stay."""
        with self._lock:
            self._series.unsave()
            self._held = set(self._archive.pending())
            self._digests = {start: each for start, each in self._digests.items() if start in self._held}
            self._scored.clear()
            self._marked = False
        return self._archive.begin_anew(trouble) and self._flush()

    def _forget(self, first: int, end: int, ahead: Sequence[Counted]) -> list[int]:
        """Leaves in memory what lies in [first, end) and in the baseline; returns the positions of forgotten series."""
        for counted in ahead:
            self._series.count(*counted, sign=-1)
        self._digests = {start: each for start, each in self._digests.items() if first <= start < end}
        self._held = {start for start in self._held if first <= start < end}
        self._scored = {start for start in self._scored if first <= start < end}
        self._memory.ring.drop(end - self.baseline_seconds - self.bucket_seconds, end)
        self.version += self._memory.compact() or bool(ahead)
        return self._series.expire(first, self._memory.owners)

    def _load(self, now: datetime) -> None:
        """Fills the memory from the file; DamagedFileError where its parts contradict each other."""
        store, began = self._archive.store, perf_counter()
        if store is None:
            return
        try:
            self._series.load(store.series(), store.totals())
            end = int(now.timestamp()) + 1
            for mark in store.bucket_marks():
                self._held.add(mark.start)
                if mark.current and mark.start < end:
                    self._digests[mark.start] = None
                if mark.scored:
                    self._scored.add(mark.start)
            self._refill(end)
        except DamagedError as error:
            raise DamagedFileError(f"history file {store.path} is damaged ({error})") from error
        recent = max(self._digests, default=0) + 3 * self.bucket_seconds >= end
        self.backfilled = self._marked = recent and store.marks().get(BACKFILLED) == self._selection
        took = perf_counter() - began
        held, width = len(self._memory.ring.starts), len(self._memory.owners)
        log.info("history: %d buckets of %d series loaded from %s in %.2f s", held, width, store.path, took)

    def _refill(self, end: int) -> None:
        """Reads the ring anew from the archive."""
        first = end - self.baseline_seconds - self.bucket_seconds
        starts = np.array(sorted(start for start in self._digests if first <= start < end), np.int64)
        with self._archive.reading(first, end, scores=False) as rows:
            self._memory.load(self._memory.ring.admit(starts), self._digested(rows))

    def _digested(self, rows: Iterable[BucketRow]) -> Iterator[BucketRow]:
        for row in rows:
            if row.start in self._digests:
                self._digests[row.start] = digest(row.counts)
            yield row
