"""The service's rate limit: so many requests per token and minute.

A fixed window per token that opens with its first request. In: the token and the time of a call. Out: the
`inin-ratelimit-…` headers, or the 429 with the seconds until the window closes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.simulator.api_errors import too_many_requests

WINDOW = timedelta(minutes=1)


@dataclass(slots=True)
class _Window:
    opened: datetime
    count: int = 0


class RateLimit:
    """Counts calls by token."""

    def __init__(self, allowed_per_minute: int) -> None:
        self.allowed_per_minute = allowed_per_minute
        self._windows: dict[str, _Window] = {}

    def count(self, token: str, now: datetime) -> dict[str, str]:
        """Count one call; the headers of a success, or 429."""
        window = self._windows.get(token)
        if window is None or now >= window.opened + WINDOW:
            window = self._windows[token] = _Window(now)
        window.count += 1
        seconds_left = math.ceil((window.opened + WINDOW - now).total_seconds())
        if window.count > self.allowed_per_minute:
            raise too_many_requests(seconds_left)
        return {
            "inin-ratelimit-count": str(window.count),
            "inin-ratelimit-allowed": str(self.allowed_per_minute),
            "inin-ratelimit-reset": str(seconds_left),
        }
