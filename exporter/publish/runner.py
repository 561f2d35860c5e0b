"""Serving an application: limits on what a client may send, and on how many there may be.

Strangers could use up all file descriptors: of too many connections one goes that does not read its answer, or the
oldest that waits for a request. What a connection does by itself is in `connection`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from exporter.publish.connection import Connection
from exporter.publish.repeats import REPEATS, Repeats
from exporter.publish.responses import error, harden

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

#: One request line, one header field; no scraper comes near it. Prometheus keeps an idle connection for five minutes:
#: whoever closes first must not be the server, or a scrape may meet a closing connection.
#: No body is ever read, so none need be unpacked.
LIMITS = {"max_line_size": 8190, "max_field_size": 8190, "keepalive_timeout": 330, "auto_decompress": False}
#: Well below 1024 file descriptors, the usual limit; far above the scrapers and pages of any organisation.
MAX_CONNECTIONS = 512


class Runner(web.AppRunner):
    """An AppRunner with LIMITS and without aiohttp's own error texts."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, **(LIMITS | options))

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handler = _expecting_nothing(made.request_handler)
        repeats = self.app.get(REPEATS)
        return _Server(handler, repeats=repeats, request_factory=made.request_factory, **self._kwargs)


def _expecting_nothing(handler: Handler) -> Handler:
    """aiohttp refuses an unknown expectation before any middleware and repeats it; here it is refused in our words."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() == "100-continue":
            return await handler(request)
        refusal = error(417, "this expectation cannot be met")
        harden(refusal)
        return refusal

    return answer


class _Server(web.Server):
    def __init__(self, handler: Handler, *, repeats: Repeats[Any] | None, **options: Any) -> None:
        super().__init__(handler, **options)
        self._repeats = repeats

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, repeats=self._repeats, made=self._make_room, **self._kwargs)

    def _make_room(self) -> None:
        """Of too many connections, the oldest that is stuck goes, or else the oldest that waits for a request."""
        if len(self.connections) <= MAX_CONNECTIONS:
            return
        ours = [each for each in self.connections if isinstance(each, Connection)]
        superfluous = [each for each in ours if each.stuck] or [each for each in ours if each.waits]
        if superfluous:
            superfluous[0].drop()
