"""Calls with a bearer token: every endpoint but the token's own goes through here.

A 401 means that the token is no longer good, whatever its age: it is refused by name, one new token is fetched,
and the call is tried once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from exporter.errors import AuthError
from exporter.genesys.auth import TokenSource
from exporter.genesys.transport import Call, Transport
from exporter.models import ApiHook

T = TypeVar("T")

#: Bodies from this size on are decoded in a thread, so that the event loop goes on serving scrapes.
THREAD_FROM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the service; the permission is the one its reference lists."""

    name: str
    method: str
    path: str
    permission: str | None


QUEUES = Endpoint("queues", "GET", "/api/v2/routing/queues", "routing:queue:view")
AGGREGATES = Endpoint(
    "aggregates", "POST", "/api/v2/analytics/conversations/aggregates/query", "analytics:conversationAggregate:view"
)
OBSERVATIONS = Endpoint(
    "observations", "POST", "/api/v2/analytics/queues/observations/query", "analytics:queueObservation:view"
)
SUMMARY = Endpoint("summary", "POST", "/api/v2/analytics/conversations/summary/query", "analytics:report:read")


class ApiClient:
    """The authorised face of the transport."""

    def __init__(self, transport: Transport, tokens: TokenSource, api_url: str, hook: ApiHook) -> None:
        self._transport = transport
        self._tokens = tokens
        self._api_url = api_url
        self.hook = hook

    async def token(self, deadline: float) -> None:
        """Make sure that there is a token; raises AuthError when the credentials are refused."""
        await self._tokens.get(deadline)

    async def send(
        self,
        endpoint: Endpoint,
        deadline: float,
        *,
        body: bytes | None = None,
        query: str = "",
        background: bool = False,
    ) -> bytes:
        """The answer's body; raises a GenesysError."""
        call = Call(
            endpoint=endpoint.name,
            method=endpoint.method,
            url=f"{self._api_url}{endpoint.path}{query}",
            headers={"Content-Type": "application/json"} if body is not None else {},
            body=body,
            permission=endpoint.permission,
            background=background,
        )
        token = await self._tokens.get(deadline)
        try:
            return await self._send_as(token, call, deadline)
        except AuthError:
            self._tokens.refuse(token)
        token = await self._tokens.get(deadline)
        try:
            return await self._send_as(token, call, deadline)
        except AuthError as error:
            self._tokens.refuse(token, error)
            raise

    async def _send_as(self, token: str, call: Call, deadline: float) -> bytes:
        body = await self._transport.send(call.authorised(f"Bearer {token}", token), deadline)
        self._tokens.confirm()
        return body


async def in_thread(size_bytes: int, parse: Callable[[], T]) -> T:
    """`parse()`, off the event loop where there is much to parse."""
    if size_bytes < THREAD_FROM_BYTES:
        return parse()
    return await asyncio.to_thread(parse)
