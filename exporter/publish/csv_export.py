"""/export.csv: the current window, or closed buckets out of the history as a stream of chunks.

In come what may be shown of a snapshot, or `HistoryBucket`s oldest first, and a row filter; out goes RFC 4180 text
with CRLF. Rates are in percent with four decimals, a cell without a value is empty, z-scores keep full precision.
Cells of text that a spreadsheet would run as a formula get a leading apostrophe; numbers never do (OWASP, "CSV
injection"). Both functions block and are for a worker thread; memory does not grow with the length of the history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn, HistoryBucket, IntColumn, Rows, Window
from exporter.publish.cells import csv_rows, doubled, percent, whole
from exporter.publish.filters import ALL, Index, RowFilter, anomalies_of, any_flag
from exporter.publish.kept import KeptTexts, Key
from exporter.publish.sheets import SLICE_ROWS, filled, taken
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
#: costs a tenth of the time that 256 kB take to make.
CHUNK_BYTES = 1024 * 1024

_WINDOW = ("offered", "abandonment_ratio", "sla_breach_ratio", "answered", "abandoned", "sla_breached", "sla_contacts")

_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_QUOTED = re.compile(r'[",\r\n]')
_FLAGS = np.array([None, False, True], dtype=object)  # nothing scored, nothing flagged, something flagged


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
    return doubled(b",".join(map(cell, key)))


class _Sheet:
    """The rows of one interval before they are text: columns by name, all NaN where one is absent."""

    def __init__(
        self,
        rows: int,
        columns: Mapping[str, NDArray[Any]],
        z: Mapping[str, FloatColumn],
        anomalies: Mapping[str, FloatColumn],
    ) -> None:
        self._nothing = np.full(rows, np.nan)
        self._columns = columns
        self._z = z
        self.flagged = any_flag(anomalies.values(), rows)
        scored = np.zeros(rows, dtype=np.intp)
        for anomaly in anomalies.values():
            scored |= np.isfinite(anomaly)
        self._flags = scored + self.flagged

    def cells(self, index: Index) -> list[bytes]:
        """The text of each row from totalContacts to the end of the line, in the order of COLUMNS."""

        def at(name: str) -> NDArray[Any]:
            return self._columns.get(name, self._nothing)[index]

        return csv_rows(
            [
                whole(at("offered")),
                percent(at("abandonment_ratio")).tolist(),
                percent(at("sla_breach_ratio")).tolist(),
                whole(at("answered")),
                whole(at("abandoned")),
                whole(at("sla_breached")),
                *(self._z.get(metric, self._nothing)[index].tolist() for metric in (ABANDONMENT, SLA_BREACH)),
                _FLAGS[self._flags[index]].tolist(),
                whole(at("sla_contacts")),
                self._z.get(OFFERED, self._nothing)[index].tolist(),
            ]
        )


def _window_sheet(shown: Shown) -> _Sheet:
    z = {metric: shown.z(metric) for metric in (ABANDONMENT, SLA_BREACH, OFFERED)}
    return _Sheet(shown.rows, {name: shown.column(name) for name in _WINDOW}, z, anomalies_of(shown.scores))


def _bucket_sheet(closed: HistoryBucket) -> _Sheet:
    """Ratios have no value without contacts; where the contract has no service level of its own, all offered count."""
    counts = closed.counts
    service_level = counts.get("sla_contacts", counts["offered"])
    ratios = {
        "abandonment_ratio": _ratio(counts["abandoned"], counts["offered"]),
        "sla_breach_ratio": _ratio(counts["sla_breached"], service_level),
    }
    return _Sheet(len(closed.rows.keys), {**counts, **ratios}, closed.z, closed.anomaly)


def _ratio(part: IntColumn, whole: IntColumn) -> FloatColumn:
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


class CsvWriter:
    """Writes the current window; keeps the rows' text cells from one snapshot to the next."""

    def __init__(self) -> None:
        self._prefixes = KeptTexts(_row_prefix)

    def window(self, shown: Shown, rows: RowFilter = ALL, *, bom: bool = False) -> bytes:
        """The whole file; a header alone where the window is withdrawn."""
        parts = [BOM + HEADER if bom else HEADER]
        window = shown.snapshot.window
        if shown.status == SUCCESS and window is not None:
            sheet = _window_sheet(shown)
            index = rows.select(shown.snapshot.rows, sheet.flagged)
            prefixes = taken(self._prefixes.of_rows(shown.snapshot.rows), index)
            parts += _lines(prefixes, interval(window, shown.snapshot.bucket), sheet, index)
        return b"".join(parts)


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
    kept, by_name = KeptTexts(_row_prefix), replace(rows, anomalous=False)
    known: Rows | None = None
    for closed in buckets:
        sheet = _bucket_sheet(closed)
        if closed.rows is not known:
            known = closed.rows
            matching = by_name.select(known, sheet.flagged)
            matching_prefixes = taken(kept.of_rows(known), matching)
        index, prefixes = matching, matching_prefixes
        if rows.anomalous:
            flagged = np.flatnonzero(sheet.flagged[matching])
            index, prefixes = matching[flagged], taken(matching_prefixes, flagged)
        if closed.lost is not None and closed.lost.any():  # nobody knows these: no line, as for a bucket not fetched
            known_places = np.flatnonzero(~closed.lost[index])
            index, prefixes = index[known_places], taken(prefixes, known_places)
        window = Window.of_epoch(closed.start_seconds, closed.start_seconds + closed.bucket_seconds)
        yield from _lines(prefixes, interval(window, bucket_text(closed.bucket_seconds)), sheet, index)


def _lines(prefixes: list[bytes], when: str, sheet: _Sheet, index: Index) -> Iterator[bytes]:
    """Lines of text, a slice of rows at a time."""
    tail = b"," + doubled(when.encode()) + b",%b\r\n"
    for start in range(0, len(index), SLICE_ROWS):
        part = slice(start, start + SLICE_ROWS)
        yield filled(prefixes[part], tail, [sheet.cells(index[part])])


def bucket_text(seconds: int) -> str:
    """A bucket's length as the settings spell it: PT15M, PT1H, PT1D."""
    for unit, length in (("D", 86400), ("H", 3600), ("M", 60)):
        if seconds % length == 0:
            return f"PT{seconds // length}{unit}"
    return f"PT{seconds}S"
