"""TLS, users and client certificates as Prometheus and curl meet them: the right ones in, everyone else out."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from aiohttp import web

from exporter.publish.access import Access
from exporter.publish.runner import Runner
from exporter.publish.watched_config import WatchedConfig
from tests.publish.certificates import Authority
from tests.publish.conftest import Exporter, app_of

PASSWORD = "the-scrapers-password"
SERVER = "tls_server_config:\n  cert_file: server.pem\n  key_file: server-key.pem\n"
CLIENTS = "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [scraper]\n"
USERS = f"basic_auth_users:\n  prometheus: {bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n"


class Guarded:
    """An exporter behind `web.yml`, as app.py serves it."""

    def __init__(self, folder: Path, openssl: str) -> None:
        self.folder = folder
        self.told: list[str] = []
        self.authority = Authority(openssl, folder)
        self.authority.certificate("server")
        self.port = 0

    def configure(self, text: str) -> None:
        new = self.folder / "new.yml"
        new.write_text(text, "utf-8")
        new.replace(self.folder / "web.yml")

    async def serve(self, stack: AsyncExitStack) -> None:
        watched, exporter = WatchedConfig(self.folder / "web.yml", self.told.append), Exporter()
        await exporter.publish()
        access = Access(watched)
        app = app_of(exporter, middlewares=[access.middleware()])
        access.install(app)
        runner = Runner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=watched.ssl_context()).start()
        self.port = int(runner.addresses[0][1])

    async def curl(self, *arguments: str | Path, route: str = "/metrics") -> str:
        """The status, or `exit N` where curl gave up."""
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(self.authority.ca_file)]
        url = f"https://127.0.0.1:{self.port}{route}"
        process = await asyncio.create_subprocess_exec(
            *command, *map(str, arguments), url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        return output.decode() if process.returncode == 0 else f"exit {process.returncode}"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def guarded(tmp_path: Path, require_server: Callable[[str], str]) -> Guarded:
    require_server("curl")
    return Guarded(tmp_path, require_server("openssl"))


def certificate(authority: Authority, name: str, sans: str) -> list[str | Path]:
    cert_file, key_file = authority.certificate(name, sans)
    return ["--cert", cert_file, "--key", key_file]


async def test_users_over_tls(guarded: Guarded, stack: AsyncExitStack) -> None:
    guarded.configure(SERVER + USERS)
    await guarded.serve(stack)
    assert await guarded.curl("-u", f"prometheus:{PASSWORD}") == "200"
    assert await guarded.curl("-u", "prometheus:wrong") == "401"
    assert await guarded.curl("-u", f"nobody:{PASSWORD}") == "401"
    assert await guarded.curl("--oauth2-bearer", PASSWORD) == "401"
    assert await guarded.curl() == "401"
    assert await guarded.curl(route="/-/healthy") == "200"
    assert await guarded.curl("--tls-max", "1.1") == "exit 35"


async def test_a_client_needs_a_certificate_of_the_authority_and_the_right_name(
    guarded: Guarded, stack: AsyncExitStack, require_server: Callable[[str], str]
) -> None:
    guarded.configure(SERVER + CLIENTS)
    await guarded.serve(stack)
    other = Authority(require_server("openssl"), guarded.folder, "other-ca")
    assert await guarded.curl(*certificate(guarded.authority, "good", "DNS:scraper")) == "200"
    assert await guarded.curl(*certificate(guarded.authority, "known", "DNS:visitor")) == "403"
    assert (await guarded.curl(*certificate(other, "forged", "DNS:scraper"))).startswith("exit ")
    assert (await guarded.curl()).startswith("exit ")
    assert (await guarded.curl(route="/-/healthy")).startswith("exit ")  # no connection, no route


async def test_an_authority_that_is_replaced_ends_its_clients(
    guarded: Guarded, stack: AsyncExitStack, require_server: Callable[[str], str]
) -> None:
    guarded.configure(SERVER + CLIENTS)
    await guarded.serve(stack)
    good = certificate(guarded.authority, "good", "DNS:scraper")
    assert await guarded.curl(*good) == "200"
    other = Authority(require_server("openssl"), guarded.folder, "other-ca")
    guarded.configure(SERVER + CLIENTS.replace("ca.pem", "other-ca.pem"))
    assert (await guarded.curl(*good)).startswith("exit ")
    assert await guarded.curl(*certificate(other, "new", "DNS:scraper")) == "200"
    assert guarded.told == []


async def test_a_connection_of_an_earlier_configuration_is_closed(guarded: Guarded, stack: AsyncExitStack) -> None:
    guarded.configure(SERVER)
    await guarded.serve(stack)
    trust = ssl.create_default_context(cafile=str(guarded.authority.ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port, ssl=trust)
    stack.callback(writer.transport.abort)
    for _ in range(2):
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"healthy\n"), 5)
    guarded.authority.certificate("server")
    writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"healthy\n"), 5)
    assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_prometheus_scrapes_over_tls_with_a_password(
    guarded: Guarded, stack: AsyncExitStack, require_server: Callable[[str], str], http: aiohttp.ClientSession
) -> None:
    guarded.configure(SERVER + USERS)
    await guarded.serve(stack)
    jobs = {"right": PASSWORD, "wrong": "wrong"}
    scrapes = "".join(_job(name, password, guarded) for name, password in jobs.items())
    config = guarded.folder / "prometheus.yml"
    config.write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs:\n{scrapes}", "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    prometheus = await asyncio.create_subprocess_exec(
        require_server("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={guarded.folder / 'tsdb'}",
        f"--web.listen-address={address}",
        stderr=subprocess.DEVNULL,
    )
    try:
        targets = await asyncio.wait_for(_scraped(http, f"http://{address}"), 30)
    finally:
        prometheus.kill()
        await prometheus.wait()
    assert {name: (target["health"], target["lastError"]) for name, target in targets.items()} == {
        "right": ("up", ""),
        "wrong": ("down", "server returned HTTP status 401 Unauthorized"),
    }


def _job(name: str, password: str, guarded: Guarded) -> str:
    return (
        f"- job_name: {name}\n  scheme: https\n  tls_config: {{ca_file: {guarded.authority.ca_file}}}\n"
        f"  basic_auth: {{username: prometheus, password: {password}}}\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{guarded.port}']}}]\n"
    )


async def _scraped(http: aiohttp.ClientSession, prometheus: str) -> dict[str, Any]:
    """The targets, once each has been scraped."""
    while True:
        await asyncio.sleep(0.2)
        try:
            async with http.get(f"{prometheus}/api/v1/targets") as response:
                active = (await response.json())["data"]["activeTargets"]
        except (aiohttp.ClientError, KeyError):
            continue
        if len(active) == 2 and all(target["health"] != "unknown" for target in active):
            return {target["labels"]["job"]: target for target in active}
