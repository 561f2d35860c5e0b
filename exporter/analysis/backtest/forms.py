"""Which columns a file has, and where.

Comes in: the first line. Goes out: a `Form`: the delimiter and the place of each column of ours. Three forms are known:
/export.csv as it is, its seven first columns alone (counts are worked out from the rates), and the short
`queue,t,offered,abandoned,sla_breach`. A spreadsheet of another country writes semicolons or tabs.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.analysis.backtest.opening import BacktestError, is_utf8

#: Column of ours → what each form calls it.
EXPORT = {"queue": "queueId", "t": "timeInterval", "offered": "totalContacts", "abandoned": "abandonedContacts",
          "sla_breached": "slaBreaches"}  # fmt: skip
RATES = {"queue": "queueId", "t": "timeInterval", "offered": "totalContacts", "abandoned": "abandonmentRate",
         "sla_breached": "slaBreachRate"}  # fmt: skip
SHORT = {"queue": "queue", "t": "t", "offered": "offered", "abandoned": "abandoned", "sla_breached": "sla_breach"}
#: Columns that may stand beside, in any form.
BESIDE = {"media_type": ("mediaType", "media_type"), "name": ("queueName", "name"),
          "sla_contacts": ("serviceLevelContacts", "sla_contacts")}  # fmt: skip
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Form:
    """`columns`: place of each column by our name; `exported`: /export.csv wrote it, or somebody like it; `rates`:
    events are told as rates in percent."""

    delimiter: str
    header: tuple[str, ...]
    columns: Mapping[str, int]
    titles: Mapping[str, str]
    exported: bool
    rates: bool

    @property
    def width(self) -> int:
        return len(self.header)


def form_of(line: str) -> Form:
    """The form that the first line tells of; a BacktestError that says what to write where it tells of none."""
    if not line.strip():
        raise BacktestError("line 1: the file is empty: its first line must name the columns")
    if "\0" in line or not is_utf8(line):
        raise BacktestError("line 1: this is no UTF-8 text: save the file as CSV UTF-8")
    headers = {delimiter: _cells(line, delimiter) for delimiter in DELIMITERS}
    for delimiter, header in headers.items():
        for titles in (EXPORT, RATES, SHORT):
            if set(titles.values()) <= set(header):
                return _form(delimiter, header, titles)
    raise BacktestError(f"line 1: {_missing(max(headers.values(), key=len))}")


def _cells(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        row = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        row = []
    return tuple(cell.strip() for cell in row)


def _form(delimiter: str, header: tuple[str, ...], titles: Mapping[str, str]) -> Form:
    beside = {ours: each for ours, spellings in BESIDE.items() for each in spellings if each in header}
    known = {**titles, **beside}
    twice = sorted({title for title in known.values() if header.count(title) > 1})
    if twice:
        raise BacktestError(f"line 1: the column {', '.join(twice)} for the second time: remove one")
    columns = {ours: header.index(title) for ours, title in known.items()}
    return Form(delimiter, header, columns, known, titles is not SHORT, titles is RATES)


def _missing(header: Sequence[str]) -> str:
    titles = EXPORT if EXPORT["queue"] in header else SHORT
    missing = ", ".join(title for title in titles.values() if title not in header)
    return f"no column {missing}: write the columns of /export.csv, or {','.join(SHORT.values())}"
