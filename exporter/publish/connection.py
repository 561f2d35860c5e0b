"""One connection: a request has a time to arrive in, an answer one to be read in, and what is no HTTP our own answer.

aiohttp answers a malformed request by itself, before any middleware, with the client's own bytes in the text and a
stack in the log; that is the one answer a stranger could shape. Here it is JSON like every other error, with the same
headers, and a line for the log at debug. Nor does it ever end a connection that never brings its first request whole.
A request whose bytes are known is answered here, ahead of aiohttp's parser (see `repeats`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from exporter.publish.repeats import Repeats
from exporter.publish.responses import SLOW_CLIENT_SECONDS, YIELD_BYTES, Piece, error, harden

logger = logging.getLogger(__name__)

#: From the first moment of a connection to the end of the first request's head.
HEAD_SECONDS = 15.0
#: Of too many connections the first to go is one that has not taken anything for so long.
STUCK_SECONDS = 1.0
_END_OF_HEAD = b"\r\n\r\n"


class Connection(web.RequestHandler):
    """`sent` are the bytes of the request that came last, where it came alone and whole; `made` is told once."""

    __slots__ = (
        "_between_requests",
        "_full_since",
        "_head_timer",
        "_made",
        "_reading_timer",
        "_repeats",
        "_rest",
        "sent",
    )

    def __init__(self, *args: Any, repeats: Repeats[Any] | None, made: Callable[[], None], **named: Any) -> None:
        super().__init__(*args, **named)
        self._made = made
        self._full_since: float | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._repeats = repeats
        self._between_requests = True
        self._rest: Iterator[Piece] | None = None
        self.sent: bytes | None = None

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
        self._go_on()

    def _read(self) -> None:
        self._full_since = None
        if self._reading_timer is not None:
            self._reading_timer.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(HEAD_SECONDS, self._no_request)
        self._made()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_timer.cancel()
        self._read()
        if self._rest is not None:
            self._answered()
        super().connection_lost(exc)

    def _no_request(self) -> None:
        if self._request_count == 0:
            self.drop()

    # Requests that are known

    def data_received(self, data: bytes) -> None:
        first = self._between_requests and self.waits
        if first and self._repeats is not None and not self._force_close and not self._close:
            answer = self._repeats.answer(data)
            if answer is not None:
                self._answer(answer)
                return
        count = self._request_count
        super().data_received(data)
        self._between_requests = self._at_an_end(data, self._request_count - count)
        self.sent = data if first and self._between_requests and self._request_count == count + 1 else None

    def _at_an_end(self, data: bytes, requests: int) -> bool:
        """Whether what comes next can only be the begin of a request: nothing of it is with the parser, and the last
        request has no body that may still come."""
        if not requests or not self._messages or not data.endswith(_END_OF_HEAD):
            return False
        message, payload = self._messages[-1]
        return isinstance(message, RawRequestMessage) and payload is EMPTY_PAYLOAD

    def _answer(self, pieces: Iterable[Piece]) -> None:
        """Write them as the peer takes them. Until then no further request is read, nor is the connection idle."""
        self._request_count += 1
        self._stay()
        self._request_in_progress = True
        self._rest = iter(pieces)
        self._go_on()
        if self._rest is not None:
            self._pause_reading_for_buffer()

    def _stay(self) -> None:
        """As aiohttp does after each request: the time in which the next one must come begins anew."""
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def _go_on(self) -> None:
        """Write what the peer takes of the rest; others have their turn after each megabyte."""
        rest, written = self._rest, 0
        if rest is None:
            return
        for piece in rest:
            if self.transport is None or self.transport.is_closing():
                break
            self.transport.write(piece)
            if self._paused:
                return
            written += len(piece)
            if written >= YIELD_BYTES:
                self._loop.call_soon(self._go_on)
                return
        self._answered()

    def _answered(self) -> None:
        self._rest = None
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self._buffer_paused:
            self._resume_reading_for_buffer()

    # The end

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
