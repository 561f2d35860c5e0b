"""The tests' own tools keep their promises."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aioresponses import aioresponses as AioResponses  # noqa: N812

from tests.conftest import FakeClock


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
