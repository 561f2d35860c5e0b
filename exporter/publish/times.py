"""Moments as text: how we write them, and how a person may write them in `from` and `to`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from exporter.models import Window

HELP = (
    "write an ISO 8601 time (2026-03-01T09:00:00Z, 2026-03-01), seconds or milliseconds since the epoch, or a time "
    "before now (-15m, -2h, -7d, -1w)"
)

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RELATIVE = re.compile(r"-(\d{1,9})([smhdw])", re.ASCII)
#: Nine digits are 1973, eleven the year 5138; fewer would rather be a year or a day, which ISO 8601 may judge.
_SECONDS = re.compile(r"\d{9,11}(\.\d+)?", re.ASCII)
_MILLISECONDS = re.compile(r"\d{12,14}", re.ASCII)
#: Python itself takes any character between date and time.
_ISO = re.compile(r"\d{4}-?\d\d-?\d\d([T ].+)?", re.ASCII | re.IGNORECASE)


def iso(moment: datetime) -> str:
    """UTC with milliseconds and a Z: 2026-03-01T09:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def interval(window: Window, bucket: str) -> str:
    """The seed contract's timeInterval: `<start>/<bucket>`."""
    return f"{iso(window.start)}/{bucket}"


def compact(moment: datetime) -> str:
    """For file names: 20260301T090000Z."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def parse_moment(text: str, now_seconds: float) -> float:
    """Seconds since the epoch, never negative. A time without a zone is UTC. ValueError if it is none of HELP."""
    text = text.strip()
    if relative := _RELATIVE.fullmatch(text):
        return max(0.0, now_seconds - int(relative[1]) * _UNIT_SECONDS[relative[2]])
    if text == "now":
        return now_seconds
    if text == "0" or _SECONDS.fullmatch(text):
        return float(text)
    if _MILLISECONDS.fullmatch(text):
        return int(text) / 1000
    if not _ISO.fullmatch(text):
        raise ValueError("not a moment")
    return max(0.0, _iso_seconds(text))


def _iso_seconds(text: str) -> float:
    """A `+` that nobody percent-encoded arrives as a space; after a `T` it can only have been a plus."""
    text = text.upper()
    if "T" in text:
        text = text.replace(" ", "+")
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
