"""A file of past buckets as text, whatever a user has: plain or gzip, with or without a byte order mark.

Comes in: a path. Goes out: text to read, and how far the reading is. What is no text is refused by what it is: people
try the spreadsheet that they opened the export with, or the exporter's own history file. Bytes that are not UTF-8 are
let through as surrogates, so that whoever reads can name the line (`is_utf8`).
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from exporter.errors import ExporterError

GZIP = b"\x1f\x8b"
#: How files begin that are not CSV, and what to do about them.
NO_CSV = {
    b"PK\x03\x04": "a spreadsheet or an archive: save it as CSV UTF-8, or unpack it",
    b"SQLite format 3": "a history file: fetch /export.csv from the exporter that keeps it",
    b"\xff\xfe": "UTF-16 text: save it as CSV UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as CSV UTF-8",
    b"%PDF": "a PDF: export CSV",
}


class BacktestError(ExporterError):
    """The file, or what is asked of it, cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Text to read; `done` is told in bytes of the file, of `size`."""

    text: TextIO
    size: int
    done: Callable[[], int]


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The file at `path`, as long as it is needed; a BacktestError where it cannot be read or is no text."""
    try:
        with path.open("rb") as raw:
            size = path.stat().st_size
            yield Opened(_text(raw, path), size, lambda: min(size, raw.tell()) if size else 0)
    except (OSError, EOFError) as error:  # gzip tells of a damaged file by both
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BacktestError(f"{path}: {reason}") from error


def is_utf8(text: str) -> bool:
    """Whether no byte of it was let through."""
    return text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text)


def _text(raw: io.BufferedReader, path: Path) -> TextIO:
    begin = raw.peek(16)[:16]
    for magic, advice in NO_CSV.items():
        if begin.startswith(magic):
            raise BacktestError(f"{path}: {advice}")
    source = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if begin.startswith(GZIP) else raw
    return io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline="")
