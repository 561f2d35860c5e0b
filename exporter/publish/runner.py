"""Serving an application: limits on what a client may send, and an answer of ours to what is not HTTP at all.

aiohttp answers a malformed request by itself, before any middleware, with the client's own bytes in the text and a
stack in the log; that is the one answer a stranger could shape. Here it is JSON like every other error, with the same
headers, and a line for the log at debug. Nor does it ever end a connection that never brings its first request whole:
strangers could use up all file descriptors. Here a request has a time to arrive in, and an answer, be it a refusal, one
to be read in; of too many connections one goes that does not read its answer, or the oldest that waits for a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from exporter.publish.responses import SLOW_CLIENT_SECONDS, error, harden

logger = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

#: One request line, one header field; no scraper comes near it. Prometheus keeps an idle connection for five minutes:
#: whoever closes first must not be the server, or a scrape may meet a closing connection.
#: No body is ever read, so none need be unpacked.
LIMITS = {"max_line_size": 8190, "max_field_size": 8190, "keepalive_timeout": 330, "auto_decompress": False}
#: From the first moment of a connection to the end of the first request's head.
HEAD_SECONDS = 15.0
#: Of too many connections the first to go is one that has not taken anything for so long.
STUCK_SECONDS = 1.0
#: Well below 1024 file descriptors, the usual limit; far above the scrapers and pages of any organisation.
MAX_CONNECTIONS = 512


class Runner(web.AppRunner):
    """An AppRunner with LIMITS and without aiohttp's own error texts."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, **(LIMITS | options))

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handler = _expecting_nothing(made.request_handler)
        return _Server(handler, request_factory=made.request_factory, **self._kwargs)


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
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def make_room(self) -> None:
        """Of too many connections, the oldest that is stuck goes, or else the oldest that waits for a request."""
        if len(self.connections) <= MAX_CONNECTIONS:
            return
        ours = [each for each in self.connections if isinstance(each, _Connection)]
        superfluous = [each for each in ours if each.stuck] or [each for each in ours if each.waits]
        if superfluous:
            superfluous[0].drop()


class _Connection(web.RequestHandler):
    __slots__ = ("_full_since", "_head_timer", "_reading_timer")

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._full_since: float | None = None
        self._reading_timer: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether no request is being answered."""
        return not self._request_in_progress and not self._messages

    @property
    def stuck(self) -> bool:
        """Whether the peer does not read what it has asked for."""
        return self._full_since is not None and self._loop.time() - self._full_since > STUCK_SECONDS

    def pause_writing(self) -> None:
        super().pause_writing()
        self._full_since = self._loop.time()
        self._reading_timer = self._loop.call_later(SLOW_CLIENT_SECONDS, self.drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read()

    def _read(self) -> None:
        self._full_since = None
        if self._reading_timer is not None:
            self._reading_timer.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(HEAD_SECONDS, self._no_request)
        if isinstance(self._manager, _Server):
            self._manager.make_room()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_timer.cancel()
        self._read()
        super().connection_lost(exc)

    def _no_request(self) -> None:
        if self._request_count == 0:
            self.drop()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """A request under way may take `timeout` seconds; then it is cut. aiohttp alone would wait for twice that."""
        last = self._loop.call_later(15.0 if timeout is None else timeout, self.drop)
        try:
            await super().shutdown(timeout)
        finally:
            last.cancel()

    def drop(self) -> None:
        """End at once; a close would wait for a peer that does not read."""
        transport = self.transport
        self.force_close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

    def log_exception(self, *args: Any, **named: Any) -> None:
        """A body that breaks off or is nonsense is its sender's fault, and no matter for the log."""
        if isinstance(named.get("exc_info"), web.RequestPayloadError):
            logger.debug(*args)
        else:
            super().log_exception(*args, **named)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer where no handler of the application could give one; `message` would repeat the request."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has already begun")
        if status >= 500:
            logger.error("a request failed outside of its handler", exc_info=exc)
        else:
            logger.debug("refused what is not HTTP from %s: %r", request.remote, exc)
        response = error(status, "internal error; the log says more" if status >= 500 else "this is not valid HTTP")
        response.force_close()
        harden(response)
        return response
