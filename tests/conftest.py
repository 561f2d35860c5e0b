"""What every test may ask for: time that obeys, settings that read nothing but what they are given, real servers.

Nothing here replaces a part of the exporter: the clock is injected, servers listen on loopback.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest
from aioresponses import aioresponses as AioResponses  # noqa: N812 (a class that its authors spell in small letters)

from exporter.settings import Settings, load_settings
from exporter.simulator import OrgConfig, SimulatedOrg, serve

#: Programs that some tests start, and Debian's packages that bring them.
SERVER_PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "openssl": "openssl",
    "curl": "curl",
    "systemd-analyze": "systemd",
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
}


class FakeClock:
    """Wall and monotonic time that move together, and only when a test or a sleeper moves them.

    Sleepers wake in the order of their deadlines, and time jumps to the deadline of the one that wakes.
    """

    def __init__(self, start: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._deadlines: list[float] = []
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass for everyone who looks."""
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        deadline = self._elapsed + max(seconds, 0.0)
        self._deadlines.append(deadline)
        try:
            await asyncio.sleep(0)
            while self._elapsed < deadline:
                if min(self._deadlines) == deadline:
                    self._elapsed = deadline
                await asyncio.sleep(0)
        finally:
            self._deadlines.remove(deadline)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell's background jobs ignore ^C, and so would every process that a test starts in one and then interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings from the variables passed alone, with credentials and a history file of the test's own."""

    def make(**variables: str) -> Settings:
        given = {
            "GENESYS_CLIENT_ID": "test-client",
            "GENESYS_CLIENT_SECRET": "test-secret",
            "EXPORTER_HISTORY": str(tmp_path / "history.sqlite3"),
        }
        return load_settings(given | variables)

    return make


@dataclass(frozen=True)
class OrgAtWork:
    """A simulated org that answers at `url`, in the time of the test's clock."""

    org: SimulatedOrg
    url: str

    @property
    def variables(self) -> dict[str, str]:
        """The settings of an exporter that polls it."""
        client = self.org.client
        credentials = {"GENESYS_CLIENT_ID": client.id, "GENESYS_CLIENT_SECRET": client.secret}
        return credentials | {"GENESYS_LOGIN_URL": self.url, "GENESYS_API_URL": self.url}


@pytest.fixture
async def start_org(clock: FakeClock) -> AsyncIterator[Callable[[OrgConfig], Awaitable[OrgAtWork]]]:
    """Starts simulated orgs on free ports: `await start_org(OrgConfig(queues=5))`; the test's end stops them."""
    async with AsyncExitStack() as running:

        async def start(config: OrgConfig) -> OrgAtWork:
            org = SimulatedOrg(config, clock=clock.now)
            return OrgAtWork(org, await running.enter_async_context(serve(org)))

        yield start


@pytest.fixture
def own_logging() -> Iterator[logging.Logger]:
    """The root logger; what a command sets up there for a process of its own is undone at the test's end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def require_server() -> Callable[[str], str]:
    """The path of a program; without it a test fails in CI, where .ci/run installs them, and is skipped elsewhere."""

    def find(program: str) -> str:
        if path := shutil.which(program):
            return path
        reason = f"{program} is not installed (Debian: apt-get install {SERVER_PACKAGES[program]})"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, although CI must have it", pytrace=False)
        pytest.skip(reason)

    return find


class _Response(aiohttp.ClientResponse):
    """What aioresponses answers with; aiohttp 3.14 wants a stream_writer that aioresponses 0.7.9 does not pass."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def mocked_http(monkeypatch: pytest.MonkeyPatch) -> Iterator[AioResponses]:
    """Answers that no server can give (refused connections, broken TLS); loopback still reaches real servers."""
    monkeypatch.setattr(aioresponses.core, "ClientResponse", _Response)
    with AioResponses(passthrough=["http://127.0.0.1"]) as mocked:
        yield mocked
