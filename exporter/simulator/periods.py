"""Intervals, ISO 8601 periods and the buckets that they cut.

In: the texts of a request. Out: epoch milliseconds. Buckets start where the interval starts and step by the
granularity (days, months and years in the request's time zone, so that a day may have 23 hours); the last one is cut
at the interval's end. Without granularity the whole interval is one bucket.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
from numpy.typing import NDArray

from exporter.simulator.api_errors import bad_request

Ints = NDArray[np.int64]

_PERIOD = re.compile(
    r"P(?=[\dT])(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)
#: More buckets than anybody plots; the real limit is not documented. It bounds the memory of one answer.
MOST_BUCKETS = 20_000
#: Longer than any report; the real limit is not documented. It bounds the work of one answer.
LONGEST_INTERVAL = timedelta(days=732)


@dataclass(frozen=True, slots=True)
class Period:
    """Months and days follow the calendar, seconds do not."""

    months: int = 0
    days: int = 0
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Buckets:
    """Half-open buckets between neighbouring edges (epoch ms); `step_ms` where all but the last are equally long."""

    edges: Ints
    step_ms: int | None

    @property
    def start_ms(self) -> int:
        return int(self.edges[0])

    @property
    def end_ms(self) -> int:
        return int(self.edges[-1])

    def __len__(self) -> int:
        return len(self.edges) - 1

    def index(self, stamps: Ints) -> Ints:
        """The bucket of each stamp; stamps outside give numbers outside 0…len-1, or land in the last bucket."""
        if self.step_ms is not None:
            return np.asarray((stamps - self.start_ms) // self.step_ms)
        return np.searchsorted(self.edges, stamps, side="right") - 1


def parse_instant(text: str) -> datetime:
    """Aware UTC; a time without offset is UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_period(text: str) -> Period:
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 period")
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    period = Period(
        months=12 * part["years"] + part["months"],
        days=7 * part["weeks"] + part["days"],
        seconds=3600 * part["hours"] + 60 * part["minutes"] + part["seconds"],
    )
    if period == Period():
        raise ValueError(f"{text!r} is a period of no length")
    return period


def parse_interval(text: str) -> tuple[datetime, datetime]:
    """`start/end` or `start/period`, or a 400 as the service gives it."""
    try:
        left, right = text.split("/")
        start = parse_instant(left)
        end = _advance(start, parse_period(right), 1, UTC) if right.startswith("P") else parse_instant(right)
    except (ValueError, OverflowError) as error:
        raise bad_request(f"Invalid interval [{text}]: expected ISO-8601 start/end") from error
    if end <= start:
        raise bad_request(f"Invalid interval [{text}]: the end must be after the start")
    return start, end


def cut(start: datetime, end: datetime, granularity: Period | None, zone: tzinfo = UTC) -> Buckets:
    """The buckets of an interval."""
    if end - start > LONGEST_INTERVAL:
        raise bad_request(f"The interval is longer than {LONGEST_INTERVAL.days} days")
    if granularity is None:
        return Buckets(_edges([start, end]), _ms(end) - _ms(start))
    is_even = granularity.months == 0 and (granularity.days == 0 or zone is UTC)
    if is_even:
        return _even(_ms(start), _ms(end), 1000 * (granularity.seconds + 86_400 * granularity.days))
    edges = [start]
    while edges[-1] < end:
        edges.append(min(end, _advance(start, granularity, len(edges), zone)))
    return Buckets(_edges(edges), None)


def _even(start_ms: int, end_ms: int, step_ms: int) -> Buckets:
    if (end_ms - start_ms) // step_ms > MOST_BUCKETS:
        raise bad_request(f"Too many intervals: granularity cuts more than {MOST_BUCKETS}")
    edges = np.append(np.arange(start_ms, end_ms, step_ms, dtype=np.int64), np.int64(end_ms))
    return Buckets(edges, step_ms)


def _advance(start: datetime, period: Period, times: int, zone: tzinfo) -> datetime:
    local = start.astimezone(zone)
    month = local.month - 1 + period.months * times
    year, month = local.year + month // 12, month % 12 + 1
    day = min(local.day, calendar.monthrange(year, month)[1])
    moved = local.replace(year=year, month=month, day=day) + timedelta(days=period.days * times)
    return moved.astimezone(UTC) + timedelta(seconds=period.seconds * times)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _edges(moments: list[datetime]) -> Ints:
    return np.array([_ms(moment) for moment in moments], dtype=np.int64)


def iso_texts(edges: Ints) -> list[str]:
    """ISO 8601 UTC with milliseconds and Z, as the service writes times."""
    return [f"{text}Z" for text in np.datetime_as_string(edges.astype("datetime64[ms]"), unit="ms").tolist()]
