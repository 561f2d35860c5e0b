"""Who may come in: users by password, and what it costs to try; what is open to all."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from exporter.publish import access, passwords
from exporter.publish.access import Access
from exporter.publish.page import _FILES as STATIC_FILES
from exporter.publish.passwords import matches
from exporter.publish.watched_config import WatchedConfig
from exporter.publish.web_config import TlsConfig, WebConfig
from tests.publish.conftest import Client, Exporter, app_of

LONG = "ü" * 36 + "the 72 bytes end before this"
GUARDED = [
    "/",
    "/metrics",
    "/dashboard",
    "/api/dashboard/metrics",
    "/export.csv",
    "/export.csv?from=-1h",
    "/api/live/state",
    "/api/live/events",
    "/api/live/queues",
    "/api/live/numbers",
    "/api/live/trends?rows=1",
    "/nothing",
    "/-/",
    "/-/healthy/",
    "/-/healthy/../../metrics",
    "/x//-/healthy",
    *(f"/static/{name}" for name in STATIC_FILES),
]


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost)).decode()


RIGHT, DEAR = hashed("right"), hashed("dear", 6)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


class Tried:
    """bcrypt as it is, counting: what was compared, and how many at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.costs: list[int] = []
        self.at_once = self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self._real = bcrypt.checkpw
        monkeypatch.setattr(passwords.bcrypt, "checkpw", self._checkpw)

    def _checkpw(self, password: bytes, hashed_password: bytes) -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # never on the event loop
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.costs.append(int(hashed_password[4:6]))
        self.gate.wait(5)
        try:
            return self._real(password, hashed_password)
        finally:
            self.at_once -= 1


@pytest.fixture
def web_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes the users' file: `web_config(anna=RIGHT)`."""

    def write(headers: str = "", **users: str) -> Path:
        new, path = tmp_path / "new.yml", tmp_path / "web.yml"
        lines = "".join(f"  {name}: {each}\n" for name, each in users.items())
        new.write_text(f"{headers}basic_auth_users:\n{lines}", "utf-8")
        return new.replace(path)

    return write


@pytest.fixture
async def client(exporter: Exporter, web_config: Callable[..., Path]) -> AsyncIterator[Client]:
    await exporter.publish()
    headers = "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    X-XSS-Protection: '0'\n"
    guard = Access(WatchedConfig(web_config(headers, anna=RIGHT, boss=DEAR, long=hashed(LONG)), pytest.fail))
    app = app_of(exporter, middlewares=[guard.middleware()])
    guard.install(app)
    async with TestClient(TestServer(app)) as client:
        client.server.runner.server.handler_cancellation = False  # type: ignore[union-attr]  # as in the exporter
        yield client


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Tried:
    return Tried(monkeypatch)


async def status(client: Client, headers: dict[str, str], route: str = "/metrics") -> int:
    async with client.get(route, headers=headers) as response:
        return response.status


@pytest.mark.parametrize("route", GUARDED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_every_route_is_closed_to_strangers(client: Client, route: str, method: str) -> None:
    async with client.request(method, route) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith('Basic realm="')
        assert response.content_type == "application/json"
        assert "right" not in await response.text()


@pytest.mark.parametrize("route", ["/-/healthy", "/-/ready"])
@pytest.mark.parametrize("headers", [{}, basic("anna", "wrong"), {"Authorization": "Bearer x"}])
async def test_probes_are_open_to_all(client: Client, tried: Tried, route: str, headers: dict[str, str]) -> None:
    assert await status(client, headers, route) == 200
    assert tried.costs == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic("anna", "right"), 200),
        ({"Authorization": basic("anna", "right")["Authorization"].replace("Basic ", "bAsIc   ")}, 200),
        (basic("long", LONG), 200),
        (basic("long", "ü" * 36 + "x"), 200),  # as bcrypt has it everywhere
        (basic("long", "ü" * 35), 401),
        (basic("anna", "wrong"), 401),
        (basic("anna", "right "), 401),
        (basic("anna", ""), 401),
        (basic("anna", "right\0"), 401),
        (basic("anna", "\0"), 401),
        (basic("anna", "x" * 5000), 401),
        (basic("Anna", "right"), 401),
        (basic("", "right"), 401),
        (basic("boss", "right"), 401),
        (basic(f"anna\0{RIGHT}", "right"), 401),
        (basic("nobody", "right"), 401),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Basic"}, 401),
        ({"Authorization": "Basic !!!!"}, 401),
        ({"Authorization": "Basic YQ"}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"anna").decode()}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:right").decode()}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"anna:\xff\xfe").decode()}, 401),
        ({"Authorization": "Basic \udcff"}, 401),
        ({"Authorization": "Basic ünï"}, 401),
        ({"Authorization": "Bearer right"}, 401),
        ({"Authorization": "Digest username=anna"}, 401),
    ],
)
async def test_only_the_right_credentials_come_in(client: Client, header: dict[str, str], expected: int) -> None:
    raw = header["Authorization"].encode("utf-8", "surrogateescape")
    assert client.port
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + raw + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert int(answer.split()[1]) == expected


async def test_two_authorization_headers_do_not_add_up(client: Client) -> None:
    headers = [("Authorization", basic("anna", "wrong")["Authorization"])]
    headers.append(("Authorization", basic("anna", "right")["Authorization"]))
    async with client.get("/metrics", headers=headers) as response:
        assert response.status in (400, 401)


