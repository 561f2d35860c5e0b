"""The loop: fixed deadlines, one poll at a time, one report for every poll.

A poll asks the source for what is due, keeps the latest good reading of every dataset (`datasets`), lets the analyst
build a snapshot and hands it to the publisher. A dataset that fails keeps its last reading and its age; the others go
on. What can be expected to go wrong ends up in the PollReport, never in an exception. The poller knows no HTTP, no
statistics and no format.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from exporter.clock import Clock
from exporter.datasets import Datasets, Readings
from exporter.errors import SettingsError
from exporter.models import (
    HISTORY,
    OBSERVATIONS,
    QUEUES,
    WINDOW,
    BucketBatch,
    DatasetState,
    Directory,
    ObservationTable,
    PollReport,
    QueueTable,
    Snapshot,
    Window,
)

log = logging.getLogger(__name__)

#: The share of an interval in which the API must have answered; the rest is for scoring and rendering.
BUDGET_SHARE = 0.9
#: The share of that which the first directory may take before anything else is asked for.
DIRECTORY_SHARE = 0.5
#: From so many rows on, the first window is shown at once: the rest of the first poll, a hundred calls for observations
#: and the last two hours of every queue, takes longer than everything before.
MANY_ROWS = 1000
#: Another exporter may poll in place of one that has neither begun to ask nor to score for so long.
HUNG_SECONDS, HUNG_INTERVALS = 30.0, 1.4
#: Events still land in a bucket after it has closed: this much of the past is asked for again at every close.
CORRECTED_SECONDS = 2 * 3600


class Source(Protocol):
    """What the poller asks of the API client; see `exporter.genesys.source`."""

    datasets: frozenset[str]

    @property
    def window_needs_directory(self) -> bool: ...

    def current_window(self, now: datetime) -> Window: ...

    def buckets_per_request(self, directory: Directory | None) -> int: ...

    async def directory(self, deadline: float) -> Directory: ...

    async def window(self, window: Window, directory: Directory | None, deadline: float) -> QueueTable: ...

    async def buckets(
        self, span: Window, directory: Directory | None, deadline: float, *, background: bool = False
    ) -> BucketBatch: ...

    async def observations(self, directory: Directory | None, deadline: float) -> ObservationTable: ...


class Analyst(Protocol):
    """What the poller asks of the analysis; all of it may block and is called in a thread."""

    def merge(self, batch: BucketBatch) -> object: ...

    def snapshot(
        self,
        *,
        now: datetime,
        directory: Directory | None,
        window: QueueTable | None,
        observations: ObservationTable | None,
        datasets: Mapping[str, DatasetState],
    ) -> Snapshot: ...


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The times that govern polling, in seconds."""

    interval_seconds: float
    bucket_seconds: int
    settle_seconds: float
    stale_after_seconds: float
    baseline_seconds: int
    directory_seconds: float = 600.0

    def last_closed(self, now: datetime) -> int:
        """The end of the newest bucket that has closed and settled, in epoch seconds."""
        settled = int(now.timestamp() - self.settle_seconds)
        return settled - settled % self.bucket_seconds


