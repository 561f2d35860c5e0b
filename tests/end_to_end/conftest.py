"""What the end-to-end tests share: one demo for the whole run, and exporters on demand.

Exporters on demand run in the test's own loop, whole, over HTTP, and in a time that moves only while a test waits for
something (`moving`), so that minutes cost milliseconds and nothing changes between two requests of a test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator import OrgConfig, SimulatedOrg
from tests.end_to_end.moving import AtWork, MovingClock, started
from tests.end_to_end.processes import Process

Starter = Callable[..., Awaitable[AtWork]]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`demo` as a visitor starts it."""
    with Process(tmp_path_factory.mktemp("demo"), "demo", "--port", "0") as process:
        yield process


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def moving_clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
async def start(tmp_path: Path, http: aiohttp.ClientSession, moving_clock: MovingClock) -> AsyncIterator[Starter]:
    """Starts an exporter: `await start(OrgConfig(queues=5), EXPORTER_BUCKET="PT1H")`; the test's end stops it."""
    async with AsyncExitStack() as running:

        async def begin(
            config: OrgConfig, prepare: Callable[[SimulatedOrg], object] = lambda org: None, **variables: str
        ) -> AtWork:
            org = SimulatedOrg(config, clock=moving_clock.now)
            prepare(org)
            variables = {"EXPORTER_HISTORY": str(tmp_path / "history.sqlite3")} | variables
            return await running.enter_async_context(started(org, moving_clock, http, variables))

        yield begin
