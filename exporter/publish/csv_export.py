"""/export.csv: the current window, or closed buckets out of the history as a stream of chunks.

In come what may be shown of a snapshot, or `HistoryBucket`s oldest first, and a row filter; out goes RFC 4180 text
with CRLF. Rates are in percent with four decimals, a cell without a value is empty, z-scores keep full precision.
Cells of text that a spreadsheet would run as a formula get a leading apostrophe; numbers never do (OWASP, "CSV
injection"). Both functions block and are for a worker thread; memory does not grow with the length of the history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, HistoryBucket, IntColumn, Rows, Window
from exporter.publish.csv_cells import WINDOW_COLUMNS, Cells, ClosedCells, flag_codes, window_cells
from exporter.publish.filters import ALL, Index, RowFilter, anomalies_of, any_flag
from exporter.publish.kept import KeptTexts, Key
from exporter.publish.sheets import joined, taken
from exporter.publish.shown import SUCCESS, Shown
from exporter.publish.times import interval

COLUMNS = (
    "queueId",
    "queueName",
    "mediaType",
    "timeInterval",
    "totalContacts",
    "abandonmentRate",
    "slaBreachRate",
    "answeredContacts",
    "abandonedContacts",
    "slaBreaches",
    "abandonmentZScore",
    "slaBreachZScore",
    "isAnomaly",
    "serviceLevelContacts",
    "offeredZScore",
)
HEADER = ",".join(COLUMNS).encode() + b"\r\n"
BOM = b"\xef\xbb\xbf"

#: Buckets are put together to chunks of this size: each goes from the walk's thread to the event loop and back, which
#: costs a tenth of the time that 256 kB take to make. Those over 1 MB would be taken from the system each time.
CHUNK_BYTES = 768 * 1024

#: Joining takes 80 bytes a cell beside the text: more rows would be over 1 MB, too, and no longer in the cache.
LINES_AT_A_TIME = 1024

_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_QUOTED = re.compile(r'[",\r\n]')


class HistoryReader(Protocol):
    """Closed buckets on disk or in memory; blocking, used from one thread per call."""

    def read(self, from_seconds: int, to_seconds: int) -> Iterator[HistoryBucket]:
        """Buckets whose start lies in [from, to), oldest first."""


def cell(text: str) -> bytes:
    """A text cell: defused, then quoted where RFC 4180 wants it."""
    if _FORMULA.match(text):
        text = "'" + text
    if _QUOTED.search(text):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode("utf-8", "replace")


def _row_prefix(key: Key) -> bytes:
    return b"".join(cell(text) + b"," for text in key)


class CsvWriter:
    """Writes the current window; keeps the rows' text cells from one snapshot to the next."""

    def __init__(self) -> None:
        self._prefixes = KeptTexts(_row_prefix)

    def window(self, shown: Shown, rows: RowFilter = ALL, *, bom: bool = False) -> bytes:
        """The whole file; a header alone where the window is withdrawn."""
        parts = [BOM + HEADER if bom else HEADER]
        window = shown.snapshot.window
        if shown.status == SUCCESS and window is not None:
            anomalies = anomalies_of(shown.scores).values()
            flagged = any_flag(anomalies, shown.rows)
            index = rows.select(shown.snapshot.rows, flagged)
            prefixes = taken(self._prefixes.of_rows(shown.snapshot.rows), index)
            texts = _window_cells(shown, flag_codes(anomalies, flagged), index)
            parts += _lines(prefixes, interval(window, shown.snapshot.bucket), texts)
        return b"".join(parts)


def _window_cells(shown: Shown, flags: IntColumn, index: Index) -> Cells:
    columns = {name: shown.column(name)[index] for name in WINDOW_COLUMNS}
    z = {metric: shown.z(metric)[index] for metric in (ABANDONMENT, SLA_BREACH, OFFERED)}
    return window_cells(columns, z, flags[index])


def history_chunks(buckets: Iterable[HistoryBucket], rows: RowFilter = ALL, *, bom: bool = False) -> Iterator[bytes]:
    """The header at once, then chunks of whole lines."""
    yield BOM + HEADER if bom else HEADER
    pending: list[bytes] = []
    size = 0
    for lines in _history_lines(buckets, rows):
        pending.append(lines)
        size += len(lines)
        if size >= CHUNK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _history_lines(buckets: Iterable[HistoryBucket], rows: RowFilter) -> Iterator[bytes]:
    """Buckets that hold the same Rows object share their text cells and the search for matching rows."""
    kept, cells, by_name = KeptTexts(_row_prefix), ClosedCells(), replace(rows, anomalous=False)
    known: Rows | None = None
    for closed in buckets:
        anomalies = closed.anomaly.values()
        flagged = any_flag(anomalies, len(closed.rows.keys))
        if closed.rows is not known:
            known = closed.rows
            matching = by_name.select(known, flagged)
            matching_prefixes = taken(kept.of_rows(known), matching)
        index, prefixes = matching, matching_prefixes
        if rows.anomalous:
            places = np.flatnonzero(flagged[matching])
            index, prefixes = matching[places], taken(matching_prefixes, places)
        if closed.lost is not None and closed.lost.any():  # nobody knows these: no line, as for a bucket not fetched
            known_places = np.flatnonzero(~closed.lost[index])
            index, prefixes = index[known_places], taken(prefixes, known_places)
        window = Window.of_epoch(closed.start_seconds, closed.start_seconds + closed.bucket_seconds)
        texts = cells.of(closed, flag_codes(anomalies, flagged), index)
        yield from _lines(prefixes, interval(window, bucket_text(closed.bucket_seconds)), texts)


def _lines(prefixes: list[bytes], when: str, texts: Cells) -> Iterator[bytes]:
    """Lines of text, a slice of rows at a time."""
    for start in range(0, len(prefixes), LINES_AT_A_TIME):
        part = slice(start, start + LINES_AT_A_TIME)
        named = prefixes[part]
        yield joined(len(named), [named, when.encode() + b",", *texts(part), b"\r\n"])


def bucket_text(seconds: int) -> str:
    """A bucket's length as the settings spell it: PT15M, PT1H, PT1D."""
    for unit, length in (("D", 86400), ("H", 3600), ("M", 60)):
        if seconds % length == 0:
            return f"PT{seconds // length}{unit}"
    return f"PT{seconds}S"
