"""Closed buckets of which rows were lost are asked for again.

History takes what is absent for zero, and keeps it: one spoilt row would be a day without contacts. Rows that stay
broken cost those rows alone, and no more calls until an answer has been whole again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from exporter.genesys.decode import Rejects
from exporter.models import ApiHook, BucketBatch

#: Readings of one span: a fault that comes and goes is over by then.
MAX_READINGS = 3


class Rereading:
    """Reads until an answer is whole, or has shown that it will not be."""

    def __init__(self, hook: ApiHook) -> None:
        self._hook = hook
        self._readings = MAX_READINGS

    async def batch(self, read: Callable[[Rejects], Awaitable[BucketBatch]]) -> BucketBatch:
        """What `read` gives when nothing was lost, else its last answer; what was left out is told each time."""
        for _ in range(self._readings):
            rejects = Rejects()
            batch = await read(rejects)
            rejects.tell(self._hook)
            if not rejects.lost:
                self._readings = MAX_READINGS
                return batch
        self._readings = 1
        return batch
