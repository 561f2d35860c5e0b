"""What one replica shares through a real Redis is what another one has, whatever else stands between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from exporter.analysis.analyst import Analyst
from exporter.analysis.history import History
from exporter.analysis.scoring import ScoreOptions, method
from exporter.models import Rows, Snapshot
from exporter.poller import Readings
from exporter.replicas.shared import Shared
from exporter.sharing import BUCKETS_AT_A_TIME, Sharing
from tests.analysis.building import A, B, at, batch, cell, content, open_history, start_of
from tests.conftest import FakeClock
from tests.end_to_end.pair import eventually
from tests.end_to_end.redis_server import RedisServer
from tests.publish.samples import snapshot

NOW = at(36)  # the test's clock
BUCKETS = {start_of(n - 49): {A: cell(n + 1), B: cell(2)} for n in range(3 * BUCKETS_AT_A_TIME)}
KEY = "genesys-exporter:{scope}:"


@dataclass
class Replica:
    """One exporter's history and what it publishes."""

    shared: Shared
    clock: FakeClock
    published: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history: History = open_history(None, now=NOW)
        options = ScoreOptions(threshold=3.0, min_samples=3)
        self.analyst = Analyst(
            self.history, method("zscore"), options, contract="aggregates", bucket="PT15M", max_series=1000
        )
        self.sharing = Sharing(self.shared, self.analyst, self._publish, Readings, clock=self.clock)

    async def _publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)

    async def shares(self, snapshot: Snapshot) -> None:
        """Lead, share this and all that history holds."""
        if not self.sharing.fence:
            taken = await self.shared.acquire(0, 60.0)
            assert taken is not None
            self.sharing.begin(taken.fence)
        self.sharing.offer(snapshot)
        task = asyncio.create_task(self.sharing.run())
        await eventually(lambda: self._has_shared(snapshot.id))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def counters(self) -> dict[str, list[int]]:
        return {name: column.tolist() for name, column in self.history.counters([A, B]).items()}

    async def _has_shared(self, snapshot_id: int) -> bool:
        return (await self.shared.head() or {}).get("id") == snapshot_id


@pytest.fixture
def pair(open_shared: Callable[..., Shared], clock: FakeClock) -> tuple[Replica, Replica]:
    """(leader, follower)"""
    leader, follower = (Replica(open_shared(owner), clock) for owner in ("leader", "follower"))
    leader.analyst.merge(batch(BUCKETS))
    return leader, follower


async def test_a_follower_gets_the_snapshot_and_the_whole_past(pair: tuple[Replica, Replica]) -> None:
    leader, follower = pair
    await leader.shares(snapshot(id=5))
    await follower.sharing.receive()
    assert [each.id for each in follower.published] == [5]
    assert content(follower.history) == content(leader.history)
    assert follower.sharing.caught_up
    leader.analyst.merge(batch({start_of(-2): {A: cell(99)}}))  # corrected
    await leader.shares(snapshot(id=6))
    await follower.sharing.receive()
    assert [each.id for each in follower.published] == [5, 6]
    assert content(follower.history)[start_of(-2)][A] == cell(99)


class RushingClock(FakeClock):
    """Three seconds pass between any two looks."""

    def monotonic(self) -> float:
        self.advance(3.0)
        return super().monotonic()


async def test_a_long_past_does_not_hold_up_what_is_new(
    pair: tuple[Replica, Replica], open_shared: Callable[..., Shared]
) -> None:
    leader, follower = pair[0], Replica(open_shared("slow"), RushingClock())
    await leader.shares(snapshot(id=5))
    await follower.sharing.receive()
    assert not follower.sharing.caught_up
    assert len(content(follower.history)) == BUCKETS_AT_A_TIME
    await leader.shares(snapshot(id=6))
    await follower.sharing.receive()
    assert [each.id for each in follower.published] == [5, 6]
    await follower.sharing.receive()  # nothing new but the rest of the past
    await follower.sharing.receive()
    assert follower.sharing.caught_up
    assert content(follower.history) == content(leader.history)


