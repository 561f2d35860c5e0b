"""Who polls when Redis, Genesys Cloud, the polls or the other replicas fail: every turn of the role, in a test's time.

Redis and the other replicas are played by `Stage`, whose answers a test sets; the real ones stand in tests/replicas and
tests/end_to_end/test_replicas.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from exporter.errors import SettingsError, Standby
from exporter.leadership import Leadership
from exporter.models import WINDOW, DatasetState, PollReport
from exporter.poller import Poller, Readings
from exporter.replicas.peers import EPOCH_HEADER, FENCE_HEADER, Peer, Verdict
from exporter.replicas.shared import Beat, LinkDown, Shared, Taken
from exporter.sharing import Received, Sharing
from tests.conftest import FakeClock
from tests.publish.samples import NOW, snapshot

INTERVAL = LEASE = 8.0
STEP = 1 / 16
OTHER = Peer("http://other", 0.0, failing=False)


class SteadyClock(FakeClock):
    """Time passes only when the test says so, also for sleepers."""

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        while self.monotonic() < until:  # noqa: ASYNC110 (time is the test's: nobody else could set an event)
            await asyncio.sleep(0)


class Stage:
    """Redis, the data in it, the other replicas, and the polls."""

    def __init__(self) -> None:
        self.clock = SteadyClock()
        self.owner = "this"
        self.silent = False  # Redis
        self.holder: str | None = None
        self.expires = 0.0
        self.fence, self.clean = 0, True
        self.epoch = "epoch"
        self.ahead = 0.0  # this replica's clock, of Redis'
        self.peers: Mapping[str, Peer] = {}
        self.verdict = Verdict.NOBODY
        self.told: list[int] = []
        self.left = False
        self.roles: list[bool] = []
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # of polling
        self.received: Received | None = None
        self.ours = self.caught_up = True
        self.hangs = False
        self.leaps: list[float] = []
        self.taken_over: list[float | None] = []
        self.readings_ = Readings()

    # Redis.

    def _answer(self) -> None:
        if self.silent:
            raise LinkDown("TimeoutError: no answer")
        if self.holder is not None and self.clock.monotonic() >= self.expires:
            self.holder, self.clean = None, False

    async def beat(self, fence: int | None, seconds: float, url: str, *, failing: bool) -> Beat:
        self._answer()
        held = self.holder == self.owner and fence == self.fence
        if held:
            self.expires = self.clock.monotonic() + seconds
        return Beat(held, self.epoch, self.peers, self.clock.now().timestamp() - self.ahead)

    async def acquire(self, floor: int, seconds: float) -> Taken | None:
        self._answer()
        if self.holder is not None:
            return None
        self.holder, self.expires = self.owner, self.clock.monotonic() + seconds
        self.fence = max(self.fence, floor) + 1
        return Taken(self.fence, self.clean)

    async def release(self, fence: int) -> None:
        self._answer()
        self.holder, self.clean = None, True

    async def call(self, fence: int, ticket: str, per_minute: int) -> float | None:
        self._answer()
        return 0.0 if self.holder == self.owner and fence == self.fence else None

    async def called(self, ticket: str) -> None: ...

    async def leave(self, owner: str) -> None:
        self.left = True

    async def close(self) -> None: ...

    def another_leads(self) -> None:
        self.holder, self.expires, self.fence = "other", float("inf"), self.fence + 1

    # The data.

    async def receive(self) -> Received | None:
        self._answer()
        return self.received

    async def readings(self) -> Readings | None:
        self._answer()
        return self.readings_

    async def newest_is_ours(self) -> bool:
        return self.ours

    def begin(self, fence: int) -> None: ...

    def leap(self, seconds: float) -> None:
        self.leaps.append(seconds)

    async def run(self) -> None:
        await asyncio.Event().wait()

    # The others.

    async def ask(self, peers: Mapping[str, Peer], *, silent_seconds: float, lease_seconds: float) -> Verdict:
        return self.verdict

    async def tell(self, peers: Mapping[str, Peer], epoch: str, fence: int, lease_seconds: float) -> None:
        self.told.append(fence)

    # The polls.

    async def work(self) -> None:
        await asyncio.shield(self.end)

    def progressing(self) -> bool:
        return not self.hangs

    def alive(self) -> bool:
        return True

    def take_over(self, readings: Readings, last_poll: float | None) -> None:
        self.taken_over.append(last_poll)

    @asynccontextmanager
    async def acted(self) -> AsyncIterator[Leadership]:
        part = cast(Any, self)
        self.poller = cast(Poller, _Polls(self))
        leadership = Leadership(
            cast(Shared, part),
            cast(Sharing, part),
            self.poller,
            self.work,
            clock=self.clock,
            poll_interval_seconds=INTERVAL,
            others=part,
            on_role=self.roles.append,
        )
        self.task = asyncio.create_task(leadership.run())
        try:
            yield leadership
        finally:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[Leadership]:
        async with self.acted() as leadership:
            await self.passes(3.5)  # between two looks at Redis
            assert leadership.leads
            yield leadership

    async def passes(self, seconds: float) -> None:
        """Time, in steps short enough for everything that happens in it."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            self.clock.advance(STEP)
            for _ in range(12):
                await asyncio.sleep(0)

    async def enters(self, leadership: Leadership, *, background: bool = False) -> float:
        """The seconds that a call must wait."""
        deadline = self.clock.monotonic() + 60
        wait, ticket = await leadership.permit.enter(100, deadline, background=background)
        assert not (wait and ticket)
        return wait


