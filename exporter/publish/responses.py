"""How bytes leave: in one piece while small, in fair chunks when large; errors as JSON; headers on every answer.

Measured (bench/): a write of 256 kB is on its way while the next is prepared, and nothing of it is copied but into the
socket: an answer of 1 MB takes half as long as in one piece, one of 12 MB a third. Other tasks run after each megabyte,
which keeps eight scrapers from holding the event loop for half a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

logger = logging.getLogger(__name__)

Piece = bytes | memoryview

WRITE_BYTES = 256 * 1024
ONE_PIECE_BYTES = WRITE_BYTES
YIELD_BYTES = 1024 * 1024
#: The time to take a write in begins anew only when this share of it is over: a timer costs as much as a write.
PATIENCE_STEP_SHARE = 1 / 16

#: A client that does not take a write in this time is dropped, so that it cannot hold memory or an export for ever.
SLOW_CLIENT_SECONDS = 60.0
SLOW_CLIENT = web.AppKey("slow_client_seconds", float)

JSON_TYPE = "application/json; charset=utf-8"
PLAIN_TYPE = "text/plain; charset=utf-8"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


async def secure(request: web.Request, response: web.StreamResponse) -> None:
    """Signal on_response_prepare, so that no answer can be forgotten."""
    harden(response)


def harden(response: web.StreamResponse) -> None:
    """What the handler has not set itself is set to the strictest."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "genesys-cloud-exporter"


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """The one shape of every error; `message` is ours, never an exception's or the client's text."""
    body = orjson.dumps({"status": "error", "message": message})
    return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE, **(headers or {})})


def plain(status: int, text: str) -> web.Response:
    """A line of text, for probes."""
    return web.Response(status=status, body=f"{text}\n".encode(), headers={"Content-Type": PLAIN_TYPE})


def in_pieces(parts: Sequence[bytes]) -> list[Piece]:
    """The same bytes in as few writes as they can be sent by: what follows the first part is joined to its end."""
    whole = len(parts[0]) // WRITE_BYTES * WRITE_BYTES
    if sum(map(len, parts)) <= ONE_PIECE_BYTES or not whole:
        return [b"".join(parts)]
    return [memoryview(parts[0])[:whole], b"".join((memoryview(parts[0])[whole:], *parts[1:]))]


async def send(request: web.Request, parts: Sequence[Piece], headers: Mapping[str, str]) -> web.StreamResponse:
    """200 with `parts` one after the other as the body."""
    length = sum(map(len, parts))
    if length <= ONE_PIECE_BYTES:
        whole = web.Response(body=parts[0] if len(parts) == 1 else b"".join(parts), headers=headers)
        await _in_time(request, _finish(request, whole))
        return whole
    response = web.StreamResponse(headers=headers)
    response.content_length = length
    await response.prepare(request)
    if request.method != "HEAD":
        await _in_time(request, _write(request, response, parts))
    return response


async def stream(request: web.Request, chunks: AsyncIterator[bytes], headers: Mapping[str, str]) -> web.StreamResponse:
    """200 with a body of unknown length; one that breaks off half-way is cut, so that nobody takes it for whole."""
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        await _in_time(request, _write_chunks(request, response, chunks))
    return response


async def _in_time(request: web.Request, sending: Coroutine[Any, Any, None]) -> None:
    """Send; whatever goes wrong after the first byte can only be told by closing the connection."""
    try:
        await sending
    except (ConnectionError, TimeoutError):
        _cut(request)
    except Exception:
        logger.exception("%s broke off", request.path)
        _cut(request)


async def _finish(request: web.Request, response: web.Response) -> None:
    async with _patience(request):
        await response.prepare(request)
        await response.write_eof()


async def _write_chunks(request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
    async for chunk in chunks:
        await _write(request, response, [chunk])


async def _write(request: web.Request, response: web.StreamResponse, parts: Sequence[Piece]) -> None:
    now, written, patience = asyncio.get_running_loop().time, 0, request.app[SLOW_CLIENT]
    async with _patience(request) as limit:
        renewed = now()
        for piece in _pieces(parts):
            await response.write(piece)
            if now() - renewed > PATIENCE_STEP_SHARE * patience:
                renewed = now()
                limit.reschedule(renewed + patience)
            written += WRITE_BYTES
            if written % YIELD_BYTES == 0:
                await asyncio.sleep(0)


def _pieces(parts: Sequence[Piece]) -> Iterator[memoryview]:
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), WRITE_BYTES):
            yield view[start : start + WRITE_BYTES]


def _patience(request: web.Request) -> asyncio.Timeout:
    return asyncio.timeout(request.app[SLOW_CLIENT])


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
