"""The simulated org on HTTP: routes, and what every answer has in common.

In: requests. Out: answers of the contracts, with a correlation id, rate-limit headers and documented error bodies.
Order of the checks as in the real service: size and method, token, rate limit, permission, request. Counting runs in a
worker thread, so that other routes answer meanwhile. Listens where it is told; the caller chooses loopback.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from exporter.simulator.api_errors import ApiError, error_body
from exporter.simulator.contracts import aggregates, listing, observations, summary
from exporter.simulator.contracts.requests import MOST_BODY_BYTES, decode_object
from exporter.simulator.oauth import CONVERSATIONS, QUEUE_OBSERVATIONS, QUEUE_VIEW, REPORTS, Client, TokenError
from exporter.simulator.request_log import LoggedRequest

if TYPE_CHECKING:
    from exporter.simulator.org import SimulatedOrg

TOKEN, TOKENS_ME, QUEUES, DIVISIONS, AGGREGATES, OBSERVATIONS, SUMMARY = (
    "token",
    "tokens_me",
    "queues",
    "divisions",
    "aggregates",
    "observations",
    "summary",
)
#: Endpoint by path; faults and the request log use these names.
ENDPOINTS = {
    "/oauth/token": TOKEN,
    "/api/v2/tokens/me": TOKENS_ME,
    "/api/v2/routing/queues": QUEUES,
    "/api/v2/authorization/divisions": DIVISIONS,
    "/api/v2/analytics/conversations/aggregates/query": AGGREGATES,
    "/api/v2/analytics/queues/observations/query": OBSERVATIONS,
    "/api/v2/analytics/conversations/summary/query": SUMMARY,
}
_CORRELATION_HEADER = "ININ-Correlation-Id"
#: What aiohttp reads before the handlers refuse: above the service's own limit, so that they can say so.
_MOST_READ_BYTES = 8 * MOST_BODY_BYTES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application_of(org: SimulatedOrg) -> web.Application:
    """Routes and middleware for one org."""
    server = _Server(org)
    application = web.Application(middlewares=[server.frame], client_max_size=_MOST_READ_BYTES)
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
    runner = web.AppRunner(org.application(), access_log=None, shutdown_timeout=1.0)
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

    @web.middleware
    async def frame(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Log the request, turn refusals into documented bodies, name the answer."""
        context_id = str(uuid.uuid4())
        record = await self._record(request)
        response = await self._answer(request, handler, context_id)
        response.headers[_CORRELATION_HEADER] = context_id
        response.headers.update(request.get("rate_limit", {}))
        record.status = response.status
        return response

    async def _record(self, request: web.Request) -> LoggedRequest:
        body = await request.read()
        record = LoggedRequest(
            endpoint=ENDPOINTS.get(request.path, "other"),
            method=request.method,
            path=request.path,
            query=request.query_string,
            body=_readable(body),
            at=self._org.clock(),
            monotonic_seconds=time.monotonic(),
        )
        self._org.requests.append(record)
        request["record"] = record
        return record

    async def _answer(self, request: web.Request, handler: Handler, context_id: str) -> web.StreamResponse:
        try:
            return await handler(request)
        except TokenError as refusal:
            return web.json_response(refusal.body, status=refusal.status)
        except ApiError as refusal:
            error = refusal
        except web.HTTPException as refusal:
            error = ApiError(refusal.status)
        body = error_body(error, context_id)
        return web.Response(status=error.status, body=body, content_type="application/json", headers=error.headers)

    # Who asks

    def _client(self, request: web.Request, permission: str | None) -> Client:
        now = self._org.clock()
        token = self._org.office.token(request.headers.get("Authorization"), now)
        request["record"].client_id = token.client.id
        request["rate_limit"] = self._org.rate_limit.count(token.text, now)
        if permission is not None:
            token.client.require(permission)
        return token.client

    async def _query(self, request: web.Request, permission: str) -> tuple[Client, dict[str, Any]]:
        client = self._client(request, permission)
        if request.content_type != "application/json":
            raise ApiError(415)
        return client, decode_object(await request.read())

    # Tokens

    async def token(self, request: web.Request) -> web.Response:
        form = (await request.read()).decode("utf-8", "replace")
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
        page = listing.queue_page(request.path, request.query, self._org.view.listed(client))
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
        return _json(orjson.dumps(listing.division_page(request.path, request.query, granted)))

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


def _readable(body: bytes) -> Any:
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
