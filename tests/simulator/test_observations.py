"""Observations: two kinds of rows, explicit zeros, people that add up, the longest wait as a moment."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from exporter.simulator import Incident
from tests.simulator.client import NOW, OBSERVATIONS, Api, Clock, connected, matches, small_org

CONTACTS = ["oWaiting", "oInteracting", "oAlerting", "oLongestWaiting", "oLongestInteracting"]
PEOPLE = ["oMemberUsers", "oActiveUsers", "oOnQueueUsers", "oOffQueueUsers", "oUserRoutingStatuses", "oUserPresences"]
FORESEEN = {"voice", "callback", "chat", "email", "message"}


async def ask(api: Api, query: dict[str, Any], metrics: list[str]) -> dict[str, Any]:
    answer = await api.post(OBSERVATIONS, {"filter": query, "metrics": metrics})
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


async def contact_rows(api: Api, *queue_ids: str) -> dict[tuple[str, str], dict[str, Any]]:
    body = await ask(api, matches("queueId", *queue_ids), CONTACTS)
    return {
        (row["group"]["queueId"], row["group"]["mediaType"]): {each["metric"]: each["stats"] for each in row["data"]}
        for row in body["results"]
    }


async def test_every_queue_has_a_row_of_people_and_one_for_each_media_type() -> None:
    org = small_org(4)
    async with connected(org) as api:
        body = await ask(api, matches("queueId", *(queue.id for queue in org.queues)), CONTACTS + PEOPLE)
    media: dict[str, list[str]] = defaultdict(list)
    for row in body["results"]:
        media[row["group"]["queueId"]].append(row["group"].get("mediaType", "people"))
    assert set(media) == {queue.id for queue in org.queues}
    for queue in org.queues:
        assert sorted(media[queue.id]) == sorted({*FORESEEN, "people"} | ({"cobrowse"} & set(queue.media_types)))


async def test_zeros_are_explicit_but_a_longest_wait_is_there_only_if_somebody_waits() -> None:
    org = small_org(1)
    async with connected(org) as api:
        row = (await contact_rows(api, org.queues[0].id))[org.queues[0].id, "chat"]
    assert "chat" not in org.queues[0].media_types
    assert row == {name: {"count": 0} for name in ("oInteracting", "oWaiting", "oAlerting")}


async def test_an_unforeseen_media_type_shows_who_talks_and_no_more() -> None:
    org = small_org(3)
    async with connected(org) as api:
        row = (await contact_rows(api, org.queues[2].id))[org.queues[2].id, "cobrowse"]
    assert row == {"oInteracting": {"count": 0}}


async def test_the_longest_wait_is_the_moment_it_began() -> None:
    clock = Clock(NOW)
    org = small_org(2, clock=clock, incidents=(Incident("sla_collapse", 1, NOW, NOW + timedelta(hours=1), 1.0),))
    queue_id = org.queues[1].id
    async with connected(org) as api:
        clock.advance(120)
        row = (await contact_rows(api, queue_id))[queue_id, "voice"]
        began = row["oLongestWaiting"]["calculatedMetricValue"]
        assert row["oWaiting"]["count"] > 10
        clock.advance(1)
        later = (await contact_rows(api, queue_id))[queue_id, "voice"]
    now_ms = NOW.timestamp() * 1000
    assert now_ms - 900_000 < began < now_ms + 75_000, "the longest of many waits has lasted a while"
    assert later["oLongestWaiting"]["calculatedMetricValue"] >= began
    assert row["oLongestInteracting"]["calculatedMetricValue"] < now_ms


async def test_busy_queues_are_busy() -> None:
    org = small_org(2)
    queue_id = org.queues[1].id
    async with connected(org) as api:
        row = (await contact_rows(api, queue_id))[queue_id, "voice"]
    # Little's law: some 2,000 calls an hour of some five minutes each.
    assert 60 < row["oInteracting"]["count"] < 400


def people_of(body: dict[str, Any]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for each in next(row for row in body["results"] if "mediaType" not in row["group"])["data"]:
        found[each["metric"]][each.get("qualifier", "")] = each["stats"]["count"]
    return found


async def test_people_add_up_and_presences_are_the_organisations_own_ids() -> None:
    clock = Clock()
    org = small_org(2, clock=clock)
    async with connected(org) as api:
        for _ in range(20):
            clock.advance(97)
            body = await ask(api, matches("queueId", org.queues[1].id), CONTACTS + PEOPLE)
            people = people_of(body)
            on_queue, off_queue = sum(people["oOnQueueUsers"].values()), sum(people["oOffQueueUsers"].values())
            assert people["oActiveUsers"][""] == on_queue + off_queue
            assert people["oMemberUsers"][""] >= on_queue + off_queue
            assert sum(people["oUserRoutingStatuses"].values()) == on_queue + off_queue
            assert people["oUserRoutingStatuses"].get("OFF_QUEUE", 0) == off_queue
            assert sum(people["oUserPresences"].values()) == on_queue + off_queue
            known = {uuid for ids in body["systemToOrganizationMappings"].values() for uuid in ids}
            assert set(people["oUserPresences"]) | set(people["oOffQueueUsers"]) <= known
            assert all(min(counts.values(), default=1) > 0 for name, counts in people.items())


async def test_only_asked_metrics_and_filtered_rows_come() -> None:
    org = small_org(3)
    async with connected(org) as api:
        people = await ask(api, matches("queueId", org.queues[0].id), ["oUserRoutingStatuses"])
        waiting = await ask(api, matches("queueId", org.queues[0].id), ["oWaiting"])
        unknown = await ask(api, matches("queueId", "nobody"), CONTACTS + PEOPLE)
    assert [set(row["group"]) for row in people["results"]] == [{"queueId"}]
    assert {row["group"].get("mediaType") for row in waiting["results"]} == FORESEEN
    assert unknown["results"] == []


async def test_two_hundred_queues_fit_into_one_request() -> None:
    org = small_org(200)
    async with connected(org) as api:
        body = await ask(api, matches("queueId", *(queue.id for queue in org.queues)), ["oWaiting"])
    assert len({row["group"]["queueId"] for row in body["results"]}) == 200


async def test_the_same_moment_has_the_same_answer() -> None:
    answers = []
    for _ in range(2):
        org = small_org(5)
        async with connected(org) as api:
            answers.append(await ask(api, matches("queueId", *(queue.id for queue in org.queues)), CONTACTS + PEOPLE))
    assert answers[0] == answers[1]
