"""What the simulated API refuses, and in which words: a table of bad requests for each endpoint."""

from __future__ import annotations

import io
from typing import Any

import pytest

from exporter.simulator.oauth import CONVERSATIONS, QUEUE_OBSERVATIONS, QUEUE_VIEW, REPORTS
from tests.simulator.client import (
    AGGREGATES,
    NOW,
    OBSERVATIONS,
    QUARTER,
    QUEUES,
    SUMMARY,
    connected,
    interval,
    matches,
    small_org,
)

HOUR = interval(NOW - 4 * QUARTER, NOW)
GOOD_AGGREGATES = {"interval": HOUR, "metrics": ["nOffered"], "groupBy": ["queueId"]}
GOOD_OBSERVATIONS = {"filter": matches("queueId", "x"), "metrics": ["oWaiting"]}
FROM, TO = HOUR.split("/")
GOOD_SUMMARY: dict[str, Any] = {
    "timeGroup": "auto",
    "groupBy": ["queueId"],
    "filters": {"conversationStates": ["inbound"], "queues": {"ids": []}},
    "interval": "PT15M",
    "dateFrom": FROM,
    "dateTo": TO,
    "select": ["totalContacts", "abandonedContacts", "slaBreaches"],
    "paging": {"pageSize": 2000},
}
GOOD = {AGGREGATES: GOOD_AGGREGATES, OBSERVATIONS: GOOD_OBSERVATIONS, SUMMARY: GOOD_SUMMARY}
ABSENT = object()


def two_levels_down() -> dict[str, Any]:
    return {"type": "and", "clauses": [{"type": "or", "predicates": [], "clauses": [matches("queueId", "x")]}]}


