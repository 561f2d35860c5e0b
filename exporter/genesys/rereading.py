"""Closed buckets of which rows were lost are asked for again.

History takes what is absent for zero and keeps it: one spoilt row would be hours without contacts. So an answer that
is not whole is a PayloadError, and the next one may be better. Rows that stay broken for long cost those rows alone,
as long as nothing else goes wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from exporter.clock import Clock
from exporter.errors import PayloadError
from exporter.genesys.decode import Rejects
from exporter.models import ApiHook, BucketBatch

#: A fault that strikes now and then is over at the second reading.
READINGS = 2
#: What was done without once is done without for so long after it was last seen.
KNOWN_SECONDS = 86_400.0


class Rereading:
    """Reads until an answer is whole, or answers have been spoilt for `patience_seconds`."""

    def __init__(self, hook: ApiHook, clock: Clock, patience_seconds: float) -> None:
        self._hook = hook
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._spoilt_since: float | None = None
        self._known: dict[str, float] = {}  # why rows are lost that are done without → until when

    async def batch(self, read: Callable[[Rejects], Awaitable[BucketBatch]]) -> BucketBatch:
        """What `read` gives when nothing is lost; what was left out is told each time. Raises PayloadError."""
        for _ in range(READINGS):
            rejects = Rejects()
            batch = await read(rejects)
            rejects.tell(self._hook)
            if self._is_good(rejects):
                return batch
        raise PayloadError(f"{rejects.lost.total()} figures of closed buckets could not be read; asking again")

    def _is_good(self, rejects: Rejects) -> bool:
        now = self._clock.monotonic()
        if not rejects.lost:
            self._spoilt_since = None
            return True
        if self._spoilt_since is None:
            self._spoilt_since = now
        known = all(now < self._known.get(reason, now) for reason in rejects.lost)
        if not known and now - self._spoilt_since < self._patience_seconds:
            return False
        self._known |= dict.fromkeys(rejects.lost, now + KNOWN_SECONDS)
        return True
