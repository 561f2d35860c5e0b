"""The client against the simulated org: the same numbers as its truth, in good weather and under random faults."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from exporter.backfill import Backfill
from exporter.genesys.auth import Credentials
from exporter.genesys.selection import Selection
from exporter.genesys.source import AggregatesSource, SummarySource
from exporter.models import (
    BUCKET_COUNTS,
    ApiCalled,
    BucketBatch,
    EntitiesRejected,
    QueueTable,
    SeriesKey,
    Snapshot,
    Window,
)
from exporter.poller import Poller, Rhythm
from exporter.simulator import OrgConfig, SimulatedOrg
from exporter.simulator.faults import Fault
from exporter.simulator.mutations import MUTATIONS, UNKNOWN_MEDIA_TYPE
from tests.conftest import FakeClock, OrgAtWork
from tests.genesys.conftest import Client, MakeClient

DAY = 86_400
RHYTHM = Rhythm(
    interval_seconds=60, bucket_seconds=900, settle_seconds=60, stale_after_seconds=180, baseline_seconds=DAY // 2
)
StartOrg = Callable[[OrgConfig], Awaitable[OrgAtWork]]
Cells = dict[tuple[SeriesKey, int], tuple[int, ...]]


async def client_of(at_work: OrgAtWork, make_client: MakeClient, per_minute: int = 100) -> Client:
    client = await make_client(per_minute, url=at_work.url)
    client.credentials = Credentials(at_work.org.client.id, at_work.org.client.secret)
    return client


def truth(org: SimulatedOrg, window: Window, bucket: int = 900) -> Cells:
    cells = org.truth(window.start, window.end, bucket)
    return {
        (SeriesKey(cell.queue_id, cell.media_type), int(cell.start.timestamp())): tuple(counts)
        for cell, counts in cells.items()
    }


def by_queue(cells: Cells) -> Cells:
    """All media types of a queue summed, in the columns that the summary contract tells."""
    summed: dict[Any, Any] = {}
    for (key, start), counts in cells.items():
        place = SeriesKey(key.queue_id, ""), start
        told = np.array([counts[BUCKET_COUNTS.index(name)] for name in ("offered", "abandoned", "sla_breached")])
        summed[place] = summed.get(place, 0) + told
    return {place: tuple(counts.tolist()) for place, counts in summed.items()}


def of_window(table: QueueTable, names: Sequence[str] = BUCKET_COUNTS) -> Cells:
    start = table.window.start_seconds
    return {
        (key, start): tuple(int(table.columns[name][place]) for name in names) for place, key in enumerate(table.keys)
    }


def of_batch(batch: BucketBatch, names: Sequence[str] = BUCKET_COUNTS) -> Cells:
    return {
        (key, int(start)): counts
        for row, start in enumerate(batch.starts)
        for column, key in enumerate(batch.keys)
        if any(counts := tuple(int(batch.counts[name][row, column]) for name in names))
    }


# Good weather


async def test_window_and_buckets_are_the_org_s_truth(start_org: StartOrg, make_client: MakeClient) -> None:
    at_work = await start_org(OrgConfig(queues=12, seed=3))
    client = await client_of(at_work, make_client)
    source = AggregatesSource(client.api, Selection(), "PT15M", 60, client.clock)
    directory = await source.directory(client.deadline())
    assert {queue.id: queue.name for queue in directory.queues.values()} == {q.id: q.name for q in at_work.org.queues}
    window = source.current_window(client.clock.now())
    table = await source.window(window, directory, client.deadline())
    assert {place: counts for place, counts in of_window(table).items() if any(counts)} == truth(at_work.org, window)
    assert len(table.keys) > 5
    end = RHYTHM.last_closed(client.clock.now())
    span = Window.of_epoch(end - 8 * 900, end)
    assert of_batch(await source.buckets(span, directory, client.deadline())) == truth(at_work.org, span)
    assert client.events_of(EntitiesRejected) == []


async def test_the_summary_contract_tells_the_same_truth_without_media_types(
    start_org: StartOrg, make_client: MakeClient
) -> None:
    at_work = await start_org(OrgConfig(queues=12, seed=3))
    client = await client_of(at_work, make_client)
    source = SummarySource(client.api, Selection(), "PT15M", 60, client.clock)
    names = ("offered", "abandoned", "sla_breached")
    window = source.current_window(client.clock.now())
    table = await source.window(window, None, client.deadline())
    wanted = {place: counts for place, counts in by_queue(truth(at_work.org, window)).items() if any(counts)}
    told = {place: counts for place, counts in of_window(table, names).items() if any(counts)}
    assert told == wanted
    assert client.events_of(EntitiesRejected) == []


async def test_observations_cover_every_queue(start_org: StartOrg, make_client: MakeClient) -> None:
    at_work = await start_org(OrgConfig(queues=210, seed=3))
    client = await client_of(at_work, make_client)
    source = AggregatesSource(client.api, Selection(), "PT15M", 60, client.clock)
    directory = await source.directory(client.deadline())
    table = await source.observations(directory, client.deadline())
    assert {key.queue_id for key in table.keys} == set(directory.queues)
    assert len(client.events_of(ApiCalled)) == 1 + 1 + 2
    assert client.events_of(EntitiesRejected) == []


# Bad weather


class Memory:
    """History and analysis as plain dictionaries; notes every window that was published."""

    def __init__(self) -> None:
        self.buckets: dict[int, dict[SeriesKey, tuple[int, ...]]] = {}
        self.windows: dict[int, QueueTable] = {}
        self.completed = 0

    def merge(self, batch: BucketBatch) -> None:
        cells = of_batch(batch)
        for start in batch.starts.tolist():
            self.buckets[start] = {key: counts for (key, at), counts in cells.items() if at == start}

    def missing(self, since_seconds: int, until_seconds: int) -> Sequence[int]:
        return [start for start in range(until_seconds - 900, since_seconds - 1, -900) if start not in self.buckets]

    def complete(self) -> None:
        self.completed += 1

    def snapshot(self, *, window: QueueTable | None, **readings: Any) -> Snapshot:
        if window is not None:
            self.windows[id(window)] = window
        return readings["datasets"]  # type: ignore[no-any-return]  # nothing here looks into a snapshot

    @property
    def cells(self) -> Cells:
        return {(key, start): counts for start, row in self.buckets.items() for key, counts in row.items()}


def weather(random: random.Random) -> Iterable[Fault]:
    """Faults of every kind for one poll, most of them on some of the calls."""
    endpoint = random.choice(["*", "aggregates", "observations", "queues", "token"])
    chance = random.choice([0.3, 0.7, 1.0])
    # A row of an unknown media type is one that we are meant to believe.
    mutations = sorted(set(MUTATIONS) - {"unknown_media"})
    faults = [
        Fault(endpoint, "status", status=random.choice([408, 429, 500, 502, 503, 504]), probability=chance),
        Fault(endpoint, "status", status=429, retry_after=random.choice([1, 30, 86_400]), probability=chance),
        Fault(endpoint, "html", status=random.choice([200, 502]), probability=chance),
        Fault(endpoint, "reset", probability=chance),
        Fault(endpoint, "truncated", probability=chance),
        Fault(endpoint, "content_type", probability=chance),
        Fault("aggregates", "expire_tokens", times=random.choice([1, 2])),
        Fault("queues", "endless_pages"),
        Fault(random.choice(["aggregates", "observations", "queues"]), "mutate", mutation=random.choice(mutations)),
        Fault("aggregates", "mutate", mutation=random.choice(mutations), times=1),
    ]
    return random.sample(faults, random.choice([0, 1, 1, 2]))


async def no_publisher(snapshot: Any) -> None:
    """Nobody scrapes."""


@pytest.mark.parametrize("seed", range(4))
async def test_random_faults_get_no_wrong_number_in_and_the_first_good_poll_recovers(
    start_org: StartOrg, make_client: MakeClient, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance, ceiling = random.Random(seed), 20
    at_work = await start_org(OrgConfig(queues=8, seed=seed, requests_per_minute=100_000))
    org = at_work.org
    client = await client_of(at_work, make_client, ceiling)
    source = AggregatesSource(client.api, Selection(), "PT15M", 60, client.clock)
    memory = Memory()
    poller = Poller(source, memory, no_publisher, rhythm=RHYTHM, clock=client.clock)
    outcomes = Counter[str]()
    for _ in range(60):
        org.faults.clear()
        org.faults.add(*weather(chance), Fault("token", "slow", delay_seconds=0))
        began = client.clock.monotonic()
        report = await poller.poll_once(began + 54)
        outcomes[report.outcome] += 1
        assert "internal" not in report.failures.values()
        assert client.clock.monotonic() - began <= 60
        client.clock.advance(max(0.0, 60 - (client.clock.monotonic() - began)))
    assert {"ok", "failed"} <= set(outcomes)
    org.faults.clear()
    client.clock.advance(300)
    await fill(source, memory, client.clock)
    report = await poller.poll_once(client.clock.monotonic() + 54)
    assert report.outcome == "ok"

    for table in memory.windows.values():
        assert_no_wrong_number(of_window(table), truth(org, table.window))
    end = RHYTHM.last_closed(client.clock.now())
    span = Window.of_epoch(end - RHYTHM.baseline_seconds, end)
    assert {place: counts for place, counts in memory.cells.items() if place[1] >= span.start_seconds} == truth(
        org, span
    )
    assert org.calls_in_any_minute() <= ceiling
    assert [record for record in caplog.records if record.exc_info and record.name.startswith("exporter.")] == []


async def fill(source: AggregatesSource, memory: Memory, clock: FakeClock) -> None:
    async def republish() -> None:
        """Nobody scrapes."""

    backfill = Backfill(source, memory, rhythm=RHYTHM, clock=clock, directory=lambda: None, republish=republish)
    task, done = asyncio.create_task(backfill.run()), memory.completed
    async with asyncio.timeout(8):
        while memory.completed == done and not task.done():  # noqa: ASYNC110 - a stub sets no event
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def assert_no_wrong_number(told: Mapping[Any, Any], true: Mapping[Any, Any]) -> None:
    silent = (0,) * len(BUCKET_COUNTS)  # a target alone makes a row too
    wrong = {place: (counts, true.get(place)) for place, counts in told.items() if counts != true.get(place, silent)}
    assert {place: pair for place, pair in wrong.items() if place[0].media_type != UNKNOWN_MEDIA_TYPE} == {}


async def test_a_back_fill_under_faults_ends_with_the_org_s_truth_within_the_ceiling(
    start_org: StartOrg, make_client: MakeClient
) -> None:
    at_work = await start_org(OrgConfig(queues=6, seed=9, requests_per_minute=100_000))
    client = await client_of(at_work, make_client, 10)
    source = AggregatesSource(client.api, Selection(), "PT15M", 60, client.clock)
    memory, org = Memory(), at_work.org
    org.faults.add(
        Fault("aggregates", "status", statuses=[503, 200, 429, 500, 504, 502, 503]),
        Fault("aggregates", "truncated", probability=0.3, times=6),
        Fault("aggregates", "mutate", mutation="negative_counts", probability=0.3, times=3),
        Fault("aggregates", "expire_tokens", probability=0.3, times=3),
    )
    end = RHYTHM.last_closed(client.clock.now())
    await fill(source, memory, client.clock)
    span = Window.of_epoch(end - RHYTHM.baseline_seconds // 2, end)
    held = {place: counts for place, counts in memory.cells.items() if span.start_seconds <= place[1] < end}
    assert held == truth(org, span)
    assert org.calls_in_any_minute() <= 10
