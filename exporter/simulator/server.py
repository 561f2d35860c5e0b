"""The simulated org on HTTP: routes and handlers.

In: requests, framed by frame.py. Out: answers of the contracts. The checks come in this order: token, rate limit,
permission, media type and size, request. Counting runs in a worker thread, so that other routes answer meanwhile.
Listens where it is told; the caller chooses loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from exporter.simulator.api_errors import ApiError
from exporter.simulator.contracts import aggregates, listing, observations, summary
from exporter.simulator.contracts.requests import MOST_BODY_BYTES, decode_object
from exporter.simulator.frame import CALL, Frame
from exporter.simulator.oauth import CONVERSATIONS, QUEUE_OBSERVATIONS, QUEUE_VIEW, REPORTS, Client
from exporter.simulator.org import SimulatedOrg

#: What aiohttp reads before the handlers refuse: above the service's own limit, so that they can say so.
_MOST_READ_BYTES = 8 * MOST_BODY_BYTES


def application_of(org: SimulatedOrg) -> web.Application:
    """Routes and middleware for one org."""
    server = _Server(org)
    application = web.Application(middlewares=[Frame(org).middleware], client_max_size=_MOST_READ_BYTES)
    application.router.add_post("/oauth/token", server.token)
    application.router.add_get("/api/v2/routing/queues", server.queues, allow_head=False)
    application.router.add_get("/api/v2/routing/queues/{queue_id}", server.queue, allow_head=False)
    application.router.add_get("/api/v2/authorization/divisions", server.divisions, allow_head=False)
    application.router.add_route("HEAD", "/api/v2/tokens/me", server.token_is_good)
    application.router.add_delete("/api/v2/tokens/me", server.revoke_token)
    application.router.add_post("/api/v2/analytics/conversations/aggregates/query", server.aggregates)
    application.router.add_post("/api/v2/analytics/queues/observations/query", server.observations)
    application.router.add_post("/api/v2/analytics/conversations/summary/query", server.summary)
    return application


@asynccontextmanager
async def serve(org: SimulatedOrg, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the org while the context lasts; yields its base URL."""
    runner = web.AppRunner(application_of(org), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound_port = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound_port}"
    finally:
        await runner.cleanup()


class _Server:
    def __init__(self, org: SimulatedOrg) -> None:
        self._org = org

    # Who asks

    def _client(self, request: web.Request, permission: str | None) -> Client:
        now = self._org.clock()
        token = self._org.office.token(request.headers.get("Authorization"), now)
        request[CALL].record.client_id = token.client.id
        request[CALL].rate_limit = self._org.rate_limit.count(token.text, now)
        if permission is not None:
            token.client.require(permission)
        return token.client

    async def _query(self, request: web.Request, permission: str) -> tuple[Client, dict[str, Any]]:
        client = self._client(request, permission)
        if request.content_type != "application/json":
            raise ApiError(415)
        return client, decode_object(request[CALL].body or b"")

    # Tokens

    async def token(self, request: web.Request) -> web.Response:
        form = (request[CALL].body or b"").decode("utf-8", "replace")
        grant = self._org.office.grant(request.headers.get("Authorization"), form, self._org.clock())
        return web.json_response(grant)

    async def token_is_good(self, request: web.Request) -> web.Response:
        self._client(request, None)
        return web.Response()

    async def revoke_token(self, request: web.Request) -> web.Response:
        self._client(request, None)
        token = self._org.office.token(request.headers.get("Authorization"), self._org.clock())
        self._org.office.revoke(token)
        return web.Response(status=200)

    # The directory

    async def queues(self, request: web.Request) -> web.Response:
        client = self._client(request, QUEUE_VIEW)
        page = listing.queue_page(request.path, request[CALL].query, self._org.view.listed(client))
        return _json(orjson.dumps(page))

    async def queue(self, request: web.Request) -> web.Response:
        client = self._client(request, QUEUE_VIEW)
        for queue in self._org.view.listed(client):
            if queue.id == request.match_info["queue_id"]:
                return _json(orjson.dumps(listing.queue_entity(queue)))
        raise ApiError(404)

    async def divisions(self, request: web.Request) -> web.Response:
        client = self._client(request, None)
        granted = [each for each in self._org.divisions if client.divisions is None or each.id in client.divisions]
        return _json(orjson.dumps(listing.division_page(request.path, request[CALL].query, granted)))

    # Analytics

    async def aggregates(self, request: web.Request) -> web.Response:
        client, body = await self._query(request, CONVERSATIONS)
        view, now = self._org.view, self._org.clock()
        query = aggregates.read_query(body)
        visible = view.visible(client)
        return _json(await asyncio.to_thread(aggregates.answer, query, view.source, view.selector, visible, now))

    async def observations(self, request: web.Request) -> web.Response:
        client, body = await self._query(request, QUEUE_OBSERVATIONS)
        view, now, seed = self._org.view, self._org.clock(), self._org.config.seed
        query = observations.read_query(body)
        visible = view.visible(client)
        answer = await asyncio.to_thread(
            observations.answer, query, view.source, view.queues, seed, view.selector, visible, now
        )
        return _json(answer)

    async def summary(self, request: web.Request) -> web.Response:
        client, body = await self._query(request, REPORTS)
        view, now = self._org.view, self._org.clock()
        query = summary.read_query(body)
        visible = view.visible(client)
        pages = self._org.summary_pages
        return _json(await asyncio.to_thread(pages.answer, query, view.source, view.queues, visible, now))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
