"""Two exporter processes of one simulated org, joined by a real Redis, and somebody who scrapes without a pause.

The org, the wires to Redis and the scraper run in the test's loop; the exporters are processes of their own, in real
time: a lease is Redis' business, and Redis knows no other.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import aiohttp

from exporter.simulator import OrgConfig, SimulatedOrg, serve
from exporter.simulator.request_log import LoggedRequest
from tests.end_to_end.leaping import LeapingClock
from tests.end_to_end.processes import Process
from tests.end_to_end.reading import QUARTER, Served
from tests.end_to_end.redis_server import RedisServer, Wire

INTERVAL_SECONDS = 4.0
#: Twice what one replica's polls need, so that two pollers would pass the gate and be seen.
CALLS_PER_MINUTE = 60
QUEUES = 4
#: What the wall clock stands at when a test begins: ten minutes before the next bucket closes, whatever time it is.
PHASE_SECONDS = 300.0
PASSWORD = "s3cret-of-redis"

_ID = re.compile(r"^genesys_exporter_snapshot_id (\S+)$", re.MULTILINE)
_LEADER = re.compile(r"^genesys_exporter_leader (\S+)$", re.MULTILINE)
_COUNTER = re.compile(r"^(genesys_queue_\w+_total\{.*\}) (\S+)$", re.MULTILINE)
_QUEUE = "\ngenesys_queue_offered_contacts{"


@dataclass(frozen=True)
class Scrape:
    """One answer of /metrics; `fault` says why it is none that a dashboard could use."""

    at: float  # monotonic seconds
    fault: str = ""
    snapshot_id: int = 0
    leads: bool | None = None
    counters: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, at: float, status: int, text: str) -> Scrape:
        snapshot, leader = _ID.search(text), _LEADER.search(text)
        counters = {series: float(value) for series, value in _COUNTER.findall(text)}
        missing = [name for name, there in (("queues", _QUEUE in text), ("counters", counters)) if not there]
        fault = f"status {status}" if status != 200 else f"no {missing}" if missing or snapshot is None else ""
        shown = int(float(snapshot[1])) if snapshot else 0
        return cls(at, fault, shown, leader and leader[1] == "1.0", counters)


class Scraper:
    """Asks one replica for /metrics again and again until its context ends."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url, http
        self.scrapes: list[Scrape] = []

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Scraper]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, met: Callable[[Scrape], object], within_seconds: float = 60.0) -> Scrape:
        """The first scrape from now on that meets a condition."""
        looked, deadline = len(self.scrapes), time.monotonic() + within_seconds
        while True:
            for scrape in self.scrapes[looked:]:
                if met(scrape):
                    return scrape
            looked = len(self.scrapes)
            assert time.monotonic() < deadline, f"not within {within_seconds:g} s; last {self.scrapes[-1:]}"
            await asyncio.sleep(0.02)

    async def _run(self) -> None:
        while True:
            self.scrapes.append(await self._scrape())
            await asyncio.sleep(0.05)

    async def _scrape(self) -> Scrape:
        at = time.monotonic()
        try:
            async with self._http.get(f"{self._url}/metrics", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                return Scrape.of(at, answer.status, await answer.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            return Scrape(at, repr(error))


def assert_no_gap(scrapes: list[Scrape]) -> None:
    """Every scrape had queues and counters, and none of what it had before went back."""
    assert scrapes
    assert [scrape for scrape in scrapes if scrape.fault] == []
    for before, after in pairwise(scrapes):
        assert before.snapshot_id <= after.snapshot_id
        assert before.counters.keys() <= after.counters.keys()
        assert [series for series, value in before.counters.items() if after.counters[series] < value] == []


@dataclass
class Replica:
    """One exporter, its own ways to Redis and to the org, and its routes."""

    process: Process
    wire: Wire
    to_org: Wire
    served: Served

    async def describes(self) -> dict[str, object]:
        answer: dict[str, object] = (await self.served.get("/-/replica")).json
        return answer

    async def leads(self) -> bool:
        return bool((await self.describes())["leader"])


@dataclass
class Pair:
    """The org, Redis, and the replicas that were started; stopped by `paired`."""

    org: SimulatedOrg
    url: str
    redis: RedisServer
    clock: LeapingClock
    folder: Path
    http: aiohttp.ClientSession
    replicas: list[Replica] = field(default_factory=list)

    async def start(self, **variables: str) -> Replica:
        """One more replica, with an empty history of its own; returns when it listens."""
        place = self.folder / f"replica-{len(self.replicas)}"
        place.mkdir()
        wire = await Wire(self.redis.port).__aenter__()
        to_org = await Wire(int(self.url.rpartition(":")[2])).__aenter__()
        org = f"http://127.0.0.1:{to_org.port}"
        own = {
            "GENESYS_CLIENT_ID": self.org.config.client_id,
            "GENESYS_CLIENT_SECRET": self.org.config.client_secret,
            "GENESYS_LOGIN_URL": org,
            "GENESYS_API_URL": org,
            "GENESYS_REQUESTS_PER_MINUTE": str(CALLS_PER_MINUTE),
            "EXPORTER_PORT": "0",
            "EXPORTER_HISTORY": str(place / "history.sqlite3"),
            "EXPORTER_BASELINE_DAYS": "1",
            "EXPORTER_SCORE_METHOD": "zscore",
            "EXPORTER_POLL_INTERVAL": str(INTERVAL_SECONDS),
            "EXPORTER_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{wire.port}/0",
            "LEAP_FILE": str(self.folder / "leap"),
        }
        process = Process(place, module="tests.end_to_end.leaping", **(own | variables))
        self.replicas.append(Replica(process, wire, to_org, Served("", self.http)))
        self.replicas[-1].served.url = await asyncio.to_thread(process.url)
        return self.replicas[-1]

    async def both(self, **variables: str) -> tuple[Replica, Replica]:
        """(leader, follower), both with the past complete and serving one snapshot."""
        first = await self.start(**variables)
        await first.served.filled()
        second = await self.start(**variables)
        await second.served.filled()
        await self.same_snapshot(first, second)
        await eventually(lambda: _know_each_other(first, second))
        return (first, second) if await first.leads() else (second, first)

    async def same_snapshot(self, *replicas: Replica) -> None:
        """Until all serve one snapshot."""

        async def ids() -> set[float]:
            samples = await asyncio.gather(*(each.served.metrics() for each in replicas))
            return {each.get("genesys_exporter_snapshot_id") or -1.0 for each in samples}

        await eventually(lambda: _one(ids()))

    def polls(self, since: float = float("-inf")) -> list[LoggedRequest]:
        """One request for each poll that reached the org since then (monotonic seconds)."""
        return [
            request
            for request in self.org.requests
            if request.endpoint == "observations" and request.monotonic_seconds >= since
        ]

    def assert_never_two_pollers(self, since: float, extra: int) -> None:
        """Not more polls than one replica would make, plus one for each of `extra` changes of leader."""
        seconds = time.monotonic() - since
        assert len(self.polls(since)) <= seconds / INTERVAL_SECONDS + 1 + extra


async def _know_each_other(*replicas: Replica) -> bool:
    described = [await each.describes() for each in replicas]
    leaders = [each["leader"] for each in described].count(True)
    return leaders == 1 and all(each["others"] == len(replicas) - 1 for each in described)


async def _one(ids: Awaitable[set[float]]) -> bool:
    return len(await ids) == 1


async def eventually(met: Callable[[], Awaitable[object]], within_seconds: float = 60.0) -> None:
    """Until a condition is met."""
    deadline = time.monotonic() + within_seconds
    while not await met():
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def paired(program: str, folder: Path, http: aiohttp.ClientSession) -> AsyncIterator[Pair]:
    """An org and a Redis, the program; their end and that of all replicas with the context."""
    clock = LeapingClock(folder / "leap")
    clock.set((PHASE_SECONDS - time.time()) % QUARTER.total_seconds())
    org = SimulatedOrg(OrgConfig(queues=QUEUES), clock=clock.now)
    with RedisServer(program, folder / "redis", password=PASSWORD) as redis:
        async with serve(org) as url:
            pair = Pair(org, url, redis, clock, folder, http)
            try:
                yield pair
            finally:
                for replica in pair.replicas:
                    _kill(replica.process)
                    print(replica.process.output())
                    await replica.wire.__aexit__(None, None, None)
                    await replica.to_org.__aexit__(None, None, None)


def _kill(process: Process) -> None:
    try:
        process.send(signal.SIGCONT)
    finally:
        process.__exit__(None, None, None)
