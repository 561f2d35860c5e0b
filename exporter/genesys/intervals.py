"""ISO 8601 as the API writes it: instants, intervals, durations."""

from __future__ import annotations

from datetime import UTC, datetime

from exporter.models import Window

#: Bucket lengths by the name that users write; the aggregates API spells a day P1D.
BUCKET_SECONDS = {"PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT4H": 14400, "PT1D": 86400}


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
