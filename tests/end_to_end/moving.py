"""An exporter and the simulated org that it polls, in one loop and one time that only tests move.

Everything is real but the clock: HTTP over loopback, OAuth, history on disk, the poll loop. `AtWork.until` lets time
go from one sleeper's deadline to the next while no answer of the org is under way.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp

from exporter.app import Running, running
from exporter.settings import load_settings
from exporter.simulator import SimulatedOrg, serve
from tests.end_to_end.reading import Samples, Served

#: A Tuesday morning; the last bucket has closed and settled half a minute ago.
BEGIN = datetime(2026, 3, 3, 10, 1, 30, tzinfo=UTC)
#: Small orgs, a short past: what a test of behaviour needs.
SMALL = {"EXPORTER_BASELINE_DAYS": "1", "EXPORTER_SCORE_METHOD": "zscore", "EXPORTER_PORT": "0"}

#: Who sleeps, by the name of the calling function.
POLLER, BACKFILL = "Poller._rest", "Backfill."
#: Real time that one wait may take: enough for any machine, and an end to a test that waits for what never comes.
PATIENCE_SECONDS = 30.0


class MovingClock:
    """Wall and monotonic time that stand still until `step` moves them to the next sleeper's deadline."""

    def __init__(self, begin: datetime = BEGIN) -> None:
        self._begin = begin
        self._elapsed = 0.0
        self._sleepers: dict[asyncio.Future[None], tuple[float, str]] = {}
        #: How often the poller has come round to wait for its next deadline.
        self.rounds = 0

    def now(self) -> datetime:
        return self._begin + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        sleeper = sys._getframe(1).f_code.co_qualname
        self.rounds += sleeper == POLLER
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers[future] = (self._elapsed + seconds, sleeper)
        try:
            await future
        finally:
            self._sleepers.pop(future, None)

    @property
    def between_polls(self) -> bool:
        """Whether the poller waits for its next deadline."""
        return any(sleeper == POLLER for _, sleeper in self._sleepers.values())

    def step(self) -> None:
        """On to the next deadline, unless only the back-fill sleeps: a poll at work must not be late for its sake."""
        if any(not sleeper.startswith(BACKFILL) for _, sleeper in self._sleepers.values()):
            self.advance(max(0.0, min(due for due, _ in self._sleepers.values()) - self._elapsed))

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever is due."""
        self._elapsed += seconds
        for future, (due, _) in list(self._sleepers.items()):
            if due <= self._elapsed and not future.done():
                future.set_result(None)


@dataclass
class AtWork(Served):
    """An exporter at work, and the org behind it."""

    org: SimulatedOrg
    clock: MovingClock
    exporter: Running

    async def until(self, met: Callable[[Samples], bool], within_seconds: float = 3600.0) -> Samples:
        """Let time pass until /metrics meets a condition between two polls; the samples that do."""
        found: list[Samples] = []

        async def looked() -> bool:
            found[:] = [await self.metrics()]
            return met(found[0])

        await self._let_time_pass(looked, within_seconds)
        return found[0]

    async def polls(self, number: int = 1) -> Samples:
        """Let `number` more polls end; what /metrics says then."""
        wanted = self.clock.rounds + number

        async def ended() -> bool:
            return self.clock.rounds >= wanted

        await self._let_time_pass(ended, number * 86_400)
        return await self.metrics()

    async def _let_time_pass(self, met: Callable[[], Awaitable[bool]], within_seconds: float) -> None:
        end, patience = self.clock.monotonic() + within_seconds, time.monotonic() + PATIENCE_SECONDS
        while True:
            resting = self.clock.between_polls
            if resting and await met():
                return
            assert not self.exporter.work.done(), self.exporter.work.exception()
            assert self.clock.monotonic() < end, f"not within {within_seconds:g} s"
            assert time.monotonic() < patience, f"time stands still at {self.clock.now()}"
            answers_are_there = all(request.status is not None or request.faults for request in self.org.requests[-8:])
            if answers_are_there and resting is self.clock.between_polls:
                self.clock.step()
            await asyncio.sleep(0.001)

    async def filled(self) -> Samples:
        """Until the back-fill is complete and nothing is under way: time stands still between two polls."""
        await super().filled()
        return await self.polls()

    async def assert_window_is_true(self) -> None:
        """The window on /metrics is what really happened in it."""
        metrics, dashboard = await self.of_one_snapshot("/metrics", "/dashboard")
        samples = Samples(metrics.text)
        start, end = (datetime.fromisoformat(dashboard.json[key]) for key in ("windowStart", "windowEnd"))
        truth = self.org.truth(start, end, round((end - start).total_seconds()))
        for name in ("offered", "abandoned", "sla_breached"):
            told = samples.by_series(f"genesys_queue_{name}_contacts")
            true = {(cell.queue_id, cell.media_type): getattr(counts, name) for cell, counts in truth.items()}
            assert told == dict.fromkeys(told, 0) | true, name


@asynccontextmanager
async def started(
    org: SimulatedOrg, clock: MovingClock, http: aiohttp.ClientSession, variables: Mapping[str, str]
) -> AsyncIterator[AtWork]:
    """An exporter that polls the org, whose time is the clock's; settings are those of `SMALL` and `variables`."""
    async with serve(org) as url:
        given = {
            "GENESYS_CLIENT_ID": org.config.client_id,
            "GENESYS_CLIENT_SECRET": org.config.client_secret,
            "GENESYS_LOGIN_URL": url,
            "GENESYS_API_URL": url,
        }
        async with running(load_settings(given | SMALL | dict(variables)), clock) as exporter:
            yield AtWork(exporter.url, http, org, clock, exporter)
