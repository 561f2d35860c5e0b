"""Who polls: of two or more exporters of one org, the one that holds the lease in Redis.

    follower ── lease won ──▶ leader ── lease lost, polls hang, or another replica still reaches Redis ──▶ follower
                                └─ Redis gone for everybody ──▶ leader alone ── Redis is back ──▶ leader or follower

The leader polls, back-fills and shares what it finds; a follower publishes the very same snapshots and keeps the closed
buckets, so that it can go on at any moment. A follower that stops hearing of a leader gets the lease when that has
expired; the old leader, should it only have been asleep, may not call (`enter`) nor write any more. What cannot be told
apart by one alone, Redis gone or this machine cut off, the replicas tell each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from exporter.clock import Clock
from exporter.errors import Standby
from exporter.poller import Poller, Readings
from exporter.replicas.peers import Verdict
from exporter.replicas.shared import LinkDown, Shared
from exporter.sharing import Received, Sharing

log = logging.getLogger(__name__)

#: A lease lasts one poll interval, within these limits; it is renewed four times in that time.
SHORTEST_LEASE_SECONDS, LONGEST_LEASE_SECONDS = 1.5, 60.0
BEATS_PER_LEASE = 4
#: A replica is asked after Redis when it has told its address within so many leases.
PEER_LEASES = 10
#: An exporter that has never reached Redis waits so many leases, then polls alone.
PATIENCE_LEASES = 3


def lease_seconds(poll_interval_seconds: float) -> float:
    return min(max(poll_interval_seconds, SHORTEST_LEASE_SECONDS), LONGEST_LEASE_SECONDS)


@dataclass(slots=True)
class Link:
    """How Redis stands: `up` None before the first answer; `since` when that changed, in monotonic seconds."""

    up: bool | None = None
    since: float = 0.0
    ever: bool = False


class Leadership:
    """Leads or follows until cancelled; the permit of every call of the API."""

    def __init__(
        self,
        shared: Shared,
        sharing: Sharing,
        poller: Poller,
        work: Callable[[], Awaitable[None]],
        *,
        clock: Clock,
        lease: float,
        ask: Callable[[Mapping[str, str], float], Awaitable[Verdict]],
        on_role: Callable[[bool], None] = lambda leads: None,
        on_link: Callable[[bool], None] = lambda up: None,
    ) -> None:
        """`work` polls and back-fills until cancelled; `ask` asks other replicas, by owner and address."""
        self._shared, self.sharing, self._poller, self._work = shared, sharing, poller, work
        self._clock, self._lease, self._ask = clock, lease, ask
        self._on_role, self._on_link = on_role, on_link
        self._beat_seconds = lease / BEATS_PER_LEASE
        self._started = self._beat = clock.monotonic()
        self._fence: int | None = None
        self._floor = int(clock.now().timestamp())
        self._valid_until = float("-inf")
        self._alone = False
        self._abstains_until = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._peers: dict[str, str] = {}
        self._notes: set[asyncio.Task[None]] = set()
        self.link = Link()
        on_role(False)
        #: Where other replicas reach this one, "" while that cannot be told; asked in a worker thread until it can.
        self.locate: Callable[[], str] = str
        self._url = ""

    @property
    def leads(self) -> bool:
        """Whether calls may leave and results count, at this moment."""
        return self._fence is not None and (self._alone or self._clock.monotonic() < self._valid_until)

    def alive(self) -> bool:
        """False when neither the lease nor, while this replica leads, its polls are looked after."""
        fresh = self._clock.monotonic() - self._beat < max(90.0, 3 * self._lease)
        return fresh and (self._task is None or self._poller.alive())

    def described(self) -> dict[str, Any]:
        """What other replicas may ask."""
        return {"leader": self.leads, "fence": self._fence, "redis": bool(self.link.up)}

    # The permit of calls, see `exporter.genesys.pacing`.

    async def enter(self, per_minute: int) -> tuple[float, str]:
        """See `Permit`; while Redis does not answer, only our own calls count."""
        if not self.leads or self._fence is None:
            raise Standby("another replica polls now")
        if self._alone or not self.link.up:
            return 0.0, ""
        ticket = uuid4().hex
        try:
            wait = await self._shared.call(self._fence, ticket, per_minute)
        except LinkDown:
            return 0.0, ""
        if wait is None:
            self._valid_until = float("-inf")
            raise Standby("another replica polls now")
        return wait, ticket

    def leave(self, ticket: str) -> None:
        """See `Permit`."""
        if ticket:
            note = asyncio.create_task(self._note(ticket))
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)

    async def _note(self, ticket: str) -> None:
        try:
            await self._shared.called(ticket)
        except LinkDown:
            return

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
            if self._fence is None:
                await self._follow()
            else:
                await self._hold(self._fence)
        except LinkDown as error:
            self._note_link(False, str(error))
            await self._without_redis()
        except Exception:
            log.exception("a look at the other replicas failed in a way that was not foreseen; please report this")

    async def _rest(self) -> None:
        """Until the next beat is due, or the work has ended."""
        nap = asyncio.ensure_future(self._clock.sleep(self._beat_seconds))
        try:
            waited = [nap] if self._task is None else [nap, self._task]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
        if self._task is not None and self._task.done():
            await self._task  # polling never ends by itself: raises why it did

    async def _follow(self) -> None:
        """Take over what the leader has shared; lead where there is none."""
        fresh = self._clock.monotonic() - self.link.since < self._lease
        returned = self.link.ever and fresh and self.link.up
        await self._tell_address()
        came_back = self._note_link(True)
        received = await self.sharing.receive()
        if came_back or returned:  # who polled alone meanwhile goes first
            return
        now = self._clock.monotonic()
        if now < self._abstains_until:
            return
        fence = await self._shared.acquire(self._floor, self._lease)
        if fence is not None:
            await self._lead(fence, now, received)

    async def _lead(self, fence: int, asked: float, received: Received | None) -> None:
        self._take(fence, asked)
        log.info("this replica polls from now on (fence %d)", fence)
        readings = await self.sharing.readings()
        self._poller.take_over(readings or Readings(), self._last_poll(received))
        self._on_role(True)
        self.sharing.begin(fence)
        self._task = asyncio.create_task(self._working())

    async def _working(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sharing.run())
            await self._work()

    def _take(self, fence: int, asked: float) -> None:
        self._fence, self._floor, self._alone = fence, fence, False
        self._valid_until = asked + self._lease
        self.sharing.fence = fence

    def _last_poll(self, received: Received | None) -> float | None:
        """When the last leader polled, by our monotonic clock."""
        if received is None:
            return None
        return self._clock.monotonic() - (self._clock.now() - received.snapshot.created).total_seconds()

    async def _hold(self, fence: int) -> None:
        """Renew the lease while polls go on."""
        if not self._poller.progressing():
            log.error("polling hangs; another replica may take over")
            self._abstains_until = self._clock.monotonic() + 2 * self._lease
            await self._step_down()
            await self._shared.release(fence)
            return
        asked = self._clock.monotonic()
        held = await self._shared.renew(fence, self._lease) or await self._regain(asked)
        if not held:
            log.warning("another replica polls now")
            await self._step_down()
            return
        self._valid_until, self._alone = asked + self._lease, False
        if self._note_link(True) and self._fence is not None:
            self.sharing.begin(self._fence)
        await self._tell_address()

    async def _regain(self, asked: float) -> bool:
        """Whether a lease that ran out, or that Redis has forgotten, could be had again before anyone else took it."""
        fence = await self._shared.acquire(self._floor, self._lease)
        if fence is None:
            return False
        self._take(fence, asked)
        self.sharing.begin(fence)
        return True

    async def _without_redis(self) -> None:
        """Redis does not answer: the leader asks the others before its lease could be another's."""
        now = self._clock.monotonic()
        if self._fence is None:
            if not self.link.ever and now - self._started >= PATIENCE_LEASES * self._lease:
                await self._begin_alone()
            return
        if not self._alone and now + 2 * self._beat_seconds < self._valid_until:
            return
        verdict = await self._ask(self._peers, self._beat_seconds)
        if verdict is Verdict.SEEN:
            log.warning("this machine is cut off from Redis, which %s: it polls no more", verdict.value)
            await self._step_down()
        elif not self._alone:
            log.error("Redis is gone; %s: this one polls on, alone", verdict.value)
            self._alone = True

    async def _begin_alone(self) -> None:
        log.error("Redis was never reached: this replica polls alone until it is; others may do the same")
        self._take(self._floor, self._clock.monotonic())
        self._alone = True
        self._on_role(True)
        self.sharing.begin(self._floor)
        self._task = asyncio.create_task(self._working())

    async def _step_down(self) -> None:
        """Calls that are under way are broken off, and what comes of them is dropped."""
        self._fence, self._valid_until, self._alone = None, float("-inf"), False
        self._on_role(False)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _tell_address(self) -> None:
        """Leave our address, and learn those of the others."""
        now = self._clock.now().timestamp()
        everybody = await self._shared.join(self._url, now)
        if not self._url and (url := await asyncio.to_thread(self.locate)):  # Redis answers: its name is known by now
            self._url = url
            everybody = await self._shared.join(url, now)
        self._peers = {}
        for owner, (url, told) in everybody.items():
            if now - told > PEER_LEASES * self._lease + 60:
                await self._shared.leave(owner)
            elif owner != self._shared.owner and url:
                self._peers[owner] = url

    def _note_link(self, up: bool, why: str = "") -> bool:
        """Whether Redis has just come back."""
        came_back = up and self.link.up is False
        if up is not self.link.up:
            if up:
                log.info("Redis answers")
            else:
                log.warning("Redis does not answer (%s)", why)
            self.link.up, self.link.since = up, self._clock.monotonic()
            self._on_link(up)
        self.link.ever |= up
        return came_back

    async def _end(self) -> None:
        fence = self._fence
        await self._step_down()
        try:
            if fence is not None:
                await self._shared.release(fence)
            await self._shared.leave(self._shared.owner)
        except LinkDown:
            return
        finally:
            await self._shared.close()
