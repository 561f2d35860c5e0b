"""One line of a CSV of past buckets: which columns there may be, and what they mean.

In: the header, then a line's cells by column. Out: a `Row`. Every fault is a `ReplayError` that says what to write;
the caller adds the file and the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from exporter.simulator.periods import parse_instant, parse_period
from exporter.simulator.profiles import VOICE

PLAIN_COLUMNS = ("queue", "t", "offered", "abandoned", "sla_breach")
EXPORT_COLUMNS = ("queueId", "mediaType", "timeInterval", "totalContacts", "abandonedContacts", "slaBreaches")
#: More contacts than any queue takes in a bucket: a column was mistaken.
_MOST_CONTACTS = 1_000_000


class ReplayError(ValueError):
    """The file cannot be replayed; the text is for the person who wrote it."""


class Series(NamedTuple):
    """Whose buckets they are; `queue_id` is "" where the file has names only."""

    queue_id: str
    media_type: str


class Row(NamedTuple):
    line: int
    key: Series
    name: str
    start: int
    bucket_seconds: int | None
    offered: int
    answered: int
    abandoned: int
    breached: int


def reader_of(header: Sequence[str]) -> Callable[[int, Mapping[str, str]], Row]:
    """What reads the lines under this header."""
    if set(PLAIN_COLUMNS) <= set(header):
        return _plain_row
    if set(EXPORT_COLUMNS) <= set(header):
        return _export_row
    raise ReplayError(
        f"the header {','.join(header)!r} is not known: write {','.join(PLAIN_COLUMNS)}, "
        f"or the header of an export with {','.join(EXPORT_COLUMNS)}"
    )


def _plain_row(line: int, cells: Mapping[str, str]) -> Row:
    name = cells["queue"]
    if not name:
        raise ReplayError("queue is empty: write the queue's name")
    start = _whole(cells, "t", "the bucket's start in epoch seconds")
    return _counted(line, Series("", VOICE), name, start, None, cells, ("offered", "abandoned", "sla_breach"))


def _export_row(line: int, cells: Mapping[str, str]) -> Row:
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
) -> Row:
    offered, abandoned, breached = (_whole(cells, column, "a count of contacts") for column in columns)
    answered = max(0, offered - abandoned)
    if cells.get("answeredContacts"):
        answered = _whole(cells, "answeredContacts", "a count of contacts")
    elif "answeredContacts" in cells:  # a contract that does not tell it: who breached had one of both ends
        answered = max(answered, breached - abandoned)
    if max(offered, answered + abandoned) > _MOST_CONTACTS:
        raise ReplayError(f"more than {_MOST_CONTACTS} contacts in a bucket: are the columns in the right order?")
    if breached > answered + abandoned:
        raise ReplayError(
            f"{columns[2]} {breached} is more than the {answered + abandoned} contacts answered or abandoned: "
            "a contact breaches the service level at most once"
        )
    return Row(line, key, name, start, bucket_seconds, offered, answered, abandoned, breached)


def _whole(cells: Mapping[str, str], column: str, meaning: str) -> int:
    text = cells[column].strip()
    if not (text.isascii() and text.isdecimal()):
        raise ReplayError(f"{column} {text!r} is not a whole number of 0 or more: write {meaning}")
    return int(text)


def _plain_text(cell: str) -> str:
    """An exported text without the apostrophe that defuses formulas in spreadsheets."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r\n") else cell
