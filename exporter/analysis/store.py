"""The history file: closed buckets, their scores, the series they speak of, and the counters.

Comes in: columns packed by `codec`. Goes out: the same, after a restart. One row per bucket, one per series, one row of
totals per scope; a row per cell was measured forty times slower to load. All changes of one merge are one
transaction: buckets, series and totals of the file always belong together.

SQLite notices a broken page, not a turned bit: every row bears a seal over all that it says, and a row whose seal is
broken is damage. A scope (contract, bucket length, org) never mixes with another in the same file. Each bucket row says
under which selection of queues it was fetched; `selection` is the present one. Knows nothing of memory, queues or time.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from exporter.analysis import sqlite_file
from exporter.analysis.codec import DamagedError, Packed
from exporter.analysis.sqlite_file import DamagedFileError
from exporter.errors import HistoryError

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE scopes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE marks (scope INTEGER, name TEXT, value TEXT NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE TABLE series (scope INTEGER, position INTEGER, queue_id TEXT NOT NULL, media_type TEXT NOT NULL,
    queue_name TEXT NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (scope, position)) WITHOUT ROWID;
CREATE TABLE totals (scope INTEGER PRIMARY KEY, layout TEXT NOT NULL, length INTEGER NOT NULL, data BLOB NOT NULL,
    seal INTEGER NOT NULL);
CREATE TABLE buckets (scope INTEGER, start INTEGER, selection TEXT NOT NULL, layout TEXT NOT NULL,
    length INTEGER NOT NULL, data BLOB NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (scope, start));
CREATE TABLE scores (scope INTEGER, start INTEGER, layout TEXT NOT NULL, length INTEGER NOT NULL, data BLOB NOT NULL,
    seal INTEGER NOT NULL, PRIMARY KEY (scope, start))
"""

_PUT = "INSERT OR REPLACE INTO"
_BUCKETS = """SELECT start, selection, layout, length, data, seal, NULL, NULL, NULL, NULL
    FROM buckets WHERE scope = ? AND start >= ? AND start < ? ORDER BY start"""
_SCORED_BUCKETS = """SELECT start, b.selection, b.layout, b.length, b.data, b.seal, s.layout, s.length, s.data, s.seal
    FROM buckets b LEFT JOIN scores s USING (scope, start)
    WHERE b.scope = ? AND start >= ? AND start < ? ORDER BY start"""

log = logging.getLogger(__name__)


class SeriesRow(NamedTuple):
    """A series and its position in every packed column."""

    position: int
    queue_id: str
    media_type: str
    queue_name: str


class BucketRow(NamedTuple):
    """A bucket as stored; `scores` is None until it was scored."""

    start: int
    counts: Packed
    scores: Packed | None


