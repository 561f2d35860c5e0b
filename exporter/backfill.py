"""The baseline of the first start, and every gap after it: closed buckets that history does not hold yet.

Newest first, a day at a time or less, in the places of the minute that the polls leave free. Scores appear as soon
as there are enough samples; a restart asks only for what is missing. A failure waits and goes on: nothing that was
merged is asked for twice. An answer that is too large or does not come is asked for in smaller portions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from exporter.clock import Clock
from exporter.errors import AuthError, GenesysError, PayloadError, QueryError, Unavailable
from exporter.models import BucketBatch, Directory, Window
from exporter.poller import Rhythm, Source

log = logging.getLogger(__name__)

#: One answer, with its retries, must come within this time.
CALL_BUDGET_SECONDS = 170.0
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
#: A bucket that cannot be had even alone must not hold up the older ones: it is left out for so long.
REFUSED_SECONDS = 3600.0
#: New gaps are looked for when a bucket has closed, but at least this often.
LONGEST_LOOK_SECONDS = 3600.0
#: After every success a request may cover this part more, so that one bad minute does not slow down the rest.
GROWTH = 4
#: Scores are brought up to date while the back-fill goes on, but not so often that it is slowed down.
REPUBLISH_SECONDS = 5.0


class HistoryKeeper(Protocol):
    """What the back-fill asks of the analysis; all of it may block and is called in a thread."""

    def missing(self, since_seconds: int, until_seconds: int) -> Sequence[int]: ...

    def merge(self, batch: BucketBatch) -> object: ...

    def complete(self) -> object: ...

    def score_past(self) -> object: ...


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
        on_missing: Callable[[int], None] = lambda buckets: None,
    ) -> None:
        self._source = source
        self._keeper = keeper
        self._rhythm = rhythm
        self._clock = clock
        self._directory = directory
        self._republish = republish
        self._progress = progress
        self._on_missing = on_missing
        self._chunk = 10**9  # buckets a request; shrinks when an answer proves too large, grows while all goes well
        self._refused: dict[int, float] = {}  # single buckets that cannot be had: start → when to ask again
        self._completed = False
        self._failing: str | None = None

    def follow(self, rhythm: Rhythm) -> None:
        """Looks for gaps by another rhythm from now on."""
        self._rhythm = rhythm

    async def run(self) -> None:
        """Fill all gaps, then look for new ones now and then, until cancelled; a defect of ours ends one look alone."""
        while True:
            try:
                await self._fill()
            except Exception:
                log.exception("the back-fill failed in a way that was not foreseen; please report this")
                await self._clock.sleep(LONGEST_PAUSE_SECONDS)
            else:
                await self._clock.sleep(min(self._rhythm.bucket_seconds, LONGEST_LOOK_SECONDS))

    async def _fill(self) -> None:
        total, pause, shown = 0, FIRST_PAUSE_SECONDS, self._clock.monotonic()
        merged: Window | None = None
        while gaps := await self._gaps():
            total = max(total, len(gaps))
            self._progress(total - len(gaps), total)
            span = self._next_span(gaps)
            if span == merged:  # history does not keep what it is given: no reason to hammer the service
                pause = await self._wait(pause)
            if not await self._fetch(span):
                pause = await self._wait(pause)
                continue
            pause = pause if span == merged else FIRST_PAUSE_SECONDS
            merged = span
            shown = await self._show(shown)
        if total:
            self._progress(total, total)
        if total or not self._completed:
            await asyncio.to_thread(self._keeper.complete)
            await self._republish()
            self._completed = True
            await asyncio.to_thread(self._keeper.score_past)

    async def _wait(self, pause: float) -> float:
        """Wait for `pause` seconds; how long to wait next."""
        await self._clock.sleep(pause)
        return min(LONGEST_PAUSE_SECONDS, 2 * pause)

    async def _show(self, shown: float) -> float:
        """Bring the scores up to date where the last time, `shown`, is long enough ago; when that was done last."""
        if self._clock.monotonic() - shown <= REPUBLISH_SECONDS:
            return shown
        await self._republish()
        return self._clock.monotonic()

    async def _gaps(self) -> Sequence[int]:
        """Starts of the missing buckets of the baseline, newest first, without those that were just refused."""
        end, now = self._rhythm.last_closed(self._clock.now()), self._clock.monotonic()
        missing = await asyncio.to_thread(self._keeper.missing, end - self._rhythm.baseline_seconds, end)
        self._on_missing(len(missing))
        self._refused = {start: until for start, until in self._refused.items() if now < until}
        return [start for start in missing if start not in self._refused]

    def _next_span(self, gaps: Sequence[int]) -> Window:
        """The newest run of missing buckets, as long as one request may be."""
        bucket = self._rhythm.bucket_seconds
        most = min(self._chunk, self._source.buckets_per_request(self._directory()))
        length = 1
        while length < min(most, len(gaps)) and gaps[length] == gaps[length - 1] - bucket:
            length += 1
        return Window.of_epoch(gaps[length - 1], gaps[0] + bucket)

    async def _fetch(self, span: Window) -> bool:
        """Whether `span` is dealt with: merged, or refused in a way that time will not mend."""
        deadline = self._clock.monotonic() + CALL_BUDGET_SECONDS
        try:
            batch = await self._source.buckets(span, self._directory(), deadline, background=True)
        except GenesysError as error:
            return self._note_failure(error, span)
        await asyncio.to_thread(self._keeper.merge, batch)
        self._chunk += max(1, self._chunk // GROWTH)
        if self._failing is not None:
            log.log(logging.DEBUG if self._failing == AuthError.reason else logging.INFO, "back-fill: works again")
            self._failing = None
        return True

    def _note_failure(self, error: GenesysError, span: Window) -> bool:
        if self._failing != error.reason:
            known = isinstance(error, AuthError)  # the polls meet the same refusal and say so
            log.log(logging.DEBUG if known else logging.WARNING, "back-fill: %s; it goes on by itself", error)
        self._failing = error.reason
        buckets = (span.end_seconds - span.start_seconds) // self._rhythm.bucket_seconds
        if isinstance(error, PayloadError | QueryError | Unavailable):
            self._chunk = max(1, buckets // 2)
        if buckets > 1 or not isinstance(error, PayloadError | QueryError):
            return False
        self._refused[span.start_seconds] = self._clock.monotonic() + REFUSED_SECONDS
        return isinstance(error, QueryError)
