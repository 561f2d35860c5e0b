"""Rows of text → columns of numbers, some ten thousand rows at a time.

Comes in: the rows of a file and its `Form`. Goes out: `Cells`, 28 bytes a row. A chunk is read column by column; where
anything in it is odd it is read again, row by row, to pass over what can be passed over (blank rows, a second header)
and to name the line of what cannot.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from exporter.analysis.backtest import cells as text
from exporter.analysis.backtest.forms import Form
from exporter.analysis.backtest.opening import BacktestError, is_utf8
from exporter.analysis.baseline import BASELINE_COUNTS
from exporter.models import IntColumn, SeriesKey

#: What /export.csv puts an apostrophe before, lest a spreadsheet runs it.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = ("line", "series", "start", *BASELINE_COUNTS)

Row = Sequence[str]


@dataclass(slots=True)
class Cells:
    """What has been read: a column of small whole numbers for each of COLUMNS."""

    form: Form
    series: dict[SeriesKey, int] = field(default_factory=dict)
    names: dict[SeriesKey, str] = field(default_factory=dict)
    columns: dict[str, array[int]] = field(default_factory=lambda: {name: array("I") for name in COLUMNS})
    bucket_seconds: int | None = None
    _read: Mapping[str, text.Memo] = field(
        default_factory=lambda: {
            "count": text.Memo(text.count), "start": text.Memo(text.moment), "length": text.Memo(text.length)
        }
    )  # fmt: skip

    def __len__(self) -> int:
        return len(self.columns["line"])

    def take(self, rows: Sequence[Row], before: int) -> None:
        """Takes the rows that follow line `before`."""
        try:
            self._take(rows, np.arange(before + 1, before + 1 + len(rows)))
        except ValueError:
            self._take_one_by_one(rows, before)

    def _take_one_by_one(self, rows: Sequence[Row], before: int) -> None:
        line = before
        for row in rows:
            line += 1 + sum(cell.count("\n") for cell in row)
            if any(map(str.strip, row)) and tuple(map(str.strip, row)) != self.form.header:
                try:
                    self._take([row], np.array([line]))
                except ValueError as error:
                    raise BacktestError(f"line {line}: {error}") from None

    def _take(self, rows: Sequence[Row], lines: IntColumn) -> None:
        """All of the rows, or a ValueError and none of them."""
        width = self.form.width
        odd = next((len(row) for row in rows if len(row) != width), None)
        if odd is not None:
            raise ValueError(f"{odd} cells where the header has {width}: quote text that holds a {self._delimiter()}")
        by_column = list(zip(*rows, strict=True))
        seen = {ours: by_column[place] for ours, place in self.form.columns.items()}
        starts = self._numbers("t", seen["t"], "start")
        bucket_seconds = self._bucket_seconds(seen["t"])
        counts = self._counts(seen)
        self.bucket_seconds = bucket_seconds
        read = {"line": lines, "series": self._series(seen), "start": starts, **counts}
        for name, column in self.columns.items():
            column.frombytes(read[name].astype(np.uint32).tobytes())

    def _delimiter(self) -> str:
        return {",": "comma", ";": "semicolon"}.get(self.form.delimiter, "tab")

    def _numbers(self, ours: str, column: Sequence[str], kind: str) -> IntColumn:
        try:
            return np.fromiter(map(self._read[kind].__getitem__, column), np.int64, len(column))
        except ValueError as error:
            raise ValueError(f"{self.form.titles[ours]} {error}") from None

    def _bucket_seconds(self, column: Sequence[str]) -> int | None:
        told = set(self._numbers("t", column, "length").tolist()) - {text.UNKNOWN}
        if self.bucket_seconds is not None:
            told.add(self.bucket_seconds)
        if len(told) > 1:
            raise ValueError("a bucket of another length than before: export one length at a time")
        return told.pop() if told else None

    def _counts(self, seen: Mapping[str, Sequence[str]]) -> dict[str, IntColumn]:
        offered = np.maximum(self._numbers("offered", seen["offered"], "count"), 0)
        events: Callable[[str], IntColumn] = partial(self._events_of_rates, seen, offered)
        if not self.form.rates:
            events = lambda ours: np.maximum(self._numbers(ours, seen[ours], "count"), 0)  # noqa: E731
        counts = {"offered": offered, "abandoned": events("abandoned"), "sla_breached": events("sla_breached")}
        told = self._numbers("sla_contacts", seen["sla_contacts"], "count") if "sla_contacts" in seen else None
        return counts | {"sla_contacts": offered if told is None else np.where(told < 0, offered, told)}

    def _events_of_rates(self, seen: Mapping[str, Sequence[str]], offered: IntColumn, ours: str) -> IntColumn:
        """Contacts behind rates. Abandons are whole; a service level may have had another denominator."""
        found = [self._event(ours, cell, n) for cell, n in zip(seen[ours], offered.tolist(), strict=True)]
        return np.array(found, np.int64)

    def _event(self, ours: str, cell: str, offered: int) -> int:
        if not cell.strip():
            return 0
        try:
            percent, rounded = text.rate(cell)
        except ValueError as error:
            raise ValueError(f"{self.form.titles[ours]} {error}") from None
        events = offered * percent / 100
        if ours == "abandoned" and abs(events - round(events)) > offered * rounded / 100 + 1e-6:
            raise ValueError(
                f"{self.form.titles[ours]} is {cell!r}, no whole number of {offered} contacts: rates are in percent"
            )
        return round(events)

    def _series(self, seen: Mapping[str, Sequence[str]]) -> IntColumn:
        rows = len(seen["queue"])
        pairs = list(zip(seen["queue"], seen.get("media_type", ("",) * rows), strict=True))
        names = seen.get("name", ("",) * rows)
        keys = {pair: self._key(*pair) for pair in dict.fromkeys(pairs)}
        named = dict.fromkeys(zip(pairs, names, strict=True))
        if not all(is_utf8(name) for _, name in named):
            raise ValueError("not UTF-8 text: save the file as CSV UTF-8")
        for key in keys.values():
            self.series.setdefault(key, len(self.series))
        self.names |= {keys[pair]: _plain(name) for pair, name in named if name}
        places = {pair: self.series[key] for pair, key in keys.items()}
        return np.fromiter(map(places.__getitem__, pairs), np.int64, rows)

    def _key(self, queue: str, media_type: str) -> SeriesKey:
        if not queue.strip():
            raise ValueError("the queue is empty: write its id or name")
        if not (is_utf8(queue) and is_utf8(media_type)):
            raise ValueError("not UTF-8 text: save the file as CSV UTF-8")
        return SeriesKey(_plain(queue), _plain(media_type))


def _plain(name: str) -> str:
    """Without the apostrophe that keeps a spreadsheet from running it."""
    return name[1:] if name.startswith("'") and name[1:].startswith(FORMULA_STARTS) else name
