"""Serving an application: limits on what a client may send, and an answer of ours to what is not HTTP at all.

aiohttp answers a malformed request by itself, before any middleware, with the client's own bytes in the text and a
stack in the log; that is the one answer a stranger could shape. Here it is JSON like every other error, with the same
headers, and a line for the log at debug.
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from exporter.publish.responses import error, harden

logger = logging.getLogger(__name__)

#: One request line, one header field; no scraper comes near it.
LIMITS = {"max_line_size": 8190, "max_field_size": 8190}


class Runner(web.AppRunner):
    """An AppRunner with LIMITS and without aiohttp's own error texts."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, **(LIMITS | options))

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ()

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
