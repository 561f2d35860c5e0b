"""Reading a CSV of past buckets for replay.

In: a file with the columns `queue,t,offered,abandoned,sla_breach` (t = epoch seconds of the bucket's start), or those
of the exporter's own /export.csv. Out: `PastBuckets`, columns sorted by time. Every fault of the file is a
`ReplayError` that names the line and says what to write. Column order does not matter; further columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.simulator.periods import parse_instant, parse_period
from exporter.simulator.profiles import VOICE

PLAIN_COLUMNS = ("queue", "t", "offered", "abandoned", "sla_breach")
EXPORT_COLUMNS = ("queueId", "mediaType", "timeInterval", "totalContacts", "abandonedContacts", "slaBreaches")
#: The bucket length of a plain file that holds a single time.
_USUAL_BUCKET_SECONDS = 900
_LEAST_BUCKET_SECONDS = 60
#: More contacts than any queue takes in a bucket: a column was mistaken.
_MOST_CONTACTS = 1_000_000

Ints = NDArray[np.int64]


class ReplayError(ValueError):
    """The file cannot be replayed; the text is for the person who wrote it."""


class Series(NamedTuple):
    """Whose buckets they are; `queue_id` is "" where the file has names only."""

    queue_id: str
    media_type: str


@dataclass(frozen=True, slots=True)
class PastBuckets:
    """Columns of equal length, by start; `series` indexes `keys`, `names` is by position of a key."""

    source: str
    bucket_seconds: int
    keys: tuple[Series, ...]
    names: tuple[str, ...]
    starts: Ints
    series: Ints
    offered: Ints
    answered: Ints
    abandoned: Ints
    breached: Ints


class _Row(NamedTuple):
    line: int
    key: Series
    name: str
    start: int
    bucket_seconds: int | None
    offered: int
    answered: int
    abandoned: int
    breached: int


def read_past_buckets(path: Path) -> PastBuckets:
    """The buckets of a file, or `ReplayError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(csv.reader(file), path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise ReplayError(f"{path.name}: no rows below the header: write one line for each queue and bucket")
    _refuse_twins(rows, path.name)
    rows.sort(key=lambda row: (row.start, row.key))
    return _columns(rows, path.name, _bucket_seconds(rows, path.name))


def _rows(reader: Iterator[list[str]], source: str) -> Iterator[_Row]:
    header = [name.strip() for name in next(reader, [])]
    read = _reader(header, source)
    for line, cells in enumerate(reader, start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise ReplayError(f"{source}, line {line}: {len(cells)} cells under a header of {len(header)}")
        try:
            yield read(line, dict(zip(header, cells, strict=True)))
        except ReplayError as error:
            raise ReplayError(f"{source}, line {line}: {error}") from error


def _reader(header: Sequence[str], source: str) -> Callable[[int, Mapping[str, str]], _Row]:
    if set(PLAIN_COLUMNS) <= set(header):
        return _plain_row
    if set(EXPORT_COLUMNS) <= set(header):
        return _export_row
    raise ReplayError(
        f"{source}, line 1: the header {','.join(header)!r} is not known: write {','.join(PLAIN_COLUMNS)}, "
        f"or the header of an export with {','.join(EXPORT_COLUMNS)}"
    )


def _plain_row(line: int, cells: Mapping[str, str]) -> _Row:
    name = cells["queue"]
    if not name:
        raise ReplayError("queue is empty: write the queue's name")
    start = _whole(cells, "t", "the bucket's start in epoch seconds")
    return _counted(line, Series("", VOICE), name, start, None, cells, ("offered", "abandoned", "sla_breach"))


def _export_row(line: int, cells: Mapping[str, str]) -> _Row:
    queue_id = cells["queueId"]
    if not queue_id:
        raise ReplayError("queueId is empty: write the queue's id")
    start_text, _, bucket = cells["timeInterval"].partition("/")
    try:
        start = int(parse_instant(start_text).timestamp())
        period = parse_period("P1D" if bucket == "PT1D" else bucket)
    except ValueError as error:
        wanted = "write start/bucket like 2026-03-01T09:00:00.000Z/PT15M"
        raise ReplayError(f"timeInterval {cells['timeInterval']!r}: {wanted}") from error
    key = Series(queue_id, cells["mediaType"] or VOICE)
    name = _plain_text(cells.get("queueName", "")) or queue_id
    seconds = period.seconds + 86_400 * period.days
    return _counted(line, key, name, start, seconds, cells, ("totalContacts", "abandonedContacts", "slaBreaches"))


def _counted(
    line: int,
    key: Series,
    name: str,
    start: int,
    bucket_seconds: int | None,
    cells: Mapping[str, str],
    columns: tuple[str, str, str],
) -> _Row:
    offered, abandoned, breached = (_whole(cells, column, "a count of contacts") for column in columns)
    answered = max(0, offered - abandoned)
    if cells.get("answeredContacts"):
        answered = _whole(cells, "answeredContacts", "a count of contacts")
    if max(offered, answered + abandoned) > _MOST_CONTACTS:
        raise ReplayError(f"more than {_MOST_CONTACTS} contacts in a bucket: are the columns in the right order?")
    if breached > answered + abandoned:
        raise ReplayError(
            f"{columns[2]} {breached} is more than the {answered + abandoned} contacts answered or abandoned: "
            "a contact breaches the service level at most once"
        )
    return _Row(line, key, name, start, bucket_seconds, offered, answered, abandoned, breached)


def _whole(cells: Mapping[str, str], column: str, meaning: str) -> int:
    text = cells[column].strip()
    if not (text.isascii() and text.isdecimal()):
        raise ReplayError(f"{column} {text!r} is not a whole number of 0 or more: write {meaning}")
    return int(text)


def _plain_text(cell: str) -> str:
    """An exported text without the apostrophe that defuses formulas in spreadsheets."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r") else cell


def _refuse_twins(rows: Sequence[_Row], source: str) -> None:
    lines: dict[tuple[Series, str, int], int] = {}
    for row in rows:
        first = lines.setdefault((row.key, row.name if not row.key.queue_id else "", row.start), row.line)
        if first != row.line:
            raise ReplayError(
                f"{source}, line {row.line}: the bucket {row.start} of {row.name!r} stands in line {first} already"
            )


def _bucket_seconds(rows: Sequence[_Row], source: str) -> int:
    told = {row.bucket_seconds for row in rows}
    if told != {None}:
        if len(told) > 1:
            raise ReplayError(f"{source}: buckets of different lengths: write one length into every timeInterval")
        return next(iter(told)) or _USUAL_BUCKET_SECONDS
    starts = np.unique(np.array([row.start for row in rows], dtype=np.int64))
    if len(starts) == 1:
        return _USUAL_BUCKET_SECONDS
    seconds = int(np.gcd.reduce(np.diff(starts)))
    if seconds < _LEAST_BUCKET_SECONDS:
        raise ReplayError(f"{source}: the times have no common bucket length: write into t where each bucket starts")
    return seconds


def _columns(rows: Sequence[_Row], source: str, bucket_seconds: int) -> PastBuckets:
    known: dict[tuple[Series, str], int] = {}
    names: list[str] = []
    series = []
    for row in rows:
        identity = (row.key, "" if row.key.queue_id else row.name)
        if identity not in known:
            known[identity] = len(known)
            names.append(row.name)
        names[known[identity]] = row.name
        series.append(known[identity])
    return PastBuckets(
        source=source,
        bucket_seconds=bucket_seconds,
        keys=tuple(key for key, _ in known),
        names=tuple(names),
        series=np.array(series, dtype=np.int64),
        **{
            column: np.array([getattr(row, field) for row in rows], dtype=np.int64)
            for column, field in (
                ("starts", "start"),
                ("offered", "offered"),
                ("answered", "answered"),
                ("abandoned", "abandoned"),
                ("breached", "breached"),
            )
        },
    )