async def test_a_wrong_password_costs_the_same_whoevers_name_it_comes_with(client: Client, tried: Tried) -> None:
    work = {}
    for name in ("anna", "boss", "nobody"):
        for password in ("wrong", "nul\0", "x" * 100):
            tried.costs.clear()
            assert await status(client, basic(name, password)) == 401
            work[name, password] = sum(2**cost for cost in tried.costs)
    assert set(work.values()) == {2**6}


async def test_an_accepted_password_is_not_compared_again_and_a_refused_one_is(client: Client, tried: Tried) -> None:
    assert [await status(client, basic("anna", "right")) for _ in range(3)] == [200] * 3
    assert tried.costs == [4]
    assert [await status(client, basic("boss", "wrong")) for _ in range(3)] == [401] * 3
    assert tried.costs == [4, 6, 6, 6]


async def test_comparisons_wait_for_each_other_while_a_known_scraper_does_not_wait(
    client: Client, tried: Tried
) -> None:
    await status(client, basic("anna", "right"))
    flood = [asyncio.create_task(status(client, basic("boss", f"wrong {n}"))) for n in range(30)]
    await _until(lambda: tried.at_once == 1)
    compared = len(tried.costs)
    assert await status(client, basic("anna", "right")) == 200
    assert len(tried.costs) - compared <= 3
    assert set(await asyncio.gather(*flood)) == {401}
    assert tried.most_at_once == 1


async def test_who_has_gone_costs_nothing_more(client: Client, tried: Tried) -> None:
    server = client.server.runner.server  # type: ignore[union-attr]
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic("boss", "no")["Authorization"].encode()
    tried.gate.clear()
    writers = [(await asyncio.open_connection("127.0.0.1", client.port))[1] for _ in range(20)]
    for writer in writers:
        writer.write(request + b"\r\n\r\n")
    await _until(lambda: server.requests_count == 20 and tried.at_once == 1)
    for writer in writers:
        writer.transport.abort()
    await _until(lambda: all(each.transport is None for each in server.connections))
    tried.gate.set()
    assert await status(client, basic("anna", "right")) == 200
    assert tried.costs == [6, 4]


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 (a thread or a socket cannot tell)
            await asyncio.sleep(0.001)


async def test_the_memory_of_accepted_passwords_is_bounded(
    exporter: Exporter, web_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    monkeypatch.setattr(passwords, "REMEMBERED", 2)
    guard = Access(WatchedConfig(web_config(a=hashed("x"), b=hashed("x"), c=hashed("x")), pytest.fail))
    async with TestClient(TestServer(app_of(exporter, middlewares=[guard.middleware()]))) as client:
        for name in "abacab":  # c pushes b out, for a has been seen since
            assert await status(client, basic(name, "x")) == 200
    assert len(tried.costs) == 4
    assert len(guard._passwords._accepted) == 2


async def test_a_user_taken_out_of_the_file_is_out_at_once(client: Client, web_config: Callable[..., Path]) -> None:
    assert await status(client, basic("anna", "right")) == 200
    web_config(boss=DEAR)
    assert await status(client, basic("anna", "right")) == 401
    web_config(boss=DEAR, anna=RIGHT)
    assert await status(client, basic("anna", "right")) == 200


async def test_a_changed_password_counts_at_once(client: Client, web_config: Callable[..., Path]) -> None:
    assert await status(client, basic("anna", "right")) == 200
    web_config(anna=hashed("new"))
    assert await status(client, basic("anna", "right")) == 401
    assert await status(client, basic("anna", "new")) == 200


async def test_configured_headers_win_on_every_answer(client: Client) -> None:
    for route, headers in (("/", basic("anna", "right")), ("/metrics", {}), ("/-/healthy", {})):
        async with client.get(route, headers=headers) as response:
            assert response.headers["X-Frame-Options"] == "sameorigin"
            assert response.headers["X-XSS-Protection"] == "0"
            assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_right_password_is_right_at_any_cost() -> None:
    everyone = [RIGHT.encode(), DEAR.encode()]
    assert matches(b"right", RIGHT.encode(), everyone)
    assert matches(b"dear", DEAR.encode(), everyone)
    assert not matches(b"dear", RIGHT.encode(), everyone)
    assert not matches(b"right", None, everyone)


@pytest.mark.parametrize(
    ("sans", "allowed", "expected"),
    [
        ((("DNS", "scraper"),), ["scraper"], True),
        ((("DNS", "other"), ("email", "a@b.c")), ["scraper", "a@b.c"], True),
        ((("URI", "spiffe://x/y"),), ["spiffe://x/y"], True),
        ((("IP Address", "0:0:0:0:0:0:0:1"),), ["::1"], True),
        ((("DNS", "other"),), ["scraper"], False),
        ((("DNS", "*"),), ["scraper"], False),
        ((("DirName", ((("commonName", "scraper"),),)),), ["scraper"], False),
        ((), ["scraper"], False),
        (None, ["scraper"], False),
        (None, [], True),
    ],
)
def test_a_certificate_must_bear_an_allowed_name(sans: Any, allowed: list[str], expected: bool) -> None:
    config = WebConfig(tls=TlsConfig(Path(), Path(), client_allowed_sans=tuple(allowed)))
    certificate = None if sans is None else {"subject": ((("commonName", "scraper"),),), "subjectAltName": sans}
    request = make_mocked_request("GET", "/metrics")
    request.transport.get_extra_info = lambda name, default=None: certificate  # type: ignore[union-attr,method-assign]
    assert access._known_certificate(config, request) is expected