class BucketMark(NamedTuple):
    """That a bucket is there; `current` tells whether it was fetched under the present selection."""

    start: int
    current: bool
    scored: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes; `None` and empty leave things as they are."""

    buckets: Mapping[int, Packed] = field(default_factory=dict)
    scores: Mapping[int, Packed] = field(default_factory=dict)
    unscored: Iterable[int] = ()  # buckets whose scores no longer hold
    series: Sequence[SeriesRow] = ()
    totals: Packed | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[int, int] | None = None  # buckets that start outside [first, end) go, those of other scopes too
    expired: Sequence[int] = ()  # positions of series that go


class Store:
    """An open history file, held against other exporters until `close`. Writes come from one thread at a time."""

    def __init__(
        self, path: Path, scope: str, selection: str, *, lock_seconds: float = 5.0, busy_seconds: float = 5.0
    ) -> None:
        """Opens or creates the file; what cannot be used is set aside. HistoryError where nothing can be done.

        Waits `lock_seconds` for another exporter to end, and `busy_seconds` at every write for other programs.
        """
        self.path = path
        self._busy_seconds = busy_seconds
        self._scope_name, self._selection = scope, selection
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HistoryError(f"history file {path}: its folder cannot be made ({error})") from error
        self._lock = sqlite_file.hold_lock(path, lock_seconds)
        try:
            self._connect_or_replace()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Folds the write-ahead log into the file and lets go of it."""
        self._connection.close()
        self._lock.close()

    def replace(self, trouble: DamagedFileError) -> None:
        """Sets the file aside and begins an empty one."""
        self._connection.close()
        self._begin_anew(trouble)

    def series(self) -> list[SeriesRow]:
        """Every series of the scope."""
        query = "SELECT position, queue_id, media_type, queue_name, seal FROM series WHERE scope = ? ORDER BY position"
        rows = self._rows(query)
        for row in rows:
            _check(row)
        return [SeriesRow(*row[:-1]) for row in rows]

    def totals(self) -> Packed | None:
        """The totals, None before the first bucket."""
        rows = self._rows("SELECT layout, length, data, seal FROM totals WHERE scope = ?")
        return Packed(*_check(rows[0])) if rows else None

    def marks(self) -> dict[str, str]:
        """Small facts by name."""
        return dict(self._rows("SELECT name, value FROM marks WHERE scope = ?"))

    def bucket_marks(self) -> list[BucketMark]:
        """Which buckets the file holds, in time order; reads none of their columns."""
        scored = "EXISTS (SELECT 1 FROM scores s WHERE s.scope = b.scope AND s.start = b.start)"
        query = f"SELECT start, selection, {scored} FROM buckets b WHERE scope = ? ORDER BY start"  # noqa: S608
        return [BucketMark(start, found == self._selection, bool(scored)) for start, found, scored in self._rows(query)]

    def counts(self, start: int) -> Packed | None:
        """One bucket's counts; DamagedError where they are not what was written."""
        columns = "start, selection, layout, length, data, seal"
        rows = self._rows(f"SELECT {columns} FROM buckets WHERE scope = ? AND start = ?", start)  # noqa: S608
        return Packed(*_check(rows[0])[2:]) if rows else None

    @contextmanager
    def reading(self, first: int, end: int, *, scores: bool) -> Iterator[Iterator[BucketRow]]:
        """The buckets that start in [first, end), in time order and one at a time, as they were when this was entered.

        Has a connection of its own: may be used in any thread, whatever is written meanwhile. Buckets of every
        selection; without `scores` they are left in the file.
        """
        with closing(sqlite_file.open_for_reading(self.path)) as connection, sqlite_file.in_words(self.path):
            cursor = connection.execute(_SCORED_BUCKETS if scores else _BUCKETS, (self._scope, first, end))
            row = cursor.fetchone()  # from its first row to its last a query sees the file as it was
            yield self._bucket_rows(row, cursor)

    def write(self, changes: Changes) -> None:
        """All of it or, with a HistoryError, nothing."""
        if not self.path.exists():  # SQLite would go on writing to a file that nobody will ever find
            raise DamagedFileError(f"history file {self.path} has been removed", "removed")
        with sqlite_file.in_words(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._apply(changes)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _connect_or_replace(self) -> None:
        try:
            self._connect()
        except DamagedFileError as trouble:
            self._begin_anew(trouble)

    def _begin_anew(self, trouble: DamagedFileError) -> None:
        aside = sqlite_file.set_aside(self.path, trouble.kind)
        log.error("%s: set aside as %s; a new file is begun and filled from the API", trouble, aside)
        self._connect()

    def _connect(self) -> None:
        connection = sqlite_file.open_for_writing(self.path, SCHEMA, SCHEMA_VERSION, self._busy_seconds)
        try:
            with sqlite_file.in_words(self.path):
                connection.execute("INSERT OR IGNORE INTO scopes (name) VALUES (?)", (self._scope_name,))
                found = connection.execute("SELECT id FROM scopes WHERE name = ?", (self._scope_name,))
                self._scope = int(found.fetchone()[0])
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with sqlite_file.in_words(self.path):
            return self._connection.execute(query, (self._scope, *values)).fetchall()

    def _bucket_rows(self, row: tuple[Any, ...] | None, cursor: sqlite3.Cursor) -> Iterator[BucketRow]:
        while row is not None:
            start, _, *counts = _check(row[:6])
            scores = None if row[-1] is None else Packed(*_check((start, *row[6:]))[1:])
            yield BucketRow(start, Packed(*counts), scores)
            with sqlite_file.in_words(self.path):
                row = cursor.fetchone()

    def _apply(self, changes: Changes) -> None:
        scope, many = self._scope, self._connection.executemany
        many("DELETE FROM series WHERE scope = ? AND position = ?", ((scope, each) for each in changes.expired))
        many(f"{_PUT} series VALUES (?, ?, ?, ?, ?, ?)", ((scope, *_sealed(*row)) for row in changes.series))
        many(f"{_PUT} marks VALUES (?, ?, ?)", ((scope, *mark) for mark in changes.marks.items()))
        if changes.totals is not None:
            many(f"{_PUT} totals VALUES (?, ?, ?, ?, ?)", [(scope, *_sealed(*changes.totals))])
        buckets = ((scope, *_sealed(start, self._selection, *packed)) for start, packed in changes.buckets.items())
        many(f"{_PUT} buckets VALUES (?, ?, ?, ?, ?, ?, ?)", buckets)
        many("DELETE FROM scores WHERE scope = ? AND start = ?", ((scope, start) for start in changes.unscored))
        scores = ((scope, *_sealed(start, *packed)) for start, packed in changes.scores.items())
        many(f"{_PUT} scores VALUES (?, ?, ?, ?, ?, ?)", scores)
        if changes.keep is not None:
            self._keep(*changes.keep)

    def _keep(self, first: int, end: int) -> None:
        """Drops buckets outside of [first, end), then whatever belongs to a scope that has none left."""
        for table in ("buckets", "scores"):
            self._connection.execute(f"DELETE FROM {table} WHERE start < ? OR start >= ?", (first, end))  # noqa: S608
        empty = "scope <> ? AND scope NOT IN (SELECT scope FROM buckets)"
        for table in ("series", "totals", "marks"):
            self._connection.execute(f"DELETE FROM {table} WHERE {empty}", (self._scope,))  # noqa: S608


def _sealed(*values: object) -> tuple[object, ...]:
    """The values of a row and the seal over them: CRC-32, as zstandard's frames have it over what is in them alone."""
    seal = 0
    for value in values:
        seal = zlib.crc32(value if isinstance(value, bytes) else f"{value}\0".encode("utf-8", "surrogatepass"), seal)
    return (*values, seal)


def _check(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row's values without the seal; DamagedError where it is broken."""
    values = tuple(row[:-1])
    if _sealed(*values)[-1] != row[-1]:
        raise DamagedError("a row is not as it was written")
    return values
