"""ISO 8601 as the API writes and reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.genesys.intervals import epoch_seconds, granularity, instant, interval, parse_interval
from exporter.models import Window
from tests.genesys.strategies import unhurried

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NINE_EPOCH = 1772442000.0


def test_an_instant_is_written_in_utc_with_milliseconds() -> None:
    assert instant(NINE) == "2026-03-02T09:00:00.000Z"
    assert instant(NINE.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2026-03-02T09:00:00.000Z"
    assert instant(NINE.replace(microsecond=678_901)) == "2026-03-02T09:00:00.678Z"


def test_an_interval_is_start_and_end() -> None:
    assert interval(Window(NINE, NINE + timedelta(minutes=15))) == "2026-03-02T09:00:00.000Z/2026-03-02T09:15:00.000Z"


@pytest.mark.parametrize(
    ("bucket", "spelled"), [("PT15M", "PT15M"), ("PT30M", "PT30M"), ("PT1H", "PT1H"), ("PT1D", "P1D")]
)
def test_the_api_spells_a_day_without_the_t(bucket: str, spelled: str) -> None:
    assert granularity(bucket) == spelled


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-02T09:00:00.000Z", NINE_EPOCH),
        ("2026-03-02T09:00:00Z", NINE_EPOCH),
        ("2026-03-02T09:00:00", NINE_EPOCH),
        ("2026-03-02T10:00:00.000+01:00", NINE_EPOCH),
        ("2026-03-02T08:59:59.999Z", NINE_EPOCH - 0.001),
        ("", None),
        ("now", None),
        ("2026-13-02T09:00:00Z", None),
    ],
)
def test_an_instant_is_read_with_or_without_an_offset(text: str, seconds: float | None) -> None:
    read = epoch_seconds(text)
    assert read == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize("text", ["", "/", "2026-03-02T09:00:00Z", "2026-03-02T09:00:00Z/", "a/b", "2026-03-02/PT15M"])
def test_what_is_no_interval_of_two_instants_is_none(text: str) -> None:
    assert parse_interval(text) is None


@unhurried
@given(st.text() | st.from_regex(r"[0-9T:.Z+/-]{0,40}"))
def test_no_text_makes_the_readers_fail(text: str) -> None:
    parse_interval(text)


@unhurried
@given(st.integers(0, 7 * 10**12), st.integers(1, 10**6))
def test_what_is_written_is_read_back_to_the_millisecond(milliseconds: int, seconds: int) -> None:
    start = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    read = parse_interval(interval(Window(start, start + timedelta(seconds=seconds))))
    assert read is not None
    assert read == pytest.approx((start.timestamp(), start.timestamp() + seconds), abs=1e-5)
