"""Intervals and periods: what is read, what is refused, and that buckets cover the interval without gap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator.api_errors import ApiError
from exporter.simulator.periods import Period, cut, iso_texts, parse_interval, parse_period

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("PT15M", Period(seconds=900)),
        ("PT30M", Period(seconds=1800)),
        ("PT1H", Period(seconds=3600)),
        ("PT4H", Period(seconds=14_400)),
        ("P1D", Period(days=1)),
        ("P7D", Period(days=7)),
        ("P1W", Period(days=7)),
        ("P1M", Period(months=1)),
        ("P1Y2M", Period(months=14)),
        ("P1DT12H", Period(days=1, seconds=43_200)),
        ("PT1H30M10S", Period(seconds=5410)),
    ],
)
def test_iso_periods_are_read(text: str, period: Period) -> None:
    assert parse_period(text) == period


@pytest.mark.parametrize("text", ["", "P", "PT", "15M", "PT1D", "P1H", "PT0M", "P0D", "pt15m", "PT-5M", "PT1.5H"])
def test_other_periods_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="period"):
        parse_period(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T09:00:00.000Z/2026-03-01T10:00:00.000Z",
        "2026-03-01T09:00:00Z/2026-03-01T10:00Z",
        "2026-03-01T09:00/2026-03-01T10:00",
        "2026-03-01T11:00:00+02:00/2026-03-01T12:00:00+02:00",
        "2026-03-01T09:00:00.000Z/PT1H",
    ],
)
def test_an_interval_has_many_spellings(text: str) -> None:
    assert parse_interval(text) == (START, START + timedelta(hours=1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-01T09:00:00Z",
        "2026-03-01T09:00:00Z/",
        "2026-03-01T10:00:00Z/2026-03-01T09:00:00Z",
        "2026-03-01T10:00:00Z/2026-03-01T10:00:00Z",
        "PT1H/2026-03-01T09:00:00Z",
        "2026-13-01T09:00:00Z/2026-03-01T09:00:00Z",
        "a/b/c",
        "9999-12-31T23:00:00Z/P9999Y",
    ],
)
def test_what_is_no_interval_is_a_400(text: str) -> None:
    with pytest.raises(ApiError) as refusal:
        parse_interval(text)
    assert (refusal.value.status, refusal.value.code) == (400, "bad.request")


def test_buckets_start_where_the_interval_starts_and_the_last_one_is_cut() -> None:
    start = START + timedelta(minutes=7)
    edges = cut(start, start + timedelta(minutes=40), Period(seconds=900)).edges
    assert iso_texts(edges) == [
        "2026-03-01T09:07:00.000Z",
        "2026-03-01T09:22:00.000Z",
        "2026-03-01T09:37:00.000Z",
        "2026-03-01T09:47:00.000Z",
    ]


def test_without_granularity_the_interval_is_one_bucket() -> None:
    assert len(cut(START, START + timedelta(days=400), None)) == 1


def test_days_of_a_time_zone_follow_its_clock() -> None:
    start = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)  # midnight in Berlin, the night before summer time
    buckets = cut(start, start + timedelta(hours=47), Period(days=1), ZoneInfo("Europe/Berlin"))
    assert (np.diff(buckets.edges) / 3_600_000).tolist() == [23.0, 24.0]


def test_months_have_their_own_lengths() -> None:
    start, end = datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 4, 30, tzinfo=UTC)
    assert iso_texts(cut(start, end, Period(months=1)).edges) == [
        "2026-01-31T00:00:00.000Z",
        "2026-02-28T00:00:00.000Z",
        "2026-03-31T00:00:00.000Z",
        "2026-04-30T00:00:00.000Z",
    ]


def test_a_granularity_that_cuts_without_end_is_refused() -> None:
    with pytest.raises(ApiError, match="Too many intervals"):
        cut(START, START + timedelta(days=30), Period(seconds=1))


def test_an_interval_of_many_years_is_refused() -> None:
    with pytest.raises(ApiError, match="longer than 732 days"):
        cut(START, START + timedelta(days=733), None)


@pytest.mark.parametrize("period", [Period(seconds=900), Period(days=1), Period(months=1)])
def test_an_edge_belongs_to_the_bucket_that_it_opens(period: Period) -> None:
    buckets = cut(START, START + timedelta(days=9), period, ZoneInfo("Europe/Berlin"))
    assert buckets.index(buckets.edges[:-1]).tolist() == list(range(len(buckets)))
    assert buckets.index(buckets.edges[1:] - 1).tolist() == list(range(len(buckets)))


@settings(deadline=None)
@given(
    offset=st.integers(0, 10**7),
    length=st.integers(1, 10**6),
    period=st.sampled_from([Period(seconds=60), Period(seconds=900), Period(days=1), Period(months=1)]),
    stamps=st.lists(st.integers(-(10**9), 10**9), max_size=20),
)
def test_every_stamp_lies_between_the_edges_of_its_bucket(
    offset: int, length: int, period: Period, stamps: list[int]
) -> None:
    start = START + timedelta(seconds=offset)
    buckets = cut(start, start + timedelta(seconds=length), period)
    assert (np.diff(buckets.edges) > 0).all()
    at = buckets.start_ms + np.array(stamps, dtype=np.int64) % (buckets.end_ms - buckets.start_ms)
    index = buckets.index(at)
    assert (buckets.edges[index] <= at).all()
    assert (at < buckets.edges[index + 1]).all()
