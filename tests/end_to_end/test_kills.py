"""kill -9 at random moments, again and again: what is kept in the end is the org's truth, and no counter ever fell.

Half of the kills hit the program itself while it fetches its past, in real time and with a new history every few kills;
the other half the same program in sped-up time, in which buckets close every few seconds, with one history for all.
EXPORTER_TEST_KILLS says how many there are.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator import OrgConfig, SimulatedOrg, serve
from tests.end_to_end.processes import Process
from tests.end_to_end.reading import Samples
from tests.end_to_end.sped_up import SpedUpClock
from tests.end_to_end.test_restart import Case, all_up, assert_all_is_the_truth, totals

KILLS = int(os.environ.get("EXPORTER_TEST_KILLS", "10"))
#: A history is given up after so many kills, so that a back-fill is always under way.
KILLS_OF_ONE_HISTORY = 5
#: A bucket closes every ten seconds; faster, and a busy machine has no time for a poll.
FACTOR = 90.0
#: Seconds from the start of a process to its end. It needs some 0.7 s until the first call on a machine with time.
LIFE_IN_REAL_TIME, LIFE_SPED_UP = (0.3, 2.0), (0.3, 3.5)


@asynccontextmanager
async def case_of(folder: Path, http: aiohttp.ClientSession, factor: float) -> AsyncIterator[Case]:
    """An org in this time, with some weeks to fetch from it."""
    clock = SpedUpClock(time.time(), factor)
    org = SimulatedOrg(OrgConfig(queues=6), clock=clock.now)
    async with serve(org) as url:
        case = Case(org, clock, url, folder, http)
        try:
            yield case
        finally:
            for process in case.processes:
                process.__exit__(None, None, None)


async def live_and_die(case: Case, process: Process, seconds: float) -> bool:
    """Kill it after some time; whether it served by then. The counters that it told have not fallen."""
    await asyncio.sleep(seconds)
    served = "/metrics" in process.output()
    if served:
        url = await asyncio.to_thread(process.url)
        async with case.http.get(f"{url}/metrics") as answer:
            case.see(totals(Samples(await answer.text())))
    assert process.running, process.output()
    process.kill()
    return served


async def bring_up(case: Case, **more: str) -> None:
    """A last start, after which all is there."""
    process = case.start(**more)
    served = await case.served(process)
    try:
        await served.filled()
        case.see(totals(await served.until(all_up)))
    except AssertionError:
        print(process.output())
        raise
    await assert_all_is_the_truth(case, served)
    process.kill()


@pytest.mark.parametrize("first", range(0, max(1, KILLS // 2), KILLS_OF_ONE_HISTORY))
async def test_the_program_is_killed_while_it_fetches_its_past(
    first: int, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    chance = random.Random(first)
    lives = [chance.uniform(*LIFE_IN_REAL_TIME) for _ in range(min(KILLS_OF_ONE_HISTORY, KILLS // 2 - first))]
    async with case_of(tmp_path, http, 1.0) as case:
        for seconds in lives:
            await live_and_die(case, case.start(module="exporter"), seconds)
        await bring_up(case, module="exporter")


async def test_it_is_killed_while_buckets_close(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    chance = random.Random(KILLS)
    async with case_of(tmp_path, http, FACTOR) as case:
        served = 0
        for _ in range(KILLS - KILLS // 2):
            served += await live_and_die(case, case.start(), chance.uniform(*LIFE_SPED_UP))
        assert served
        await bring_up(case)
