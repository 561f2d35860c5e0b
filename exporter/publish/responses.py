"""How bytes leave: in one piece while small, in fair chunks when large; errors as JSON; headers on every answer.

A write of 256 kB is on its way while the next is prepared. Measured on two machines: at once again and again one write
of all 700 kB is a little faster, after a pause it takes twice as long; from a megabyte on larger writes take half the
time on a connection that is kept, as scrapers keep theirs, since fewer of them wait for the peer. Other tasks run after
each megabyte, which keeps eight scrapers from holding the event loop for half a second. What many ask for is kept with
its head, which saves a fifth of the CPU of a scrape of 700 kB.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from email.utils import formatdate
from typing import Any

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

logger = logging.getLogger(__name__)

Piece = bytes | memoryview
_Out = web.StreamResponse | AbstractStreamWriter

WRITE_BYTES = 256 * 1024
#: An answer of more than a megabyte goes by larger writes; a peer that does not read has one of them in our memory.
MANY_BYTES, LARGE_WRITE_BYTES = 1024 * 1024, 512 * 1024
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
    headers = response.headers
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers["Server"] = "genesys-cloud-exporter"


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """The one shape of every error; `message` is ours, never an exception's or the client's text."""
    body = orjson.dumps({"status": "error", "message": message})
    return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE, **(headers or {})})


def plain(status: int, text: str) -> web.Response:
    """A line of text, for probes."""
    return web.Response(status=status, body=f"{text}\n".encode(), headers={"Content-Type": PLAIN_TYPE})


def in_pieces(parts: Sequence[bytes]) -> list[Piece]:
    """The same bytes in as few writes as they can be sent by: what follows the first part is joined to its end."""
    length = sum(map(len, parts))
    if length <= ONE_PIECE_BYTES:
        return [b"".join(parts)]
    size = WRITE_BYTES if length < MANY_BYTES else LARGE_WRITE_BYTES
    view, others = memoryview(parts[0]), parts[1:]
    end = len(view) // size * size
    return [*_cut_up(view[:end], size), *_cut_up(b"".join((view[end:], *others)), size)]


class Ready:
    """An answer with its head written out, for all who ask in the same second.

    Whoever asks otherwise than by GET, by HTTP/1.1 and on a connection that stays is answered the ordinary way; so is
    everybody where others than `secure` have a say in the head.
    """

    def __init__(self, parts: Sequence[bytes], headers: Mapping[str, str]) -> None:
        self._headers, self._pieces = headers, in_pieces(parts)
        #: Head and body.
        self.whole = [_head(headers, sum(map(len, parts))) + self._pieces[0], *self._pieces[1:]]

    async def send(self, request: web.Request) -> web.StreamResponse:
        if not is_usual(request):
            return await _send(request, self._pieces, self._headers)
        await _in_time(request, _write(request, request.writer, self.whole))
        return _Sent()


class _Sent(web.StreamResponse):
    """For aiohttp, which would prepare and end what has left already."""

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """It is done."""

    async def write_eof(self, data: bytes = b"") -> None:
        """It is done."""


def is_usual(request: web.Request) -> bool:
    """Whether the head of the answer is ours alone, and the same for whoever asks like this."""
    only_ours = len(request.app.on_response_prepare) == 1  # `secure`
    return only_ours and request.method == "GET" and request.version == HttpVersion11 and request.keep_alive


def _head(headers: Mapping[str, str], length: int) -> bytes:
    """What aiohttp would write; the date is that of the body."""
    about = {"Content-Length": str(length), "Date": formatdate(usegmt=True)}
    response = web.Response(headers={**headers, **about})
    harden(response)
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in response.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def send(request: web.Request, parts: Sequence[bytes], headers: Mapping[str, str]) -> web.StreamResponse:
    """200 with `parts` one after the other as the body."""
    return await _send(request, in_pieces(parts), headers)


async def _send(request: web.Request, pieces: Sequence[Piece], headers: Mapping[str, str]) -> web.StreamResponse:
    if len(pieces) == 1:
        whole = web.Response(body=pieces[0], headers=headers)
        await _in_time(request, _finish(request, whole))
        return whole
    # aiohttp's StreamResponse would send the head alone, ahead of the body.
    response = web.Response(headers={**headers, "Content-Length": str(sum(map(len, pieces)))})
    await response.prepare(request)
    if request.method != "HEAD":
        await _in_time(request, _write(request, response, pieces))
    return response


async def send_while_made(
    request: web.Request, length: int, pieces: Iterable[Piece], headers: Mapping[str, str]
) -> web.StreamResponse:
    """200 with a body of so many bytes, of which one piece at a time is in memory."""
    response = web.StreamResponse(headers={**headers, "Content-Length": str(length)})
    await response.prepare(request)
    if request.method != "HEAD":
        await _in_time(request, _write(request, response, pieces))
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
        await _write(request, response, _cut_up(chunk, LARGE_WRITE_BYTES))


async def _write(request: web.Request, out: _Out, pieces: Iterable[Piece]) -> None:
    """Whoever does not take a piece in time is cut off: the write that waits for it ends, or the next one fails."""
    loop, written, patience = asyncio.get_running_loop(), 0, request.app[SLOW_CLIENT]
    began = loop.time()
    limit = loop.call_at(began + patience, _cut, request)
    try:
        for piece in pieces:
            await out.write(piece)
            if (now := loop.time()) - began > PATIENCE_STEP_SHARE * patience:
                began = now
                limit.cancel()
                limit = loop.call_at(began + patience, _cut, request)
            written += len(piece)
            if written >= YIELD_BYTES:
                written = 0
                await asyncio.sleep(0)
    finally:
        limit.cancel()


def _cut_up(part: Piece, size: int) -> Iterator[memoryview]:
    view = memoryview(part)
    for start in range(0, len(view), size):
        yield view[start : start + size]


def _patience(request: web.Request) -> asyncio.Timeout:
    return asyncio.timeout(request.app[SLOW_CLIENT])


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
