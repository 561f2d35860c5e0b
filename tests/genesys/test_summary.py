"""The summary contract: the exact request, pages one after the other, entities into columns."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import AuthError, GenesysError, PagingError, PayloadError
from exporter.genesys.decode import MAX_COUNT, REJECT_REASONS, Rejects
from exporter.genesys.selection import Selection
from exporter.genesys.summary import Entity, Report, Run, fetch_entities, to_buckets, to_window
from exporter.models import WINDOW_COLUMNS, BucketBatch, Lost, SeriesKey, Window
from tests.genesys.conftest import SUMMARY, TOKEN, Client, Reply, Seen
from tests.genesys.strategies import summary_pages, unhurried

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
START = int(NINE.timestamp())
SPAN = Window.of_epoch(START, START + 4 * 900)
ONE = Window.of_epoch(START, START + 900)
ALL = Selection()


def entity(queue: str = "q-1", total: Any = 10, abandoned: Any = 2, breaches: Any = 3, **more: Any) -> dict[str, Any]:
    return {
        "id": queue,
        "name": f"Name of {queue}",
        "totalContacts": total,
        "abandonedContacts": abandoned,
        "slaBreaches": breaches,
        "timeInterval": "2026-03-02T09:00:00.000Z/PT15M",
    } | more


def page(*entities: Any, token: str | None = None, total: int | None = None, size: int | None = 2000) -> Reply:
    paging = {"nextPageToken": token, "pageSize": size, "totalCount": total}
    return Reply({"entities": list(entities), "paging": paging, "status": "success"})


async def fetch(client: Client, queue_ids: tuple[str, ...] = ()) -> list[str]:
    report = Report("PT15M", queue_ids)
    run = await fetch_entities(client.api, report, SPAN, client.deadline())
    return [entity.id for entity in run.entities]


def buckets(*entities: Any, selection: Selection = ALL, bucket: str = "PT15M") -> tuple[BucketBatch, dict[str, int]]:
    rejects = Rejects()
    body = json.dumps({"entities": list(entities)}).encode()
    run = Run()
    run.take(body)
    return to_buckets(run, SPAN, bucket, selection, rejects), dict(rejects._counts)


# The request


async def test_the_request_is_exactly_the_contract_s(client: Client) -> None:
    client.service.script(SUMMARY, page(entity("q-1"), token="t-2", total=2, size=1), page(entity("q-2")))
    await fetch(client, ("q-1", "q-2"))
    first, second = client.service.calls(SUMMARY)
    assert first.method == "POST"
    assert first.headers["Authorization"] == "Bearer token-1"
    assert first.headers["Content-Type"] == "application/json"
    wanted = {
        "timeGroup": "auto",
        "groupBy": ["queueId"],
        "filters": {"conversationStates": ["inbound"], "queues": {"ids": ["q-1", "q-2"]}},
        "interval": "PT15M",
        "dateFrom": "2026-03-02T09:00:00.000Z",
        "dateTo": "2026-03-02T10:00:00.000Z",
        "select": ["totalContacts", "abandonedContacts", "slaBreaches"],
    }
    assert first.json == {**wanted, "paging": {"pageSize": 2000}}
    assert second.json == {**wanted, "paging": {"pageSize": 2000, "nextPageToken": "t-2"}}


async def test_all_queues_are_asked_for_by_naming_none(client: Client) -> None:
    client.service.script(SUMMARY, page())
    await fetch(client)
    assert client.service.calls(SUMMARY)[0].json["filters"] == {"conversationStates": ["inbound"]}


@pytest.mark.parametrize("bucket", ["PT15M", "PT1H", "PT4H", "PT1D"])
def test_this_contract_spells_a_day_with_the_t(bucket: str) -> None:
    assert json.loads(Report(bucket, ()).body(SPAN, None))["interval"] == bucket


# Pages


async def test_pages_are_read_one_after_the_other_until_the_token_is_null(client: Client) -> None:
    def answer(seen: Seen) -> Reply:
        number = int(seen.json["paging"].get("nextPageToken", "1"))
        return page(entity(f"q-{number}"), token=str(number + 1) if number < 4 else None, total=4, size=1)

    client.service.script(SUMMARY, answer)
    ids = await fetch(client)
    assert ids == ["q-1", "q-2", "q-3", "q-4"]
    assert [seen.json["paging"].get("nextPageToken") for seen in client.service.calls(SUMMARY)] == [None, "2", "3", "4"]


async def test_a_token_that_repeats_is_a_fault_at_once(client: Client) -> None:
    client.service.script(SUMMARY, page(entity("q-1"), token="t"), page(entity("q-2"), token="t"))
    with pytest.raises(PagingError, match="page 2 names a page token that was already used"):
        await fetch(client)
    assert len(client.service.calls(SUMMARY)) == 2


async def test_a_token_that_comes_back_later_is_a_fault_too(client: Client) -> None:
    client.service.script(SUMMARY, *(page(token=token) for token in ("a", "b", "a")))
    with pytest.raises(PagingError, match="page 3"):
        await fetch(client)


@pytest.mark.parametrize(
    ("total", "size", "pages"),
    [(2000, 2000, 1), (2001, 2000, 2), (0, 2000, 1), (30, 10, 3), (2000, 0, 1), (4000, None, 2)],
)
async def test_more_pages_than_the_total_allows_are_a_fault(
    client: Client, total: int, size: int | None, pages: int
) -> None:
    numbers = iter(range(100))
    client.service.script(SUMMARY, lambda seen: page(token=f"t-{next(numbers)}", total=total, size=size))
    with pytest.raises(PagingError, match=f"page {pages} names another page, but totalCount allows {pages}"):
        await fetch(client)
    assert len(client.service.calls(SUMMARY)) == pages


@pytest.mark.parametrize(
    "paging", [None, {}, {"nextPageToken": None}, {"nextPageToken": None, "totalCount": None}, {"nextPageToken": ""}]
)
async def test_a_page_without_a_token_is_the_last(client: Client, paging: Any) -> None:
    client.service.script(SUMMARY, Reply({"entities": [entity()], "paging": paging}))
    assert await fetch(client) == ["q-1"]


async def test_a_chain_without_a_total_ends_with_the_deadline_and_the_minute_s_calls(make_client: Any) -> None:
    client = await make_client(per_minute=10)
    numbers = iter(range(10**6))
    client.service.script(SUMMARY, lambda seen: page(token=f"t-{next(numbers)}"))
    with pytest.raises(GenesysError):
        await fetch(client)
    assert len(client.service.seen) == 10


async def test_a_token_that_expires_in_mid_run_costs_one_page_more(client: Client) -> None:
    expired = Reply({"code": "credentials.expired"}, 401)
    numbers = iter(range(1, 9))
    client.service.script(TOKEN, lambda seen: Reply({"access_token": f"token-{next(numbers)}", "expires_in": 1800}))
    client.service.script(SUMMARY, page(entity("q-1"), token="t-2"), expired, page(entity("q-2")))
    assert await fetch(client) == ["q-1", "q-2"]
    calls = client.service.calls(SUMMARY)
    assert [seen.headers["Authorization"] for seen in calls] == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    assert [seen.json["paging"].get("nextPageToken") for seen in calls] == [None, "t-2", "t-2"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Reply(b'{"entities": ['), PayloadError), (Reply({}, 401), AuthError), (Reply([]), PayloadError)],
)
async def test_a_run_that_breaks_off_gives_nothing(client: Client, fault: Reply, kind: type[GenesysError]) -> None:
    client.service.script(SUMMARY, page(entity("q-1"), token="t-2"), fault)
    with pytest.raises(kind):
        await fetch(client)


# Entities


def test_entities_lie_at_their_place_and_the_silent_buckets_are_zero() -> None:
    later = "2026-03-02T09:45:00.000Z/PT15M"
    batch, rejected = buckets(entity("a", 10, 2, 3), entity("a", 5, 0, 1, timeInterval=later), entity("b", 7, 7, 7))
    assert batch.starts.tolist() == [START, START + 900, START + 1800, START + 2700]
    assert batch.keys == (SeriesKey("a", ""), SeriesKey("b", ""))
    assert {name: counts.tolist() for name, counts in batch.counts.items()} == {
        "offered": [[10, 7], [0, 0], [0, 0], [5, 0]],
        "abandoned": [[2, 7], [0, 0], [0, 0], [0, 0]],
        "sla_breached": [[3, 7], [0, 0], [0, 0], [1, 0]],
        "sla_contacts": [[10, 7], [0, 0], [0, 0], [5, 0]],
    }
    assert batch.names == {"a": "Name of a", "b": "Name of b"}
    assert rejected == {}


def test_one_bucket_is_a_window_in_which_nothing_is_known_that_the_contract_does_not_tell() -> None:
    rejects = Rejects()
    entities = [Entity("a", 10, 2, 3, "2026-03-02T09:00:00.000Z/PT15M", "A")]
    table = to_window(to_buckets(Run(entities), ONE, "PT15M", ALL, rejects))
    assert table.window == ONE
    assert table.names == {"a": "A"}
    told = {name: column.tolist() for name, column in table.columns.items() if not np.isnan(column).any()}
    assert told == {"offered": [10], "abandoned": [2], "sla_breached": [3], "sla_contacts": [10]}
    assert tuple(table.columns) == WINDOW_COLUMNS


@pytest.mark.parametrize("spelled", ["PT1D", "P1D"])
def test_a_day_may_come_back_in_either_spelling(spelled: str) -> None:
    day = Window.of_epoch(START - START % 86400, START - START % 86400 + 86400)
    rejects = Rejects()
    entities = [Entity("a", 1, 0, 0, f"2026-03-02T00:00:00.000Z/{spelled}")]
    assert to_buckets(Run(entities), day, "PT1D", ALL, rejects).counts["offered"].tolist() == [[1]]


@pytest.mark.parametrize(
    "when",
    [
        "2026-03-02T08:45:00.000Z/PT15M",
        "2026-03-02T10:00:00.000Z/PT15M",
        "2026-03-02T09:00:00.000Z/PT1H",
        "2026-03-02T09:00:00.000Z",
        "2026-03-02T09:00:00.900Z/PT15M",
        "2026-03-02T09:01:00.000Z/PT15M",
        "2026-03-02T09:00:00.000Z/2026-03-02T09:15:00.000Z",
        "",
    ],
)
def test_another_bucket_is_left_out_and_makes_no_series_of_zeros(when: str) -> None:
    batch, rejected = buckets(entity("stray", timeInterval=when), entity("good"))
    assert batch.keys == (SeriesKey("good", ""),)
    assert batch.names.keys() == {"good"}
    assert rejected == {"outside_window": 1}
    assert batch.lost.others  # an answer about an earlier span would lack the newest buckets
    with pytest.raises(PayloadError, match="other times"):
        buckets(entity("stray", timeInterval=when))


@pytest.mark.parametrize("when", ["2026-03-02T09:00:00Z/PT15M", "2026-03-02T10:00:00.000+01:00/PT15M"])
def test_another_spelling_of_the_same_bucket_is_the_same(when: str) -> None:
    batch, rejected = buckets(entity(timeInterval=when))
    assert batch.counts["offered"][0].tolist() == [10]
    assert rejected == {}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entity("bad", -1), "negative"),
        (entity("bad", 1, -1), "negative"),
        (entity("bad", 1, 1, -1), "negative"),
        (entity("bad", 1.5), "range"),
        (entity("bad", 10**10), "range"),
        (entity("bad", 10**30), "range"),
        (entity("bad", "10"), "type"),
        (entity("bad", None), "type"),
        (entity("bad", True), "type"),
        (entity(""), "missing_id"),
        ({"id": "bad"}, "type"),
        (5, "type"),
    ],
)
def test_an_entity_that_cannot_be_costs_itself_alone(bad: Any, reason: str) -> None:
    for entities in ([entity("good", 7), bad], [bad, entity("good", 7)]):
        batch, rejected = buckets(*entities)
        assert batch.keys == (SeriesKey("good", ""),)
        assert batch.counts["offered"][0].tolist() == [7]
        assert rejected == {reason: 1}


def test_the_same_entity_twice_counts_once_and_of_two_that_contradict_each_other_none() -> None:
    batch, rejected = buckets(entity("a", 1, 1, 1), entity("a", 1, 1, 1), entity("b", 2, 2, 2), entity("b", 3, 2, 2))
    assert batch.counts["offered"][0].tolist() == [1, 0]
    assert batch.lost == Lost(frozenset({(0, SeriesKey("b", ""))}))
    assert rejected == {"duplicate": 2}
    table = to_window(batch)
    assert (table.keys, table.lost) == ((SeriesKey("a", ""),), batch.lost)


@pytest.mark.parametrize(
    ("broken", "lost"),
    [
        (entity("a", -1), Lost(frozenset({(0, SeriesKey("a", ""))}))),
        (entity("a", "1"), Lost(frozenset({(0, SeriesKey("a", ""))}))),
        (entity("a", "1", timeInterval="soon"), Lost(frozenset((place, SeriesKey("a", "")) for place in range(4)))),
        (entity(""), Lost(others=True)),
        (5, Lost(others=True)),
    ],
)
def test_what_cannot_be_read_is_lost_and_no_zero(broken: Any, lost: Lost) -> None:
    batch, _ = buckets(broken, entity("good"))
    assert batch.lost == lost


async def test_a_chain_of_pages_that_ends_too_early_is_a_fault(client: Client) -> None:
    client.service.script(SUMMARY, page(entity("q-1"), total=2))
    with pytest.raises(PagingError, match="ends after 1 entities of 2"):
        await fetch(client)


async def test_an_answer_that_does_not_call_itself_a_success_is_no_silence(client: Client) -> None:
    client.service.script(SUMMARY, Reply({"entities": [], "status": "error", "paging": {"nextPageToken": None}}))
    with pytest.raises(PayloadError, match='"status"'):
        await fetch(client)


@pytest.mark.parametrize("status", [{}, {"status": None}, {"status": "Success"}, {"status": 200}])
async def test_an_answer_need_not_say_that_it_is_one(client: Client, status: dict[str, Any]) -> None:
    client.service.script(SUMMARY, Reply({"entities": [entity()], **status}))
    assert await fetch(client) == ["q-1"]


async def test_the_answer_to_another_question_is_none(client: Client) -> None:
    client.service.script(SUMMARY, Reply({"results": []}))
    with pytest.raises(PayloadError, match="another question"):
        await fetch(client)


def test_queues_that_are_not_selected_are_left_out_by_id_and_name() -> None:
    selection = Selection(("a", "b"), re.compile("Name"), re.compile("of b$"))
    batch, rejected = buckets(entity("a"), entity("b"), entity("c"), entity("a", name=None), selection=selection)
    assert batch.keys == (SeriesKey("a", ""),)
    assert rejected == {}


def test_a_queue_without_a_name_keeps_its_id() -> None:
    batch, _ = buckets(entity("a", name=None), entity("b", name=""))
    assert batch.names == {"a": "a", "b": "b"}


def test_thousands_of_selected_ids_do_not_slow_the_reading_down() -> None:
    """Thousands of queues, all of them named in the settings; one look-up each, not a walk through the list."""
    ids = tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(3000))
    entities = [
        Entity(queue, 1, 0, 0, f"2026-03-02T09:{15 * bucket:02d}:00.000Z/PT15M") for bucket in range(4) for queue in ids
    ]
    few, many = Selection(), Selection(ids)
    spent = {}
    for selection in (few, many):
        began = time.process_time()
        to_buckets(Run(entities), SPAN, "PT15M", selection, Rejects())
        spent[selection] = time.process_time() - began
    assert spent[many] < 3 * spent[few] + 0.01


@unhurried
@given(st.lists(summary_pages([f"2026-03-02T09:{m:02d}:00.000Z/PT15M" for m in (0, 15, 45)]), min_size=1, max_size=2))
def test_no_answer_gets_a_wrong_number_into_the_buckets(bodies: list[bytes]) -> None:
    rejects, run = Rejects(), Run()
    try:
        for body in bodies:
            run.take(body)
        batch = to_buckets(run, SPAN, "PT15M", ALL, rejects)
    except PayloadError:
        return
    assert len(set(batch.keys)) == len(batch.keys)
    assert {key.queue_id for key in batch.keys} == set(batch.names)
    assert not {key for _, key in batch.lost.cells} & {
        key for column, key in enumerate(batch.keys) if batch.counts["offered"][:, column].all()
    }
    for counts in batch.counts.values():
        assert counts.shape == (4, len(batch.keys))
        assert ((counts >= 0) & (counts <= MAX_COUNT)).all()
    assert (batch.counts["offered"] == batch.counts["sla_contacts"]).all()
    assert set(rejects._counts) <= set(REJECT_REASONS)
