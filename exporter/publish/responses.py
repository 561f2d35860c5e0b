"""How bytes leave: in one piece while small, in fair chunks when large; errors as JSON; headers on every answer.

Measured (bench/): up to some 3 MB one write is fastest; above it, writes of 256 kB that let other tasks run after each
megabyte halve the time of a 49 MB answer and keep eight scrapers from holding the event loop for half a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

import orjson
from aiohttp import web

logger = logging.getLogger(__name__)

ONE_PIECE_BYTES = 3_000_000
WRITE_BYTES = 256 * 1024
YIELD_BYTES = 1024 * 1024

#: A client that takes no 256 kB in this time is dropped, so that it cannot hold memory or an export for ever.
SLOW_CLIENT_SECONDS = 30.0

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
    """Signal on_response_prepare: what a handler has not set itself is set to the strictest."""
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


def in_one_piece(parts: list[bytes]) -> list[bytes]:
    """The parts joined if that is how they will be sent."""
    return [b"".join(parts)] if sum(map(len, parts)) <= ONE_PIECE_BYTES else parts


async def send(request: web.Request, parts: Sequence[bytes], headers: Mapping[str, str]) -> web.StreamResponse:
    """200 with `parts` one after the other as the body."""
    length = sum(map(len, parts))
    if length <= ONE_PIECE_BYTES:
        return web.Response(body=parts[0] if len(parts) == 1 else b"".join(parts), headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = length
    await response.prepare(request)
    if request.method != "HEAD":
        await _write(request, response, parts)
    return response


async def stream(request: web.Request, chunks: AsyncIterator[bytes], headers: Mapping[str, str]) -> web.StreamResponse:
    """200 with a body of unknown length; one that breaks off half-way is cut, so that nobody takes it for whole."""
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        try:
            async for chunk in chunks:
                await _write(request, response, [chunk])
        except (ConnectionError, TimeoutError):
            _cut(request)
        except Exception:
            logger.exception("an export broke off")
            _cut(request)
    return response


async def _write(request: web.Request, response: web.StreamResponse, parts: Sequence[bytes]) -> None:
    written = 0
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), WRITE_BYTES):
            async with asyncio.timeout(SLOW_CLIENT_SECONDS):
                await response.write(view[start : start + WRITE_BYTES])
            written += WRITE_BYTES
            if written % YIELD_BYTES == 0:
                await asyncio.sleep(0)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
