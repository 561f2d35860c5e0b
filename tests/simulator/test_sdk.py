"""Genesys' own Python SDK against the simulated org: what it can read, real clients can.

The SDK is large and no dependency of the project. Where it is installed (`pip install PureCloudPlatformClientV2`), this
runs; elsewhere it is skipped, unless EXPECT_GENESYS_SDK is set, which makes its absence a failure.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from datetime import timedelta
from typing import Any

import pytest

from exporter.simulator import SimulatedOrg, serve
from tests.simulator.client import NOW, SECRET, interval, small_org

COUNTS = ["nOffered", "tAnswered", "tAbandon", "oServiceLevel", "oServiceTarget", "tWait"]


@pytest.fixture(scope="module")
def sdk() -> Any:
    try:
        return importlib.import_module("PureCloudPlatformClientV2")
    except ImportError:
        reason = "Genesys' SDK is not installed: pip install PureCloudPlatformClientV2"
        if os.environ.get("EXPECT_GENESYS_SDK"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def everything(sdk: Any, url: str) -> tuple[Any, Any, Any]:
    """Queues, aggregates and observations as the SDK's own objects."""
    client = sdk.api_client.ApiClient(host=url)
    client.get_client_credentials_token("simulated-client", SECRET)
    queues = sdk.RoutingApi(client).get_routing_queues(page_size=100)
    analytics = sdk.AnalyticsApi(client)
    return queues, _aggregates(sdk, analytics), _observations(sdk, analytics, [each.id for each in queues.entities])


def _aggregates(sdk: Any, analytics: Any) -> Any:
    query = sdk.ConversationAggregationQuery()
    query.interval = interval(NOW - timedelta(hours=1), NOW)
    query.granularity, query.group_by, query.metrics = "PT15M", ["queueId", "mediaType"], COUNTS
    return analytics.post_analytics_conversations_aggregates_query(query)


def _observations(sdk: Any, analytics: Any, queue_ids: list[str]) -> Any:
    query, chosen = sdk.QueueObservationQuery(), sdk.QueueObservationQueryFilter()
    chosen.type, chosen.predicates = "or", []
    for queue_id in queue_ids:
        predicate = sdk.QueueObservationQueryPredicate()
        predicate.type, predicate.dimension, predicate.operator = "dimension", "queueId", "matches"
        predicate.value = queue_id

        chosen.predicates.append(predicate)
    query.filter, query.metrics = chosen, ["oWaiting", "oInteracting", "oLongestWaiting", "oUserPresences"]
    return analytics.post_analytics_queues_observations_query(query)


async def test_the_official_sdk_has_no_complaint(sdk: Any) -> None:
    org: SimulatedOrg = small_org(8)
    async with serve(org) as url:
        queues, aggregates, observations = await asyncio.to_thread(everything, sdk, url)
    assert {each.id for each in queues.entities} == {queue.id for queue in org.queues}
    voice = queues.entities[0].media_settings.call.service_level
    assert 0 < voice.percentage < 1
    offered = {
        (row.group["queueId"], row.group["mediaType"], cell.interval): metric.stats.count
        for row in aggregates.results
        for cell in row.data
        for metric in cell.metrics
        if metric.metric == "nOffered"
    }
    truth = org.truth(NOW - timedelta(hours=1), NOW, 900)
    assert sum(offered.values()) == sum(counts.offered for counts in truth.values())
    assert len({row.group["queueId"] for row in observations.results}) == 8
    assert observations.system_to_organization_mappings["ON_QUEUE"]
    assert [request.status for request in org.requests] == [200, 200, 200, 200]
