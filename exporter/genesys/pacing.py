"""One gate for every call of the client: the org's API budget is shared, and it is ours to respect.

At most `per_minute` calls reach the service in any minute (a sliding window, not an average: the service counts
calls per token and minute). When a call arrives is not known, only that it does between its departure and its answer:
it holds its place from the one until a minute after the other, so that a slow network cannot crowd calls together. A
`Retry-After` closes the gate for everyone until it has passed. Background work, the back-fill, leaves a share of the
minute free for the polls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from exporter.clock import Clock
from exporter.errors import RateLimited
from exporter.models import ApiHook, ApiThrottled

#: A second more than the service's minute, since its clock and ours may not run alike.
PERIOD_SECONDS = 61.0


class PacingGate:
    """Counts calls; `passage` is entered when one more may leave."""

    def __init__(self, per_minute: int, clock: Clock, hook: ApiHook) -> None:
        self.per_minute = per_minute
        #: Calls a minute that background work leaves to the polls; never so many that it stands still.
        self.reserved = 0
        self._clock = clock
        self._hook = hook
        self._under_way = 0
        self._ended: deque[float] = deque()
        self._closed_until = float("-inf")

    def close_for(self, seconds: float) -> None:
        """No call leaves for `seconds`; a longer closure that is already in force stays."""
        self._closed_until = max(self._closed_until, self._clock.monotonic() + seconds)

    @asynccontextmanager
    async def passage(self, deadline: float, *, background: bool = False) -> AsyncIterator[None]:
        """Wait for a free place and hold it for the length of the call.

        Raises RateLimited when no place comes free before `deadline` (monotonic seconds).
        """
        await self._wait(deadline, background=background)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._ended.append(self._clock.monotonic())

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
        while self._ended and self._ended[0] <= now - PERIOD_SECONDS:
            self._ended.popleft()
        ceiling = max(1, self.per_minute - self.reserved) if background else self.per_minute
        return max(self._closed_until - now, self._crowded_seconds(ceiling, now), 0.0)

    def _crowded_seconds(self, ceiling: int, now: float) -> float:
        """How long all places are taken, at the least: those of calls under way for a whole period more."""
        surplus = self._under_way + len(self._ended) - ceiling
        if surplus < 0:
            return 0.0
        frees = self._ended[surplus] if surplus < len(self._ended) else now
        return frees + PERIOD_SECONDS - now

    def _excuse(self, wait: float) -> str:
        if self._closed_until > self._clock.monotonic():
            return f"the service asked for a pause that lasts another {wait:.0f} s"
        return (
            f"our own ceiling of {self.per_minute} calls a minute is used up for another {wait:.0f} s"
            " (GENESYS_REQUESTS_PER_MINUTE)"
        )