@pytest.mark.parametrize(
    ("path", "change", "code", "word"),
    [
        (AGGREGATES, {"interval": ABSENT}, "bad.request", "interval is required"),
        (AGGREGATES, {"interval": 5}, "bad.request", "interval"),
        (AGGREGATES, {"interval": "PT15M"}, "bad.request", "Invalid interval"),
        (AGGREGATES, {"interval": f"{TO}/{FROM}"}, "bad.request", "end must be after"),
        (AGGREGATES, {"metrics": ABSENT}, "bad.request", "metrics is required"),
        (AGGREGATES, {"metrics": []}, "bad.request", "metrics is required"),
        (AGGREGATES, {"metrics": "nOffered"}, "bad.request", "array"),
        (AGGREGATES, {"metrics": ["nAbandoned"]}, "invalid.value", "[nAbandoned] is not valid"),
        (AGGREGATES, {"metrics": ["noffered"]}, "invalid.value", "[noffered]"),
        (AGGREGATES, {"metrics": [None]}, "invalid.value", "ConversationMetric"),
        (AGGREGATES, {"groupBy": ["queue"]}, "invalid.value", "[queue]"),
        (AGGREGATES, {"groupBy": ["wrapUpCode"]}, "bad.request", "wrapUpCode"),
        (AGGREGATES, {"granularity": "PT1D"}, "bad.request", "Invalid granularity"),
        (AGGREGATES, {"granularity": 900}, "bad.request", "Invalid granularity"),
        (AGGREGATES, {"granularity": "PT1S", "interval": f"{FROM}/P30D"}, "bad.request", "Too many intervals"),
        (AGGREGATES, {"timeZone": "Mars/Olympus"}, "invalid.value", "Mars"),
        (AGGREGATES, {"queryType": "everything"}, "invalid.value", "everything"),
        (AGGREGATES, {"queryType": "topN"}, "bad.request", "topN"),
        (AGGREGATES, {"views": [{"target": "tAcw"}]}, "bad.request", "views"),
        (AGGREGATES, {"filter": {}}, "invalid.value", "QueryFilterType"),
        (AGGREGATES, {"filter": []}, "bad.request", "object"),
        (
            AGGREGATES,
            {"filter": {"type": "xor"}},
            "invalid.value",
            "[xor] is not valid",
        ),
        (AGGREGATES, {"filter": matches("queue", "x")}, "invalid.value", "[queue]"),
        (AGGREGATES, {"filter": {"type": "or", "predicates": ["x"]}}, "bad.request", "predicate"),
        (AGGREGATES, {"filter": {"type": "or", "predicates": [{"dimension": "queueId"}]}}, "bad.request", "value"),
        (
            AGGREGATES,
            {"filter": {"type": "or", "predicates": [{"dimension": "queueId", "operator": "like", "value": "x"}]}},
            "invalid.value",
            "[like]",
        ),
        (
            AGGREGATES,
            {"filter": {"type": "or", "predicates": [{"type": "thing", "dimension": "queueId", "value": "x"}]}},
            "invalid.value",
            "[thing]",
        ),
        (AGGREGATES, {"filter": {"type": "or", "predicates": {}, "clauses": 3}}, "bad.request", "array"),
        (AGGREGATES, {"filter": two_levels_down()}, "bad.request", "clauses"),
        (AGGREGATES, {"filter": {"type": "or", "clauses": [{"type": "or"}]}}, "bad.request", "predicates is required"),
        (OBSERVATIONS, {"metrics": ABSENT}, "bad.request", "metrics is required"),
        (OBSERVATIONS, {"metrics": ["nOffered"]}, "invalid.value", "[nOffered]"),
        (OBSERVATIONS, {"detailMetrics": ["oLongestWaiting"]}, "invalid.value", "[oLongestWaiting]"),
        (OBSERVATIONS, {"filter": ABSENT}, "invalid.value", "QueryFilterType"),
        (OBSERVATIONS, {"filter": {}}, "invalid.value", "Value [] is not valid for field type [QueryFilterType]"),
        (OBSERVATIONS, {"filter": {"type": "or", "predicates": []}}, "bad.request", "predicate"),
        (OBSERVATIONS, {"filter": matches("divisionId", "x")}, "invalid.value", "[divisionId]"),
        (OBSERVATIONS, {"filter": matches("queueId", *map(str, range(201)))}, "bad.request", "200"),
        (SUMMARY, {"interval": "P1D"}, "invalid.value", "[P1D]"),
        (SUMMARY, {"interval": ABSENT}, "bad.request", "interval"),
        (SUMMARY, {"dateFrom": TO, "dateTo": FROM}, "bad.request", "dateFrom"),
        (SUMMARY, {"dateFrom": "yesterday"}, "bad.request", "yesterday"),
        (SUMMARY, {"dateTo": ABSENT}, "bad.request", "dateTo"),
        (SUMMARY, {"select": ["everything"]}, "invalid.value", "everything"),
        (SUMMARY, {"select": []}, "bad.request", "select"),
        (SUMMARY, {"groupBy": ["mediaType"]}, "bad.request", "groupBy"),
        (SUMMARY, {"timeGroup": "hour"}, "bad.request", "timeGroup"),
        (SUMMARY, {"paging": {"pageSize": 2001}}, "bad.request", "pageSize"),
        (SUMMARY, {"paging": {"pageSize": 0}}, "bad.request", "pageSize"),
        (SUMMARY, {"paging": 7}, "bad.request", "paging"),
        (SUMMARY, {"paging": {"nextPageToken": "made up"}}, "bad.request", "nextPageToken"),
        (SUMMARY, {"filters": {"queues": ["x"]}}, "bad.request", "filters.queues.ids"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(path: str, change: dict[str, Any], code: str, word: str) -> None:
    body = {name: value for name, value in (GOOD[path] | change).items() if value is not ABSENT}
    async with connected(small_org(1)) as api:
        assert (await api.post(path, GOOD[path])).status == 200
        answer = await api.post(path, body)
    assert (answer.status, answer.body["code"], answer.body["status"]) == (400, code, 400)
    assert word in answer.body["message"]
    assert answer.body["contextId"] == answer.headers["ININ-Correlation-Id"]
    assert (answer.body["details"], answer.body["errors"]) == ([], [])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "{'interval': 1}"])
@pytest.mark.parametrize("path", [AGGREGATES, OBSERVATIONS, SUMMARY])
async def test_a_body_that_is_no_json_object_is_a_400(path: str, text: str) -> None:
    async with connected(small_org(1)) as api:
        headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"}
        answer = await api.send("POST", path, data=text, headers=headers)
    assert (answer.status, answer.body["code"]) == (400, "bad.request")


@pytest.mark.parametrize("size", [512_001, 6_000_000])
async def test_a_body_over_the_limit_is_a_413(size: int) -> None:
    async with connected(small_org(1)) as api:
        headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"}
        answer = await api.send("POST", AGGREGATES, data=io.BytesIO(b" " * size), headers=headers)
    assert (answer.status, answer.body["code"]) == (413, "request.entity.too.large")


async def test_a_body_of_another_type_is_a_415() -> None:
    async with connected(small_org(1)) as api:
        headers = {"Authorization": f"Bearer {api.token}"}
        answer = await api.send("POST", AGGREGATES, data="x=1", headers=headers)
    assert (answer.status, answer.body["code"]) == (415, "unsupported.media.type")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v2/nothing", 404, "not.found"),
        ("GET", "/api/v2/routing/queues/unknown", 404, "not.found"),
        ("GET", AGGREGATES, 405, "method.not.allowed"),
        ("POST", QUEUES, 405, "method.not.allowed"),
        ("GET", "/oauth/token", 405, "method.not.allowed"),
    ],
)
async def test_paths_and_methods_that_do_not_exist(method: str, path: str, status: int, code: str) -> None:
    async with connected(small_org(1)) as api:
        answer = await api.send(method, path, headers={"Authorization": f"Bearer {api.token}"})
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.headers["ININ-Correlation-Id"]


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", QUEUES, QUEUE_VIEW),
        ("POST", AGGREGATES, CONVERSATIONS),
        ("POST", OBSERVATIONS, QUEUE_OBSERVATIONS),
        ("POST", SUMMARY, REPORTS),
    ],
)
async def test_a_missing_permission_is_a_403_that_names_it(method: str, path: str, permission: str) -> None:
    org = small_org(1)
    async with connected(org) as api:
        org.client.permissions -= {permission}
        answer = await api.get(path) if method == "GET" else await api.post(path, GOOD[path])
        others = [await api.post(other, GOOD[other]) for other in GOOD if other != path]
    assert (answer.status, answer.body["code"]) == (403, "missing.any.permissions")
    assert f"[{permission}]" in answer.body["message"]
    assert {other.status for other in others} == {200}
