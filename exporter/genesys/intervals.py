"""ISO 8601 as the API writes it: instants, intervals, durations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from exporter.models import SeriesKey, Window

#: Bucket lengths by the name that users write; the aggregates API spells a day P1D.
BUCKET_SECONDS = {"PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT4H": 14400, "PT1D": 86400}


#: Intervals are compared with the tolerance of their milliseconds: some clients end a day at 23:59:59.999.
_TOLERANCE_SECONDS = 0.002


def granularity(bucket: str) -> str:
    """The bucket as the aggregates API wants it."""
    return "P1D" if bucket == "PT1D" else bucket


def instant(at: datetime) -> str:
    """`2026-03-01T09:00:00.000Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def interval(window: Window) -> str:
    return f"{instant(window.start)}/{instant(window.end)}"


def epoch_seconds(text: str) -> float | None:
    """Epoch seconds of an ISO 8601 instant; None where it is not one. Without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_interval(text: str) -> tuple[float, float] | None:
    """`start/end` as epoch seconds; None where it is not an interval of two instants."""
    start_text, slash, end_text = text.partition("/")
    start, end = epoch_seconds(start_text), epoch_seconds(end_text)
    return (start, end) if slash and start is not None and end is not None else None


class Intervals:
    """Which bucket of a span an interval text means; texts repeat in every row, so each is parsed once."""

    def __init__(self, span: Window, bucket_seconds: int) -> None:
        self._start, self._end = span.start_seconds, span.end_seconds
        self._bucket_seconds = bucket_seconds
        self._known: dict[str, int | None] = {}
        self.buckets = max(0, self._end - self._start) // bucket_seconds

    def position(self, text: str) -> int | None:
        """The place of the bucket, None where the text is no whole bucket of the span."""
        if text not in self._known:
            self._known[text] = self._parse(text)
        return self._known[text]

    def all_of(self, key: SeriesKey) -> Iterator[tuple[int, SeriesKey]]:
        """A series in every bucket."""
        return ((position, key) for position in range(self.buckets))

    def _parse(self, text: str) -> int | None:
        parsed = parse_interval(text)
        if parsed is None:
            return None
        start, end = parsed
        position = round((start - self._start) / self._bucket_seconds)
        begins = self._start + position * self._bucket_seconds
        aligned = abs(start - begins) <= _TOLERANCE_SECONDS
        whole = abs(end - begins - self._bucket_seconds) <= _TOLERANCE_SECONDS
        return position if aligned and whole and self._start <= begins < self._end else None
