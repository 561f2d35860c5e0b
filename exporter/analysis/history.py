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

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

import numpy as np

from exporter.analysis.archive import Archive
from exporter.analysis.baseline import Baseline
from exporter.analysis.books import Books
from exporter.analysis.codec import DamagedError
from exporter.analysis.guard import Guard
from exporter.analysis.merging import Incoming, check
from exporter.analysis.past import PastRows, pack_scores
from exporter.analysis.sqlite_file import DamagedFileError
from exporter.analysis.store import Store
from exporter.errors import HistoryError
from exporter.models import BucketBatch, FloatColumn, HistoryBucket, IntColumn, SeriesKey

DAY_SECONDS = 86_400


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

    def __init__(self, books: Books) -> None:
        self.bucket_seconds = books.bucket_seconds
        self.baseline_seconds = books.baseline_seconds
        self._books = books
        self._past_rows: PastRows | None = None
        self._active: tuple[tuple[int, int], tuple[SeriesKey, ...]] = (-1, 0), ()
        self._guard = Guard()
        self._lock = Lock()
        self._filing = Lock()

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
        busy_seconds: float = 5.0,
    ) -> History:
        """Opens the file and loads the baseline from it; `None` keeps everything in memory.

        `scope` names contract, bucket length and org; `selection` the filter of queues. HistoryError where the file
        cannot be used: then open `None`, with the error's text as `disk_error`, and serve on. A file that is damaged
        or of another version is set aside by itself. Waits `lock_seconds` for another exporter to end, and up to
        `busy_seconds` at every write for other programs.
        """
        waits = {"lock_seconds": lock_seconds, "busy_seconds": busy_seconds}
        store = None if path is None else Store(path, scope, selection, **waits)
        archive = Archive(store, disk_error)
        kept_days = max(retention_days, baseline_days) if store else baseline_days

        def begin() -> Books:
            return Books(
                archive,
                bucket_seconds=bucket_seconds,
                baseline_seconds=int(baseline_days * DAY_SECONDS),
                kept_seconds=int(kept_days * DAY_SECONDS) + bucket_seconds,
                selection=selection,
            )

        try:
            books = begin()
            try:
                books.load(_end(now))
            except DamagedFileError as trouble:
                archive.begin_anew(trouble)
                books = begin()
        except BaseException:
            archive.close()
            raise
        return cls(books)

    @property
    def disk_error(self) -> str | None:
        """Why closed buckets are not being written, None while they are."""
        return self._books.archive.error

    @property
    def buckets(self) -> int:
        """Buckets in memory."""
        with self._lock:
            return len(self._books.memory.ring.starts)

    def newest(self) -> int:
        """Start of the newest bucket in memory, 0 where there is none."""
        with self._lock:
            return int(self._books.memory.ring.starts[-1:].sum())

    @property
    def version(self) -> int:
        """Grows with every change of the baseline."""
        return self._books.version

    @property
    def backfilled(self) -> bool:
        """Whether the counters may be published."""
        return self._books.backfilled

    def close(self) -> None:
        """Writes what is pending, if that can be done, and lets go of the file."""
        with self._guard.exclusive():
            self._books.flush()
            self._books.archive.close()

    def missing(self, since_seconds: int, until_seconds: int) -> list[int]:
        """Starts of the buckets within [since, until) that were never fetched for this selection, newest first."""
        with self._lock:
            return self._books.register.missing(since_seconds, until_seconds)

    def merge(self, batch: BucketBatch) -> MergeReport:
        """Takes closed buckets, each of them complete: what the batch does not tell is a true zero, unless it was lost
        or not asked for. Of that, what is known already stays, and the rest stays unknown.

        ValueError for a batch that contradicts itself or this history (a defect of the caller).
        """
        check(batch, self.bucket_seconds)
        incoming, books = Incoming.of(batch), self._books
        with self._guard.exclusive():
            with self._lock:
                positions = books.series.admit(incoming.batch.keys, incoming.touched)
                books.series.name(batch.names)
            changes = books.changes(incoming, positions)
            new = tuple(each.start for each in changes if not books.register.fetched(each.start))
            with self._lock:
                books.apply(changes)
            stored = books.flush() if books.archive.pending() else True
        changed = tuple(each.start for each in changes if each.start not in new)
        return MergeReport(new, changed, len(positions), stored)

    def name_queues(self, names: Mapping[str, str]) -> None:
        """Takes over the names of queues by id, for exports and restarts; written with the next change."""
        with self._lock:
            self._books.series.name(names)

    def names(self) -> dict[str, str]:
        """Last known names of queues by id."""
        with self._lock:
            return {key.queue_id: name for _, key, name in self._books.series.known() if name}

    @contextmanager
    def baseline(self, window_start: int, window_end: int, *, whole_days: bool = False) -> Iterator[Pinned]:
        """What a window [start, end) is scored against: the buckets of the baseline's length before `end` that end
        by `start`. Merges wait while this is held: fit, and leave.

        `whole_days` goes on to the buckets of the baseline's length before the one in which the window begins, so that
        a week holds its slot of the week; they change when the others do."""
        memory = self._books.memory
        first, end = self._span(window_start, window_end)
        with self._guard.shared():
            state = self._state(memory.ring.starts[memory.ring.between(first, end)])
            baseline = memory.baseline(first - (2 * self.bucket_seconds - 1 if whole_days else 0), end)
            yield Pinned(state, baseline, memory.keys(), memory.owners)

    def baseline_state(self, window_start: int, window_end: int) -> tuple[int, ...]:
        """Equal as long as `baseline` would give the same."""
        ring = self._books.memory.ring
        with self._lock:
            return self._state(ring.starts[ring.between(*self._span(window_start, window_end))])

    def active(self, since_seconds: int) -> tuple[SeriesKey, ...]:
        """The series with a contact in a bucket in memory that started at `since_seconds` or later; the same tuple as
        long as nothing changes."""
        books = self._books
        with self._guard.shared():
            state = (self.version, -(-since_seconds // self.bucket_seconds))
            if state != self._active[0]:
                positions = books.memory.active(since_seconds)
                self._active = state, tuple(books.series.key(position) for position in positions.tolist())
            return self._active[1]

    def counters(self, keys: Sequence[SeriesKey]) -> dict[str, IntColumn]:
        """Contacts, abandons and breaches of all closed buckets ever merged, by key; they never fall."""
        with self._lock:
            return self._books.series.counters(keys)

    def raise_counters(self, keys: Sequence[SeriesKey], totals: Mapping[str, FloatColumn]) -> None:
        """Brings counters up to what another exporter of the same org has published; none falls. NaN = not told."""
        with self._lock:
            self._books.series.raise_to(keys, totals)

    def mark_backfilled(self) -> None:
        """The caller has fetched all there is: from now on the counters move only when a bucket closes."""
        with self._lock:
            news = self._books.mark_backfilled()
        if news:
            self._file()

    def closed(self, start: int) -> Closed | None:
        """A bucket in memory by column of the baseline, None where it is not there; copies."""
        with self._guard.shared():
            found = self._books.memory.by_position(start)
            if found is None:
                return None
            positions, counts = found
            unknown = np.isin(positions, self._books.memory.lost(start))
            return Closed(positions, {name: np.where(unknown, np.nan, column) for name, column in counts.items()})

    def is_scored(self, start: int) -> bool:
        """Whether the scores of a bucket are kept already."""
        with self._lock:
            return self._books.register.scored(start)

    def unscored(self) -> list[int]:
        """Starts of the buckets in memory without stored scores, oldest first."""
        with self._lock:
            starts = self._books.memory.ring.starts.tolist()
            return [start for start in starts if not self._books.register.scored(start)]

    def set_scores(
        self, positions: IntColumn, scores: Mapping[int, Mapping[str, tuple[FloatColumn, FloatColumn]]]
    ) -> None:
        """Keeps z and anomaly by bucket start and metric; `positions` of the pinned baseline that they belong to."""
        for start, columns in scores.items():
            with self._lock:
                unknown = np.isin(positions, self._books.memory.lost(start))
            packed = pack_scores(columns, positions, len(self._books.series), unknown)
            with self._lock:
                if self._books.register.fetched(start):
                    self._books.archive.put_scores(start, packed)
                    self._books.register.score(start)
        self._file()

    def read(self, from_seconds: int, to_seconds: int) -> Iterator[HistoryBucket]:
        """The buckets that start in [from, to), in time order, decoded one at a time; for any thread.

        All share one `Rows`: the series with a contact since `from`. HistoryError where the file fails.
        """
        with ExitStack() as stack:
            with self._lock:  # rows and buckets of one moment: a position may change hands later
                past = self._past(from_seconds)
                stored = stack.enter_context(self._books.archive.reading(from_seconds, to_seconds, scores=True))
            try:
                for row in stored:
                    yield past.bucket(row, self.bucket_seconds)
            except DamagedError as error:
                raise HistoryError(f"the history holds a damaged bucket ({error})") from error

    def prune(self, now: datetime) -> None:
        """Forgets what is older than retention on disk and than the baseline in memory, series without contacts in
        either, and buckets that have not begun: a clock was wrong when they were fetched."""
        end, books = _end(now), self._books
        with self._guard.exclusive():
            ahead = books.ahead(end)
            with self._lock:
                keep, expired = books.forget(end, ahead)
            if books.flush(keep, expired):
                books.series.release(expired)
            if books.archive.store is None or books.archive.error:
                books.trim(end)
            if ahead:
                with self._lock:
                    books.refill_or_miss(end)

    def _file(self) -> None:
        with self._guard.shared(), self._filing:
            self._books.flush()

    def _past(self, since: int) -> PastRows:
        series = self._books.series
        if self._past_rows is None or self._past_rows.revision != series.revision:
            self._past_rows = PastRows.of(series)
        return self._past_rows.since(series.last_contact, since)

    def _state(self, starts: IntColumn) -> tuple[int, ...]:
        return (self.version, *starts[:1].tolist(), *starts[-1:].tolist())

    def _span(self, window_start: int, window_end: int) -> tuple[int, int]:
        return window_end - self.baseline_seconds, window_start - self.bucket_seconds + 1


def _end(now: datetime) -> int:
    """Buckets that start here or later have not begun."""
    return int(now.timestamp()) + 1
