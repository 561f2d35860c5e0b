"""kill -9 in the middle of the work, and a start afterwards: nothing lost, nothing twice, nothing fetched again.

The org runs in the test's process, the exporter in one of its own; both in the same sped-up time, so that buckets close
every few seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator import OrgConfig, SimulatedOrg, serve
from exporter.simulator.request_log import LoggedRequest
from tests.end_to_end.processes import Process
from tests.end_to_end.reading import ALL_UP, QUARTER, Cells, Samples, Served, history_counts
from tests.end_to_end.sped_up import SpedUpClock

#: A bucket closes every 5 seconds.
FACTOR = 180.0
DAYS = 7
TOTALS = ("offered", "abandoned", "sla_breached")
#: "Late corrections of the last two hours": asked for at every close, and so at every start.
CORRECTED = timedelta(hours=2)

Moment = Callable[["Case", Process], Awaitable[None]]


@dataclass
class Case:
    """An org, and the exporters that polled it one after the other with one history file."""

    org: SimulatedOrg
    clock: SpedUpClock
    url: str
    folder: Path
    http: aiohttp.ClientSession
    processes: list[Process] = field(default_factory=list)
    seen: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def start(self, module: str = "tests.end_to_end.sped_up") -> Process:
        variables = {
            "GENESYS_CLIENT_ID": self.org.config.client_id,
            "GENESYS_CLIENT_SECRET": self.org.config.client_secret,
            "GENESYS_LOGIN_URL": self.url,
            "GENESYS_API_URL": self.url,
            "EXPORTER_PORT": "0",
            "EXPORTER_HISTORY": str(self.folder / "history.sqlite3"),
            "EXPORTER_BASELINE_DAYS": str(DAYS),
            "GENESYS_REQUESTS_PER_MINUTE": "300",
            "EXPORTER_STALE_AFTER": "3600",  # a busy machine must not make these data old
            "SPED_UP_BEGIN": repr(self.clock.begin),
            "SPED_UP_FACTOR": repr(self.clock.factor),
        }
        self.processes.append(Process(self.folder, module=module, **variables))
        return self.processes[-1]

    async def served(self, process: Process) -> Served:
        return Served(await asyncio.to_thread(process.url), self.http)

    def see(self, counters: Mapping[tuple[str, str, str], float]) -> None:
        """Counters as they are now: none has fallen, whoever serves them; in a gap they are withheld, not reset."""
        assert {key for key, value in self.seen.items() if counters.get(key, value) < value} == set()
        self.seen |= counters

    def closed(self) -> datetime:
        """The end of the newest bucket that has closed and settled."""
        settled = self.clock.now() - timedelta(seconds=60)
        return settled - timedelta(seconds=settled.timestamp() % 900)

    def truth(self, start: datetime, end: datetime) -> Cells:
        cells = self.org.truth(start, end, 900)
        return {
            (cell.queue_id, cell.media_type, cell.start): (counts.offered, counts.abandoned, counts.sla_breached)
            for cell, counts in cells.items()
            if counts.offered or counts.abandoned or counts.sla_breached
        }


@pytest.fixture
async def case(tmp_path: Path, http: aiohttp.ClientSession) -> AsyncIterator[Case]:
    clock = SpedUpClock(time.time(), FACTOR)
    org = SimulatedOrg(OrgConfig(queues=6), clock=clock.now)
    async with serve(org) as url:
        case = Case(org, clock, url, tmp_path, http)
        try:
            yield case
        finally:
            for process in case.processes:
                process.__exit__(None, None, None)


def bucket_requests(requests: Iterable[LoggedRequest]) -> list[tuple[datetime, datetime]]:
    """The spans of closed buckets that were asked for."""
    spans = []
    for request in requests:
        if request.endpoint == "aggregates" and "granularity" in request.body:
            start, _, end = request.body["interval"].partition("/")
            spans.append((datetime.fromisoformat(start), datetime.fromisoformat(end)))
    return spans


def buckets(requests: Iterable[LoggedRequest]) -> set[datetime]:
    """Every bucket that was asked for."""
    return {start + n * QUARTER for start, end in bucket_requests(requests) for n in range((end - start) // QUARTER)}


def totals(samples: Samples) -> dict[tuple[str, str, str], float]:
    """The counters, by name and series."""
    return {
        (name, *series): value
        for name in TOTALS
        for series, value in samples.by_series(f"genesys_queue_{name}_contacts_total").items()
    }


def all_up(samples: Samples) -> bool:
    """In this time a poll has a third of a second: on a busy machine one fails now and then."""
    return samples.up == ALL_UP


async def back_filling(case: Case, process: Process) -> None:
    """A few days of the past are there, the rest is under way."""
    while len(bucket_requests(case.org.requests)) < 4:
        await asyncio.to_thread(process.url)
        await asyncio.sleep(0.01)


def polling(seconds: float) -> Moment:
    async def moment(case: Case, process: Process) -> None:
        """The past is complete, and it has polled for some real time."""
        served = await case.served(process)
        await served.filled()
        case.see(totals(await served.until(all_up)))
        await asyncio.sleep(seconds)
        case.see(totals(await served.metrics()))

    return moment


#: When it is killed. Buckets close while it polls, and while nobody is there.
KILLED = (back_filling, polling(0.5), polling(5.5))


async def test_whenever_it_is_killed_nothing_is_lost_counted_twice_or_fetched_again(case: Case) -> None:
    fetched: set[datetime] = set()
    for moment in (*KILLED, polling(0.0)):
        before, closed = len(case.org.requests), case.closed()
        process = case.start()
        await asyncio.wait_for(moment(case, process), 40)
        asked = case.org.requests[before:]
        assert {start for start in buckets(asked) & fetched if start < closed - CORRECTED} == set()
        if moment in KILLED:
            process.kill()
            fetched |= buckets(request for request in asked[:-1] if request.status == 200)
    assert len(fetched) >= DAYS * 96
    assert len(case.seen) > 6 * len(TOTALS)
    await assert_all_is_the_truth(case, await case.served(process))


async def assert_all_is_the_truth(case: Case, served: Served) -> None:
    """History holds every bucket once and as it was, and the counters are its sums."""
    counted: dict[tuple[str, str, str], float] = {}
    await served.until(all_up)
    rows = await served.history()
    while counted != (counted := totals(await served.metrics())):  # no bucket was merged in between
        rows = await served.history()
    starts = sorted({row.start for row in rows})
    assert starts == [starts[0] + n * QUARTER for n in range(len(starts))]
    assert len(starts) >= DAYS * 96
    assert starts[-1] + 2 * QUARTER >= case.closed()
    history = history_counts(rows)
    assert history == case.truth(starts[0], starts[-1] + QUARTER)
    sums: dict[tuple[str, str, str], float] = dict.fromkeys(counted, 0)
    for (queue_id, media_type, _), counts in history.items():
        for name, count in zip(TOTALS, counts, strict=True):
            sums[name, queue_id, media_type] += count
    assert counted == sums
