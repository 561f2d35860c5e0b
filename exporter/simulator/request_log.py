"""What the simulated org was asked: a record of every request, for tests and for counting calls.

The server appends; the org forgets the oldest. Wall times are of the org's clock, monotonic ones of the machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson


@dataclass(slots=True)
class LoggedRequest:
    """`status` is None while the answer is under way, and where the connection was cut before one."""

    endpoint: str
    method: str
    path: str
    query: str
    raw_body: bytes
    at: datetime
    monotonic_seconds: float
    client_id: str | None = None
    status: int | None = None
    faults: list[str] = field(default_factory=list)  # kinds that struck it

    @property
    def body(self) -> Any:
        """Decoded JSON; the text where it is none; None where it is empty."""
        if not self.raw_body:
            return None
        try:
            return orjson.loads(self.raw_body)
        except orjson.JSONDecodeError:
            return self.raw_body.decode("utf-8", "replace")


def most_in_any_minute(requests: Sequence[LoggedRequest]) -> int:
    """The largest number of requests that any 60 seconds of wall time hold."""
    most, recent = 0, deque[datetime]()
    for moment in sorted(request.at for request in requests):
        recent.append(moment)
        while recent[0] <= moment - timedelta(minutes=1):
            recent.popleft()
        most = max(most, len(recent))
    return most
