"""A service that answers by script on loopback, and the client's parts wired to it on a clock that obeys.

Nothing of the client is replaced: sockets, HTTP and decompression are real; only time is the test's.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web

from exporter.genesys.auth import Credentials, TokenSource
from exporter.genesys.client import ApiClient
from exporter.genesys.pacing import PacingGate
from exporter.genesys.transport import Call, Transport
from exporter.models import ApiEvent
from tests.conftest import FakeClock

TOKEN = "/oauth/token"
QUEUES = "/api/v2/routing/queues"
AGGREGATES = "/api/v2/analytics/conversations/aggregates/query"
OBSERVATIONS = "/api/v2/analytics/queues/observations/query"
SUMMARY = "/api/v2/analytics/conversations/summary/query"

#: What is known of the vendor's API; it is no part of this project, and tests that need it are skipped without it.
REFERENCE = Path(os.environ.get("GENESYS_REFERENCE", Path(__file__).resolve().parents[3] / "shared" / "reference"))

E = TypeVar("E")


@dataclass(frozen=True)
class Seen:
    """One request as the service met it; `at` is the clock's monotonic time."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer; a `body` that is not bytes is sent as JSON."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    slow_seconds: float = 0.0  # of real time: the client's own time limits are real

    async def response(self) -> web.Response:
        await asyncio.sleep(self.slow_seconds)
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return web.Response(status=self.status, body=body, headers={"Content-Type": "application/json"} | self.headers)


Answer = Reply | Callable[[Seen], Reply]


class Service:
    """Answers each path by its script, in order; the last answer of a script stays."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._scripts: dict[str, list[Answer]] = {TOKEN: [Reply({"access_token": "token-1", "expires_in": 86400})]}
        self.url = ""
        self.seen: list[Seen] = []

    def script(self, path: str, *answers: Answer) -> None:
        self._scripts[path] = list(answers)

    def calls(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    async def handle(self, request: web.Request) -> web.Response:
        headers = dict(request.headers.items())
        body = await request.read()
        at = self._clock.monotonic()
        seen = Seen(request.method, request.path, dict(request.query), headers, body, at)
        self.seen.append(seen)
        script = self._scripts.get(request.path, [Reply({"message": "no script"}, 404)])
        answer = script.pop(0) if len(script) > 1 else script[0]
        return await (answer if isinstance(answer, Reply) else answer(seen)).response()


@dataclass
class Client:
    """All parts of the client, wired as the exporter wires them."""

    service: Service
    clock: FakeClock
    events: list[ApiEvent]
    session: aiohttp.ClientSession
    gate: PacingGate
    transport: Transport
    tokens: TokenSource
    api: ApiClient
    credentials: Credentials = field(default_factory=lambda: Credentials("client-1", "secret-1"))

    def deadline(self, seconds: float = 60.0) -> float:
        return self.clock.monotonic() + seconds

    def events_of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def call(self, path: str = AGGREGATES, method: str = "POST", body: bytes | None = b"{}", url: str = "") -> Call:
        return Call("aggregates", method, (url or self.service.url) + path, {}, body, permission="a:b:view")

    async def send(self, seconds: float = 60.0, **call: Any) -> bytes:
        return await self.transport.send(self.call(**call), self.deadline(seconds))


@pytest.fixture
async def service(clock: FakeClock) -> AsyncIterator[Service]:
    scripted = Service(clock)
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = str(site.name)
    yield scripted
    await runner.cleanup()


MakeClient = Callable[..., Awaitable[Client]]


@pytest.fixture
async def make_client(service: Service, clock: FakeClock) -> AsyncIterator[MakeClient]:
    sessions: list[aiohttp.ClientSession] = []

    async def make(per_minute: int = 1000, trust_env: bool = False, url: str = "") -> Client:
        events: list[ApiEvent] = []
        session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=trust_env)
        sessions.append(session)
        gate = PacingGate(per_minute, clock, events.append)
        transport = Transport(session, gate, clock, events.append)
        tokens = TokenSource(transport, url or service.url, lambda: made.credentials, clock)
        api = ApiClient(transport, tokens, url or service.url, events.append)
        made = Client(service, clock, events, session, gate, transport, tokens, api)
        return made

    yield make
    for session in sessions:
        await session.close()


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    return await make_client()


class RawService:
    """Answers every request with the same bytes, whatever they are, and then hangs up."""

    def __init__(self, answer: bytes, *, reset: bool = False) -> None:
        self._answer, self._reset = answer, reset
        self.url = ""
        self.requests = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            writer.write(self._answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort() if self._reset else writer.close()


@asynccontextmanager
async def raw_service(answer: bytes, *, reset: bool = False) -> AsyncIterator[RawService]:
    raw = RawService(answer, reset=reset)
    server = await asyncio.start_server(raw.handle, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        await server.wait_closed()
