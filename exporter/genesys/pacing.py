"""One gate for every call of the client: the org's API budget is shared, and it is ours to respect.

At most `per_minute` calls reach the service in any minute (a sliding window, not an average: the service counts
calls per token and minute). When a call arrives is not known, only that it does between its departure and its answer:
it holds its place from the one until a minute after the other, so that a slow network cannot crowd calls together. A
`Retry-After` closes the gate for everyone until it has passed. Background work, the back-fill, never takes a share of
the minute that is the polls', nor a place that a poll to come will need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from exporter.clock import Clock
from exporter.errors import RateLimited
from exporter.models import ApiHook, ApiThrottled

#: A second more than the service's minute, since its clock and ours may not run alike.
PERIOD_SECONDS = 61.0
#: A poll may wait so long for a place that is about to come free.
PATIENCE_SECONDS = 5.0
LEAST_WAIT_SECONDS = 0.05


class _Places:
    """The places of the last minute that calls hold."""

    def __init__(self) -> None:
        self.under_way = 0
        self.ended: deque[float] = deque()

    def end(self, now: float) -> None:
        """A call's answer has come."""
        self.under_way -= 1
        self.ended.append(now)

    def taken_seconds(self, ceiling: int, now: float) -> float:
        """How long `ceiling` places are taken, at the least: those of calls under way for a whole period more."""
        while self.ended and self.ended[0] <= now - PERIOD_SECONDS:
            self.ended.popleft()
        surplus = self.under_way + len(self.ended) - ceiling
        if surplus < 0:
            return 0.0
        frees = self.ended[surplus] if surplus < len(self.ended) else now
        return frees + PERIOD_SECONDS - now

    def held(self, now: float) -> Iterator[tuple[float, int]]:
        """(seconds from now, places that are taken at the least until then), for the whole period to come."""
        taken = self.under_way + len(self.ended)
        for position, at in enumerate(self.ended):
            yield at + PERIOD_SECONDS - now, taken - position
        yield PERIOD_SECONDS, self.under_way


class Permit(Protocol):
    """A second keeper of the gate, who knows what other exporters of the same client do."""

    def ceiling(self, per_minute: int) -> int:
        """The calls a minute that this exporter may make of all that are allowed."""

    async def enter(self, per_minute: int, deadline: float, *, background: bool) -> tuple[float, str]:
        """(0.0, ticket): the call may leave now; (seconds, ""): ask again then. Raises Standby where none may."""

    def leave(self, ticket: str) -> None:
        """The call's answer has come, or it never left."""


class PacingGate:
    """Counts calls; `passage` is entered when one more may leave."""

    def __init__(self, per_minute: int, clock: Clock, hook: ApiHook) -> None:
        self.per_minute = per_minute
        #: Calls a minute that background work leaves to the polls; never so many that it stands still.
        self.reserved = 0
        #: How many calls the polls will want to make in so many seconds from now.
        self.expected: Callable[[float], float] = lambda seconds: 0.0
        #: Asked, too, before a call leaves.
        self.permit: Permit | None = None
        self._clock = clock
        self._hook = hook
        self._all = _Places()
        self._background = _Places()
        self._closed_until = float("-inf")

    def close_for(self, seconds: float) -> None:
        """No call leaves for `seconds`; a longer closure that is already in force stays."""
        self._closed_until = max(self._closed_until, self._clock.monotonic() + seconds)

    @asynccontextmanager
    async def passage(self, deadline: float, *, background: bool = False) -> AsyncIterator[None]:
        """Wait for a free place and hold it for the length of the call.

        Raises RateLimited when no place comes free before `deadline` (monotonic seconds).
        """
        held = (self._all, self._background) if background else (self._all,)
        ticket = await self._enter(held, deadline, background=background)
        try:
            yield
        finally:
            for places in held:
                places.end(self._clock.monotonic())
            if self.permit is not None:
                self.permit.leave(ticket)

    async def _enter(self, held: Sequence[_Places], deadline: float, *, background: bool) -> str:
        """Take a place of ours, then one of all exporters'; the ticket of the latter."""
        while True:
            await self._wait(deadline, background=background)
            for places in held:
                places.under_way += 1
            if self.permit is None:
                return ""
            try:
                wait, ticket = await self.permit.enter(self.per_minute, deadline, background=background)
            except BaseException:
                _give_back(held)
                raise
            if not wait:
                return ticket
            _give_back(held)
            if self._clock.monotonic() + wait > deadline:
                raise RateLimited(self._excuse(wait), retry_after_seconds=wait)
            await self._clock.sleep(wait)
            self._hook(ApiThrottled(wait))

    async def _wait(self, deadline: float, *, background: bool) -> None:
        waited = 0.0
        try:
            while (wait := self._wait_seconds(background=background)) > 0:
                if self._clock.monotonic() + wait > deadline:
                    raise RateLimited(self._excuse(wait), retry_after_seconds=wait)
                await self._clock.sleep(wait)
                waited += wait
        finally:
            if waited:
                self._hook(ApiThrottled(waited))

    def _wait_seconds(self, *, background: bool) -> float:
        now = self._clock.monotonic()
        ceiling = self.permit.ceiling(self.per_minute) if self.permit else self.per_minute
        share = max(1, ceiling - self.reserved)
        return max(
            0.0,
            self._closed_until - now,
            self._all.taken_seconds(ceiling, now),
            max(self._background.taken_seconds(share, now), self._room_seconds(ceiling, now)) if background else 0.0,
        )

    def _room_seconds(self, ceiling: int, now: float) -> float:
        """How long background work has to wait, at the least, so that polls to come find places; it never stands still.

        At no moment of the coming period may the calls that still hold a place and those that are expected until
        shortly before be more than the ceiling, the one that asks among them.
        """
        if not (self._background.under_way or self._background.ended):
            return 0.0
        held = list(self._all.held(now))
        if all(taken + 1 + self.expected(max(0.0, s - PATIENCE_SECONDS)) <= ceiling for s, taken in held):
            return 0.0
        return min(PATIENCE_SECONDS, max(LEAST_WAIT_SECONDS, held[0][0]))

    def _excuse(self, wait: float) -> str:
        if self._closed_until > self._clock.monotonic():
            return f"the service asked for a pause that lasts another {wait:.0f} s"
        return (
            f"our own ceiling of {self.per_minute} calls a minute is used up for another {wait:.0f} s"
            " (GENESYS_REQUESTS_PER_MINUTE)"
        )


def _give_back(held: Sequence[_Places]) -> None:
    """The call does not leave."""
    for places in held:
        places.under_way -= 1