async def test_counters_are_the_leaders_however_long_the_past_takes(
    pair: tuple[Replica, Replica], open_shared: Callable[..., Shared]
) -> None:
    leader, follower = pair[0], Replica(open_shared("slow"), RushingClock())
    leader.history.raise_counters([A], {"offered": np.array([1e6])})  # of a longer past than the baseline's
    leader.history.mark_backfilled()
    totals = {f"{name}_total": np.array(column, float) for name, column in leader.counters().items()}
    await leader.shares(snapshot(id=5, rows=Rows((A, B), ("Alpha", "Beta")), columns=totals, scores=None))
    await follower.sharing.receive()
    assert not follower.sharing.caught_up
    while not follower.sharing.caught_up:
        assert not follower.history.backfilled  # what it would publish now is not the whole
        await follower.sharing.receive()
    assert follower.history.backfilled
    assert follower.counters() == leader.counters()


async def test_a_bucket_that_cannot_be_read_costs_itself_alone(
    pair: tuple[Replica, Replica], server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    leader, follower = pair
    await leader.shares(snapshot(id=5))
    server.ask("HSET", KEY + "buckets", str(start_of(-20)), "junk")
    for place in ("0", "soon"):
        server.ask("HSET", KEY + "buckets", place, "junk")
        server.ask("HSET", KEY + "versions", place, "1")
    await follower.sharing.receive()
    assert [each.id for each in follower.published] == [5]
    assert content(follower.history).keys() == content(leader.history).keys() - {start_of(-20)}
    assert caplog.text.count("cannot be read") == 2
    await leader.shares(snapshot(id=6))
    await follower.sharing.receive()
    assert [each.id for each in follower.published] == [5, 6]
    assert caplog.text.count("cannot be read") == 2  # told once


@pytest.mark.parametrize("key", ["snapshot", "readings", "directory", "head"])
async def test_garbage_in_place_of_data_is_told_and_the_next_snapshot_is_taken(
    pair: tuple[Replica, Replica], server: RedisServer, key: str
) -> None:
    leader, follower = pair
    await leader.shares(snapshot(id=5))
    server.ask("SET", KEY + key, "junk")
    await follower.sharing.receive()
    await follower.sharing.readings()
    await leader.shares(snapshot(id=6))
    await follower.sharing.receive()
    assert follower.published[-1].id == 6


class Interrupted:
    """What stands in Redis; in the middle of the first write of buckets something else happens."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)

    async def share_buckets(self, *given: Any) -> bool:
        written = await self._shared.share_buckets(*given)
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        return written


async def test_what_is_refused_before_a_new_lease_is_ours_is_shared_with_it(
    pair: tuple[Replica, Replica], open_shared: Callable[..., Shared], clock: FakeClock
) -> None:
    """Redis has come back empty: the leader writes by a lease that is forgotten until it has another."""
    redis = Interrupted(open_shared("again"))
    leader, follower = Replica(redis, clock), pair[1]  # type: ignore[arg-type]
    leader.history.merge(batch(BUCKETS))  # shared long ago

    async def new_lease() -> None:
        taken = await leader.shared.acquire(0, 60.0)
        assert taken is not None
        leader.sharing.begin(taken.fence)

    redis.meanwhile = new_lease
    leader.sharing.begin(1)
    await leader.shares(snapshot(id=5))
    await follower.sharing.receive()
    assert content(follower.history) == content(leader.history)


async def test_who_was_replaced_shares_nothing(pair: tuple[Replica, Replica], server: RedisServer) -> None:
    leader, follower = pair
    await leader.shares(snapshot(id=5))
    server.ask("DEL", KEY + "lease")
    await follower.shares(snapshot(id=7))
    assert not await leader.sharing.newest_is_ours()
    leader.sharing.offer(snapshot(id=8))
    await leader.sharing._share()
    assert (await follower.shared.head() or {})["id"] == 7


async def test_the_next_leaders_snapshots_come_after_those_of_the_last(pair: tuple[Replica, Replica]) -> None:
    leader, follower = pair
    far = 2_000_000_000_000
    await leader.shares(snapshot(id=far))
    await follower.sharing.receive()
    follower.sharing.leap(180.0)
    made = follower.analyst.snapshot(now=NOW, directory=None, window=None, observations=None, datasets={})
    assert made.id == far + 180_001
