"""One SQLite file that belongs to one process: opened, locked, checked, and set aside when it cannot be used.

Comes in: a path. Goes out: a connection in WAL mode with `synchronous=FULL`, so that what was committed survives
kill -9 and power loss, or a HistoryError in words for the operator. What SQLite says (its result codes) is put into
words here and nowhere else. A file is renamed, with its -wal and -shm, but never deleted and never overwritten.

Two exporters must not write one file: the owner holds a lock on a second, empty file beside it (`…​.lock`) for as long
as it runs. The lock is SQLite's own, so it works wherever SQLite does and dies with the process; readers with a
connection of their own are not hindered by it, as they would be by an exclusive lock on the file itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from exporter.errors import HistoryError

#: Marks a file as ours in its header ("GCXH"), so that another program's database is never mistaken for a damaged one.
APPLICATION_ID = 0x47435848

#: A bucket's columns are some 50 kB: large pages keep them in few pieces.
PAGE_BYTES = 16384

#: SQLite's primary result codes, in words.
_WORDS = {
    "SQLITE_BUSY": "another program is using it",
    "SQLITE_LOCKED": "another program is using it",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk reports an error",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_PERM": "permission is missing",
    "SQLITE_AUTH": "permission is missing",
}
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_MISMATCH")


class DamagedFileError(HistoryError):
    """The file's content cannot be used: set it aside, under a name with `kind` in it, and begin a new one."""

    def __init__(self, message: str, kind: str = "damaged") -> None:
        self.kind = kind
        super().__init__(message)


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turns what SQLite raises inside into a HistoryError that names the file and the trouble."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "") or ""
        primary = "_".join(code.split("_")[:2])
        if primary in _DAMAGED:
            raise DamagedFileError(f"history file {path} is damaged ({error})") from error
        raise HistoryError(f"history file {path}: {_WORDS.get(primary, 'unusable')} ({error})") from error


def hold_lock(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """Takes the exporters' lock for `path`; it is held until the connection is closed or the process ends."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        lock = sqlite3.connect(lock_path, isolation_level=None, timeout=wait_seconds, check_same_thread=False)
    except sqlite3.Error as error:
        raise HistoryError(f"history file {path}: its folder cannot be written ({error})") from error
    try:
        lock.execute("PRAGMA journal_mode=MEMORY")  # nothing is ever written: no journal file beside the lock either
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        busy = (getattr(error, "sqlite_errorname", "") or "").startswith("SQLITE_BUSY")
        trouble = "another exporter is using it" if busy else f"its lock file {lock_path} cannot be used"
        raise HistoryError(f"history file {path}: {trouble} ({error})") from error
    return lock


def open_for_writing(path: Path, schema: str, version: int, busy_seconds: float) -> sqlite3.Connection:
    """Opens `path`, creating `schema` in an empty file; waits `busy_seconds` for other programs, now and later.

    DamagedFileError for damage and for another `version` of the schema; HistoryError where nothing can be written,
    or where the file is another program's database.
    """
    with in_words(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=busy_seconds, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            _check_owner(connection, path, version)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            _create_if_empty(connection, schema, version)
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection of its own that cannot write; close it."""
    with in_words(path):
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )


def set_aside(path: Path, kind: str) -> Path:
    """Renames the file, its -wal and its -shm to a name that tells why and when; returns the new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (f"{path.name}.{kind}-{stamp}{suffix}" for suffix in ("", *(f"-{n}" for n in range(1, 1000))))
    try:
        target = next(each for each in map(path.with_name, names) if not each.exists())
        for tail in ("-wal", "-shm", ""):  # the file itself last: a crash in between leaves it to be found again
            source = path.with_name(path.name + tail)
            if source.exists():
                source.rename(target.with_name(target.name + tail))
    except (OSError, StopIteration) as error:
        raise HistoryError(f"history file {path} cannot be used and cannot be renamed ({error})") from error
    return target


def _check_owner(connection: sqlite3.Connection, path: Path, version: int) -> None:
    application = _number(connection, "PRAGMA application_id")
    tables = _number(connection, "SELECT count(*) FROM sqlite_master")
    found = _number(connection, "PRAGMA user_version")
    if application != APPLICATION_ID and (tables or application):
        raise HistoryError(f"history file {path} is the database of another program: name another file")
    if application == APPLICATION_ID and found != version:
        message = f"history file {path} has version {found} of the schema, this exporter reads version {version}"
        raise DamagedFileError(message, f"version-{found}")


def _create_if_empty(connection: sqlite3.Connection, schema: str, version: int) -> None:
    """In one transaction, which also proves that the file can be written."""
    connection.execute("BEGIN IMMEDIATE")
    if _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        for statement in filter(str.strip, schema.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute("COMMIT")


def _number(connection: sqlite3.Connection, query: str) -> int:
    with closing(connection.execute(query)) as cursor:
        return int(cursor.fetchone()[0])