class Poller:
    """Polls for ever; `republish` may be called in between when only the baseline has changed."""

    def __init__(
        self,
        source: Source,
        analyst: Analyst,
        publish: Callable[[Snapshot], Awaitable[None]],
        *,
        rhythm: Rhythm,
        clock: Clock,
        on_report: Callable[[PollReport], None] = lambda report: None,
        on_skipped: Callable[[int], None] = lambda polls: None,
        on_directory: Callable[[Directory], None] = lambda directory: None,
    ) -> None:
        self._source = source
        self._analyst = analyst
        self._publish = publish
        self._rhythm = rhythm
        self._clock = clock
        self._on_report = on_report
        self._on_skipped = on_skipped
        self._on_directory = on_directory
        self._publishing = asyncio.Lock()
        self._directory_due = float("-inf")
        self._history_end = 0
        self._datasets = Datasets(source.datasets, clock, rhythm.stale_after_seconds)
        self._beat = self._progress = clock.monotonic()
        self._met = self._due = self._beat  # the deadline of the latest poll, and of the next
        self._first_due = self._beat
        self._nap: asyncio.Future[None] | None = None
        self._unnamed: frozenset[str] = frozenset()
        #: Set after the first poll, whatever became of it: from then on the back-fill may start.
        self.first_poll_done = asyncio.Event()

    @property
    def readings(self) -> Readings:
        """The latest good reading of every dataset."""
        return self._datasets.readings

    @property
    def next_due(self) -> float:
        """When the next poll is to begin, in monotonic seconds."""
        return self._due if self._due > self._clock.monotonic() else self._met + self._rhythm.interval_seconds

    async def run(self) -> None:
        """Poll at fixed deadlines until cancelled; a deadline missed is skipped and counted, never made up for."""
        self._due = max(self._clock.monotonic(), self._first_due)
        while True:
            await self._until_due()
            self._met, self._beat, rhythm = self._due, self._clock.monotonic(), self._rhythm
            self._progress = self._beat
            await self._poll_or_report(self._beat + BUDGET_SHARE * rhythm.interval_seconds)
            if self._rhythm is not rhythm:
                self._due = self._next_by_new_rhythm()
                continue
            skipped = max(0, math.floor((self._clock.monotonic() - self._met) / rhythm.interval_seconds))
            if skipped:
                self._on_skipped(skipped)
                log.debug("the poll took longer than its interval: %d skipped", skipped)
            self._due = self._met + (skipped + 1) * rhythm.interval_seconds

    def follow(self, rhythm: Rhythm) -> None:
        """Polls by another rhythm from now on: the next deadline is one new interval after the latest, or now.

        Readings that are there may be shown for as long as the new rhythm says.
        """
        self._rhythm = rhythm
        self._datasets.follow(rhythm.stale_after_seconds)
        if self._nap is not None:
            self._due, self._beat = self._next_by_new_rhythm(), self._clock.monotonic()
            self._nap.cancel()

    def take_over(self, readings: Readings, last_poll: float | None) -> None:
        """Goes on where another exporter of the same org stopped, at `last_poll` (monotonic seconds, ours)."""
        self._datasets.take_over(readings)
        now = self._clock.monotonic()
        self._directory_due = now + self._rhythm.directory_seconds if readings.directory else float("-inf")
        end = readings.states[HISTORY].data_end if HISTORY in readings.states else None
        self._history_end = 0 if end is None else int(end.timestamp())
        self._beat = self._progress = now
        self._first_due = now if last_poll is None else max(now, last_poll + self._rhythm.interval_seconds)

    def progressing(self) -> bool:
        """False when asking or scoring has been under way for much longer than it may take: something hangs."""
        return self._clock.monotonic() - self._progress < max(
            HUNG_SECONDS, HUNG_INTERVALS * self._rhythm.interval_seconds
        )

    async def _rest(self, seconds: float) -> None:
        await self._clock.sleep(max(0.0, seconds))

    def _next_by_new_rhythm(self) -> float:
        return max(self._met + self._rhythm.interval_seconds, self._clock.monotonic())

    async def _until_due(self) -> None:
        """Sleep until the next deadline, wherever `follow` moves it meanwhile."""
        while True:
            self._nap = asyncio.ensure_future(self._rest(self._due - self._clock.monotonic()))
            try:
                await asyncio.wait([self._nap])
                if not self._nap.cancelled():
                    return
            finally:
                self._nap.cancel()
                self._nap = None

    async def _poll_or_report(self, deadline: float) -> None:
        """A defect of ours costs one poll, not the exporter; settings that cannot work end it."""
        at, started = self._clock.now(), self._clock.monotonic()
        try:
            await self.poll_once(deadline)
        except SettingsError:
            raise
        except Exception:
            log.exception("a poll failed in a way that was not foreseen; please report this")
            failures, seconds = {WINDOW: "internal"}, self._clock.monotonic() - started
            self._on_report(PollReport(at, seconds, "failed", 0, failures, {WINDOW: "internal error"}))
            self.first_poll_done.set()

    def alive(self) -> bool:
        """False when the loop has not come round for three intervals: something hangs."""
        return self._clock.monotonic() - self._beat < max(90.0, 3 * self._rhythm.interval_seconds)

    async def poll_once(self, deadline: float) -> PollReport:
        """One poll, whose calls end by `deadline` (monotonic seconds)."""
        started, at = self._clock.monotonic(), self._clock.now()
        self._datasets.begin()
        parts = [self._poll_observations, self._poll_history]
        names_until = deadline
        if self.readings.directory is None:  # names come first; where they fail there must be time for the rest
            names_until = started + DIRECTORY_SHARE * (deadline - started)
        if not self.first_poll_done.is_set():
            await self._show_first_window(names_until, deadline)
        elif self.readings.directory is None:
            await self._poll_directory(names_until)
            parts.append(self._poll_window)
        else:
            parts += [self._poll_window, self._poll_directory]
        await asyncio.gather(*(part(deadline) for part in parts))
        self._ask_for_names()
        self._progress = self._clock.monotonic()
        await self.republish()
        report = self._datasets.report(at, self._clock.monotonic() - started)
        self._on_report(report)
        self.first_poll_done.set()
        return report

    async def republish(self) -> None:
        """Score the latest readings against the baseline as it is now, and swap the snapshot in."""
        async with self._publishing:
            snapshot = await asyncio.to_thread(
                self._analyst.snapshot,
                now=self._clock.now(),
                directory=self.readings.directory,
                window=self.readings.window,
                observations=self.readings.observations,
                datasets=dict(self.readings.states),
            )
            await self._publish(snapshot)

    async def _show_first_window(self, names_until: float, deadline: float) -> None:
        """A large org's first window is shown before its history and what happens now are asked for."""
        if self._source.window_needs_directory:
            await self._poll_directory(names_until)
            await self._poll_window(deadline)
        else:
            await asyncio.gather(self._poll_directory(names_until), self._poll_window(deadline))
        if self.readings.window is not None and len(self.readings.window.keys) >= MANY_ROWS:
            await self.republish()

    async def _poll_directory(self, deadline: float) -> None:
        if QUEUES not in self._source.datasets or self._clock.monotonic() < self._directory_due:
            return
        directory = await self._datasets.read(QUEUES, self._source.directory(deadline))
        if directory is not None:
            self.readings.directory = directory = _with_those_known(directory, self.readings.directory)
            self._directory_due = self._clock.monotonic() + self._rhythm.directory_seconds
            self._datasets.succeed(QUEUES, self._clock.now(), self._rhythm.directory_seconds)
            self._on_directory(directory)

    async def _poll_window(self, deadline: float) -> None:
        window = self._source.current_window(self._clock.now())
        table = await self._datasets.read(WINDOW, self._source.window(window, self.readings.directory, deadline))
        if table is not None:
            self.readings.window = table
            self._datasets.succeed(WINDOW, window.end)

    def _ask_for_names(self) -> None:
        """A queue that the directory does not know may be new: ask for the directory at the next poll, once."""
        if (table := self.readings.window) is None:
            return
        known = self.readings.directory.queues if self.readings.directory else table.names
        unnamed = frozenset(key.queue_id for key in table.keys if key.queue_id not in known)
        if unnamed - self._unnamed:
            self._directory_due = float("-inf")
        self._unnamed |= unnamed

    async def _poll_observations(self, deadline: float) -> None:
        if OBSERVATIONS not in self._source.datasets:
            return
        table = await self._datasets.read(OBSERVATIONS, self._source.observations(self.readings.directory, deadline))
        if table is not None:
            self.readings.observations = table
            self._datasets.succeed(OBSERVATIONS, table.at)

    async def _poll_history(self, deadline: float) -> None:
        """The newest closed buckets, when one has closed since the last time; the back-fill cares for the rest."""
        end = self._rhythm.last_closed(self._clock.now())
        if end == self._history_end:  # an earlier end means that the wall clock was set back
            return
        if await self._datasets.read(HISTORY, self._merge_until(end, deadline)) is not None:
            self._history_end = end
            next_one = self._rhythm.bucket_seconds + self._rhythm.settle_seconds
            self._datasets.succeed(HISTORY, Window.of_epoch(0, end).end, next_one)

    async def _merge_until(self, end: int, deadline: float) -> int:
        bucket = self._rhythm.bucket_seconds
        buckets = max(1, CORRECTED_SECONDS // bucket)
        step = self._source.buckets_per_request(self.readings.directory)
        for last in range(buckets, 0, -step):
            span = Window.of_epoch(end - last * bucket, end - max(0, last - step) * bucket)
            batch = await self._source.buckets(span, self.readings.directory, deadline)
            await asyncio.to_thread(self._analyst.merge, batch)
        return buckets


def _with_those_known(directory: Directory, known: Directory | None) -> Directory:
    """Where some of the queues could not be read, none that was there is taken for gone."""
    if directory.whole or known is None:
        return directory
    return Directory({**known.queues, **directory.queues})
