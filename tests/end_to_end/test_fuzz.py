"""Hostile requests over raw sockets, to every route: never a 500, nothing of theirs in the answer, no file, no text of
an exception, and the same headers on each answer, those of the HTTP parser too."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.publish.runner import Runner
from tests.publish.conftest import Exporter, app_of

PATHS = [b"/", b"/metrics", b"/dashboard", b"/api/dashboard/metrics", b"/export.csv", b"/-/healthy", b"/-/ready"]
PATHS += [b"/api/live/state", b"/api/live/queues", b"/api/live/numbers", b"/api/live/trends", b"/static/page.css"]
NAMES = [b"queue", b"media_type", b"anomalous", b"from", b"to", b"bom", b"rows", b"queues", b"__proto__", b"name[]"]
HOSTILE = [
    b"<script>evil()</script>",
    b"%3Cscript%3Eevil()%3C/script%3E",
    b"%00",
    b"%ff%fe",
    b"%ED%A0%80",
    b"%",
    b"%zz",
    b"evil%0d%0aSet-Cookie:evil=1",
    b"'%20OR%201=1--",
    b"{{7*7}}${7*7}",
    b"../../../../etc/passwd",
    b"1" * 300,
    b"-9" * 100,
    b"9999999999999999999h",
    b"-1e400d",
    b"1e309",
    b"nan",
    b"-inf",
    b"2026-02-30T25:61:61Z",
    b"0001-01-01T00:00:00%2B14:00",
    b"9999-12-31T23:59:59-14:00",
    "١٢٣".encode(),
    "²".encode(),
    b"*" * 256,
    b"*a" * 120,
    b"[" * 200,
    b"a,,b,\xf0\x9f\x92\xa9",
    b"",
]
FILES = [
    b"/static/../page.py",
    b"/static/..%2fpage.py",
    b"/static/%2e%2e/page.py",
    b"/static/%2e%2e%2f%2e%2e%2fpyproject.toml",
    b"/static//etc/passwd",
    b"/static/..%5c..%5cpage.py",
    b"/static/page.css%00.js",
    b"/static/page.html",
    b"/static/",
    b"/static",
    b"/../../../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"//etc/passwd",
    b"http://evil.example/etc/passwd",
    b"file:///etc/passwd",
    b"*",
    b"evil.example:443",
    b"/-/reload",
    b"/-/quit",
    b"/debug/pprof",
    b"/.env",
    b"/.git/config",
]
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"PRI", b"EVIL"]
HEADERS = [
    b"Accept: " + b"a/b;q=0.1," * 500,
    b"Accept: application/openmetrics-text;q=nan;version=\xff",
    b"Accept: ;;;,,,q=;=",
    b"Accept-Encoding: gzip;q=evil, *;q=-1, \xff",
    b"Accept-Encoding: gzip, br, zstd, deflate, evil",
    b"If-None-Match: evil",
    b'If-None-Match: "' + b"a" * 7000 + b'"',
    b'If-None-Match: W/"a", "b, *',
    b"If-Modified-Since: evil",
    b"Range: bytes=0-1,-99999999999999999999",
    b"Range: evil",
    b"Expect: evil",
    b"Expect: 100-continue",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: evil",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: evil",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4",
    b"Transfer-Encoding: evil",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999999999",
    b"Content-Length: 3\r\n\r\nabc",
    b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nevil",
    b"Transfer-Encoding: chunked\r\n\r\nevil",
    b"Transfer-Encoding: chunked\r\n\r\n4\r\nevilevil\r\n0\r\n\r\n",
    b"Content-Type: multipart/form-data; boundary=\xff\r\nContent-Length: 4\r\n\r\nevil",
    b"Cookie: " + b"a=b;" * 1000 + b"evil=\x01",
    b"Host: evil<script>",
    b"Host: x\r\nHost: y",
    b"X-Forwarded-Host: evil\r\nX-Original-URL: /evil\r\nX-HTTP-Method-Override: DELETE",
    b"Authorization: Basic \xff\xff",
    b"Evil: " + b"e" * 9000,
    b"evil",
    b" evil: folded",
    b": evil",
    b"Ev il: x",
    b"Evil\x00: x",
    b"Evil: a\rb",
    *[b"\r\n".join(b"X-%d: evil" % n for n in range(500))],
]


class Target:
    def __init__(self, port: int) -> None:
        self.port = port

    async def ask(self, request: bytes) -> bytes:
        """The whole answer; a request may be half of one, so the client ends its side."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await asyncio.wait_for(writer.drain(), 5)
            return await asyncio.wait_for(_all(reader), 5)
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()

    async def everything(self, request: bytes) -> bytes:
        """All answers to whatever the server takes for requests, until it says nothing more."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answers = b""
        try:
            writer.write(request)
            while more := await asyncio.wait_for(reader.read(2**16), 0.5):
                answers += more
        except TimeoutError:
            pass
        finally:
            writer.transport.abort()
        return answers


async def _all(reader: asyncio.StreamReader) -> bytes:
    """The first answer, or what there is of it when the server closes."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100 "):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as ended:
        return ended.partial
    length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
    try:
        return head + await asyncio.wait_for(reader.readexactly(int(length[1]) if length else 0), 0.5)
    except (asyncio.IncompleteReadError, TimeoutError):  # a HEAD has a length and no body
        return head


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    exporter = Exporter()
    await exporter.publish()
    async with AsyncExitStack() as stack:
        runner = Runner(app_of(exporter), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Target(int(runner.addresses[0][1]))


def check(request: bytes, answer: bytes) -> int:
    """The status of an answer that has nothing wrong with it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert status < 500, (request[:300], answer[:300])
    low = head.lower()
    for needed in (
        b"x-content-type-options: nosniff",
        b"content-security-policy: default-src 'none'",
        b"x-frame-options",
    ):
        assert needed in low, (request[:300], head)
    for bad in (b"aiohttp", b"python", b"set-cookie", b"evil"):
        assert bad not in low, (request[:300], head)
    if status >= 400:
        assert b"content-type: application/json" in low
        for bad in (b"evil", b"<", b"Traceback", b"Error(", b".py", b"root:", b"7*7", b"49"):
            assert bad not in body, (request[:300], body)
    assert b"<script>evil" not in body
    assert b"root:x:0" not in body
    assert b"[build-system]" not in body
    return status


def request(method: bytes, path: bytes, *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    lines = [method + b" " + path + b" " + version, b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def test_queries(target: Target) -> None:
    for path in PATHS:
        for name in NAMES:
            for value in HOSTILE:
                asked = request(b"GET", path + b"?" + name + b"=" + value)
                check(asked, await target.ask(asked))
        for query in (b"?", b"?&&&", b"?=", b"?" + b"a" * 4097, b"?" + b"queue=a&" * 500, b"#evil", b";evil"):
            asked = request(b"GET", path + query)
            check(asked, await target.ask(asked))


async def test_paths_do_not_lead_to_files(target: Target) -> None:
    for path in [*FILES, *(b"/" + value for value in HOSTILE), *(b"/static/" + value for value in HOSTILE)]:
        asked = request(b"GET", path)
        status = check(asked, await target.ask(asked))
        assert status >= 400 or path in (b"/", b"/static/../", b"/"), path


async def test_methods_and_versions(target: Target) -> None:
    for path in [*PATHS, b"/nothing", b"/api/live/events"]:
        for method in METHODS:
            if (method, path) == (b"GET", b"/api/live/events"):
                continue
            asked = request(method, path, b"Content-Length: 0")
            status = check(asked, await target.ask(asked))
            assert status >= 400 or method in (b"GET", b"HEAD"), (method, path)
    for version in (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/11", b"HTTP/1.1 evil", b"evil/1.1", b""):
        asked = request(b"GET", b"/metrics", version=version)
        if answer := await target.ask(asked):
            check(asked, answer)


SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length: %d\r\n\r\n" % len(SMUGGLED),
        b"Content-Length: +0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_no_request_is_hidden_in_another(target: Target, method: bytes, headers: bytes) -> None:
    answer = await target.everything(method + b" /-/healthy HTTP/1.1\r\nHost: x\r\n" + headers + SMUGGLED)
    check(headers, answer)
    assert answer.count(b"HTTP/1.") == 1
    assert b"genesys_" not in answer


async def test_requests_in_one_packet_are_answered_in_order(target: Target) -> None:
    paths = [b"/-/healthy", b"/nothing", b"/metrics"] * 20
    answer = await target.everything(b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"404", b"200"] * 20


async def test_headers(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for path in [*PATHS, b"/nothing"]:
            for header in HEADERS:
                asked = request(b"GET", path, header)
                answer = await target.ask(asked)
                assert answer, header[:80]
                check(asked, answer)
    assert caplog.text == ""


async def test_noise(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    """Good requests with bytes turned, taken out and put in, the same ones in every run."""
    rng = random.Random(5)
    seeds = [request(b"GET", path + b"?queue=a%20b&from=-1h", header) for path in PATHS for header in HEADERS[:12]]
    with caplog.at_level(logging.INFO):
        for _ in range(600):
            noisy = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(1, 6)):
                place = rng.randrange(len(noisy))
                noisy[place : place + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
            noisy += b"\r\n\r\n"
            if answer := await target.ask(bytes(noisy)):
                head = answer.partition(b"\r\n\r\n")[0]
                assert int(head.split(b" ", 2)[1]) < 500, bytes(noisy)
                assert b"nosniff" in head, bytes(noisy)
    assert caplog.text == ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), value=st.text(max_size=40), path=st.sampled_from(PATHS))
async def test_any_text_in_a_parameter(target: Target, name: bytes, value: str, path: bytes) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in value.encode("utf-8", "surrogatepass")).encode()
    asked = request(b"GET", path + b"?" + name + b"=" + encoded)
    check(asked, await target.ask(asked))
