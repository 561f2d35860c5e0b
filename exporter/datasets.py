"""How every dataset stands: its latest good reading, since when it fails, and what one poll has made of all.

In come the poller's calls to the API, one dataset each; out go their values, the states that a snapshot shows, one
line of log when something begins or ceases to fail, and a PollReport. Nothing that can be expected to go wrong leaves
here as an exception.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from exporter.clock import Clock
from exporter.errors import AuthError, GenesysError, RateLimited, SettingsError
from exporter.models import (
    HISTORY,
    WINDOW,
    DatasetState,
    Directory,
    ObservationTable,
    PollReport,
    QueueTable,
)

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class Readings:
    """The latest good reading of every dataset, and how each dataset stands."""

    directory: Directory | None = None
    window: QueueTable | None = None
    observations: ObservationTable | None = None
    states: dict[str, DatasetState] = field(default_factory=dict)


class _Defect(GenesysError):
    reason = "internal"


class Datasets:
    """Keeps `readings` of the datasets `names`; each may be shown `stale_after_seconds` longer than it lasts."""

    def __init__(self, names: Iterable[str], clock: Clock, stale_after_seconds: float) -> None:
        self._names = tuple(names)
        self._clock = clock
        self._stale_after_seconds = stale_after_seconds
        self._failures: dict[str, GenesysError] = {}
        self.readings = Readings(states={name: DatasetState() for name in self._names})

    def follow(self, stale_after_seconds: float) -> None:
        """What is there may be shown for as long as the new settings say."""
        longer = timedelta(seconds=stale_after_seconds - self._stale_after_seconds)
        self._stale_after_seconds = stale_after_seconds
        for name, state in self.readings.states.items():
            if state.stale_at is not None:
                self.readings.states[name] = replace(state, stale_at=state.stale_at + longer)

    def take_over(self, readings: Readings) -> None:
        """Goes on with the readings of another exporter of the same org."""
        self.readings = readings
        for name in self._names:
            readings.states.setdefault(name, DatasetState())

    def begin(self) -> None:
        """A poll begins."""
        self._failures = {}

    async def read(self, dataset: str, call: Awaitable[T]) -> T | None:
        """The value of `call`; None, and the dataset's state and the log say why, where it failed.

        A defect of ours, too, costs the dataset in which it is, and no other. Raises SettingsError alone.
        """
        try:
            return await call
        except SettingsError:
            raise
        except GenesysError as error:
            self._fail(dataset, error)
        except Exception as error:
            defect = _Defect("internal error; the log says more")
            known = self.readings.states[dataset].reason == defect.reason
            log.log(logging.DEBUG if known else logging.ERROR, "%s: please report this", dataset, exc_info=error)
            self._fail(dataset, defect)
        return None

    def succeed(self, dataset: str, data_end: datetime, next_due_seconds: float = 0.0) -> None:
        """A reading is in, whose data ends at `data_end`; the next one is due so many seconds from now."""
        before, now = self.readings.states[dataset], self._clock.now()
        if before.up is False:
            log.info("%s: works again", dataset)
        lasts = timedelta(seconds=next_due_seconds + self._stale_after_seconds)
        begins = data_end if dataset == HISTORY else now
        self.readings.states[dataset] = DatasetState(True, now, data_end, begins + lasts)

    def report(self, started: datetime, seconds: float) -> PollReport:
        """What became of the poll that began at `started`."""
        failed = self._failures
        outcome = "failed" if WINDOW in failed else "partial" if failed else "ok"
        hints = [e.retry_after_seconds for e in failed.values() if isinstance(e, RateLimited) and e.retry_after_seconds]
        return PollReport(
            started=started,
            duration_seconds=seconds,
            outcome=outcome,
            rows=len(self.readings.window.keys) if self.readings.window else 0,
            failures={dataset: error.reason for dataset, error in failed.items()},
            messages={dataset: str(error) for dataset, error in failed.items()},
            retry_after_seconds=max(hints, default=None),
        )

    def _fail(self, dataset: str, error: GenesysError) -> None:
        before = self.readings.states[dataset]
        self._failures[dataset] = error
        if (before.up is False and before.reason == error.reason) or self._is_told(error):
            log.debug("%s: still failing: %s", dataset, error)
        else:
            log.warning("%s: %s", dataset, error)
        self.readings.states[dataset] = replace(before, up=False, reason=error.reason, message=str(error))

    def _is_told(self, error: GenesysError) -> bool:
        """Credentials are the same for all datasets: that they are refused is said once."""
        states = self.readings.states.values()
        return isinstance(error, AuthError) and any(not each.up and each.reason == error.reason for each in states)
