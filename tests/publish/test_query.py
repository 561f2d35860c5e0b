"""What may be written in a query string, and what it means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict

from exporter.models import Rows, SeriesKey
from exporter.publish.filters import RowFilter
from exporter.publish.query import EXPORT, FILTERS, BadParameter, Query, parse_query
from exporter.publish.times import compact, iso, parse_moment

NOW = datetime(2026, 3, 1, 9, 16, 5, 250_000, tzinfo=UTC).timestamp()
NINE = datetime(2026, 3, 1, 9, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-01T09:00:00Z", NINE),
        ("2026-03-01T09:00:00.000Z", NINE),
        ("2026-03-01t09:00z", NINE),
        ("2026-03-01T10:00:00+01:00", NINE),
        ("2026-03-01T10:00:00 01:00", NINE),  # a plus that nobody percent-encoded
        ("2026-03-01T04:00-0500", NINE),
        ("2026-03-01T09:00", NINE),  # no zone: UTC
        ("2026-03-01 09:00", NINE),
        ("20260301T090000Z", NINE),
        ("2026-03-01", NINE - 9 * 3600),
        ("20260301", NINE - 9 * 3600),
        ("1772355600", NINE),
        ("1772355600.5", NINE + 0.5),
        ("1772355600000", NINE),
        ("1772355600500", NINE + 0.5),
        ("0", 0),
        ("-90s", NOW - 90),
        ("-15m", NOW - 900),
        ("-2h", NOW - 7200),
        ("-7d", NOW - 7 * 86400),
        ("-1w", NOW - 7 * 86400),
        (" -2h ", NOW - 7200),
        ("now", NOW),
        ("-999999999w", 0),
        ("0001-01-01", 0),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert parse_moment(text, NOW) == pytest.approx(seconds, abs=1e-6)


NO_MOMENTS = (
    "yesterday|2h|+2h|-2|-2y|-1.5h|--2h|-2H|-2 h|-²h|2026|12345|123456789012345|1e9|nan|inf|²⁰²⁶|1772355600Z|12:00|"
    "2026-13-01|2026-02-30|2026-03-01T|2026-03-01T25:00|2026-03-01T09:00:00+99:00|2026-03-01x09:00|2026-W09"
)


@pytest.mark.parametrize("text", [*NO_MOMENTS.split("|"), "", "1" * 400])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(text, NOW)


def test_moments_are_written_in_utc() -> None:
    moment = datetime.fromisoformat("2026-03-01T10:00:00.1239+01:00")
    assert iso(moment) == "2026-03-01T09:00:00.123Z"
    assert compact(moment) == "20260301T090000Z"


@pytest.mark.parametrize(
    ("query", "span"),
    [
        ("", None),
        ("from=&to=", None),
        ("from=-2h", (NOW - 7200, NOW)),
        ("to=-2h", (0, NOW - 7200)),
        ("from=1772355600&to=1772355600", (NINE, NINE)),
        ("from=1772355600000&to=1772356500.000", (NINE, NINE + 900)),
    ],
)
def test_spans(query: str, span: tuple[float, float] | None) -> None:
    found = parse_query(parsed(query), EXPORT, NOW).span
    # Buckets start on whole seconds, so that rounding both ends up keeps the same buckets.
    assert found == (span and (-int(-span[0] // 1), -int(-span[1] // 1)))


def parsed(query: str) -> MultiDict[str]:
    return MultiDict(pair.split("=", 1) for pair in query.split("&") if pair)


@pytest.mark.parametrize(
    ("query", "advice"),
    [
        ("limit=5", "this route knows: queue, media_type, anomalous, from, to, bom"),
        ("anomalous=yes", "anomalous must be true or false"),
        ("bom=2", "bom must be true or false"),
        ("from=-1h&to=-2h", "write the earlier time in from"),
        ("from=soon", "from is not a time; write an ISO 8601 time"),
        ("to=2026-02-30", "to is not a time"),
        ("from=-1h&from=-2h", "from is given more than once"),
        ("bom=1&bom=1", "bom is given more than once"),
        ("queue=" + "x" * 257, "queue is longer than 256 characters"),
    ],
)
def test_refusals_say_what_to_write(query: str, advice: str) -> None:
    with pytest.raises(BadParameter, match=advice):
        parse_query(parsed(query), EXPORT, NOW)


def test_a_route_refuses_the_parameters_of_another() -> None:
    with pytest.raises(BadParameter, match=r"this route knows: queue, media_type, anomalous$"):
        parse_query(parsed("bom=true"), FILTERS, NOW)


def test_filters_are_read() -> None:
    query = parse_query(parsed("queue=a*&queue=b&media_type=voice&anomalous=TRUE&bom=0"), EXPORT, NOW)
    assert query == Query(RowFilter(("a*", "b"), ("voice",), anomalous=True))
    assert parse_query(parsed("anomalous=false"), EXPORT, NOW) == Query()


def test_a_blank_parameter_is_as_if_absent() -> None:
    """A form sends every field that it has."""
    blank = "&".join(f"{name}=" for name in EXPORT)
    assert parse_query(parsed(blank), EXPORT, NOW) == Query()
    assert parse_query(parsed("media_type=&media_type=voice"), EXPORT, NOW).rows == RowFilter(media_types=("voice",))


ROWS = Rows(
    keys=(SeriesKey("id-1", "voice"), SeriesKey("id-1", "Chat"), SeriesKey("id-2", "voice"), SeriesKey("id-3", "")),
    names=("Sales EMEA", "Sales EMEA", "help [desk]", "Straße\n*"),
)


@pytest.mark.parametrize(
    ("queues", "media_types", "rows"),
    [
        ((), (), [0, 1, 2, 3]),
        (("sales*",), (), [0, 1]),
        (("Sales",), (), []),  # the whole name, not a part of it
        (("*EMEA",), ("voice",), [0]),
        (("ID-2",), (), [2]),
        (("id-?",), ("VOICE",), [0, 2]),
        (("id-[23]", "sales*"), (), [0, 1, 2, 3]),
        (("help [[]desk]",), (), [2]),
        (("*\n[*]",), (), [3]),
        ((), ("",), [3]),
        ((), ("chat", "voice"), [0, 1, 2]),
        ((), ("fax",), []),
    ],
)
def test_rows_by_name_id_and_media_type(queues: tuple[str, ...], media_types: tuple[str, ...], rows: list[int]) -> None:
    assert RowFilter(queues, media_types).of_rows(ROWS).tolist() == rows


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.text(st.sampled_from("ab*?[]!-^\\(){}|.+$\n"), max_size=40), min_size=1, max_size=3))
def test_no_glob_is_too_odd(globs: list[str]) -> None:
    assert set(RowFilter(tuple(globs)).of_rows(ROWS).tolist()) <= {0, 1, 2, 3}