class _Polls:
    """A poller's face."""

    def __init__(self, stage: Stage) -> None:
        self.readings = stage.readings_
        self.progressing, self.alive, self.take_over = stage.progressing, stage.alive, stage.take_over


@pytest.fixture
async def stage() -> Stage:
    return Stage()


def report(reason: str | None) -> PollReport:
    failures = {} if reason is None else {WINDOW: reason}
    return PollReport(NOW, 1.0, "failed" if reason else "ok", 0, failures, failures)


async def test_one_alone_leads_once_nobody_else_has_come_forward(stage: Stage) -> None:
    async with stage.acted() as leadership:
        await stage.passes(1.0)
        assert not leadership.leads  # it found Redis empty: whoever polled before shall be faster
        await stage.passes(2.0)
        assert leadership.leads
        assert await stage.enters(leadership) == 0.0
        assert stage.told == []
    assert stage.roles == [False, True, False]
    assert (stage.holder, stage.left) == (None, True)


async def test_a_follower_calls_nobody_and_leads_when_the_lease_has_run_out(stage: Stage) -> None:
    stage.another_leads()
    stage.peers = {"other": OTHER}
    async with stage.acted() as leadership:
        await stage.passes(20.0)
        with pytest.raises(Standby, match="another replica polls now"):
            await stage.enters(leadership)
        stage.expires = stage.clock.monotonic()
        await stage.passes(1.5)
        assert leadership.leads


async def test_who_takes_over_from_a_lost_leader_tells_it_and_leaves_the_back_fill_a_minute(stage: Stage) -> None:
    stage.another_leads()
    stage.received = Received(snapshot(), "")
    async with stage.acted() as leadership:
        await stage.passes(3.0)
        stage.expires = stage.clock.monotonic()
        await stage.passes(1.5)
        assert stage.told == [stage.fence]
        assert stage.leaps == [3 * LEASE]
        assert await stage.enters(leadership) == 0.0
        assert 58.0 < await stage.enters(leadership, background=True) <= 61.0


async def test_who_takes_over_from_a_leader_that_gave_the_lease_back_waits_for_nothing(stage: Stage) -> None:
    stage.another_leads()
    stage.received = Received(snapshot(), "")
    async with stage.acted() as leadership:
        await stage.passes(3.0)
        stage.holder = None
        await stage.passes(1.5)
        assert await stage.enters(leadership, background=True) == 0.0
    assert (stage.told, stage.leaps) == ([], [])


