"""What a request asks for, read from its query string: checked whole, so that a typing error is never ignored.

In comes the query, out goes a `Query`, or BadParameter with a text for the client that says what to write. The
text never repeats what the client sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from multidict import MultiMapping

from exporter.publish.filters import ALL, RowFilter
from exporter.publish.times import HELP, parse_moment

FILTERS = ("queue", "media_type", "anomalous")
EXPORT = (*FILTERS, "from", "to", "bom")

#: Long enough for any name of a queue, short enough that matching it 20,000 times stays cheap.
MAX_VALUE_LENGTH = 256
#: The last day that can be written down: a time zone may lead beyond it.
_LAST_SECONDS = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_MANY = ("queue", "media_type")  # may be given more than once: any of them matches


class BadParameter(ValueError):
    """A parameter that cannot be understood; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Query:
    """`span` is (from, to) in seconds since the epoch, None where no time is asked for."""

    rows: RowFilter = ALL
    span: tuple[int, int] | None = None
    bom: bool = False

    @property
    def plain(self) -> bool:
        """True if nothing is asked for but the whole current window."""
        return self == Query()


def parse_query(query: MultiMapping[str], known: Iterable[str], now_seconds: float) -> Query:
    """The parameters of a request; those not in `known` are refused, blank ones are as if absent."""
    _check(query, tuple(known))
    return Query(
        rows=RowFilter(
            queues=tuple(filter(None, query.getall("queue", []))),
            media_types=tuple(filter(None, query.getall("media_type", []))),
            anomalous=_flag(query, "anomalous"),
        ),
        span=_span(query, now_seconds),
        bom=_flag(query, "bom"),
    )


def _check(query: MultiMapping[str], known: tuple[str, ...]) -> None:
    if set(query) - set(known):
        names = ", ".join(known) if known else "none"
        raise BadParameter(f"unknown parameter; this route knows: {names}")
    for name, value in query.items():
        if len(value) > MAX_VALUE_LENGTH:
            raise BadParameter(f"{name} is longer than {MAX_VALUE_LENGTH} characters")
        if name not in _MANY and len(query.getall(name)) > 1:
            raise BadParameter(f"{name} is given more than once")


def _flag(query: MultiMapping[str], name: str) -> bool:
    value = query.get(name, "").lower()
    if value not in ("", "true", "false", "1", "0"):
        raise BadParameter(f"{name} must be true or false")
    return value in ("true", "1")


def _span(query: MultiMapping[str], now_seconds: float) -> tuple[int, int] | None:
    """`from` without `to` ends now; `to` without `from` starts with the history."""
    if not (query.get("from") or query.get("to")):
        return None
    start = _moment(query, "from", 0.0, now_seconds)
    end = _moment(query, "to", now_seconds, now_seconds)
    if start > end:
        raise BadParameter("from is later than to; write the earlier time in from")
    return ceil(start), ceil(end)


def _moment(query: MultiMapping[str], name: str, default: float, now_seconds: float) -> float:
    text = query.get(name)
    if not text:
        return default
    try:
        return min(parse_moment(text, now_seconds), _LAST_SECONDS)
    except (ValueError, OverflowError):
        raise BadParameter(f"{name} is not a time; {HELP}") from None
