"""The call budget: what the settings need a minute, held against the org as its size becomes known.

In: settings, and the plan of calls that the source makes for a directory. Out: the calls a minute that polls need,
which the back-fill leaves free, or a SettingsError with the numbers and the ways out. Asks no API.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import timedelta

from exporter.clock import Clock
from exporter.errors import SettingsError
from exporter.genesys.pacing import PacingGate
from exporter.genesys.source import CallPlan, Source
from exporter.models import QUEUES, Directory, PollReport
from exporter.poller import Rhythm
from exporter.settings import Settings

log = logging.getLogger(__name__)

#: The service's own limit on one client-credentials token.
SERVICE_CALLS_PER_MINUTE = 300


def rhythm_of(settings: Settings) -> Rhythm:
    return Rhythm(
        interval_seconds=settings.poll_interval_seconds,
        bucket_seconds=settings.bucket_seconds,
        settle_seconds=settings.settle_seconds,
        stale_after_seconds=settings.stale_after_seconds,
        baseline_seconds=settings.baseline_days * 86_400,
    )


def check_budget(plan: CallPlan, settings: Settings, queues: int) -> float:
    """Calls a minute that the configuration needs on average.

    Raises SettingsError, with the numbers, when GENESYS_REQUESTS_PER_MINUTE cannot hold them.
    """
    rhythm = rhythm_of(settings)
    needed = plan.per_minute(rhythm.interval_seconds, rhythm.bucket_seconds, rhythm.directory_seconds)
    if needed <= settings.requests_per_minute:
        return needed
    raise SettingsError([_budget_fault(plan, settings, queues, needed)])


def _budget_fault(plan: CallPlan, settings: Settings, queues: int, needed: float) -> str:
    """What cannot fit, in numbers, and the ways out."""
    interval, ceiling = settings.poll_interval_seconds, settings.requests_per_minute
    polled = ", ".join(f"{calls} {endpoint}" for endpoint, calls in plan.per_poll.items() if calls)
    polls_need = 60 * sum(plan.per_poll.values())
    room = ceiling - (needed - polls_need / interval)
    slower = f", or EXPORTER_POLL_INTERVAL={math.ceil(polls_need / room)}" if room > 0 else ""
    return (
        f"GENESYS_REQUESTS_PER_MINUTE: {ceiling} cannot hold the {needed:.1f} calls a minute that {queues} queues need"
        f" ({polled} calls in every poll, every {interval:g} s); write at least {math.ceil(needed * 1.1)}"
        f" (the service allows {SERVICE_CALLS_PER_MINUTE} for one client){slower}, or select fewer queues"
    )


class BudgetWatch:
    """Holds the call budget against the size of the org: refuses at the first look, warns when it has outgrown it."""

    def __init__(self, settings: Settings, source: Source, gate: PacingGate, clock: Clock) -> None:
        self._settings, self._source, self._gate, self._clock = settings, source, gate, clock
        #: When the next poll begins, in monotonic seconds.
        self.next_due: Callable[[], float] = clock.monotonic
        self._plan: CallPlan | None = None
        self._rhythm = rhythm_of(settings)
        gate.expected = self.expected
        self._fitted = False
        self._warned = False
        self._directory: Directory | None = None
        self._queues = 0

    def on_directory(self, directory: Directory) -> None:
        self._look(directory, len(directory.queues))

    def on_report(self, report: PollReport) -> None:
        """Where there is no directory, the window tells how many queues there are."""
        if QUEUES not in self._source.datasets and report.outcome != "failed":
            self._look(None, report.rows)

    def expected(self, seconds: float) -> float:
        """The calls that polls will want to make in so many seconds from now; 0 while the org's size is not known."""
        if self._plan is None:
            return 0.0
        rhythm, now = self._rhythm, self._clock.now()
        until_due = max(0.0, self.next_due() - self._clock.monotonic())
        polls = math.floor((seconds - until_due) / rhythm.interval_seconds) + 1 if seconds >= until_due else 0
        closes = rhythm.last_closed(now + timedelta(seconds=seconds)) - rhythm.last_closed(now)
        return (
            polls * sum(self._plan.per_poll.values())
            + closes // rhythm.bucket_seconds * self._plan.per_history
            + seconds / rhythm.directory_seconds * self._plan.per_directory
        )

    def check(self, settings: Settings) -> None:
        """Raises SettingsError where `settings` ask for more, or leave less room, than the org as it is now bears."""
        before, after = ((each.requests_per_minute, each.poll_interval_seconds) for each in (self._settings, settings))
        if before != after:
            check_budget(self._source.plan(self._directory), settings, self._queues)

    def follow(self, settings: Settings) -> None:
        """Judges by `settings` from now on."""
        self._settings = settings
        if self._fitted:
            self._look(self._directory, self._queues)

    def _look(self, directory: Directory | None, queues: int) -> None:
        self._directory, self._queues = directory, queues
        self._plan, self._rhythm = self._source.plan(directory), rhythm_of(self._settings)
        try:
            needed = check_budget(self._plan, self._settings, queues)
        except SettingsError as error:
            if not self._fitted:
                raise
            if not self._warned:
                log.warning("the org has outgrown the call budget: %s", error)
            self._warned = True
            return
        self._fitted, self._warned = True, False
        self._gate.reserved = math.ceil(needed)
