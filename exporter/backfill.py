"""The baseline of the first start, and every gap after it: closed buckets that history does not hold yet.

Newest first, a day at a time or less, in the places of the minute that the polls leave free. Scores appear as soon
as there are enough samples; a restart asks only for what is missing. A failure waits and goes on: nothing that was
merged is asked for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from exporter.clock import Clock
from exporter.errors import GenesysError, PayloadError, QueryError
from exporter.models import BucketBatch, Directory, Window
from exporter.poller import Rhythm, Source

log = logging.getLogger(__name__)

#: One answer, with its retries, must come within this time.
CALL_BUDGET_SECONDS = 170.0
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
#: Scores are brought up to date while the back-fill goes on, but not so often that it is slowed down.
REPUBLISH_SECONDS = 5.0


class HistoryKeeper(Protocol):
    """What the back-fill asks of the analysis; all of it may block and is called in a thread."""

    def missing(self, since_seconds: int, until_seconds: int) -> Sequence[int]: ...

    def merge(self, batch: BucketBatch) -> object: ...

    def complete(self) -> object: ...


class Backfill:
    """Fetches what history lacks, until cancelled."""

    def __init__(
        self,
        source: Source,
        keeper: HistoryKeeper,
        *,
        rhythm: Rhythm,
        clock: Clock,
        directory: Callable[[], Directory | None],
        republish: Callable[[], Awaitable[None]],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._source = source
        self._keeper = keeper
        self._rhythm = rhythm
        self._clock = clock
        self._directory = directory
        self._republish = republish
        self._progress = progress
        self._chunk = 10**9  # buckets a request; grows smaller when an answer proves too large
        self._failing: str | None = None

    async def run(self) -> None:
        """Fill all gaps, then look for new ones once per bucket length; cancelled at the end."""
        while True:
            await self._fill()
            await self._clock.sleep(self._rhythm.bucket_seconds)

    async def _fill(self) -> None:
        total, pause, shown = 0, FIRST_PAUSE_SECONDS, self._clock.monotonic()
        while gaps := await self._gaps():
            total = max(total, len(gaps))
            self._progress(total - len(gaps), total)
            if await self._fetch(self._next_span(gaps)):
                pause = FIRST_PAUSE_SECONDS
            else:
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
            if self._clock.monotonic() - shown > REPUBLISH_SECONDS:
                await self._republish()
                shown = self._clock.monotonic()
        if total:
            self._progress(total, total)
        await asyncio.to_thread(self._keeper.complete)
        await self._republish()

    async def _gaps(self) -> Sequence[int]:
        """Starts of the missing buckets of the baseline, newest first."""
        end = self._rhythm.last_closed(self._clock.now())
        return await asyncio.to_thread(self._keeper.missing, end - self._rhythm.baseline_seconds, end)

    def _next_span(self, gaps: Sequence[int]) -> Window:
        """The newest run of missing buckets, as long as one request may be."""
        bucket = self._rhythm.bucket_seconds
        most = min(self._chunk, self._source.buckets_per_request(self._directory()))
        length = 1
        while length < min(most, len(gaps)) and gaps[length] == gaps[length - 1] - bucket:
            length += 1
        return Window.of_epoch(gaps[length - 1], gaps[0] + bucket)

    async def _fetch(self, span: Window) -> bool:
        deadline = self._clock.monotonic() + CALL_BUDGET_SECONDS
        try:
            batch = await self._source.buckets(span, self._directory(), deadline, background=True)
        except GenesysError as error:
            self._note_failure(error, span)
            return False
        await asyncio.to_thread(self._keeper.merge, batch)
        if self._failing is not None:
            log.info("back-fill: works again")
            self._failing = None
        return True

    def _note_failure(self, error: GenesysError, span: Window) -> None:
        if isinstance(error, PayloadError | QueryError):
            buckets = (span.end_seconds - span.start_seconds) // self._rhythm.bucket_seconds
            self._chunk = max(1, buckets // 2)
        if self._failing != error.reason:
            log.warning("back-fill: %s; it goes on by itself", error)
        self._failing = error.reason
