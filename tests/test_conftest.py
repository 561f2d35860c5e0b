"""The tests' own tools keep their promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aioresponses import aioresponses as AioResponses  # noqa: N812

from exporter.settings import Settings
from exporter.simulator import OrgConfig
from tests.conftest import FakeClock, OrgAtWork


async def test_sleepers_wake_in_the_order_of_their_deadlines(clock: FakeClock) -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    await asyncio.gather(sleeper("late", 60), sleeper("early", 5), sleeper("now", 0))
    assert woken == [("now", 0.0), ("early", 5.0), ("late", 60.0)]


async def test_wall_and_monotonic_time_move_together(clock: FakeClock) -> None:
    before = clock.now()
    clock.advance(1.5)
    await clock.sleep(2.5)
    assert (clock.now() - before).total_seconds() == clock.monotonic() == 4.0


async def test_a_refused_connection_can_be_mocked_on_this_aiohttp(mocked_http: AioResponses) -> None:
    mocked_http.get("https://api.example.test/a", payload={"ok": True})
    mocked_http.get("https://api.example.test/b", exception=aiohttp.ClientConnectionError("refused"))
    async with aiohttp.ClientSession() as session:
        async with session.get("https://api.example.test/a") as answer:
            assert await answer.json() == {"ok": True}
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("https://api.example.test/b")


async def test_a_simulated_org_takes_the_credentials_of_its_settings(
    start_org: Callable[[OrgConfig], Awaitable[OrgAtWork]], make_settings: Callable[..., Settings]
) -> None:
    at_work = await start_org(OrgConfig(queues=2))
    made = make_settings(**at_work.variables)
    async with aiohttp.ClientSession() as session:
        form = {"grant_type": "client_credentials"}
        headers = {"Authorization": aiohttp.encode_basic_auth(*made.read_credentials())}
        async with session.post(f"{made.login_url}/oauth/token", data=form, headers=headers) as answer:
            assert (answer.status, (await answer.json())["token_type"]) == (200, "bearer")
