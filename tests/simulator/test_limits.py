"""The rate limit per token and minute, and the log of calls that other tests count on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from exporter.simulator.request_log import LoggedRequest, most_in_any_minute
from tests.simulator.client import NOW, OBSERVATIONS, QUEUES, Clock, connected, matches, small_org


async def test_success_tells_how_much_of_the_limit_is_used() -> None:
    clock = Clock()
    async with connected(small_org(1, clock=clock)) as api:
        clock.advance(5)
        await api.get(QUEUES)
        clock.advance(20.5)
        headers = (await api.get(QUEUES)).headers
    assert (headers["inin-ratelimit-count"], headers["inin-ratelimit-allowed"]) == ("2", "300")
    assert headers["inin-ratelimit-reset"] == "40"


async def test_more_than_the_limit_is_a_429_until_the_minute_is_over() -> None:
    clock = Clock()
    async with connected(small_org(1, clock=clock, requests_per_minute=3)) as api:
        assert [(await api.get(QUEUES)).status for _ in range(5)] == [200, 200, 200, 429, 429]
        clock.advance(18)
        refused = await api.get(QUEUES)
        assert refused.headers["Retry-After"] == "42"
        assert refused.body["code"] == "too.many.requests.retry.after"
        assert refused.body["message"] == "Rate limit exceeded the maximum. Retry the request in [42] seconds"
        clock.advance(42)
        assert (await api.get(QUEUES)).status == 200


async def test_each_token_has_its_own_limit() -> None:
    async with connected(small_org(1, requests_per_minute=1)) as api:
        assert (await api.get(QUEUES)).status == 200
        assert (await api.get(QUEUES)).status == 429
        await api.sign_in()
        assert (await api.get(QUEUES)).status == 200


async def test_requests_are_logged_as_they_came() -> None:
    clock = Clock()
    org = small_org(1, clock=clock)
    body = {"filter": matches("queueId", org.queues[0].id), "metrics": ["oWaiting"]}
    async with connected(org) as api:
        clock.advance(1)
        await api.post(OBSERVATIONS, body)
        await api.get(QUEUES, pageSize=3)
        await api.get("/api/v2/nothing")
    assert [(request.endpoint, request.status) for request in org.requests] == [
        ("token", 200),
        ("observations", 200),
        ("queues", 200),
        ("other", 404),
    ]
    token, observations, queues, _ = org.requests
    assert token.body == "grant_type=client_credentials"
    assert observations.body == body
    assert (queues.body, queues.query) == (None, "pageSize=3")
    assert (token.at, queues.at) == (NOW, NOW + timedelta(seconds=1))
    assert token.monotonic_seconds <= observations.monotonic_seconds <= queues.monotonic_seconds


async def test_the_log_forgets_the_oldest() -> None:
    org = small_org(1, remembered_requests=2)
    async with connected(org) as api:
        for _ in range(5):
            await api.get(QUEUES)
    assert len(org.requests) == 2


@pytest.mark.parametrize(
    ("seconds", "most"),
    [([], 0), ([0], 1), ([0, 59.9], 2), ([0, 60], 1), ([0, 30, 60, 89], 3), ([100, 0, 10, 20, 110], 3)],
)
def test_calls_in_any_minute_is_the_fullest_one(seconds: list[float], most: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    requests = [LoggedRequest("x", "GET", "/", "", b"", start + timedelta(seconds=s), s) for s in seconds]
    assert most_in_any_minute(requests) == most
