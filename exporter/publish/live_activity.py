"""What the exporter itself is doing, for people: its last poll, the next one, the calls of the last minute, and
whether the disk takes its history.

In come the same records that the exporter's own metrics are counted from (`self_metrics` hands them on); out goes a
small document. Times are milliseconds since the epoch; what nobody has told is null. Nothing here polls or calls.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import Any

from exporter.clock import Clock
from exporter.models import ApiCalled, ApiEvent, PollReport, RateLimitSeen

MINUTE_SECONDS = 60.0


class Activity:
    """Remembers the last report and when calls were made.

    `poll_interval_seconds` and `calls_per_minute` are the exporter's settings, where its maker tells them.
    """

    def __init__(
        self, clock: Clock, *, poll_interval_seconds: float | None = None, calls_per_minute: float | None = None
    ) -> None:
        self._clock = clock
        self._interval_seconds = poll_interval_seconds
        self._calls_per_minute = calls_per_minute
        self._calls: deque[float] = deque()
        self._service: RateLimitSeen | None = None
        self._report: PollReport | None = None
        self._skipped = 0
        self._stored: bool | None = None

    def follow(self, poll_interval_seconds: float, calls_per_minute: float) -> None:
        """These settings hold from now on."""
        self._interval_seconds, self._calls_per_minute = poll_interval_seconds, calls_per_minute

    def on_api_event(self, event: ApiEvent) -> None:
        """One record from the API client."""
        if isinstance(event, ApiCalled):
            self._calls.append(self._clock.monotonic())
            self._forget()
        elif isinstance(event, RateLimitSeen):
            self._service = event

    def on_report(self, report: PollReport) -> None:
        """One poll ended."""
        self._report = report

    def on_polls_skipped(self, polls: int) -> None:
        """Deadlines passed while a poll was still under way."""
        self._skipped += polls

    def on_history(self, *, stored: bool) -> None:
        """Closed buckets are written to the file, or wait in memory."""
        self._stored = stored

    @property
    def history_stored(self) -> bool | None:
        """Whether closed buckets are written to the file; None where nobody has told."""
        return self._stored

    def document(self) -> dict[str, Any]:
        """What to tell at this moment."""
        self._forget()
        service = self._service
        return {
            "pollSeconds": self._interval_seconds,
            "nextPoll": self._next_poll(),
            "lastPoll": _told(self._report),
            "pollsSkipped": self._skipped,
            "calls": {"lastMinute": len(self._calls), "allowed": self._calls_per_minute},
            "service": {"allowed": service.allowed, "remaining": service.remaining} if service else None,
            "historyStored": self._stored,
        }

    def _forget(self) -> None:
        before = self._clock.monotonic() - MINUTE_SECONDS
        while self._calls and self._calls[0] <= before:
            self._calls.popleft()

    def _next_poll(self) -> int | None:
        """Polls begin at fixed deadlines: the first one after the last poll's end."""
        if self._report is None or self._interval_seconds is None:
            return None
        turns = int(self._report.duration_seconds // self._interval_seconds) + 1
        due = self._report.started + timedelta(seconds=turns * self._interval_seconds)
        return int(due.timestamp() * 1000)


def _told(report: PollReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "at": int(report.started.timestamp() * 1000),
        "seconds": round(report.duration_seconds, 3),
        "outcome": report.outcome,
    }
