"""A plain HTTP client for the simulated org, as its tests need one: no retries, no mercy.

Also the times that the tests agree on and the spelling of intervals.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from exporter.simulator import OrgConfig, SimulatedOrg, serve

#: A Tuesday, 10:07:30.
NOW = datetime(2026, 3, 3, 10, 7, 30, tzinfo=UTC)
QUARTER = timedelta(minutes=15)

SECRET = OrgConfig().client_secret

AGGREGATES = "/api/v2/analytics/conversations/aggregates/query"
OBSERVATIONS = "/api/v2/analytics/queues/observations/query"
SUMMARY = "/api/v2/analytics/conversations/summary/query"
QUEUES = "/api/v2/routing/queues"


class Clock:
    """The org's wall clock, moved by hand."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Api:
    """Calls with a token; `url` is the org's base URL."""

    url: str
    session: aiohttp.ClientSession
    token: str = ""

    async def sign_in(self, client_id: str = "simulated-client", secret: str = SECRET) -> Answer:
        headers = {"Authorization": aiohttp.encode_basic_auth(client_id, secret)}
        answer = await self._call("POST", "/oauth/token", data={"grant_type": "client_credentials"}, headers=headers)
        if answer.status == 200:
            self.token = answer.body["access_token"]
        return answer

    async def get(self, path: str, **parameters: Any) -> Answer:
        return await self._call("GET", path, params=parameters, headers=self._bearer())

    async def post(self, path: str, body: Any) -> Answer:
        return await self._call("POST", path, json=body, headers=self._bearer())

    async def send(self, method: str, path: str, **options: Any) -> Answer:
        """Anything else; headers are the caller's."""
        return await self._call(method, path, **options)

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def _call(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.url + path, **options) as response:
            is_json = response.content_type == "application/json"
            body = await response.json() if is_json and method != "HEAD" else await response.text()
            return Answer(response.status, response.headers, body)


@asynccontextmanager
async def connected(org: SimulatedOrg, signed_in: bool = True) -> AsyncIterator[Api]:
    """The org on a port of its own, and a client that has a token."""
    async with serve(org) as url, aiohttp.ClientSession() as session:
        api = Api(url, session)
        if signed_in:
            await api.sign_in()
        yield api


def small_org(queues: int = 6, clock: Clock | None = None, **config: Any) -> SimulatedOrg:
    return SimulatedOrg(OrgConfig(queues=queues, **config), clock or Clock())


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def interval(start: datetime, end: datetime) -> str:
    return f"{iso(start)}/{iso(end)}"


def matches(dimension: str, *values: str) -> dict[str, Any]:
    predicates = [{"type": "dimension", "dimension": dimension, "operator": "matches", "value": v} for v in values]
    return {"type": "or", "predicates": predicates}


def stats(metrics: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The `stats` of an answer's metrics, by name."""
    return {metric["metric"]: metric["stats"] for metric in metrics}
