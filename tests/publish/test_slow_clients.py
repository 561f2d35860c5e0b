"""Clients that send slowly, or nothing, or many at once: they are shown out, and a scrape does not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from exporter.publish import connection
from exporter.publish import runner as serving
from exporter.publish.runner import Runner
from tests.publish.conftest import Exporter, app_of

SCRAPE = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    def __init__(self, port: int, runner: Runner) -> None:
        self.port = port
        self._runner = runner
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self, first_bytes: bytes = b"") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(first_bytes)
        self._writers.append(writer)
        return reader

    async def glut(self) -> None:
        """Ask for more than a socket holds, and read nothing."""
        reader = await self.open()
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        self._writers[-1].write(GREEDY)

    async def until_left(self, connections: int) -> None:
        await _until(lambda: len(self._connections()) == connections)

    async def until_stuck(self, connections: int) -> None:
        await _until(lambda: sum(each.stuck for each in self._connections()) >= connections)

    def _connections(self) -> list[connection.Connection]:
        assert self._runner.server is not None
        return [each for each in self._runner.server.connections if isinstance(each, connection.Connection)]

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@pytest.fixture
async def server(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 20)
    async with AsyncExitStack() as stack:
        runner = Runner(app_of(exporter), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = Server(int(runner.addresses[0][1]), runner)
        stack.callback(server.close)
        yield server


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 (a socket cannot tell)
            await asyncio.sleep(0.005)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the server closed."""
    came = b""
    try:
        while piece := await asyncio.wait_for(reader.read(1024), 5):
            came += piece
    except ConnectionResetError:
        pass
    return came


@pytest.mark.parametrize("first_bytes", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n\r\n"])
async def test_a_client_that_never_ends_its_first_head_is_shown_out(server: Server, first_bytes: bytes) -> None:
    assert await ended(await server.open(first_bytes)) == b""


async def test_a_client_that_has_asked_once_may_stay(server: Server) -> None:
    reader = await server.open(SCRAPE)
    await reader.readuntil(b"healthy\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.6)


async def test_of_too_many_connections_the_oldest_that_waits_goes_and_a_scrape_comes_through(server: Server) -> None:
    first = await server.open(SCRAPE)
    await first.readuntil(b"healthy\n")
    for _ in range(60):
        await server.open(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert await ended(first) == b""
    scrape = await server.open(SCRAPE)
    assert await asyncio.wait_for(scrape.readuntil(b"healthy\n"), 1)


async def test_a_stream_at_work_is_not_what_goes(server: Server) -> None:
    stream = await server.open(b"GET /api/live/events HTTP/1.1\r\nHost: x\r\n\r\n")
    await stream.readuntil(b"event: state")
    for _ in range(40):
        await server.open(SCRAPE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_end_of(stream), 0.3)


async def _end_of(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


GREEDY = b"GET /dashboard HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000


async def test_a_client_that_asks_and_does_not_read_is_shown_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_CLIENT_SECONDS", 0.3)
    await server.glut()
    await server.until_left(0)


async def test_of_too_many_connections_those_that_do_not_read_go_first(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STUCK_SECONDS", 0.0)
    known = await server.open(SCRAPE)
    await known.readuntil(b"healthy\n")
    for number in range(25):
        await server.glut()
        if number < 20:
            await server.until_stuck(min(number + 1, 19))
    again = await server.open(SCRAPE)
    assert await asyncio.wait_for(again.readuntil(b"healthy\n"), 5)
    with pytest.raises(TimeoutError):  # an idle one that came before them all has stayed
        await asyncio.wait_for(known.read(1), 0.2)
