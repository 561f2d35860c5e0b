"""How answers leave: large ones whole, slow readers dropped, broken ones cut, exports limited in number."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from threading import Event
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestServer, get_port_socket

from exporter.models import HistoryBucket, Rows, SeriesKey
from exporter.publish.exports import MAX_EXPORTS
from exporter.publish.responses import ONE_PIECE_BYTES
from tests.publish.conftest import Client, Exporter, app_of
from tests.publish.samples import history_bucket

QUEUES = 8_000
MANY = Rows(tuple(SeriesKey(f"{n:036}", "voice") for n in range(QUEUES)), ("x" * 60,) * QUEUES)


async def publish_much(exporter: Exporter) -> None:
    values = np.random.default_rng(1).random(QUEUES)
    columns = dict.fromkeys(("offered", "average_wait_seconds", "waiting"), values)
    await exporter.publish(rows=MANY, columns=columns, scores=None)


def endless() -> Iterator[HistoryBucket]:
    ones = np.ones(QUEUES, dtype=np.int64)
    counts = dict.fromkeys(("offered", "abandoned", "sla_breached"), ones)
    for number in range(10_000):
        yield history_bucket(900 * number, rows=MANY, counts=counts, z={}, anomaly={})


@asynccontextmanager
async def idle_reader(server: TestServer, path: str) -> AsyncIterator[socket.socket]:
    """A client that sends its request and then does not read."""
    loop = asyncio.get_running_loop()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        await loop.sock_connect(reader, ("127.0.0.1", server.port))
        await loop.sock_sendall(reader, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield reader


async def test_a_large_answer_arrives_whole_at_every_scraper(client: Client, exporter: Exporter) -> None:
    await publish_much(exporter)

    async def scrape(encoding: str) -> bytes:
        async with client.get("/metrics", headers={"Accept-Encoding": encoding}) as response:
            body = await response.read()
            assert response.headers["Content-Length"] == str(len(body))
            return body if encoding == "identity" else gzip.decompress(body)

    bodies = await asyncio.gather(*(scrape(encoding) for encoding in ("identity", "gzip") * 4))
    assert len(bodies[0]) > ONE_PIECE_BYTES
    assert len(set(bodies)) == 1
    assert bodies[0].count(b"\ngenesys_queue_offered_contacts{") == QUEUES
    async with client.head("/metrics") as response:
        assert response.headers["Content-Length"] == str(len(bodies[0]))


@pytest.mark.parametrize("much", [False, True])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_an_answer_kept_with_its_head_has_the_head_of_any_other(
    exporter: Exporter, much: bool, encoding: str
) -> None:
    await (publish_much(exporter) if much else exporter.publish())
    async with TestServer(app_of(exporter)) as server:
        usual = await _head(server, f"GET /metrics HTTP/1.1\r\nAccept-Encoding: {encoding}")
        assert usual[0] == "HTTP/1.1 200 OK"
        assert any(line.startswith("Date: ") and line.endswith(" GMT") for line in usual)
        for line in ("GET /metrics HTTP/1.1\r\nConnection: close", "GET /metrics HTTP/1.0", "HEAD /metrics HTTP/1.1"):
            other = await _head(server, f"{line}\r\nAccept-Encoding: {encoding}")
            assert _lasting(other) == _lasting(usual)


async def test_who_has_a_say_in_heads_has_it_in_one_that_is_kept(exporter: Exporter) -> None:
    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Frame-Options"] = "SAMEORIGIN"

    await exporter.publish()
    app = app_of(exporter)
    app.on_response_prepare.append(prepare)
    async with TestServer(app) as server:
        assert "X-Frame-Options: SAMEORIGIN" in await _head(server, "GET /metrics HTTP/1.1")


async def _head(server: TestServer, lines: str) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{lines}\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head.decode().removesuffix("\r\n\r\n").split("\r\n")


def _lasting(head: list[str]) -> list[str]:
    """What does not depend on the moment and the connection."""
    return sorted(line for line in head[1:] if not line.startswith(("Date:", "Connection:")))


@pytest.mark.parametrize("path", ["/metrics", "/dashboard?queue=*[1-4]1?", "/export.csv?from=0"])
async def test_a_client_that_does_not_read_is_dropped(exporter: Exporter, path: str) -> None:
    await publish_much(exporter)
    exporter.history.buckets = endless()
    app = app_of(exporter, slow_client_seconds=0.2)
    async with TestServer(app, socket_factory=_little_memory) as server, idle_reader(server, path) as reader:
        await asyncio.sleep(0.6)
        answer = await _rest(reader)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    if length := re.search(rb"Content-Length: (\d+)", head):
        assert 0 < len(body) < int(length[1])
        assert (int(length[1]) > ONE_PIECE_BYTES) == (path == "/metrics")
    else:
        assert not body.endswith(b"0\r\n\r\n")


def _little_memory(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """A listener whose connections hold little of what is written to them: the rest has to wait for the reader."""
    listener = get_port_socket(host, port, family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    return listener


async def _rest(reader: socket.socket) -> bytes:
    """Everything that can still be read, until the other side has closed."""
    answer = b""
    with suppress(ConnectionResetError):
        while chunk := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(reader, 1 << 20), 5):
            answer += chunk
    return answer


async def test_an_export_that_breaks_off_cannot_be_taken_for_a_whole_one(
    client: Client, exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Iterator[HistoryBucket]:
        yield from (bucket for bucket, _ in zip(endless(), range(2), strict=False))
        raise OSError("disk gone")

    exporter.history.buckets = broken()
    async with client.get("/export.csv?from=0") as response:
        assert response.status == 200
        with pytest.raises(ClientPayloadError):
            await response.read()
    assert "disk gone" in caplog.text


async def test_only_so_many_exports_run_at_a_time_and_places_come_back(exporter: Exporter) -> None:
    exporter.history.buckets = endless()
    async with TestServer(app_of(exporter)) as server:
        readers: list[Any] = [idle_reader(server, "/export.csv?from=0") for _ in range(MAX_EXPORTS)]
        for reader in readers:
            begun = await reader.__aenter__()
            assert await asyncio.get_running_loop().sock_recv(begun, 12) == b"HTTP/1.1 200"
        assert await _status_becomes(server, 429)
        for reader in readers:
            await reader.__aexit__(None, None, None)
        exporter.history.buckets = []
        assert await _status_becomes(server, 200)


async def _status_becomes(server: TestServer, wanted: int) -> bool:
    """Asks for a small export until it is answered as wanted; gives up after ten seconds."""
    for _ in range(500):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HEAD /export.csv?from=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = await reader.read()
        writer.close()
        if head.startswith(b"HTTP/1.1 %d " % wanted):
            return wanted != 429 or b"Retry-After: 30" in head
        await asyncio.sleep(0.02)
    return False


async def test_a_client_that_leaves_ends_the_walk(exporter: Exporter) -> None:
    begun = Event()

    def walk() -> Iterator[HistoryBucket]:
        begun.set()
        yield from endless()

    exporter.history.buckets = walk()
    async with TestServer(app_of(exporter)) as server:
        async with idle_reader(server, "/export.csv?from=0"):
            await _until(begun.is_set)
        await _until(lambda: exporter.history.closed)


async def _until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not met():  # noqa: ASYNC110 (a thread walks)
            await asyncio.sleep(0.01)
