"""Answers of the simulated org against the OpenAPI description of the real service, where that file is at hand."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from exporter.simulator import Fault, SimulatedOrg
from exporter.simulator.contracts import vocabulary
from tests.simulator.client import AGGREGATES, NOW, OBSERVATIONS, QUEUES, connected, interval, matches, small_org

OPENAPI = Path(__file__).parents[3] / "shared" / "reference" / "openapi-trimmed.json"
pytestmark = pytest.mark.skipif(not OPENAPI.exists(), reason="the OpenAPI description is not here")


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(OPENAPI.read_text())
    return found


def closed(node: Any) -> Any:
    """The schema with every object closed: a field that the service does not know is an error."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {name: closed(value) for name, value in node.items()}
    if "properties" in node and "x-trimmed" not in node:
        node.setdefault("additionalProperties", False)
    return node


def complaints(schema: str, value: Any) -> list[str]:
    root = {"$ref": f"#/components/schemas/{schema}", "components": closed(document()["components"])}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(root).iter_errors(value)]


async def answers() -> dict[str, tuple[str, Any]]:
    org: SimulatedOrg = small_org(12)
    every_metric = sorted(vocabulary.CONVERSATION_METRICS)
    aggregates = {
        "interval": interval(NOW - timedelta(days=1), NOW),
        "granularity": "PT1H",
        "metrics": every_metric,
        "groupBy": ["queueId"],
    }
    observations = {
        "filter": matches("queueId", *(queue.id for queue in org.queues)),
        "metrics": sorted(vocabulary.OBSERVATION_METRICS),
    }
    async with connected(org) as api:
        found = {
            "aggregates": ("ConversationAggregateQueryResponse", await api.post(AGGREGATES, aggregates)),
            "observations": ("QueueObservationQueryResponse", await api.post(OBSERVATIONS, observations)),
            "queues": ("QueueEntityListing", await api.get(QUEUES)),
            "error": ("ErrorBody", await api.post(AGGREGATES, {})),
        }
        org.faults.add(Fault("queues", status=429, retry_after=3))
        found["429"] = ("ErrorBody", await api.get(QUEUES))
    return {name: (schema, answer.body) for name, (schema, answer) in found.items()}


async def test_answers_hold_to_the_description_without_an_unknown_field() -> None:
    for name, (schema, body) in (await answers()).items():
        assert complaints(schema, body) == [], name
        assert body


def test_the_check_can_fail() -> None:
    assert complaints("ConversationAggregateQueryResponse", {"results": [{"group": {"queueId": 5}}]})
    assert complaints("ConversationAggregateQueryResponse", {"result": []})


def test_the_vocabulary_is_that_of_the_description() -> None:
    schemas = document()["components"]["schemas"]
    query = schemas["ConversationAggregationQuery"]["properties"]
    predicate = schemas["ConversationAggregateQueryPredicate"]["properties"]
    observation = schemas["QueueObservationQuery"]["properties"]
    assert set(query["metrics"]["items"]["enum"]) == vocabulary.CONVERSATION_METRICS
    assert set(query["groupBy"]["items"]["enum"]) == vocabulary.CONVERSATION_GROUPS
    assert set(predicate["dimension"]["enum"]) == vocabulary.CONVERSATION_DIMENSIONS
    assert set(observation["metrics"]["items"]["enum"]) == vocabulary.OBSERVATION_METRICS
    assert set(observation["detailMetrics"]["items"]["enum"]) == vocabulary.OBSERVATION_DETAIL_METRICS
