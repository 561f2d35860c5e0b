"""An hour of polls through a proxy that spoils a third of all answers: no crash, no wrong number, no call too many.

Every value that is published or kept is the org's truth for its window or is not there; when the faults stop, the first
poll that gets through mends everything. EXPORTER_TEST_CHAOS_SEEDS and EXPORTER_TEST_CHAOS_POLLS make it longer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from exporter.app import running
from exporter.settings import load_settings
from exporter.simulator import OrgConfig, SimulatedOrg, serve
from exporter.simulator.truth import Cell, Counts
from tests.end_to_end.chaos import FAULTS, Chaos, proxy
from tests.end_to_end.moving import PATIENCE_SECONDS, SMALL, AtWork, MovingClock
from tests.end_to_end.reading import Row, Samples

SEEDS = range(1, 1 + int(os.environ.get("EXPORTER_TEST_CHAOS_SEEDS", "1")))
POLLS = int(os.environ.get("EXPORTER_TEST_CHAOS_POLLS", "60"))
SHARE = 0.33
CEILING = 60
#: A Retry-After closes the gate for three minutes at most, and a permission that was refused is tried every five.
POLLS_UNTIL_WELL = 6
COUNTS = ("offered", "answered", "abandoned", "flow_out", "sla_breached")
SUMMARY_COUNTS = ("offered", "abandoned", "sla_breached")


@dataclass
class AtSea(AtWork):
    """An exporter behind the proxy."""

    chaos: Chaos
    counts: tuple[str, ...]

    async def filled(self) -> Samples:
        """Until the back-fill is complete."""
        while "\ngenesys_queue_offered_contacts_total{" not in (samples := await self.polls()).text:
            pass
        return samples

    async def polls(self, number: int = 1) -> Samples:
        """As in calm weather, but the calls under way are those at the proxy."""
        wanted, patience = self.clock.rounds + number, time.monotonic() + PATIENCE_SECONDS
        while self.clock.rounds < wanted or not self.clock.between_polls:
            assert not self.exporter.work.done(), self.exporter.work.exception()
            assert time.monotonic() < patience, f"time stands still at {self.clock.now()}"
            if not self.chaos.under_way:
                self.clock.step()
            await asyncio.sleep(0.001)
        return await self.metrics()

    async def recover(self) -> None:
        """The faults stop; all is well as soon as the exporter may ask again."""
        self.chaos.share = 0.0
        samples = await self.polls()
        for _ in range(POLLS_UNTIL_WELL):
            if set(samples.up.values()) == {1.0}:
                return
            samples = await self.polls()
        raise AssertionError(f"not well after {POLLS_UNTIL_WELL} polls: {samples.up}")

    async def assert_nothing_is_wrong(self) -> int:
        """How many values of the window were there, each of them true."""
        if (await self.get("/dashboard")).status != 200:
            return 0
        metrics, dashboard = await self.of_one_snapshot("/metrics", "/dashboard")
        samples, told = Samples(metrics.text), 0
        start, end = (datetime.fromisoformat(dashboard.json[key]) for key in ("windowStart", "windowEnd"))
        truth = self.org.truth(start, end, round((end - start).total_seconds()))
        for name in self.counts:
            true = {(cell.queue_id, self._media(cell)): 0 for cell in truth}
            for cell, counts in truth.items():
                true[cell.queue_id, self._media(cell)] += getattr(counts, name)
            for series, value in samples.by_series(f"genesys_queue_{name}_contacts").items():
                assert value == true.get(series, 0), (name, series, start)
                told += 1
        self._assert_org_is_true(samples, truth)
        return told

    def _assert_org_is_true(self, samples: Samples, truth: dict[Cell, Counts]) -> None:
        true: dict[str, int] = {}
        for cell, counts in truth.items():
            true[self._media(cell)] = true.get(self._media(cell), 0) + counts.offered
        for (name, labels), value in samples.values.items():
            if name == "genesys_org_offered_contacts":
                assert value == true.get(dict(labels).get("media_type", ""), 0), labels

    async def assert_history_is_true(self) -> list[Row]:
        """Its lines, each of which is true."""
        rows = await self.history()
        if rows:
            first, last = min(row.start for row in rows), max(row.start for row in rows)
            true: dict[tuple[str, str, datetime], list[int]] = {}
            for cell, counts in self.org.truth(first, last + timedelta(minutes=15), 900).items():
                sums = true.setdefault((cell.queue_id, self._media(cell), cell.start), [0, 0, 0])
                for place, name in enumerate(SUMMARY_COUNTS):
                    sums[place] += getattr(counts, name)
            for row in rows:
                told = [row.count(name) for name in ("totalContacts", "abandonedContacts", "slaBreaches")]
                assert told == true.get((*row.series, row.start), [0, 0, 0]), row
        return rows

    def _media(self, cell: Cell) -> str:
        return cell.media_type if len(self.counts) > len(SUMMARY_COUNTS) else ""


@asynccontextmanager
async def at_sea(
    seed: int, contract: str, folder: Path, http: aiohttp.ClientSession, **more: str
) -> AsyncIterator[AtSea]:
    clock = MovingClock()
    org = SimulatedOrg(OrgConfig(queues=8, seed=seed), clock=clock.now)
    async with serve(org) as upstream, proxy(upstream, clock, seed) as chaos:
        given = SMALL | {
            "GENESYS_CLIENT_ID": org.config.client_id,
            "GENESYS_CLIENT_SECRET": org.config.client_secret,
            "GENESYS_LOGIN_URL": chaos.url,
            "GENESYS_API_URL": chaos.url,
            "GENESYS_CONTRACT": contract,
            "GENESYS_REQUESTS_PER_MINUTE": str(CEILING),
            "EXPORTER_HISTORY": str(folder / "history.sqlite3"),
        }
        counts = COUNTS if contract == "aggregates" else SUMMARY_COUNTS
        async with running(load_settings(given | more), clock) as exporter:
            yield AtSea(exporter.url, http, org, clock, exporter, chaos, counts)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("contract", ["aggregates", "summary"])
async def test_no_fault_gets_a_wrong_number_out(
    seed: int, contract: str, tmp_path: Path, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with at_sea(seed, contract, tmp_path, http) as ship:
        ship.chaos.share = SHARE
        told = 0
        for poll in range(POLLS):
            await ship.polls()
            told += await ship.assert_nothing_is_wrong()
            if poll % 10 == 9:
                await ship.assert_history_is_true()
        await ship.recover()
        assert await ship.assert_nothing_is_wrong() > 0
        assert told > POLLS
        assert await ship.assert_history_is_true()
        assert ship.chaos.most_in_any_minute() <= CEILING
        assert sum(ship.chaos.struck.values()) > POLLS / 5
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize(
    "variables",
    [{"GENESYS_QUEUE_INCLUDE": "."}, {"GENESYS_CONTRACT": "summary"}],
    ids=["aggregates by queue", "summary"],
)
async def test_a_fault_that_strikes_every_answer_costs_values_and_brings_no_wrong_one(
    variables: dict[str, str], tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with at_sea(7, variables.get("GENESYS_CONTRACT", "aggregates"), tmp_path, http, **variables) as ship:
        await ship.recover()
        await ship.filled()
        for name in sorted(FAULTS):
            ship.chaos.share, ship.chaos.names = 1.0, (name,)
            for _ in range(2):
                await ship.polls()
                await ship.assert_nothing_is_wrong()
            await ship.recover()
            assert await ship.assert_nothing_is_wrong() > 0, name
            await ship.assert_history_is_true()
        assert ship.chaos.most_in_any_minute() <= CEILING
