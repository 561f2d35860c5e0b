"""Observations: batches of 200, two kinds of rows, and numbers that cannot be."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import PayloadError, ScopeError, Unavailable
from exporter.genesys.decode import MAX_COUNT, REJECT_REASONS, Rejects
from exporter.genesys.observations import fetch_observations, parse_observations, request_body
from exporter.genesys.selection import Selection
from exporter.models import OBSERVATION_COLUMNS, EntitiesRejected, ObservationTable, SeriesKey
from tests.conftest import FakeClock
from tests.genesys.conftest import OBSERVATIONS, Client, Reply, Seen
from tests.genesys.strategies import observation_answers, unhurried

NOW = FakeClock().now()
NOW_MS = int(NOW.timestamp() * 1000)
ALL = Selection()


def metric(name: str, qualifier: str | None = None, **stats: Any) -> dict[str, Any]:
    return {"metric": name, "stats": stats} | ({"qualifier": qualifier} if qualifier is not None else {})


def row(*metrics: Any, queue: str | None = "q-1", media: str | None = "voice") -> dict[str, Any]:
    group = {"queueId": queue, "mediaType": media}
    return {"group": {name: value for name, value in group.items() if value is not None}, "data": list(metrics)}


def body(*rows: Any) -> bytes:
    return json.dumps({"results": list(rows)}).encode()


def parse(*bodies: bytes, selection: Selection = ALL) -> tuple[ObservationTable, dict[str, int]]:
    rejects = Rejects()
    table = parse_observations(bodies, selection, NOW, rejects)
    return table, dict(rejects._counts)


def values(table: ObservationTable, place: int = 0) -> dict[str, float]:
    found = {name: float(column[place]) for name, column in table.columns.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}


# Fetching


async def fetch(client: Client, queues: int) -> ObservationTable:
    ids = [f"q-{number}" for number in range(queues)]
    return await fetch_observations(client.api, ids, ALL, NOW, client.deadline())


def echo(seen: Seen) -> Reply:
    ids = [predicate["value"] for predicate in seen.json["filter"]["predicates"]]
    return Reply({"results": [row(metric("oWaiting", count=int(queue[2:])), queue=queue) for queue in ids]})


@pytest.mark.parametrize(("queues", "sizes"), [(0, []), (1, [1]), (200, [200]), (201, [200, 1]), (450, [200, 200, 50])])
async def test_two_hundred_queues_are_asked_for_at_a_time(client: Client, queues: int, sizes: list[int]) -> None:
    client.service.script(OBSERVATIONS, echo)
    table = await fetch(client, queues)
    asked = [seen.json["filter"]["predicates"] for seen in client.service.calls(OBSERVATIONS)]
    assert sorted(map(len, asked), reverse=True) == sizes
    assert table.columns["waiting"].tolist() == list(range(queues))
    assert [key.queue_id for key in table.keys] == [f"q-{number}" for number in range(queues)]


def test_people_are_counted_and_no_details_of_anybody_are_asked_for() -> None:
    assert json.loads(request_body(["q-1"])) == {
        "filter": {
            "type": "or",
            "predicates": [{"type": "dimension", "dimension": "queueId", "operator": "matches", "value": "q-1"}],
        },
        "metrics": ["oAlerting", "oInteracting", "oLongestWaiting", "oUserRoutingStatuses", "oWaiting"],
    }


async def test_no_more_than_four_requests_are_under_way_at_once(client: Client) -> None:
    under_way, most = 0, 0

    async def slowly(self: Reply) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return await Reply({"results": []}).response()

    slow = type("Slow", (Reply,), {"response": slowly})
    client.service.script(OBSERVATIONS, slow())
    await fetch(client, 200 * 12)
    assert most == 4


async def test_one_batch_that_fails_fails_all_and_stops_the_rest(client: Client) -> None:
    client.service.script(OBSERVATIONS, echo, Reply({"code": "missing.permissions"}, 403), Reply(slow_seconds=3))
    with pytest.raises(ScopeError, match="analytics:queueObservation:view"):
        async with asyncio.timeout(2):
            await fetch(client, 200 * 20)
    await asyncio.sleep(0.05)
    assert len(client.service.calls(OBSERVATIONS)) < 10
    assert "batch" not in [getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()]


async def test_a_batch_that_recovers_costs_nothing(client: Client) -> None:
    client.service.script(OBSERVATIONS, Reply(status=503), echo)
    table = await fetch(client, 250)
    assert len(table.keys) == 250


async def test_a_batch_that_stays_away_is_unavailable(client: Client) -> None:
    client.service.script(OBSERVATIONS, Reply(status=503))
    with pytest.raises(Unavailable):
        await fetch(client, 250)


async def test_what_was_left_out_is_told(client: Client) -> None:
    client.service.script(
        OBSERVATIONS, Reply({"results": [row(queue=None), row(metric("oWaiting", count=-1), queue="q-0")]})
    )
    await fetch(client, 1)
    assert client.events_of(EntitiesRejected) == [EntitiesRejected("missing_id", 1), EntitiesRejected("negative", 1)]


# Rows


def test_texts_that_every_answer_brings_anew_are_kept_once() -> None:
    queue = "queue of two answers"
    answer = body(
        row(metric("oWaiting", count=1), queue=queue),
        row(metric("oUserRoutingStatuses", "ON_QUEUE", count=1), queue=queue, media=None),
    )
    tables = [parse(answer)[0] for _ in range(2)]
    texts = [text for table in tables for key in (*table.keys, *table.agent_keys) for text in key]
    assert len(texts) == 8
    assert len(set(map(id, texts))) == len(set(texts)) == 3


def test_contacts_are_counted_by_media_type_and_people_by_status() -> None:
    table, rejected = parse(
        body(
            row(
                metric("oMemberUsers", count=23),
                metric("oUserRoutingStatuses", "IDLE", count=4),
                metric("oUserRoutingStatuses", "OFF_QUEUE", count=19),
                metric("oOnQueueUsers", "IDLE", count=4),
                metric("oUserPresences", "e08eaf1b-ee47-4fa9-a231-1200e284798f", count=4),
                media=None,
            ),
            row(
                metric("oInteracting", count=3),
                metric("oWaiting", count=2),
                metric("oAlerting", count=0),
                metric("oLongestWaiting", calculatedMetricValue=NOW_MS - 61_500),
            ),
            row(
                metric("oInteracting", count=0), metric("oWaiting", count=0), metric("oAlerting", count=0), media="chat"
            ),
        )
    )
    assert table.keys == (SeriesKey("q-1", "voice"), SeriesKey("q-1", "chat"))
    assert values(table) == {
        "waiting": 2,
        "interacting": 3,
        "alerting": 0,
        "oldest_waiting": pytest.approx(NOW.timestamp() - 61.5),
    }
    assert values(table, 1) == {"waiting": 0, "interacting": 0, "alerting": 0}
    assert table.agent_keys == (("q-1", "IDLE"), ("q-1", "OFF_QUEUE"))
    assert table.agents.tolist() == [4, 19]
    assert table.at == NOW
    assert rejected == {}


@pytest.mark.parametrize("stats", [{}, {"calculatedMetricValue": 0}, {"calculatedMetricValue": None}])
def test_nobody_who_waits_has_no_oldest(stats: dict[str, Any]) -> None:
    table, rejected = parse(body(row(metric("oWaiting", count=0), metric("oLongestWaiting", **stats))))
    assert values(table) == {"waiting": 0}
    assert rejected == {}


def test_a_metric_that_does_not_come_has_no_value() -> None:
    table, _ = parse(body(row(metric("oWaiting", count=1), {"metric": "oAlerting"})))
    assert values(table) == {"waiting": 1}


def test_people_are_counted_whatever_media_types_are_selected() -> None:
    rows = [row(metric("oUserRoutingStatuses", "IDLE", count=1), media=None), row(metric("oWaiting", count=1))]
    table, rejected = parse(body(*rows), selection=Selection(media_types=("chat",)))
    assert table.keys == ()
    assert table.agent_keys == (("q-1", "IDLE"),)
    assert rejected == {}


@pytest.mark.parametrize("answer", [b"{}", b'{"results": null}', b'{"results": []}'])
def test_no_rows_are_an_empty_table(answer: bytes) -> None:
    table, rejected = parse(answer)
    assert (table.keys, table.agent_keys, rejected) == ((), (), {})
    assert {column.shape for column in table.columns.values()} == {(0,)}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (metric("oWaiting", count=-1), "negative"),
        (metric("oWaiting", count=0.5), "range"),
        (metric("oWaiting", count=1e12), "range"),
        (metric("oWaiting", count="2"), "type"),
        (metric("oWaiting", count=None), "type"),
        (metric("oWaiting"), "type"),
        (metric("oLongestWaiting", calculatedMetricValue=-5), "range"),
        (metric("oLongestWaiting", calculatedMetricValue=NOW_MS + 301_000), "range"),
        (metric("oLongestWaiting", calculatedMetricValue=1e300), "range"),
        (metric("oLongestWaiting", calculatedMetricValue="x"), "type"),
    ],
)
def test_a_number_that_cannot_be_costs_its_row_alone(bad: Any, reason: str) -> None:
    good = row(metric("oWaiting", count=7), queue="good")
    spoilt = row(metric("oAlerting", count=1), bad, queue="bad")
    for rows in ([good, spoilt], [spoilt, good]):
        table, rejected = parse(body(*rows))
        assert table.keys == (SeriesKey("good", "voice"),)
        assert values(table) == {"waiting": 7}
        assert rejected == {reason: 1}


def test_a_wait_that_began_a_little_after_now_is_a_clock_that_runs_ahead() -> None:
    table, rejected = parse(body(row(metric("oLongestWaiting", calculatedMetricValue=NOW_MS + 2000))))
    assert values(table) == {"oldest_waiting": pytest.approx(NOW.timestamp() + 2)}
    assert rejected == {}


@pytest.mark.parametrize(
    ("bad", "reason"), [(-1, "negative"), (0.5, "range"), (1e12, "range"), (None, "type"), ("1", "type")]
)
def test_a_number_of_people_that_cannot_be_is_left_out(bad: Any, reason: str) -> None:
    table, rejected = parse(body(row(metric("oUserRoutingStatuses", "IDLE", count=bad), media=None)))
    assert table.agent_keys == ()
    assert rejected == {reason: 1}


def test_the_same_row_twice_counts_once_and_of_two_that_contradict_each_other_none() -> None:
    first, second = (row(metric("oWaiting", count=n)) for n in (1, 2))
    people = [
        metric("oUserRoutingStatuses", status, count=count)
        for status, count in (("IDLE", 3), ("IDLE", 4), ("OFF_QUEUE", 5), ("OFF_QUEUE", 5))
    ]
    table, rejected = parse(body(first, row(*people, media=None)), body(first))
    assert values(table) == {"waiting": 1}
    assert (table.agent_keys, table.agents.tolist()) == ((("q-1", "OFF_QUEUE"),), [5])
    assert rejected == {"duplicate": 2}
    for bodies in ([body(first, second)], [body(first), body(second), body(first)]):
        assert values(parse(*bodies)[0]) == {}


async def test_the_answer_to_another_question_is_none(client: Client) -> None:
    for answer in ({"results": [row(metric("oWaiting", count=1), queue="stranger")]}, {"entities": []}):
        client.service.script(OBSERVATIONS, Reply(answer))
        with pytest.raises(PayloadError, match=r"to another question|other queues"):
            await fetch(client, 1)


def test_the_same_metric_twice_makes_a_row_worthless() -> None:
    table, rejected = parse(body(row(metric("oWaiting", count=1), metric("oWaiting", count=2))))
    assert table.keys == ()
    assert rejected == {"duplicate": 1}


@unhurried
@given(st.lists(observation_answers(), min_size=1, max_size=2), st.sampled_from([(), ("voice",)]))
def test_no_answer_gets_a_wrong_number_into_the_table(bodies: list[bytes], media_types: tuple[str, ...]) -> None:
    rejects = Rejects()
    try:
        table = parse_observations(bodies, Selection(media_types=media_types), NOW, rejects)
    except PayloadError:
        return
    assert len(set(table.keys)) == len(table.keys)
    assert len(set(table.agent_keys)) == len(table.agent_keys) == len(table.agents)
    assert tuple(table.columns) == OBSERVATION_COLUMNS
    counts = [table.agents, *(table.columns[name] for name in ("waiting", "interacting", "alerting"))]
    for column in counts:
        told = column[~np.isnan(column)]
        assert ((told >= 0) & (told <= MAX_COUNT) & (told == np.floor(told))).all()
    assert not np.isnan(table.agents).any()
    began = table.columns["oldest_waiting"]
    began = began[~np.isnan(began)]
    assert ((began > 0) & (began <= NOW.timestamp() + 300)).all()
    assert set(rejects._counts) <= set(REJECT_REASONS)
