"""The queue directory: pages to the end or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.errors import AuthError, PagingError, PayloadError
from exporter.genesys.queues import MAX_PAGES, PAGE_SIZE, fetch_queues
from exporter.models import EntitiesRejected, Queue
from tests.genesys.conftest import QUEUES, Client, Reply, Seen
from tests.genesys.strategies import any_json, odd_values


def entity(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"q-{number}", "name": f"Queue {number}", **more}


def page(*entities: Any, **more: Any) -> Reply:
    return Reply({"entities": list(entities), "pageSize": PAGE_SIZE, **more})


def pages(*contents: list[Any]) -> list[Reply]:
    """So many pages that each tell how many there are."""
    return [page(*entities, pageNumber=number, pageCount=len(contents)) for number, entities in enumerate(contents, 1)]


async def fetch(client: Client) -> list[Queue]:
    return (await fetch_queues(client.api, client.deadline())).queues


async def ids(client: Client) -> list[str]:
    return [queue.id for queue in await fetch(client)]


async def test_pages_are_read_one_after_the_other_to_the_last(client: Client) -> None:
    client.service.script(QUEUES, *pages([entity(1), entity(2)], [entity(3)], [entity(4)]))
    assert await ids(client) == ["q-1", "q-2", "q-3", "q-4"]
    asked = [seen.query for seen in client.service.calls(QUEUES)]
    assert asked == [{"pageSize": "500", "pageNumber": str(n), "sortOrder": "asc"} for n in (1, 2, 3)]
    assert {seen.method for seen in client.service.calls(QUEUES)} == {"GET"}


async def test_a_queue_brings_its_name_division_and_targets_by_analytics_media_type(client: Client) -> None:
    level = {"percentage": 0.8, "durationMs": 20000}
    full = entity(
        1,
        division={"id": "d-1", "name": "Sales", "selfUri": "/"},
        memberCount=5,
        mediaSettings={
            "call": {"serviceLevel": level, "alertingTimeoutSeconds": 8},
            "email": {"serviceLevel": {"percentage": 0}},
            "chat": {"serviceLevel": None},
            "callback": None,
            "message": {"serviceLevel": {"percentage": 80}},
            "hologram": {"serviceLevel": {"percentage": 1}},
        },
    )
    client.service.script(QUEUES, *pages([full]))
    (queue,) = await fetch(client)
    assert queue == Queue("q-1", "Queue 1", "Sales", {"voice": 0.8, "email": 0, "hologram": 1})


async def test_queues_with_the_same_targets_share_them(client: Client) -> None:
    levels = [{"call": {"serviceLevel": {"percentage": each}}} for each in (0.8, 0.8, 0.9)]
    listed = [entity(number, mediaSettings=level) for number, level in enumerate(levels)]
    client.service.script(QUEUES, *pages(listed[:1], listed[1:]))
    first, second, third = await fetch(client)
    assert first.service_level_targets is second.service_level_targets
    assert third.service_level_targets == {"voice": 0.9}


async def test_a_queue_without_a_name_keeps_its_id(client: Client) -> None:
    client.service.script(QUEUES, *pages([{"id": "q-1"}, {"id": "q-2", "name": ""}, {"id": "q-3", "name": None}]))
    assert [(queue.name, queue.division) for queue in await fetch(client)] == [("q-1", ""), ("q-2", ""), ("q-3", "")]


async def test_queues_of_the_same_name_are_both_listed(client: Client) -> None:
    client.service.script(QUEUES, *pages([{"id": "a", "name": "Sales"}, {"id": "b", "name": "Sales"}]))
    assert await ids(client) == ["a", "b"]


@pytest.mark.parametrize("body", [{"entities": []}, {"entities": [], "pageCount": 0, "total": 0}])
async def test_an_org_without_queues_is_an_empty_directory(client: Client, body: dict[str, Any]) -> None:
    client.service.script(QUEUES, Reply(body))
    assert await ids(client) == []
    assert len(client.service.calls(QUEUES)) == 1


async def test_bad_entities_cost_themselves_and_are_counted(client: Client) -> None:
    contents = [
        1,
        entity(1),
        {"name": "no id"},
        {"id": ""},
        {"id": 5},
        entity(2, mediaSettings=5),
        entity(1),
        entity(3),
    ]
    client.service.script(QUEUES, *pages(contents))
    assert await ids(client) == ["q-1", "q-3"]
    told = {event.reason: event.count for event in client.events_of(EntitiesRejected)}
    assert told == {"type": 4, "missing_id": 1, "duplicate": 1}


async def test_a_page_of_which_every_entity_is_bad_does_not_end_the_run(client: Client) -> None:
    client.service.script(QUEUES, *pages([entity(1)], [{"id": 5}], [entity(2)]))
    assert await ids(client) == ["q-1", "q-2"]


async def test_a_queue_that_moved_to_the_next_page_meanwhile_is_listed_once(client: Client) -> None:
    client.service.script(QUEUES, *pages([entity(1), entity(2)], [entity(2), entity(3)]))
    assert await ids(client) == ["q-1", "q-2", "q-3"]


async def test_a_last_page_that_vanished_meanwhile_ends_the_run(client: Client) -> None:
    first = page(entity(1), pageCount=2, pageNumber=1)
    client.service.script(QUEUES, first, page(pageCount=1, pageNumber=2))
    assert await ids(client) == ["q-1"]


async def test_a_service_that_does_not_tell_the_number_of_pages_is_read_to_the_first_page_that_is_not_full(
    client: Client,
) -> None:
    full = [entity(number) for number in range(PAGE_SIZE)]
    client.service.script(QUEUES, page(*full), page(entity(PAGE_SIZE)))
    assert len(await ids(client)) == PAGE_SIZE + 1


# Half a directory is none


@pytest.mark.parametrize("body", [{}, {"entities": None}, {"results": []}, {"message": "hello"}])
async def test_an_answer_without_a_listing_is_no_empty_directory(client: Client, body: dict[str, Any]) -> None:
    client.service.script(QUEUES, Reply(body))
    with pytest.raises(PayloadError, match="no listing"):
        await fetch(client)


async def test_fewer_queues_than_the_service_counts_are_told(client: Client) -> None:
    for total, short in ((3, True), (2, False), (None, False)):
        client.service.script(QUEUES, page(entity(1), {"id": 5}, total=total))
        listing = await fetch_queues(client.api, client.deadline())
        assert (len(listing.queues), listing.lost, listing.is_short) == (1, 1, short)


async def test_another_page_than_was_asked_for_is_a_fault(client: Client) -> None:
    client.service.script(QUEUES, page(entity(1), pageNumber=2, pageCount=2))
    with pytest.raises(PagingError, match="page 2 came in place of page 1"):
        await fetch(client)


async def test_an_empty_page_before_the_last_is_a_fault(client: Client) -> None:
    client.service.script(QUEUES, page(entity(1), pageCount=3), page(pageCount=3), page(entity(2), pageCount=3))
    with pytest.raises(PagingError, match="page 2 of 3 brings nothing new"):
        await fetch(client)


async def test_a_page_that_fails_fails_the_run(client: Client) -> None:
    client.service.script(QUEUES, page(entity(1), pageCount=2), Reply(b"<html>"))
    with pytest.raises(PayloadError):
        await fetch(client)


async def test_a_token_that_expires_in_mid_run_costs_one_page_more(client: Client) -> None:
    first, second = pages([entity(1)], [entity(2)])
    client.service.script(QUEUES, first, Reply({"code": "bad.credentials"}, 401), second)
    assert await ids(client) == ["q-1", "q-2"]
    assert len(client.service.calls("/oauth/token")) == 2


async def test_a_token_that_is_refused_for_good_ends_the_run(client: Client) -> None:
    client.service.script(QUEUES, page(entity(1), pageCount=2), Reply({}, 401))
    with pytest.raises(AuthError):
        await fetch(client)


# Chains without end


def endless(entities: Callable[[int], list[Any]]) -> Callable[[Seen], Reply]:
    def answer(seen: Seen) -> Reply:
        number = int(seen.query["pageNumber"])
        return page(*entities(number), pageNumber=number, pageCount=number + 1)

    return answer


async def test_a_chain_that_repeats_its_queues_is_cut_at_once(client: Client) -> None:
    client.service.script(QUEUES, endless(lambda number: [entity(1), entity(2)]))
    with pytest.raises(PagingError, match="page 2 of 3 brings nothing new"):
        await fetch(client)
    assert len(client.service.calls(QUEUES)) == 2


async def test_a_service_that_ignores_the_page_number_is_cut_at_once(client: Client) -> None:
    client.service.script(QUEUES, page(entity(1), pageCount=9, pageNumber=1))
    with pytest.raises(PagingError):
        await fetch(client)
    assert len(client.service.calls(QUEUES)) == 2


async def test_a_chain_that_grows_by_a_page_with_every_page_is_cut_at_once(client: Client) -> None:
    client.service.script(QUEUES, endless(lambda number: [entity(number)]))
    with pytest.raises(PagingError, match="page 3 names 4 pages after page 1 named 2"):
        await fetch(client)
    assert len(client.service.calls(QUEUES)) == 3


async def test_a_page_that_was_added_meanwhile_is_read_too(client: Client) -> None:
    first, second, third = (page(entity(n), pageCount=count) for n, count in ((1, 2), (2, 3), (3, 3)))
    client.service.script(QUEUES, first, second, third)
    assert await ids(client) == ["q-1", "q-2", "q-3"]


async def test_an_endless_chain_without_a_count_is_cut_at_two_hundred_thousand_queues(client: Client) -> None:
    full = json.dumps({"entities": [{"id": f"#-{number}"} for number in range(PAGE_SIZE)]}).encode()

    def answer(seen: Seen) -> Reply:
        return Reply(full.replace(b"#", seen.query["pageNumber"].encode()))

    client.service.script(QUEUES, answer)
    with pytest.raises(PagingError, match=f"still no last page after {MAX_PAGES} pages"):
        await fetch(client)
    assert len(client.service.calls(QUEUES)) == MAX_PAGES


# Properties


levels = st.fixed_dictionaries({"serviceLevel": st.fixed_dictionaries({"percentage": odd_values})})
listed = st.fixed_dictionaries(
    {"id": odd_values | st.text(max_size=4)},
    optional={
        "name": odd_values | st.text(max_size=4),
        "division": any_json,
        "mediaSettings": st.dictionaries(
            st.sampled_from(["call", "email"]),
            st.fixed_dictionaries({"serviceLevel": st.just({"percentage": 2})}) | any_json,
        ),
    },
)
listings = any_json | st.fixed_dictionaries(
    {"entities": st.lists(listed | any_json, max_size=4)},
    optional={"pageCount": odd_values, "pageNumber": odd_values, "total": odd_values},
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(listings, min_size=1, max_size=3))
async def test_no_listing_gets_anything_but_queues_into_the_directory(client: Client, bodies: list[Any]) -> None:
    client.service.script(QUEUES, *map(Reply, bodies))
    client.clock.advance(120)
    try:
        found = await fetch(client)
    except PayloadError:
        return
    assert len({queue.id for queue in found}) == len(found)
    for queue in found:
        assert queue.id
        assert queue.name
        assert all(0 <= target <= 1 for target in queue.service_level_targets.values())
