"""Faults on demand: each kind does on the wire what it says, as often as it says, and then all is well."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from exporter.simulator import Fault
from exporter.simulator.mutations import MUTATIONS
from tests.simulator.client import (
    AGGREGATES,
    NOW,
    OBSERVATIONS,
    QUEUES,
    SUMMARY,
    Clock,
    connected,
    interval,
    iso,
    matches,
    small_org,
)

HOUR = interval(NOW - timedelta(hours=1), NOW)
AGGREGATES_BODY = {
    "interval": HOUR,
    "granularity": "PT15M",
    "metrics": ["nOffered", "tAnswered"],
    "groupBy": ["queueId"],
}


def summary_body(token: str | None = None) -> dict[str, Any]:
    return {
        "timeGroup": "auto",
        "groupBy": ["queueId"],
        "interval": "PT15M",
        "dateFrom": iso(NOW - timedelta(hours=1)),
        "dateTo": iso(NOW),
        "select": ["totalContacts"],
        "paging": {"pageSize": 3} | ({"nextPageToken": token} if token else {}),
    }


async def test_a_status_comes_with_its_documented_body_for_a_number_of_times() -> None:
    org = small_org(1)
    fault = org.faults.add(Fault("queues", status=429, retry_after=2, times=3))
    async with connected(org) as api:
        answers = [await api.get(QUEUES) for _ in range(4)]
    assert [answer.status for answer in answers] == [429, 429, 429, 200]
    assert answers[0].headers["Retry-After"] == "2"
    assert answers[0].body["message"] == "Rate limit exceeded the maximum. Retry the request in [2] seconds"
    assert answers[0].body["contextId"] == answers[0].headers["ININ-Correlation-Id"]
    assert (fault.fired, fault.is_spent) == (3, True)
    assert [request.faults for request in org.calls("queues")] == [["status"]] * 3 + [[]]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad.request"), (401, "bad.credentials"), (403, "not.authorized"), (408, "client.timeout"),
        (409, "general.conflict"), (413, "request.entity.too.large"), (415, "unsupported.media.type"),
        (429, "too.many.requests.retry.after"), (500, "internal.server.error"), (503, "service.unavailable"),
        (504, "request.timeout"),
    ],
)  # fmt: skip
async def test_every_documented_status_has_its_code(status: int, code: str) -> None:
    org = small_org(1)
    org.faults.add(Fault("*", status=status))
    async with connected(org, signed_in=False) as api:
        answer = await api.get(QUEUES)
    assert (answer.status, answer.body["code"], answer.body["status"]) == (status, code, status)
    assert "{}" not in answer.body["message"]


async def test_a_sequence_lets_good_answers_through() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", statuses=(503, 200, 429, 200)))
    async with connected(org) as api:
        assert [(await api.get(QUEUES)).status for _ in range(6)] == [503, 200, 429, 200, 200, 200]


async def test_a_fault_may_wait_for_its_turn_and_for_its_time() -> None:
    clock = Clock()
    org = small_org(1, clock=clock)
    org.faults.add(Fault("queues", after=2, times=1))
    async with connected(org) as api:
        assert [(await api.get(QUEUES)).status for _ in range(4)] == [200, 200, 503, 200]
        org.faults.add(Fault("queues", start=NOW + timedelta(minutes=1), end=NOW + timedelta(minutes=2)))
        seen = []
        for _ in range(3):
            seen.append((await api.get(QUEUES)).status)
            clock.advance(60)
    assert seen == [200, 503, 200]


async def test_a_fault_by_chance_is_the_same_chance_again() -> None:
    runs = []
    for _ in range(2):
        org = small_org(1)
        org.faults.add(Fault("queues", probability=0.4))
        async with connected(org) as api:
            runs.append([(await api.get(QUEUES)).status for _ in range(40)])
    assert runs[0] == runs[1]
    assert 5 < runs[0].count(503) < 30


async def test_faults_strike_their_endpoint_alone_and_can_be_taken_back() -> None:
    org = small_org(1)
    fault = org.faults.add(Fault("observations"), Fault("aggregates"))
    async with connected(org) as api:
        assert (await api.get(QUEUES)).status == 200
        assert (await api.post(AGGREGATES, AGGREGATES_BODY)).status == 503
        org.faults.remove(fault)
        assert (await api.post(AGGREGATES, AGGREGATES_BODY)).status == 200
        observations = {"filter": matches("queueId", "x"), "metrics": ["oWaiting"]}
        assert (await api.post(OBSERVATIONS, observations)).status == 503
        org.faults.clear()
        assert (await api.post(OBSERVATIONS, observations)).status == 200


async def test_a_proxy_answers_in_html() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "html", status=502))
    async with connected(org) as api:
        answer = await api.get(QUEUES)
    assert answer.status == 502
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.body.startswith("<html>")


async def test_a_slow_answer_comes_late_and_whole() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "slow", delay_seconds=0.2))
    async with connected(org) as api:
        begun = time.monotonic()
        answer = await api.get(QUEUES)
        assert time.monotonic() - begun >= 0.2
        assert answer.body["total"] == 1


async def test_a_slow_answer_can_be_given_up() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "slow", delay_seconds=30.0, times=1))
    async with connected(org) as api:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(api.get(QUEUES), 0.05)
        assert (await api.get(QUEUES)).status == 200


async def test_a_connection_is_reset_before_any_header() -> None:
    org = small_org(1)
    org.faults.add(Fault("aggregates", "reset", times=1))
    async with connected(org) as api:
        with pytest.raises(aiohttp.ClientOSError):
            await api.post(AGGREGATES, AGGREGATES_BODY)  # a GET would be sent again by aiohttp itself
        assert (await api.post(AGGREGATES, AGGREGATES_BODY)).status == 200
    assert [request.status for request in org.calls("aggregates")] == [None, 200]


@pytest.mark.parametrize("queues", [1, 400])
async def test_a_body_is_cut_in_half(queues: int) -> None:
    org = small_org(queues)
    org.faults.add(Fault("aggregates", "truncated", times=1))
    async with connected(org) as api:
        headers = {"Authorization": f"Bearer {api.token}"}
        async with api.session.post(api.url + AGGREGATES, json=AGGREGATES_BODY, headers=headers) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert (await api.post(AGGREGATES, AGGREGATES_BODY)).status == 200


async def test_a_good_body_is_called_something_else() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "content_type"))
    async with connected(org) as api:
        answer = await api.get(QUEUES)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert json.loads(answer.body)["total"] == 1


async def test_an_answer_is_larger_than_anybody_expects() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "oversized", size_bytes=3_000_000))
    async with connected(org) as api:
        answer = await api.get(QUEUES)
    assert answer.headers["Content-Length"] == "3000000"
    assert answer.body["total"] == 1


async def test_tokens_expire_in_mid_page() -> None:
    org = small_org(3)
    org.faults.add(Fault("summary", "expire_tokens", after=1, times=1))
    async with connected(org) as api:
        first = await api.post(SUMMARY, summary_body())
        following = summary_body(first.body["paging"]["nextPageToken"])
        refused = await api.post(SUMMARY, following)
        assert (refused.status, refused.body["code"]) == (401, "credentials.expired")
        await api.sign_in()
        assert (await api.post(SUMMARY, following)).status == 200


async def test_the_token_endpoint_refuses() -> None:
    org = small_org(1)
    org.faults.add(Fault("token", statuses=(400, 401, 429, 503)))
    async with connected(org, signed_in=False) as api:
        answers = [await api.sign_in() for _ in range(5)]
    assert [answer.status for answer in answers] == [400, 401, 429, 503, 200]
    assert answers[0].body["error_description"] == "authentication failed"
    assert answers[3].body["code"] == "service.unavailable"


async def test_the_secret_is_rotated_under_way() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "rotate_secret", secret="fresh", times=1))
    async with connected(org) as api:
        assert (await api.get(QUEUES)).status == 401
        assert (await api.sign_in()).status == 400
        await api.sign_in(secret="fresh")
        assert (await api.get(QUEUES)).status == 200


async def test_a_page_token_repeats() -> None:
    org = small_org(4)
    org.faults.add(Fault("summary", "repeat_token", after=1))
    async with connected(org) as api:
        token = (await api.post(SUMMARY, summary_body())).body["paging"]["nextPageToken"]
        for _ in range(3):
            page = await api.post(SUMMARY, summary_body(token))
            assert page.body["paging"]["nextPageToken"] == token


async def test_a_chain_of_pages_never_ends() -> None:
    org = small_org(4)
    org.faults.add(Fault("summary", "endless_pages"))
    token, tokens = None, []
    async with connected(org) as api:
        for _ in range(12):
            page = await api.post(SUMMARY, summary_body(token))
            assert page.status == 200
            token = page.body["paging"]["nextPageToken"]
            tokens.append(token)
    assert len(set(tokens)) == 12
    assert page.body["paging"]["totalCount"] < 12 * 3


@pytest.mark.parametrize(("kind", "numbers"), [("endless_pages", [1, 2, 3, 4]), ("repeat_token", [1, 1, 1, 1])])
async def test_a_listing_never_ends_either(kind: Any, numbers: list[int]) -> None:
    org = small_org(2)
    org.faults.add(Fault("queues", kind))
    link, seen = f"{QUEUES}?pageSize=2&pageNumber=1", []
    async with connected(org) as api:
        for _ in numbers:
            page = (await api.get(link)).body
            assert len(page["entities"]) == 2
            seen.append(page["pageNumber"])
            link = page["nextUri"]
    assert seen == numbers
    assert page["pageCount"] > 1000


def first_count(body: dict[str, Any], row: int = 0) -> Any:
    return body["results"][row]["data"][0]["metrics"][0]["stats"]["count"]


@pytest.mark.parametrize(
    ("mutation", "expected"),
    [
        ("negative_counts", lambda good, bad: bad < 0),
        ("numbers_as_strings", lambda good, bad: bad == str(good)),
        ("fractional_counts", lambda good, bad: bad == good + 0.5),
        ("nan_literal", lambda good, bad: bad != bad),
        ("enormous_counts", lambda good, bad: bad == 10**30),
        ("null_numbers", lambda good, bad: bad is None),
    ],
)
async def test_numbers_of_the_first_row_are_spoiled(mutation: str, expected: Any) -> None:
    org = small_org(3)
    async with connected(org) as api:
        good = (await api.post(AGGREGATES, AGGREGATES_BODY)).body
        org.faults.add(Fault("aggregates", "mutate", mutation=mutation))
        bad = (await api.post(AGGREGATES, AGGREGATES_BODY)).body
    assert expected(first_count(good), first_count(bad))
    assert bad["results"][1:] == good["results"][1:]
    assert bad["results"][0]["group"] == good["results"][0]["group"]


async def test_rows_are_spoiled_as_wholes() -> None:
    org = small_org(3)
    async with connected(org) as api:
        good = (await api.post(AGGREGATES, AGGREGATES_BODY)).body["results"]
        spoiled = {}
        for mutation in ("duplicate_rows", "missing_ids", "unknown_media", "outside_interval", "not_an_array"):
            org.faults.clear()
            org.faults.add(Fault("aggregates", "mutate", mutation=mutation))
            spoiled[mutation] = (await api.post(AGGREGATES, AGGREGATES_BODY)).body["results"]
    assert spoiled["duplicate_rows"] == [good[0], *good]
    assert spoiled["missing_ids"][0]["group"] == {"mediaType": good[0]["group"]["mediaType"]}
    assert spoiled["unknown_media"][0]["group"] == good[0]["group"] | {"mediaType": "hologram"}
    outside = spoiled["outside_interval"][1]["data"][0]["interval"]
    assert outside == interval(NOW - timedelta(days=7, hours=1), NOW - timedelta(days=7, minutes=45))
    assert spoiled["not_an_array"] == "soon"
    assert all(rows[-1] == good[-1] for name, rows in spoiled.items() if name != "not_an_array")


async def test_the_summary_is_spoiled_too_in_every_row_if_wanted() -> None:
    org = small_org(3)
    org.faults.add(Fault("summary", "mutate", mutation="missing_ids", rows=None, times=1))
    org.faults.add(Fault("summary", "mutate", mutation="outside_interval", after=1, times=1))
    async with connected(org) as api:
        first, second, good = [(await api.post(SUMMARY, summary_body())).body["entities"] for _ in range(3)]
    assert not any("id" in row for row in first)
    assert second[1]["timeInterval"] == f"{iso(NOW - timedelta(days=7, hours=1))}/PT15M"
    assert [second[0], *second[2:]] == good


async def test_a_payload_can_be_spoiled_by_a_function() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "mutate", mutation=lambda payload: payload | {"entities": []}))
    async with connected(org) as api:
        assert (await api.get(QUEUES)).body["entities"] == []


async def test_several_faults_strike_one_answer() -> None:
    org = small_org(1)
    org.faults.add(Fault("queues", "slow", delay_seconds=0.0), Fault("queues", "content_type"))
    org.faults.add(Fault("queues", "mutate", mutation="missing_ids"))
    async with connected(org) as api:
        answer = await api.get(QUEUES)
    assert "id" not in json.loads(answer.body)["entities"][0]
    assert org.calls("queues")[0].faults == ["slow", "content_type", "mutate"]


async def test_any_two_faults_of_the_body_may_strike_the_same_answer() -> None:
    org = small_org(2, requests_per_minute=10**6)
    spoil = [{"kind": "mutate", "mutation": name} for name in MUTATIONS]
    spoil += [{"kind": "repeat_token"}, {"kind": "endless_pages"}]
    observations = {"filter": matches("queueId", org.queues[0].id), "metrics": ["oWaiting"]}
    asked = ((AGGREGATES, AGGREGATES_BODY), (SUMMARY, summary_body()), (OBSERVATIONS, observations))
    async with connected(org) as api:
        for first, second in itertools.permutations(spoil, 2):
            org.faults.clear()
            org.faults.add(Fault("*", **first), Fault("*", **second))
            statuses = [(await api.post(path, body)).status for path, body in asked]
            assert [*statuses, (await api.get(QUEUES)).status] == [200] * 4, (first, second)


@pytest.mark.parametrize("fields", [{"kind": "gremlins"}, {"mutation": "turn_blue"}])
def test_a_fault_that_nobody_knows_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="write one of"):
        Fault("queues", **fields)
