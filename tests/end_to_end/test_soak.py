"""Simulated days of weather: hours without a cloud, with a few faults, and with nothing but faults, in turn.

Through the chaos proxy and with the org's own faults on top. No crash, nothing wrong on /metrics or in history, the
first poll that gets through mends all, no minute has more calls than it may, and memory does not grow from one day to
the next. EXPORTER_TEST_SOAK_DAYS makes it longer: from three days on, memory is measured.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import tracemalloc
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator import Fault
from exporter.simulator.mutations import MUTATIONS
from tests.end_to_end.chaos import FAULTS
from tests.end_to_end.test_chaos import CEILING, AtSea, at_sea

DAYS = int(os.environ.get("EXPORTER_TEST_SOAK_DAYS", "1"))
#: Half a window, so that each has something in common with the one before.
INTERVAL_SECONDS = 450
POLLS_OF_A_DAY = 86_400 // INTERVAL_SECONDS
POLLS_OF_ONE_WEATHER = 8
#: An empty answer, given twice when nothing else was read for longer than a window, cannot be told from a silence.
BELIEVED_WHEN_ALONE = {"empty", "nothing"}
#: How many of all answers are struck, by weather: every hour has its own.
WEATHERS = (0.0, 0.1, 0.4, 1.0)
#: Memory of the exporter's own code from the second day on; a day of history more is some hundred kilobytes.
GROWTH_BYTES = 2_000_000
OWN_CODE = [tracemalloc.Filter(True, f"*/exporter/{part}*") for part in ("genesys", "analysis", "publish", "poller")]
#: A media type that nobody has heard of is one that is new: its rows are taken at their word.
NEW_MEDIUM = "unknown_media"
#: Of the org's own faults, those that a proxy cannot be.
OWN_FAULTS = (
    {"kind": "expire_tokens", "probability": 0.2},
    {"kind": "status", "status": 429, "retry_after": 30, "probability": 0.3},
    {"kind": "status", "status": 503, "probability": 0.5},
    {"kind": "slow", "delay_seconds": 0.01, "probability": 0.5},
    {"kind": "truncated", "probability": 0.3},
    *({"kind": "mutate", "mutation": name, "rows": 2, "probability": 0.5} for name in MUTATIONS if name != NEW_MEDIUM),
)


async def one_day(ship: AtSea, chance: random.Random) -> int:
    """How many true values were there to be seen."""
    told = 0
    for _ in range(POLLS_OF_A_DAY // POLLS_OF_ONE_WEATHER):
        ship.chaos.share = chance.choice(WEATHERS)
        known = sorted(FAULTS.keys() - BELIEVED_WHEN_ALONE if ship.chaos.share == 1.0 else FAULTS)
        ship.chaos.names = tuple(chance.sample(known, chance.randint(1, len(known))))
        ship.org.faults.clear()
        if chance.random() < 0.5:
            ship.org.faults.add(Fault(chance.choice(["*", "aggregates", "summary"]), **chance.choice(OWN_FAULTS)))
        for _ in range(POLLS_OF_ONE_WEATHER):
            await ship.polls()
            told += await ship.assert_nothing_is_wrong()
    ship.org.faults.clear()
    await ship.recover()
    await ship.assert_history_is_true()
    return told


@pytest.mark.parametrize("contract", ["aggregates", "summary"])
async def test_days_of_weather(
    contract: str, tmp_path: Path, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    chance, held = random.Random(contract), []
    variables = {"EXPORTER_POLL_INTERVAL": str(INTERVAL_SECONDS), "EXPORTER_STALE_AFTER": "1500"}
    async with at_sea(DAYS, contract, tmp_path, http, **variables) as ship:
        ship.org.faults.add(Fault("token", times=2))
        for day in range(DAYS):
            if day == 1:
                tracemalloc.start()
            assert await one_day(ship, chance) > POLLS_OF_A_DAY
            if tracemalloc.is_tracing():
                gc.collect()
                snapshot = tracemalloc.take_snapshot().filter_traces(OWN_CODE)
                held.append(sum(trace.size for trace in snapshot.traces))
        tracemalloc.stop()
        assert ship.chaos.most_in_any_minute() <= CEILING
    assert not held or held[-1] - held[0] < GROWTH_BYTES, held
    assert [record.getMessage() for record in caplog.records] == []
