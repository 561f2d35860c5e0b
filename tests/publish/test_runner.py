"""Requests that are no HTTP: answered like every other error, without a byte of theirs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from exporter.publish.runner import Runner
from tests.publish.conftest import Exporter, app_of


@pytest.fixture
async def port(exporter: Exporter) -> AsyncIterator[int]:
    runner = Runner(app_of(exporter), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "request_text",
    [
        b"<script>evil</script> / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n<script>evil</script>\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: evil\r\n\r\n",
        b"GET / HTTP/9.9 evil\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"evil" * 3000 + b"\r\n\r\n",
        b"GET /" + b"evil" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00evil\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_our_400(port: int, request_text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = await ask(port, request_text)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400 Bad Request")
    assert body == b'{"status":"error","message":"this is not valid HTTP"}'
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"aiohttp" not in head
    assert b"evil" not in answer
    assert caplog.text == ""


async def test_what_is_http_is_served(port: int) -> None:
    answer = await ask(port, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"healthy\n")
