"""/export.csv: the current window, or closed buckets out of the history as a stream of chunks.

In come what may be shown of a snapshot, or `HistoryBucket`s oldest first, and a row filter; out goes RFC 4180 text
with CRLF. Rates are in percent with four decimals, a cell without a value is empty, z-scores keep full precision.
Cells of text that a spreadsheet would run as a formula get a leading apostrophe; numbers never do (OWASP, "CSV
injection"). Both functions block and are for a worker thread; memory does not grow with the length of the history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.models import ABANDONMENT, SLA_BREACH, FloatColumn, HistoryBucket, Window
from exporter.publish.cells import doubled, percent, texts
from exporter.publish.filters import ALL, Index, RowFilter, anomalies_of, any_flag
from exporter.publish.kept import KeptTexts, Key
from exporter.publish.sheets import slices, taken
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
)
HEADER = ",".join(COLUMNS).encode() + b"\r\n"
BOM = b"\xef\xbb\xbf"

#: Small buckets are put together to chunks of this size, so that each is worth a write.
CHUNK_BYTES = 256 * 1024

_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_QUOTED = re.compile(r'[",\r\n]')
_FLAG_TEXTS = np.array([b"", b"false", b"true"], dtype=object)


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


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The rows of one interval, before they are text: the ten number columns' sources, NaN = no value."""

    columns: Mapping[str, FloatColumn]
    z: Mapping[str, FloatColumn]
    anomalies: Mapping[str, FloatColumn]
    rows: int

    def cells(self, index: Index) -> list[list[bytes]]:
        """Text of every number column in the order of COLUMNS."""
        return [
            self._column("offered", index),
            self._column("abandonment_ratio", index, rate=True),
            self._column("sla_breach_ratio", index, rate=True),
            self._column("answered", index),
            self._column("abandoned", index),
            self._column("sla_breached", index),
            self._z(ABANDONMENT, index),
            self._z(SLA_BREACH, index),
            self._flags(index),
            self._column("sla_contacts", index),
        ]

    @property
    def flagged(self) -> NDArray[np.bool_]:
        return any_flag(self.anomalies.values(), self.rows)

    def _column(self, name: str, index: Index, *, rate: bool = False) -> list[bytes]:
        column = self.columns.get(name)
        if column is None:
            return [b""] * len(index)
        return texts(percent(column[index]) if rate else column[index], integral=not rate, missing=b"")

    def _z(self, metric: str, index: Index) -> list[bytes]:
        z = self.z.get(metric)
        return [b""] * len(index) if z is None else texts(z[index], integral=False, missing=b"")

    def _flags(self, index: Index) -> list[bytes]:
        """`true` if any metric is flagged, `false` if any was scored, else empty."""
        scored = np.zeros(self.rows, dtype=np.intp)
        for anomaly in self.anomalies.values():
            scored |= np.isfinite(anomaly)
        texts_of_flags: list[bytes] = _FLAG_TEXTS[(scored + self.flagged)[index]].tolist()
        return texts_of_flags


def _window_sheet(shown: Shown) -> _Sheet:
    names = (
        "offered",
        "abandonment_ratio",
        "sla_breach_ratio",
        "answered",
        "abandoned",
        "sla_breached",
        "sla_contacts",
    )
    z = {metric: shown.z(metric) for metric in (ABANDONMENT, SLA_BREACH)}
    return _Sheet({name: shown.column(name) for name in names}, z, anomalies_of(shown.scores), shown.rows)


def _bucket_sheet(closed: HistoryBucket) -> _Sheet:
    """Ratios have no value without contacts; where the contract has no service level of its own, all offered count."""
    columns = {name: counts.astype(np.float64) for name, counts in closed.counts.items()}
    offered = columns["offered"]
    columns["abandonment_ratio"] = _ratio(columns["abandoned"], offered)
    columns["sla_breach_ratio"] = _ratio(columns["sla_breached"], columns.get("sla_contacts", offered))
    return _Sheet(columns, closed.z, closed.anomaly, len(closed.rows.keys))


def _ratio(part: FloatColumn, whole: FloatColumn) -> FloatColumn:
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


class CsvWriter:
    """Writes both exports; keeps the rows' text cells from one snapshot to the next."""

    def __init__(self) -> None:
        self._prefixes = KeptTexts(_row_prefix)

    def window(self, shown: Shown, rows: RowFilter = ALL, *, bom: bool = False) -> bytes:
        """The current window; a header alone where it is withdrawn."""
        start = BOM + HEADER if bom else HEADER
        window = shown.snapshot.window
        if shown.status != SUCCESS or window is None:
            return start
        content = _window_sheet(shown)
        index = rows.select(shown.snapshot.rows, content.flagged)
        prefixes = taken(self._prefixes.of_rows(shown.snapshot.rows), index)
        return start + b"".join(_lines(prefixes, interval(window, shown.snapshot.bucket), content.cells(index)))


def history_chunks(buckets: Iterable[HistoryBucket], rows: RowFilter = ALL, *, bom: bool = False) -> Iterator[bytes]:
    """The header at once, then chunks of whole lines."""
    yield BOM + HEADER if bom else HEADER
    pending, size = [], 0
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
    prefixes, by_name = KeptTexts(_row_prefix), replace(rows, anomalous=False)
    known, matching = None, np.empty(0, dtype=np.intp)
    for closed in buckets:
        content = _bucket_sheet(closed)
        if closed.rows is not known:
            known, matching = closed.rows, by_name.select(closed.rows, content.flagged)
        index = matching[content.flagged[matching]] if rows.anomalous else matching
        window = Window.of_epoch(closed.start_seconds, closed.start_seconds + closed.bucket_seconds)
        when = interval(window, bucket_text(closed.bucket_seconds))
        yield from _lines(taken(prefixes.of_rows(closed.rows), index), when, content.cells(index))


def _lines(prefixes: list[bytes], when: str, cells: list[list[bytes]]) -> Iterator[bytes]:
    tail = b"," + doubled(when.encode()) + b",%b" * len(cells) + b"\r\n"
    return slices(prefixes, tail, cells, b"")


def bucket_text(seconds: int) -> str:
    """A bucket's length as the settings spell it: PT15M, PT1H, PT1D."""
    for unit, length in (("D", 86400), ("H", 3600), ("M", 60)):
        if seconds % length == 0:
            return f"PT{seconds // length}{unit}"
    return f"PT{seconds}S"
