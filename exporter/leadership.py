"""Who polls: of two or more exporters of one org, the one that holds the lease in Redis.

    follower ── lease won ──▶ leader ── lease lost, polls hang, or Genesys Cloud answers others alone ──▶ follower
                                └─ Redis gone for everybody ──▶ leader alone ── Redis is back ──▶ leader or follower

The leader polls, back-fills and shares what it finds; a follower publishes the very same snapshots and keeps the closed
buckets, so that it can go on at any moment. A follower gets the lease when the leader gives it back or lets it expire;
the old leader, should it only have been asleep, may not call (`exporter.standing`) nor write any more. What cannot be
told apart by one alone, Redis gone or this machine cut off, the replicas tell each other (`exporter.replicas.peers`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from exporter.clock import Clock
from exporter.models import WINDOW, PollReport
from exporter.poller import Poller
from exporter.replicas.peers import Peer, Verdict, replaced_by
from exporter.replicas.shared import LinkDown, Shared
from exporter.sharing import Received, Sharing
from exporter.standing import DOUBT_SECONDS, SharedPermit, Standing

log = logging.getLogger(__name__)

#: A lease lasts one poll interval, within these limits.
SHORTEST_LEASE_SECONDS, LONGEST_LEASE_SECONDS = 1.5, 60.0
#: Redis is looked at so often: what is new shall not wait longer, nor a replica be unknown to the others.
LONGEST_BEAT_SECONDS, BEATS_PER_LEASE = 1.0, 4
#: Who finds Redis empty at its start waits so many beats for somebody who knows more.
NEWCOMER_BEATS = 1.5
#: An exporter that has never reached Redis waits so many leases, then polls alone.
PATIENCE_LEASES = 3
#: A leader that was cut off from everybody stops for so long, then polls alone: the others may be no more.
ISOLATION_SECONDS = 300.0
#: Polls failed here, and here alone perhaps: so long this replica is none that may do better.
FAILING_SECONDS = 600.0
#: Clocks that differ by more make one replica withdraw what another still shows.
SKEW_SECONDS = 10.0
#: A leader that gave the lease up for its own fault leaves it to others for so many leases.
ABSTENTION_LEASES = 2


def lease_seconds(poll_interval_seconds: float) -> float:
    return min(max(poll_interval_seconds, SHORTEST_LEASE_SECONDS), LONGEST_LEASE_SECONDS)


class Others(Protocol):
    """The other replicas, see `exporter.replicas.peers`; they are given as they last told of themselves."""

    async def ask(self, peers: Mapping[str, Peer], *, silent_seconds: float, lease_seconds: float) -> Verdict: ...

    async def tell(self, peers: Mapping[str, Peer], epoch: str, fence: int, lease_seconds: float) -> None: ...


class Leadership:
    """Leads or follows until cancelled."""

    def __init__(
        self,
        shared: Shared,
        sharing: Sharing,
        poller: Poller,
        work: Callable[[], Awaitable[None]],
        *,
        clock: Clock,
        poll_interval_seconds: float,
        others: Others,
        on_role: Callable[[bool], None] = lambda leads: None,
        on_link: Callable[[bool], None] = lambda up: None,
    ) -> None:
        """`work` polls and back-fills until cancelled."""
        self._shared, self.sharing, self._poller, self._work = shared, sharing, poller, work
        self._clock, self._others, self._on_role, self._on_link = clock, others, on_role, on_link
        self._standing = Standing()
        self._stir = asyncio.Event()
        #: Asked before every call of the API.
        self.permit = SharedPermit(shared, self._standing, clock, self._stir.set)
        #: Where other replicas reach this one, "" while that cannot be told; asked in a worker thread until it can.
        self.locate: Callable[[], str] | None = None
        self.follow(poll_interval_seconds)
        self._started = self._beat = clock.monotonic()
        self._floor = int(clock.now().timestamp())  # of the next fence
        self._silent_since = clock.monotonic()
        self._ceased: float | None = None  # when this replica, the last leader, had to stop
        self._witnesses = 0  # times in a row that another replica has reached Redis when this one has not
        self._waits_until = float("-inf")  # before that the lease is left to others
        self._failing_until = float("-inf")
        self._yields = self._replaced = self._skewed = False
        self._peers: Mapping[str, Peer] = {}
        self._url, self._epoch = "", ""
        self._task: asyncio.Task[None] | None = None
        self._receiving: asyncio.Task[Received | None] | None = None
        on_role(False)

    @property
    def leads(self) -> bool:
        """Whether calls may leave and results count, at this moment."""
        return self._standing.leads(self._clock.monotonic())

    def follow(self, poll_interval_seconds: float) -> None:
        """Leases as they befit this interval from now on."""
        self._lease = lease_seconds(poll_interval_seconds)
        self._beat_seconds = min(self._lease / BEATS_PER_LEASE, LONGEST_BEAT_SECONDS)

    def alive(self) -> bool:
        """False when neither the lease nor, while this replica leads, its polls are looked after."""
        fresh = self._clock.monotonic() - self._beat < max(90.0, 3 * self._lease)
        return fresh and (self._task is None or self._poller.alive())

    def described(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """What other replicas may ask; who asks may be the next leader, telling of itself."""
        if not self._standing.link and replaced_by(headers, self._epoch) > self._floor:
            self._replaced = True
            self._standing.alone, self._standing.valid_until = False, float("-inf")
            self._stir.set()
        standing, now = self._standing, self._clock.monotonic()
        return {
            "replica": self._shared.owner,
            "leader": standing.leads(now),
            "fence": standing.fence,
            "redis": bool(standing.link),
            "redis_seconds": None if standing.link is None else round(now - standing.heard, 3),
            "others": sum(peer.url != "" for peer in self._peers.values()),
        }

    def on_report(self, report: PollReport) -> None:
        """A poll has ended: whether Genesys Cloud is reached from here."""
        reason = report.failures.get(WINDOW)
        self._yields = reason == "unavailable"
        if self._yields:
            self._failing_until = self._clock.monotonic() + FAILING_SECONDS
            self._stir.set()
        elif reason is None:
            self._failing_until = float("-inf")

    async def run(self) -> None:
        """Until cancelled, or until polling ends by a failure that it cannot survive."""
        try:
            while True:
                await self._one_beat()
                self._beat = self._clock.monotonic()
                await self._rest()
        finally:
            await self._end()

    async def _one_beat(self) -> None:
        try:
            asked = self._clock.monotonic()
            held = await self._look(asked)
            if self._standing.fence is None:
                await self._without_lease()
            else:
                await self._with_lease(self._standing.fence, asked, held)
        except LinkDown as error:
            await self._without_redis(str(error))
        except Exception:
            log.exception("a look at the other replicas failed in a way that was not foreseen; please report this")

    async def _rest(self) -> None:
        """Until the next beat is due, something stirs, or the work has ended."""
        doubtful = self._standing.fence is not None and not (self._standing.link or self._standing.alone)
        nap = self._clock.sleep(min(DOUBT_SECONDS, self._beat_seconds) if doubtful else self._beat_seconds)
        waited = [asyncio.ensure_future(nap), asyncio.ensure_future(self._stir.wait())]
        try:
            await asyncio.wait([*waited, self._task] if self._task else waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waited:
                each.cancel()
            self._stir.clear()
        if self._task is not None and self._task.done():
            await self._task  # polling never ends by itself: raises why it did

    async def _look(self, asked: float) -> bool:
        """Tell of this replica and learn of the others; whether the lease was still ours, and is prolonged."""
        fence, failing = self._standing.fence, asked < self._failing_until
        if not self._url and self.locate is not None:
            self._url = await asyncio.to_thread(self.locate)
        beat = await self._shared.beat(fence, self._lease, self._url, failing=failing)
        self._peers = beat.peers
        self._note_link(True)
        self._note_skew(beat.now_seconds)
        self._standing.heard, self._ceased, self._witnesses, self._replaced = asked, None, 0, False
        if self._epoch not in ("", beat.epoch):  # whoever polled when Redis lost all goes first
            self._waits_until = max(self._waits_until, asked + self._lease)
        self._epoch = beat.epoch
        return beat.held

    async def _without_lease(self) -> None:
        """Take over what the leader has shared; lead where there is none."""
        if self._receiving is None:
            self._receiving = asyncio.create_task(self.sharing.receive())
        await asyncio.wait([self._receiving], timeout=self._beat_seconds)
        if not self._receiving.done():
            return
        task, self._receiving = self._receiving, None
        received, now = await task, self._clock.monotonic()
        newcomer = received is None and now - self._started < NEWCOMER_BEATS * self._beat_seconds
        if newcomer or now < self._waits_until or not self.sharing.caught_up:
            return
        taken = await self._shared.acquire(self._floor, self._lease)
        if taken is not None:
            await self._lead(taken.fence, now, received, clean=taken.clean)

    async def _lead(self, fence: int, asked: float, received: Received | None, *, clean: bool) -> None:
        self._floor = fence
        self._standing.lead(fence, asked + self._lease)
        self.permit.take_over(clean=clean)
        if not clean:  # the last leader may be there, cut off from Redis, and never have heard of this replica
            await self._others.tell(self._peers, self._epoch, fence, self._lease)
        log.info("this replica polls from now on (fence %d)", fence)
        if received is not None:
            await self._take_over(received, clean=clean)
        self._begin_work(fence)

    async def _take_over(self, received: Received, *, clean: bool) -> None:
        try:
            readings = await self.sharing.readings()
        except LinkDown:
            readings = None
        if not clean:  # the last leader may have shown newer ones here and there than it could share
            self.sharing.leap(3 * self._lease)
        self._poller.take_over(readings or self._poller.readings, self._last_poll(received))

    def _begin_work(self, fence: int) -> None:
        self._on_role(True)
        self._yields = False
        self.sharing.begin(fence)
        self._task = asyncio.create_task(self._working())

    async def _working(self) -> None:
        sharing = asyncio.create_task(self.sharing.run())
        try:
            await self._work()
        finally:
            sharing.cancel()
            await asyncio.gather(sharing, return_exceptions=True)

    def _last_poll(self, received: Received) -> float | None:
        """When the last leader polled, by our monotonic clock; None where it could not: another try is due."""
        state = received.snapshot.datasets.get(WINDOW)
        if state is None or not state.up:
            return None
        since = (self._clock.now() - received.snapshot.created).total_seconds()  # by two clocks
        return self._clock.monotonic() - max(0.0, since)

    async def _with_lease(self, fence: int, asked: float, held: bool) -> None:
        """Keep the lease while polls go on."""
        fault = self._fault()
        if fault and any(not peer.failing for peer in self._recent()):
            await self._give_up(fence, fault)
            return
        if held:
            self._standing.lead(fence, asked + self._lease)
        elif not await self._regain():
            log.warning("another replica polls now")
            await self._step_down()

    def _fault(self) -> str:
        """Why another replica may poll better; empty where it would not."""
        if self._yields:
            return "Genesys Cloud cannot be reached from here"
        return "" if self._poller.progressing() else "polling hangs"

    def _recent(self) -> list[Peer]:
        return [peer for peer in self._peers.values() if peer.age_seconds < self._lease]

    async def _give_up(self, fence: int, why: str) -> None:
        log.error("%s: another replica may poll", why)
        now = self._clock.monotonic()
        self._waits_until, self._failing_until = now + ABSTENTION_LEASES * self._lease, now + FAILING_SECONDS
        await self._step_down()
        await self._shared.release(fence)

    async def _regain(self) -> bool:
        """Whether a lease that ran out, or that Redis has forgotten, could be had again before anyone else led."""
        asked = self._clock.monotonic()
        if not await self.sharing.newest_is_ours():
            return False
        taken = await self._shared.acquire(self._floor, self._lease)
        if taken is None:
            return False
        self._floor = taken.fence
        self._standing.lead(taken.fence, asked + self._lease)
        self.sharing.begin(taken.fence)
        return True

    async def _without_redis(self, why: str) -> None:
        """Redis does not answer. Who leads, or was the last to, asks the others whether it is gone for them too."""
        self._note_link(False, why)
        now, standing = self._clock.monotonic(), self._standing
        if standing.fence is None and self._ceased is None:
            if self._epoch == "" and now - self._started >= PATIENCE_LEASES * self._lease:
                self._begin_alone("Redis was never reached", strangers=True)
            return
        silent = now - self._silent_since
        verdict = await self._others.ask(self._peers, silent_seconds=silent, lease_seconds=self._lease)
        self._witnesses = self._witnesses + 1 if verdict is Verdict.SEEN else 0
        if self._replaced:
            verdict = Verdict.SEEN
        if verdict in (Verdict.GONE, Verdict.NOBODY):
            self._go_on_alone(verdict)
        elif standing.fence is not None:
            await self._in_doubt(verdict)
        elif verdict is Verdict.SEEN:
            self._ceased = None
        elif verdict is Verdict.SILENT and self._ceased is not None and now - self._ceased >= ISOLATION_SECONDS:
            self._begin_alone(f"Redis is gone; {verdict.value}")

    def _go_on_alone(self, verdict: Verdict) -> None:
        if self._standing.fence is None:
            self._begin_alone(f"Redis is gone; {verdict.value}")
        elif not self._standing.alone:
            log.error("Redis is gone; %s: this one polls on, alone", verdict.value)
            self._standing.alone = True

    async def _in_doubt(self, verdict: Verdict) -> None:
        """Step down, unless there is time left to learn more."""
        if self._standing.alone:
            if self._witnesses < 2:  # Redis may have come back this very moment
                return
        elif self._clock.monotonic() < self._standing.valid_until:
            return
        log.warning("this machine is cut off from Redis (%s): it polls no more", verdict.value)
        self._ceased = None if verdict is Verdict.SEEN else self._clock.monotonic()
        await self._step_down()

    def _begin_alone(self, why: str, *, strangers: bool = False) -> None:
        share = ", as others may, with half of the calls" if strangers else ""
        log.error("%s: this replica polls alone%s", why, share)
        standing, self._ceased = self._standing, None
        standing.fence, standing.alone, standing.strangers = self._floor, True, strangers
        self._begin_work(self._floor)

    async def _step_down(self) -> None:
        """Calls that are under way are broken off, and what comes of them is dropped."""
        self._standing.follow()
        self._on_role(False)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _note_link(self, up: bool, why: str = "") -> None:
        """Redis answers or does not: told once."""
        standing, before, now = self._standing, self._standing.link, self._clock.monotonic()
        if up is before:
            return
        standing.link = up
        if up:
            log.info("Redis answers")
            if before is False and standing.fence is not None:
                self.sharing.begin(standing.fence)
            elif before is False and self._epoch:  # who polled alone meanwhile goes first
                self._waits_until = max(self._waits_until, now + self._lease)
        else:
            log.warning("Redis does not answer (%s)", why)
            self._silent_since = now
        self._on_link(up)

    def _note_skew(self, now_seconds: float) -> None:
        """The clock here and that of Redis disagree, or do so no more: told once."""
        ahead = self._clock.now().timestamp() - now_seconds
        skewed = abs(ahead) > SKEW_SECONDS
        if skewed and not self._skewed:
            log.warning(
                "the clock of this machine is %.0f s ahead of Redis': replicas show ages by their clocks", ahead
            )
        elif self._skewed and not skewed:
            log.info("the clock of this machine and Redis' are in step again")
        self._skewed = skewed

    async def _end(self) -> None:
        fence = self._standing.fence
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
        await self._step_down()
        try:
            if fence is not None:
                await self._shared.release(fence)
            await self._shared.leave(self._shared.owner)
        except LinkDown:
            return
        finally:
            await self._shared.close()
