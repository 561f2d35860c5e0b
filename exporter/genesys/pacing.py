"""One gate for every call of the client: the org's API budget is shared, and it is ours to respect.

At most `per_minute` calls leave in any minute (a sliding window, not an average: the service counts calls per
token and minute). A `Retry-After` closes the gate for everyone until it has passed. Background work, the
back-fill, leaves a share of the minute free for the polls.
"""

from __future__ import annotations

from collections import deque

from exporter.clock import Clock
from exporter.errors import RateLimited
from exporter.models import ApiHook, ApiThrottled

#: The service's minute and ours do not start together and calls take time to arrive: a second of margin keeps
#: any minute of the service's clock at or under the ceiling.
PERIOD_SECONDS = 61.0


class PacingGate:
    """Counts departures; `enter` returns when one more call may leave."""

    def __init__(self, per_minute: int, clock: Clock, hook: ApiHook) -> None:
        self.per_minute = per_minute
        #: Calls a minute that background work leaves to the polls; never so many that it stands still.
        self.reserved = 0
        self._clock = clock
        self._hook = hook
        self._departures: deque[float] = deque()
        self._closed_until = float("-inf")

    def close_for(self, seconds: float) -> None:
        """No call leaves for `seconds`; a longer closure that is already in force stays."""
        self._closed_until = max(self._closed_until, self._clock.monotonic() + seconds)

    async def enter(self, deadline: float, *, background: bool = False) -> None:
        """Wait for a free place and take it.

        Raises RateLimited when no place comes free before `deadline` (monotonic seconds).
        """
        waited = 0.0
        while (wait := self._wait_seconds(background=background)) > 0:
            if self._clock.monotonic() + wait > deadline:
                raise RateLimited(self._excuse(wait), retry_after_seconds=wait)
            await self._clock.sleep(wait)
            waited += wait
        self._departures.append(self._clock.monotonic())
        if waited:
            self._hook(ApiThrottled(waited))

    def _wait_seconds(self, *, background: bool) -> float:
        now = self._clock.monotonic()
        while self._departures and self._departures[0] <= now - PERIOD_SECONDS:
            self._departures.popleft()
        closed = self._closed_until - now
        ceiling = max(1, self.per_minute - self.reserved) if background else self.per_minute
        surplus = len(self._departures) - ceiling
        crowded = self._departures[surplus] + PERIOD_SECONDS - now if surplus >= 0 else 0.0
        return max(closed, crowded, 0.0)

    def _excuse(self, wait: float) -> str:
        if self._closed_until > self._clock.monotonic():
            return f"the service asked for a pause that lasts another {wait:.0f} s"
        return (
            f"our own ceiling of {self.per_minute} calls a minute is used up for another {wait:.0f} s"
            " (GENESYS_REQUESTS_PER_MINUTE)"
        )
