"""Roles: which user, token or certificate reads which route, and how soon that ends when it is taken away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer

from exporter.publish import access, credentials, roles
from exporter.publish.access import Access
from exporter.publish.page import _FILES as STATIC_FILES
from exporter.publish.watched_config import WatchedAccess, WatchedConfig
from tests.publish.conftest import Client, Exporter, app_of
from tests.publish.samples import NOW

OPEN = {"/-/healthy", "/-/ready"}
#: What each role reads, written out once more by hand.
READABLE: Mapping[str, set[str]] = {
    "scraper": {"/metrics"},
    "viewer": {
        "/",
        "/dashboard",
        "/api/dashboard/metrics",
        "/api/live/state",
        "/api/live/events",
        "/api/live/queues",
        "/api/live/numbers",
        "/api/live/trends",
        *(f"/static/{name}" for name in STATIC_FILES),
    },
    "exporter": {"/export.csv"},
}
READABLE = {**READABLE, "admin": {"/-/reload"}.union(*READABLE.values())}
TOKENS = {role: f"{role}-{'5bd1e995' * 4}" for role in READABLE} | {"old": "old-" + "5bd1e995" * 4}
PASSWORD = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
WEB = f"basic_auth_users:\n  anna: {PASSWORD}\n  idle: {PASSWORD}\n"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(name: str, password: str = "right") -> dict[str, str]:  # noqa: S107 - a test user's
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def token_lines(*names: str) -> str:
    """`tokens` of the access configuration: each has the role that it is called after."""
    text = "tokens:\n"
    for name in names:
        role, expires = ("viewer", NOW.isoformat()) if name == "old" else (name, "")
        digest = hashlib.sha256(TOKENS[name].encode()).hexdigest()
        text += f"  {name}:\n    sha256: {digest}\n    roles: [{role}]\n    expires: {expires}\n"
    return text


ALL = "users:\n  anna: [viewer, exporter]\ncertificates:\n  scraper: [scraper]\n" + token_lines(*TOKENS)


class Guarded:
    """An exporter behind both files, which a test rewrites."""

    def __init__(self, folder: Path, exporter: Exporter) -> None:
        self.folder, self.exporter = folder, exporter
        self.told: list[str] = []
        self.client: Client = None  # type: ignore[assignment]

    def write(self, name: str, text: str) -> Path:
        new = self.folder / "new.yml"
        new.write_text(text, "utf-8")
        return new.replace(self.folder / name)

    def guard(self, web_text: str | None, access_text: str) -> Access:
        web_config = WatchedConfig(self.write("web.yml", web_text), self.told.append) if web_text else None
        return Access(
            web_config,
            WatchedAccess(self.write("access.yml", access_text), self.told.append),
            self.exporter.clock.now,
        )

    async def status(self, headers: dict[str, str], route: str = "/metrics", method: str = "GET") -> int:
        async with self.client.request(method, route, headers=headers) as response:
            return response.status


Serve = Callable[..., Any]


@pytest.fixture
async def serve(tmp_path: Path, exporter: Exporter) -> AsyncIterator[Serve]:
    """Serves behind the two files: `await serve(web_text, access_text)`."""
    await exporter.publish()
    clients = []

    async def reload() -> bool:
        return True

    async def start(web_text: str | None = WEB, access_text: str = ALL) -> Guarded:
        guarded = Guarded(tmp_path, exporter)
        guard = guarded.guard(web_text, access_text)
        app = app_of(exporter, middlewares=[guard.middleware()], reload=reload)
        guard.install(app)
        guarded.client = TestClient(TestServer(app))
        await guarded.client.start_server()
        clients.append(guarded.client)
        return guarded

    yield start
    for client in clients:
        await client.close()


def every_route(exporter: Exporter) -> set[str]:
    return {resource.canonical for resource in app_of(exporter).router.resources()}


def test_every_route_is_somebodys_to_read_and_no_new_one_goes_unnoticed(exporter: Exporter) -> None:
    assert every_route(exporter) - OPEN == READABLE["admin"]


@pytest.mark.parametrize("role", READABLE)
async def test_a_role_reads_its_routes_and_no_other(serve: Serve, role: str) -> None:
    guarded = await serve()
    for route in every_route(guarded.exporter):
        method = "POST" if route == "/-/reload" else "GET"
        status = await guarded.status(bearer(TOKENS[role]), route, method)
        if route in READABLE[role]:
            assert status in (200, 400), route  # trends wants parameters
        else:
            assert status == (200 if route in OPEN else 403), route


async def test_roles_add_up(serve: Serve) -> None:
    guarded = await serve()
    for route in every_route(guarded.exporter) - {"/api/live/trends"}:
        method = "POST" if route == "/-/reload" else "GET"
        good = route in OPEN | READABLE["viewer"] | READABLE["exporter"]
        assert await guarded.status(basic("anna"), route, method) == (200 if good else 403), route


@pytest.mark.parametrize("route", ["/metrics", "/nothing", "/-/reload", "/export.csv", "/"])
async def test_a_known_user_without_a_role_reads_nothing(serve: Serve, route: str) -> None:
    guarded = await serve()
    assert await guarded.status(basic("idle"), route, "POST" if route == "/-/reload" else "GET") == 403


async def test_a_route_that_is_not_there_is_told_to_those_who_have_a_role(serve: Serve) -> None:
    guarded = await serve()
    scraper = bearer(TOKENS["scraper"])
    assert await guarded.status(scraper, "/nothing") == 404
    assert await guarded.status(scraper, "/export.csv", "POST") == 405
    assert await guarded.status({}, "/nothing") == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer("x"),
        bearer("no-" + "5bd1e995" * 4),
        bearer(TOKENS["scraper"][:-1]),
        bearer(TOKENS["scraper"] + " x"),
        bearer(TOKENS["scraper"].upper()),
        bearer(hashlib.sha256(TOKENS["scraper"].encode()).hexdigest()),
        bearer(TOKENS["old"]),
        bearer("ü" * 30),
        {"Authorization": TOKENS["scraper"]},
        {"Authorization": f"Token {TOKENS['scraper']}"},
        basic("scraper", TOKENS["scraper"]),
        basic("", TOKENS["scraper"]),
        basic("anna", "wrong"),
        basic("nobody", "right"),
    ],
    ids=str,
)
async def test_a_stranger_is_asked_who_it_is_whatever_the_route(serve: Serve, headers: dict[str, str]) -> None:
    guarded = await serve()
    for route in ("/metrics", "/nothing", "/static/page.js"):
        async with guarded.client.get(route, headers=headers) as response:
            assert response.status == 401
            assert response.headers.getall("WWW-Authenticate") == [
                'Basic realm="genesys-cloud-exporter", charset="UTF-8"',
                'Bearer realm="genesys-cloud-exporter"',
            ]


async def test_tokens_alone_need_no_web_configuration(serve: Serve) -> None:
    guarded = await serve(None, token_lines("scraper"))
    assert await guarded.status(bearer(TOKENS["scraper"])) == 200
    assert await guarded.status({"Authorization": f"bEARER   {TOKENS['scraper']}"}) == 200
    async with guarded.client.get("/metrics", headers=basic("anna")) as response:
        assert response.status == 401
        assert response.headers.getall("WWW-Authenticate") == ['Bearer realm="genesys-cloud-exporter"']


async def test_two_authorization_headers_are_none(serve: Serve) -> None:
    guarded = await serve()
    pairs = itertools.product([bearer(TOKENS["scraper"]), basic("idle")], repeat=2)
    for pair in pairs:
        headers = [("Authorization", each["Authorization"]) for each in pair]
        async with guarded.client.get("/metrics", headers=headers) as response:
            assert response.status == 401


async def test_a_token_that_expires_while_it_is_used_is_a_strangers(serve: Serve) -> None:
    soon = token_lines("scraper").replace("expires: ", f"expires: {(NOW + timedelta(hours=1)).isoformat()}")
    guarded = await serve(None, soon)
    assert await guarded.status(bearer(TOKENS["scraper"])) == 200
    guarded.exporter.clock.advance(3600)
    assert await guarded.status(bearer(TOKENS["scraper"])) == 401


@pytest.mark.parametrize(
    ("names", "headers", "expected"),
    [
        (["scraper"], {}, 200),
        (["scraper", "other"], {}, 200),
        (["other"], {}, 401),
        ([], {}, 401),
        (["scraper"], bearer(TOKENS["viewer"]), 403),  # who says who it is, is that
        (["scraper"], bearer("no-" + "5bd1e995" * 4), 401),
        (["other"], bearer(TOKENS["scraper"]), 200),
    ],
    ids=str,
)
async def test_a_certificates_name_has_roles_where_nothing_else_is_said(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, names: list[str], headers: dict[str, str], expected: int
) -> None:
    for module in (access, credentials):
        monkeypatch.setattr(module, "certificate_names", lambda request: frozenset(names))
    guarded = await serve()
    assert await guarded.status(headers) == expected


async def test_where_only_certificates_count_nobody_is_asked_for_a_password(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = await serve(None, "certificates:\n  scraper: [scraper]\n")
    async with guarded.client.get("/metrics") as response:
        assert response.status == 403
        assert "WWW-Authenticate" not in response.headers


async def test_a_change_of_roles_counts_at_once(serve: Serve) -> None:
    guarded = await serve()
    assert await guarded.status(basic("idle")) == 403
    guarded.write("access.yml", "users:\n  idle: [scraper]\n")
    assert await guarded.status(basic("idle")) == 200
    assert await guarded.status(basic("anna"), "/export.csv") == 403
    assert await guarded.status(bearer(TOKENS["scraper"])) == 401
    assert guarded.told == []


@pytest.fixture
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "WATCH_SECONDS", 0.02)


async def _stream(guarded: Guarded, headers: dict[str, str]) -> Any:
    response = await guarded.client.get("/api/live/events", headers=headers)
    assert response.status == 200
    await response.content.readuntil(b"event: state")
    return response


async def _ended(response: Any) -> bool:
    """Whether the server ends the stream within the time that a heartbeat would take."""
    try:
        async with asyncio.timeout(5):
            while await response.content.readany():
                pass
    except ClientError:
        return True
    except TimeoutError:
        return False
    return True


NO_ANNA = "users:\n  idle: [viewer]\n" + token_lines("viewer")


@pytest.mark.usefixtures("watched_closely")
@pytest.mark.parametrize(
    ("headers", "name", "text"),
    [
        (basic("anna"), "access.yml", NO_ANNA),
        (basic("anna"), "access.yml", ALL.replace("viewer, exporter", "exporter")),
        (basic("anna"), "web.yml", f"basic_auth_users:\n  idle: {PASSWORD}\n"),
        (basic("anna"), "web.yml", WEB.replace(PASSWORD, bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode(), 1)),
        (bearer(TOKENS["viewer"]), "access.yml", token_lines("scraper")),
        (bearer(TOKENS["viewer"]), "access.yml", ALL.replace("roles: [viewer]", "roles: [scraper]")),
    ],
    ids=["user", "role of a user", "user's password", "changed password", "token", "role of a token"],
)
async def test_an_open_stream_ends_with_what_it_hangs_on(
    serve: Serve, headers: dict[str, str], name: str, text: str
) -> None:
    guarded = await serve()
    stream = await _stream(guarded, headers)
    guarded.write(name, text)
    assert await _ended(stream)  # and nobody else has asked for anything
    assert await guarded.status(headers, "/api/live/state") in (401, 403)
    assert guarded.told == []


@pytest.mark.usefixtures("watched_closely")
async def test_an_open_stream_ends_when_its_token_expires(serve: Serve) -> None:
    end = (NOW + timedelta(hours=1)).isoformat()
    guarded = await serve(None, token_lines("viewer").replace("expires: ", f"expires: {end}"))
    stream = await _stream(guarded, bearer(TOKENS["viewer"]))
    guarded.exporter.clock.advance(3600)
    assert await _ended(stream)


@pytest.mark.usefixtures("watched_closely")
async def test_a_stream_goes_on_through_a_change_that_is_not_its_own_and_one_that_is_broken(serve: Serve) -> None:
    guarded = await serve()
    stream = await _stream(guarded, basic("anna"))
    guarded.write("access.yml", "users:\n  anna: [viewer]\n")
    guarded.write("web.yml", f"basic_auth_users:\n  anna: {PASSWORD}\n")
    await asyncio.sleep(0.2)
    guarded.write("access.yml", "")
    async with asyncio.timeout(5):
        while not guarded.told:  # noqa: ASYNC110 (a file cannot tell)
            await asyncio.sleep(0.01)
    await guarded.exporter.publish()
    await asyncio.wait_for(stream.content.readuntil(b"event: state"), 5)
    stream.close()


def test_open_routes_tell_no_data() -> None:
    assert OPEN | {"/-/replica"} == roles.OPEN_ROUTES


async def test_the_guard_of_no_file_is_none(tmp_path: Path, exporter: Exporter) -> None:
    def no(*told: Any) -> None:
        pytest.fail(str(told))

    assert Access.open(None, None, now=exporter.clock.now, complain=no, tell=no) is None


async def test_faults_of_both_files_are_told_together(tmp_path: Path, exporter: Exporter) -> None:
    (tmp_path / "web.yml").write_text("a:\n", "utf-8")
    (tmp_path / "access.yml").write_text("b:\n", "utf-8")
    with pytest.raises(access.SettingsError) as refused:
        Access.open(
            tmp_path / "web.yml",
            tmp_path / "access.yml",
            now=exporter.clock.now,
            complain=pytest.fail,
            tell=lambda setting, good: None,
        )
    assert [fault.partition(":")[0] for fault in refused.value.faults] == [
        "EXPORTER_WEB_CONFIG",
        "EXPORTER_ACCESS_CONFIG",
        "EXPORTER_ACCESS_CONFIG",
    ]


async def test_users_that_have_no_password_are_a_fault_at_the_start_and_in_a_check(
    tmp_path: Path, exporter: Exporter
) -> None:
    guarded = Guarded(tmp_path, exporter)
    guard = guarded.guard(WEB, ALL.replace("certificates:\n  scraper: [scraper]\n", ""))
    guard.check()
    guarded.write("access.yml", "users:\n  bert: [viewer]\n")
    with pytest.raises(access.SettingsError, match="'bert' is not in basic_auth_users"):
        guard.check()
    with pytest.raises(access.SettingsError, match="'bert' is not in basic_auth_users"):
        Access.open(
            tmp_path / "web.yml",
            tmp_path / "access.yml",
            now=exporter.clock.now,
            complain=pytest.fail,
            tell=lambda setting, good: None,
        )
