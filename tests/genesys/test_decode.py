"""JSON bytes into structs: a bad row costs that row, a bad body is a PayloadError, nothing else ever happens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.errors import PayloadError
from exporter.genesys.aggregates import Answer as Aggregates
from exporter.genesys.aggregates import Row as AggregatesRow
from exporter.genesys.decode import MAX_COUNT, REJECT_REASONS, Rejects, decode, good_rows, is_count, is_sum
from exporter.genesys.observations import Answer as Observations
from exporter.genesys.observations import Row as ObservationsRow
from exporter.genesys.queues import QueueEntity, QueuePage
from exporter.genesys.summary import Entity, Page
from exporter.models import EntitiesRejected
from tests.genesys.strategies import any_json, unhurried

SHAPES: list[tuple[Any, str, Any]] = [
    (Aggregates, "results", AggregatesRow),
    (Observations, "results", ObservationsRow),
    (QueuePage, "entities", QueueEntity),
    (Page, "entities", Entity),
]


def rejected(rejects: Rejects) -> dict[str, int]:
    told: list[Any] = []
    rejects.tell(told.append)
    return {event.reason: event.count for event in told}


@pytest.mark.parametrize(("envelope", "field", "row"), SHAPES)
@unhurried
@given(body=st.binary() | any_json.map(lambda value: json.dumps(value).encode()))
@example(body=b"")
@example(body=b"null")
@example(body=b"\xef\xbb\xbf{}")
@example(body=b'{"results": [1, {"group": {"queueId": "\xff"}, "data": []}]}')
@example(body=b'{"entities": [1, {"id": "\xff"}]}')
@example(body=b'{"results": [1, {"group": {"queueId": "\\ud800"}, "data": []}]}')
@example(body=b'{"results": ' + b"[" * 100_000)
@example(body=b'{"results": [1], "rest": ' + b"[" * 2000 + b"]" * 2000 + b"}")
@example(body=b'{"results": [1], "rest": 1e999}')
def test_any_bytes_are_rows_or_a_payload_error(body: bytes, envelope: Any, field: str, row: Any) -> None:
    rejects = Rejects()
    try:
        raw = getattr(decode(body, envelope, "endpoint"), field)
    except PayloadError:
        return
    good = list(good_rows(raw, row, rejects))
    assert all(isinstance(each, row) for each in good)
    assert len(good) + rejects.lost.total() == len(raw or ())
    assert set(rejected(rejects)) <= {"type"}


WITH_STATS = b'{"group": {"queueId": "q"}, "data": [{"interval": "i", "metrics": [{"metric": "m", "stats": %s}]}]}'
GOOD = {"group": {"queueId": "q", "mediaType": "voice"}, "data": []}


@pytest.mark.parametrize(
    "bad",
    [
        b"1",
        b"null",
        b"[]",
        b"{}",
        b'{"group": {"queueId": 5}, "data": []}',
        b'{"group": {"queueId": "\xff"}, "data": []}',
        b'{"group": {"queueId": "q"}, "data": {}}',
        b'{"group": {"queueId": "q"}, "data": [{"interval": 5, "metrics": []}]}',
        WITH_STATS % b'{"count": "5"}',
        WITH_STATS % b'{"sum": 1e999}',
        WITH_STATS % b'{"sum": true}',
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_of_the_wrong_type_costs_that_row_alone(bad: bytes, place: int) -> None:
    rows = [json.dumps(GOOD).encode()] * 2
    rows.insert(place, bad)
    rejects = Rejects()
    answer = decode(b'{"results": [' + b",".join(rows) + b"]}", Aggregates, "e")
    assert [row.group for row in good_rows(answer.results, AggregatesRow, rejects)] == [GOOD["group"]] * 2
    assert rejected(rejects) == {"type": 1}


def test_two_bad_rows_are_counted_as_two() -> None:
    rejects = Rejects()
    assert list(good_rows(decode(b'{"results": [1, 2]}', Aggregates, "e").results, AggregatesRow, rejects)) == []
    assert rejected(rejects) == {"type": 2}


def test_what_stands_beside_the_rows_is_kept_when_a_row_is_bad() -> None:
    page = decode(b'{"entities": [1, {"id": "q-1"}], "pageCount": 7, "unknown": {"x": [1]}}', QueuePage, "queues")
    assert page.pageCount == 7
    assert [entity.id for entity in good_rows(page.entities, QueueEntity, Rejects())] == ["q-1"]


def test_no_rows_are_none_to_read() -> None:
    assert list(good_rows(None, QueueEntity, Rejects())) == []


@pytest.mark.parametrize("body", [b'{"results": {}}', b'{"results": "x"}', b'{"results": 5}'])
def test_rows_that_are_no_list_are_a_payload_error(body: bytes) -> None:
    with pytest.raises(PayloadError, match=r"Expected `array"):
        decode(body, Aggregates, "e")


def test_the_message_names_the_place_and_never_the_value() -> None:
    with pytest.raises(PayloadError) as caught:
        decode(b'{"entities": [], "pageCount": "s3cret"}', QueuePage, "queues")
    assert "`int | null`" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<!doctype html><title>Sign in, anna</title>", "it is a page (HTML or XML)"),
        (b"\xef\xbb\xbf\r\n <html>", "it is a page (HTML or XML)"),
        (b"", "it is empty"),
        (b"upstream error", "malformed"),
    ],
)
def test_what_is_no_json_at_all_is_told_as_what_it_is(body: bytes, told: str) -> None:
    with pytest.raises(PayloadError) as caught:
        decode(body, dict[str, int], "queues")
    assert told in str(caught.value)
    assert "anna" not in str(caught.value)


def test_rejects_are_told_once_by_reason_with_their_number() -> None:
    rejects, told = Rejects(), list[Any]()
    for reason in ("type", "range", "type"):
        rejects.add(reason)
    rejects.tell(told.append)
    assert told == [EntitiesRejected("type", 2), EntitiesRejected("range", 1)]
    assert {"type", "range"} <= set(REJECT_REASONS)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (0, True),
        (-0.0, True),
        (1, True),
        (MAX_COUNT, True),
        (MAX_COUNT + 1, False),
        (0.5, False),
        (-1, False),
        (float("nan"), False),
        (float("inf"), False),
        (1e308, False),
    ],
)
def test_a_count_is_a_whole_number_that_a_contact_centre_can_have(value: float, good: bool) -> None:
    assert is_count(value) is good


@pytest.mark.parametrize(
    ("value", "good"), [(0, True), (0.5, True), (1e16, True), (1.1e16, False), (-1, False), (float("nan"), False)]
)
def test_a_sum_of_times_is_not_negative_and_not_enormous(value: float, good: bool) -> None:
    assert is_sum(value) is good