async def test_a_leader_whose_clock_was_ahead_does_not_put_off_the_next_ones_polls(stage: Stage) -> None:
    polled = stage.clock.now() + timedelta(hours=1)
    datasets = {WINDOW: DatasetState(True, polled, polled, polled + timedelta(hours=1))}
    stage.received = Received(snapshot(created=polled, datasets=datasets), "")
    async with stage.leading():
        (last_poll,) = stage.taken_over
        assert last_poll is not None
        assert last_poll <= stage.clock.monotonic()


@pytest.mark.parametrize("up", [True, False])
async def test_the_next_poll_is_an_interval_after_the_last_one_that_succeeded(stage: Stage, up: bool) -> None:
    polled = stage.clock.now() - timedelta(seconds=2)
    datasets = {WINDOW: DatasetState(up, polled, polled, polled + timedelta(hours=1))}
    stage.received = Received(snapshot(created=polled, datasets=datasets), "")
    async with stage.leading():
        assert stage.taken_over == [-2.0 if up else None]


async def test_calls_wait_while_redis_is_silent_until_it_is_known_to_be_gone(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, Verdict.UNSURE
        await stage.passes(1.5)
        assert leadership.leads
        assert await stage.enters(leadership) > 0
        with pytest.raises(Standby, match="could not be told in time"):
            await leadership.permit.enter(100, stage.clock.monotonic(), background=False)
        stage.verdict = Verdict.GONE
        await stage.passes(1.5)
        assert await stage.enters(leadership) == 0.0
        await stage.passes(10 * LEASE)
        assert leadership.leads
    assert stage.roles == [False, True, False]


async def test_a_silence_that_a_call_meets_first_is_looked_into_at_once(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, Verdict.GONE
        assert await stage.enters(leadership) > 0
        await stage.passes(2 * STEP)
        assert await stage.enters(leadership) == 0.0


@pytest.mark.parametrize("verdict", [Verdict.SEEN, Verdict.SILENT, Verdict.UNSURE])
async def test_a_leader_that_is_cut_off_stops_when_its_lease_is_over_at_the_latest(
    stage: Stage, verdict: Verdict
) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, verdict
        await stage.passes(LEASE + 1.0)
        assert not leadership.leads
        assert stage.roles[-1] is False
        await stage.passes(100.0)
        assert not leadership.leads


async def test_who_stopped_in_doubt_goes_on_when_redis_proves_to_be_gone(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, Verdict.UNSURE
        await stage.passes(LEASE + 1.0)
        stage.verdict = Verdict.GONE
        await stage.passes(1.5)
        assert leadership.leads


async def test_who_stopped_since_nobody_answered_goes_on_after_five_minutes(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, Verdict.SILENT
        await stage.passes(295.0)
        assert not leadership.leads
        await stage.passes(20.0)
        assert leadership.leads


async def test_a_follower_does_not_poll_because_redis_is_gone(stage: Stage) -> None:
    stage.another_leads()
    async with stage.acted() as leadership:
        await stage.passes(3.0)
        stage.silent = True
        await stage.passes(1000.0)
        assert not leadership.leads


async def test_a_leader_alone_stops_when_another_has_reached_redis_twice_and_it_has_not(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, Verdict.GONE
        await stage.passes(2 * LEASE)
        stage.verdict = Verdict.SEEN
        await stage.passes(1.0)
        assert leadership.leads  # Redis may have come back this very moment
        await stage.passes(1.5)
        assert not leadership.leads


async def test_a_leader_alone_goes_on_where_redis_comes_back_to_all_at_once(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, Verdict.GONE
        await stage.passes(2 * LEASE)
        stage.silent, stage.epoch, stage.holder = False, "another", None
        await stage.passes(1.5)
        assert leadership.leads
        assert stage.holder == stage.owner
    assert stage.roles == [False, True, False]


async def test_followers_leave_a_redis_that_has_forgotten_all_to_whoever_polled(stage: Stage) -> None:
    stage.another_leads()
    async with stage.acted() as leadership:
        await stage.passes(3.0)
        stage.epoch, stage.holder = "another", None
        await stage.passes(LEASE - 1.0)
        assert not leadership.leads
        await stage.passes(3.0)
        assert leadership.leads


async def test_who_hears_of_the_next_leader_stops_at_once_if_that_one_knows_the_epoch(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.silent, stage.verdict = True, Verdict.NOBODY
        await stage.passes(2.0)
        forged = {EPOCH_HEADER: "guessed", FENCE_HEADER: str(2**40)}
        assert leadership.described(forged)["leader"] is True
        genuine = {EPOCH_HEADER: "epoch", FENCE_HEADER: str(2**40)}
        assert leadership.described(genuine)["leader"] is False
        with pytest.raises(Standby):
            await stage.enters(leadership)
        await stage.passes(1.0)
        assert stage.roles == [False, True, False]
        await stage.passes(100.0)
        assert not leadership.leads


async def test_while_redis_answers_nobody_is_replaced_by_words(stage: Stage) -> None:
    async with stage.leading() as leadership:
        assert leadership.described({EPOCH_HEADER: "epoch", FENCE_HEADER: str(2**40)})["leader"] is True


async def test_a_lease_that_redis_forgot_is_had_again_and_one_that_another_had_is_followed_first(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.holder = None
        await stage.passes(1.5)
        assert stage.roles == [False, True]
        stage.holder, stage.ours = None, False
        await stage.passes(3.0)
        assert stage.roles == [False, True, False, True]
        assert leadership.leads


async def test_without_redis_from_the_start_polls_begin_after_three_leases_with_half_of_the_calls(stage: Stage) -> None:
    stage.silent = True
    async with stage.acted() as leadership:
        await stage.passes(3 * LEASE - 1.0)
        assert not leadership.leads
        await stage.passes(3.0)
        assert leadership.leads
        assert leadership.permit.ceiling(100) == 50
        stage.silent = False
        await stage.passes(1.5)
        assert leadership.permit.ceiling(100) == 100
        assert stage.holder == stage.owner


async def test_a_leader_that_hangs_leaves_the_lease_to_others_for_a_while(stage: Stage) -> None:
    async with stage.leading() as leadership:
        stage.hangs = True
        await stage.passes(10.0)
        assert leadership.leads  # there is nobody else
        stage.peers = {"other": OTHER}
        await stage.passes(1.5)
        assert not leadership.leads
        assert (stage.holder, stage.clean) == (None, True)
        stage.hangs = False
        await stage.passes(2 * LEASE - 2.0)
        assert not leadership.leads
        await stage.passes(3.0)
        assert leadership.leads


async def test_nobody_leads_who_lacks_a_part_of_the_history(stage: Stage) -> None:
    stage.caught_up = False
    async with stage.acted() as leadership:
        await stage.passes(5.0)
        assert not leadership.leads
        stage.caught_up = True
        await stage.passes(1.5)
        assert leadership.leads


@pytest.mark.parametrize(
    ("reason", "peers", "stays"),
    [
        ("unavailable", {"other": OTHER}, False),
        ("unavailable", {}, True),
        ("unavailable", {"other": Peer("http://other", 0.0, failing=True)}, True),
        ("unavailable", {"other": Peer("http://other", LEASE + 1, failing=False)}, True),
        ("auth", {"other": OTHER}, True),
        ("rate_limited", {"other": OTHER}, True),
    ],
)
async def test_a_leader_that_cannot_reach_genesys_cloud_lets_one_try_that_may(
    stage: Stage, reason: str, peers: Mapping[str, Peer], stays: bool
) -> None:
    stage.peers = peers
    async with stage.leading() as leadership:
        leadership.on_report(report(reason))
        await stage.passes(1.5)
        assert leadership.leads is stays


async def test_polling_that_ends_by_bad_settings_ends_all_by_that_very_error(stage: Stage) -> None:
    async with stage.leading():
        stage.end.set_exception(SettingsError(["too many queues"]))
        await stage.passes(1.0)
        with pytest.raises(SettingsError, match="too many queues"):
            await stage.task
    assert stage.left


async def test_a_clock_that_is_not_redis_is_told_once_and_when_it_is_mended(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with stage.leading():
        stage.ahead = -60.0
        await stage.passes(5.0)
        assert caplog.text.count("is -60 s ahead of Redis'") == 1
        stage.ahead = 9.0
        await stage.passes(5.0)
        assert caplog.text.count("in step again") == 1
