"""Every request body against the schemas of the vendor's API, for every combination of what can be selected.

Stricter than the schemas: fields that they do not name are refused too.
"""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from exporter.genesys.aggregates import BUCKET_METRICS, WINDOW_METRICS, Report
from exporter.genesys.client import AGGREGATES, OBSERVATIONS, QUEUES
from exporter.genesys.intervals import BUCKET_SECONDS
from exporter.genesys.observations import QUEUES_PER_REQUEST, request_body
from exporter.genesys.source import IDS_PER_REQUEST
from exporter.models import Window
from tests.genesys.conftest import REFERENCE

DOCUMENT = REFERENCE / "openapi-trimmed.json"
pytestmark = pytest.mark.skipif(
    not DOCUMENT.exists(),
    reason="REQUEST BODIES ARE NOT CHECKED: the vendor's schemas, not ours to copy, are not beside the project",
)

#: What the service takes at most; from the comment in its own client that quotes the limits page.
MAX_REQUEST_BYTES = 512_000
WINDOW = Window.of_epoch(1772442000, 1772442900)


@cache
def document() -> Any:
    """The document, with objects closed against fields that it does not name."""
    told = json.loads(DOCUMENT.read_text())
    for schema in told["components"]["schemas"].values():
        if schema.get("type") == "object" and "properties" in schema:
            schema["additionalProperties"] = False
    return told


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**document(), "$ref": f"#/components/schemas/{name}"})


def some_ids(number: int) -> list[str]:
    return [f"00000000-0000-4000-8000-{place:012d}" for place in range(number)]


@pytest.mark.parametrize(
    ("metrics", "bucket", "queues", "media_types"),
    list(
        itertools.product(
            (WINDOW_METRICS, BUCKET_METRICS),
            (None, *BUCKET_SECONDS),
            (0, 1, 200, IDS_PER_REQUEST),
            ((), ("voice",), ("voice", "chat", "email", "callback", "message")),
        )
    ),
)
def test_every_aggregates_request_holds_to_the_schema(
    metrics: tuple[str, ...], bucket: str | None, queues: int, media_types: tuple[str, ...]
) -> None:
    body = Report(metrics, bucket=bucket, media_types=media_types).body(WINDOW, some_ids(queues))
    validator("ConversationAggregationQuery").validate(json.loads(body))
    assert len(body) < MAX_REQUEST_BYTES


@pytest.mark.parametrize("queues", [1, 2, QUEUES_PER_REQUEST])
def test_every_observations_request_holds_to_the_schema(queues: int) -> None:
    validator("QueueObservationQuery").validate(json.loads(request_body(some_ids(queues))))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.pop("metrics"),
        lambda body: body.pop("interval"),
        lambda body: body["metrics"].append("nAbandoned"),
        lambda body: body["groupBy"].append("queue"),
        lambda body: body.update(timeGroup="auto"),
        lambda body: body["filter"]["predicates"][0].update(dimension="queue"),
        lambda body: body["filter"]["predicates"][0].update(operator="equals"),
        lambda body: body["filter"].pop("type"),
    ],
)
def test_the_check_itself_finds_what_is_wrong(spoil: Any) -> None:
    body = json.loads(Report(WINDOW_METRICS, bucket=None, media_types=()).body(WINDOW, ["a"]))
    spoil(body)
    with pytest.raises(jsonschema.ValidationError):
        validator("ConversationAggregationQuery").validate(body)


@pytest.mark.parametrize("endpoint", [QUEUES, AGGREGATES, OBSERVATIONS])
def test_every_endpoint_is_one_of_the_vendor_s(endpoint: Any) -> None:
    assert endpoint.method.lower() in document()["paths"][endpoint.path]


def test_the_directory_is_asked_for_by_parameters_that_exist() -> None:
    parameters = {each["name"]: each for each in document()["paths"][QUEUES.path]["get"]["parameters"]}
    assert {"pageSize", "pageNumber", "sortOrder"} <= set(parameters)
    assert "asc" in parameters["sortOrder"]["schema"]["enum"]
