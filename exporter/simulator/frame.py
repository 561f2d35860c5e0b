"""What every answer of the simulated org has in common.

In: any request. Out: the handler's answer, or the documented error body, with a correlation id and the rate-limit
headers; a record in the request log; faults carried out. The only place that knows faults, log and handlers at once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from multidict import MultiMapping

from exporter.simulator import sabotage
from exporter.simulator.api_errors import ApiError, error_body
from exporter.simulator.faults import Fault
from exporter.simulator.oauth import TokenError
from exporter.simulator.org import SimulatedOrg
from exporter.simulator.request_log import LoggedRequest

TOKEN = "token"  # noqa: S105 - the name of an endpoint
#: Endpoint by route; faults and the request log use these names.
ENDPOINTS = {
    "/oauth/token": TOKEN,
    "/api/v2/tokens/me": "tokens_me",
    "/api/v2/routing/queues": "queues",
    "/api/v2/routing/queues/{queue_id}": "queue",
    "/api/v2/authorization/divisions": "divisions",
    "/api/v2/analytics/conversations/aggregates/query": "aggregates",
    "/api/v2/analytics/queues/observations/query": "observations",
    "/api/v2/analytics/conversations/summary/query": "summary",
}
_CORRELATION_HEADER = "ININ-Correlation-Id"


@dataclass(slots=True)
class Call:
    """What handlers read of a request, and what they leave for its answer; `body` is None where it is too large."""

    record: LoggedRequest
    body: bytes | None
    query: MultiMapping[str]
    faults: list[Fault] = field(default_factory=list)
    rate_limit: dict[str, str] = field(default_factory=dict)


CALL = web.RequestKey("call", Call)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Frame:
    """The middleware of one org."""

    def __init__(self, org: SimulatedOrg) -> None:
        self._org = org

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Log the request, let faults strike, turn refusals into documented bodies, name the answer."""
        call = request[CALL] = await self._call(request)
        context_id = str(uuid.uuid4())
        try:
            response = await self._answer(request, handler, context_id)
        except sabotage.ConnectionCut:
            sabotage.cut(request)
            return web.Response()
        response.headers[_CORRELATION_HEADER] = context_id
        response.headers.update(call.rate_limit)
        call.record.status = response.status
        if any(fault.kind == "truncated" for fault in call.faults):
            return await sabotage.send_half(request, response)
        return response

    async def _call(self, request: web.Request) -> Call:
        body = await _body(request)
        record = LoggedRequest(
            endpoint=_endpoint(request),
            method=request.method,
            path=request.path,
            query=request.query_string,
            raw_body=body or b"",
            at=self._org.clock(),
            monotonic_seconds=time.monotonic(),
        )
        self._org.log(record)
        return Call(record, body, request.query)

    async def _answer(self, request: web.Request, handler: Handler, context_id: str) -> web.Response:
        try:
            await self._strike(request[CALL])
            if request[CALL].body is None:
                raise ApiError(413)
            response = await handler(request)
            assert isinstance(response, web.Response)  # noqa: S101 - no handler here streams
            return self._spoiled(request[CALL], response)
        except TokenError as refusal:
            return web.json_response(refusal.body, status=refusal.status)
        except sabotage.ProxyAnswer as proxy:
            return proxy.response()
        except ApiError as refusal:
            error = refusal
        except web.HTTPException as refusal:
            error = ApiError(refusal.status)
        body = error_body(error, context_id)
        return web.Response(status=error.status, body=body, content_type="application/json", headers=error.headers)

    # Faults

    async def _strike(self, call: Call) -> None:
        for fault in self._org.faults.before(call.record.endpoint, call.record.at):
            _note(call, fault)
            if fault.kind == "expire_tokens":
                self._org.expire_tokens()
            elif fault.kind == "rotate_secret":
                self._org.rotate_secret(fault.secret)
            elif fault.kind == "endless_pages":
                call.body, call.query = sabotage.to_first_page(call.record.body, call.query)
            else:
                await sabotage.strike_before(fault, call.record.endpoint == TOKEN)

    def _spoiled(self, call: Call, response: web.Response) -> web.Response:
        for fault in self._org.faults.after(call.record.endpoint, call.record.at):
            _note(call, fault)
        return sabotage.spoil(response, call.faults, call.record)


def _note(call: Call, fault: Fault) -> None:
    call.faults.append(fault)
    call.record.faults.append(fault.kind)


def _endpoint(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return ENDPOINTS.get(resource.canonical, "other") if resource is not None else "other"


async def _body(request: web.Request) -> bytes | None:
    """None where it is larger than the application reads."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return None
