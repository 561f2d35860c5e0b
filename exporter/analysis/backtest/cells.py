"""The text of a cell → a number of ours, or a ValueError that says what is wrong and what to write.

Comes in: one cell. Goes out: epoch seconds, a count, a rate. Spreadsheets spoil both: they write times in the order of
their country and shorten long numbers. Such cells are refused by what they look like, never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

DURATIONS = {"PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT4H": 14_400, "PT1D": 86_400, "P1D": 86_400}
#: The largest count; beyond the year 2100 no bucket begins. An epoch of more digits is in milliseconds.
LARGEST_COUNT, LATEST_SECONDS, MILLISECONDS_FROM = 2**31 - 1, 4_102_444_800, 100_000_000_000
UNKNOWN = -1

_INTERVAL = re.compile(r"/(P\w*)\s*$")
_SPREADSHEET_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([ T]\d{1,2}[:.]\d{2}.*)?")
_SHORTENED = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)
_WRITE_TIME = "write epoch seconds or ISO 8601 like 2026-03-01T09:00:00Z/PT15M"


class Memo(dict[str, int]):
    """A reader of cells that reads each text once."""

    def __init__(self, read: Callable[[str], int]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> int:
        self[text] = number = self._read(text)
        return number


def count(text: str) -> int:
    """A whole number; UNKNOWN where the cell is blank."""
    if not text.strip():
        return UNKNOWN
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LARGEST_COUNT or value != int(value):
        raise ValueError(f"is {text!r}: write a whole number of contacts, 0 or more")
    return int(value)


def moment(text: str) -> int:
    """Start in epoch seconds."""
    start = _INTERVAL.sub("", text).strip()
    if start.isascii() and start.isdigit():
        seconds = int(start)
        if seconds >= MILLISECONDS_FROM:
            seconds //= 1000
        return _in_bounds(seconds, text)
    try:
        when = datetime.fromisoformat(start)
    except ValueError:
        raise ValueError(f"is {text!r}{_spoiled(start)}: {_WRITE_TIME}") from None
    return _in_bounds(int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()), text)


def length(text: str) -> int:
    """The length of the bucket in seconds; UNKNOWN where the cell does not tell it."""
    duration = _INTERVAL.search(text)
    if duration is None:
        return UNKNOWN
    if duration[1] not in DURATIONS:
        raise ValueError(f"is {text!r}, a length other than {', '.join(DURATIONS)}: export one of these")
    return DURATIONS[duration[1]]


def rate(text: str) -> tuple[float, float]:
    """A rate in percent, and by how much it may have been rounded; a comma is as good as a point."""
    plain = text.strip().replace(",", ".")
    try:
        value = float(plain)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise ValueError(f"is {text!r}: write a rate in percent, 0 to 100")
    return value, 0.5 * 10.0 ** -len(plain.partition(".")[2])


def _in_bounds(seconds: int, text: str) -> int:
    if not 0 <= seconds < LATEST_SECONDS:
        raise ValueError(f"is {text!r}, before 1970 or after 2100: {_WRITE_TIME}")
    return seconds


def _spoiled(start: str) -> str:
    if _SHORTENED.fullmatch(start):
        return ", shortened by a spreadsheet"
    return ", the date of a spreadsheet" if _SPREADSHEET_DATE.fullmatch(start) else ""
