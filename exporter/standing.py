"""What a replica may do at this moment, and the permit of every call of the API that follows from it.

    leads, Redis answers        each call is counted in Redis, over all replicas, and only while the lease is ours
    leads, Redis is silent      calls wait until it is told whether Redis is gone for everybody
    leads alone                 Redis is gone for everybody: calls leave, counted by our own gate
    follows                     no call leaves

`exporter.leadership` decides which of these is the case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from exporter.clock import Clock
from exporter.errors import Standby
from exporter.replicas.shared import PERIOD_MILLISECONDS, LinkDown, Shared

#: While calls wait they ask so often whether they may leave.
DOUBT_SECONDS = 0.25


@dataclass(slots=True)
class Standing:
    """Times are monotonic seconds."""

    fence: int | None = None
    valid_until: float = float("-inf")  # of the lease
    alone: bool = False  # Redis is gone for everybody
    strangers: bool = False  # alone, and others may be so too, unknown to each other
    link: bool | None = None  # Redis answers; None before the first answer
    heard: float = float("-inf")  # when Redis last answered
    quiet_until: float = float("-inf")  # no call of the back-fill before

    def leads(self, now: float) -> bool:
        """Whether calls may leave and results count."""
        return self.fence is not None and (self.alone or now < self.valid_until)

    def lead(self, fence: int, until: float) -> None:
        self.fence, self.valid_until, self.alone, self.strangers = fence, until, False, False

    def follow(self) -> None:
        self.fence, self.valid_until, self.alone, self.strangers = None, float("-inf"), False, False


class SharedPermit:
    """See `exporter.genesys.pacing.Permit`; `on_silence` is told when Redis does not answer a call."""

    def __init__(self, shared: Shared, standing: Standing, clock: Clock, on_silence: Callable[[], None]) -> None:
        self._shared, self._standing, self._clock, self._on_silence = shared, standing, clock, on_silence
        self._notes: set[asyncio.Task[None]] = set()

    def ceiling(self, per_minute: int) -> int:
        """Half, where another replica may poll that nobody knows of."""
        return max(1, per_minute // 2) if self._standing.strangers else per_minute

    async def enter(self, per_minute: int, deadline: float, *, background: bool) -> tuple[float, str]:
        standing, now = self._standing, self._clock.monotonic()
        if standing.fence is None or not standing.leads(now):
            raise Standby("another replica polls now")
        if background and now < standing.quiet_until:
            return standing.quiet_until - now, ""
        if standing.alone:
            return 0.0, ""
        if standing.link:
            try:
                return await self._counted(standing.fence, per_minute)
            except LinkDown:
                self._on_silence()
        if self._clock.monotonic() + DOUBT_SECONDS > deadline:
            raise Standby("Redis does not answer, and whether another replica polls could not be told in time")
        return DOUBT_SECONDS, ""

    async def _counted(self, fence: int, per_minute: int) -> tuple[float, str]:
        ticket = uuid4().hex
        wait = await self._shared.call(fence, ticket, per_minute)
        if wait is None:
            self._standing.valid_until = float("-inf")
            raise Standby("another replica polls now")
        return wait, ticket

    def leave(self, ticket: str) -> None:
        if ticket:
            note = asyncio.create_task(self._note(ticket))
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)

    async def _note(self, ticket: str) -> None:
        try:
            await self._shared.called(ticket)
        except LinkDown:
            return

    def take_over(self, *, clean: bool) -> None:
        """Where the last leader was lost, calls of its that Redis may not know of get a minute to be forgotten."""
        if not clean:
            self._standing.quiet_until = self._clock.monotonic() + PERIOD_MILLISECONDS / 1000
