"""The two contracts behind one face: what a poll asks for, whichever contract answers.

    directory → window → observations, and buckets for history

Times come in as Windows and deadlines (monotonic seconds), tables go out; every failure is a GenesysError. A
source holds no results: what the last good poll had is kept by the poller.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Protocol

from exporter.clock import Clock
from exporter.errors import GenesysError, PagingError, QueryError, ScopeError
from exporter.genesys import aggregates, observations, queues, summary
from exporter.genesys.circuit import Circuit
from exporter.genesys.client import AGGREGATES, ApiClient, in_thread
from exporter.genesys.decode import Rejects
from exporter.genesys.intervals import BUCKET_SECONDS
from exporter.genesys.rereading import Rereading
from exporter.genesys.selection import Selection
from exporter.genesys.silence import Silence, told_by_buckets, told_by_window
from exporter.models import (
    DATASETS,
    HISTORY,
    OBSERVATIONS,
    QUEUES,
    WINDOW,
    ApiHook,
    BucketBatch,
    Directory,
    ObservationTable,
    QueueTable,
    Window,
)

log = logging.getLogger(__name__)

#: One request of the back-fill covers a day at most, and about so many cells (buckets × queues): some 50 MB.
MAX_CELLS = 100_000
DAY_SECONDS = 86_400
#: How long answers may be spoilt before their broken rows are done without. A poll asks for the last two hours again
#: and again, so that within these nothing is lost by waiting; the back-fill asks for what nobody has yet.
POLL_PATIENCE_SECONDS = 7200.0
BACKFILL_PATIENCE_SECONDS = 600.0
#: Queues named in one aggregates query. No limit is documented; a request may have 512,000 bytes.
IDS_PER_REQUEST = 1000
#: The limit that the observations query is known to have, fallen back to where the larger batch is refused.
CAUTIOUS_IDS_PER_REQUEST = 200


@dataclass(frozen=True, slots=True)
class CallPlan:
    """How many calls the configuration needs."""

    per_poll: Mapping[str, int]  # endpoint → calls in every poll
    per_directory: int  # every ten minutes
    per_history: int  # whenever a bucket has closed

    def per_minute(self, interval_seconds: float, bucket_seconds: int, directory_seconds: float) -> float:
        """The average over a long time; the back-fill of the first start comes on top, in the minute's free places."""
        return 60.0 * (
            sum(self.per_poll.values()) / interval_seconds
            + self.per_directory / directory_seconds
            + self.per_history / bucket_seconds
        )


class Source(Protocol):
    """What the poller knows of the API."""

    datasets: frozenset[str]

    @property
    def window_needs_directory(self) -> bool:
        """Whether the directory says which queues to ask for; else a first window need not wait for names."""

    def settle(self, seconds: float) -> None:
        """Give the newest data so long to arrive, from the next window on."""

    def current_window(self, now: datetime) -> Window:
        """The window that a poll at `now` describes."""

    def plan(self, directory: Directory | None) -> CallPlan:
        """The calls that a directory of this size costs."""

    def buckets_per_request(self, directory: Directory | None) -> int:
        """How many closed buckets one back-fill request should cover."""

    async def directory(self, deadline: float) -> Directory:
        """The selected queues."""

    async def window(self, window: Window, directory: Directory | None, deadline: float) -> QueueTable:
        """The current window of every selected queue."""

    async def buckets(
        self, span: Window, directory: Directory | None, deadline: float, *, background: bool = False
    ) -> BucketBatch:
        """The closed buckets in `span`, which begins and ends on bucket boundaries."""

    async def observations(self, directory: Directory | None, deadline: float) -> ObservationTable:
        """What is happening now."""


class _Asking:
    """What both contracts go by: whom they ask, for what, and what they know of the answers so far."""

    def __init__(
        self, client: ApiClient, selection: Selection, bucket: str, settle_seconds: float, clock: Clock
    ) -> None:
        self._client = client
        self._selection = selection
        self._bucket = bucket
        self._bucket_seconds = BUCKET_SECONDS[bucket]
        self._settle = timedelta(seconds=settle_seconds)
        self._clock = clock
        self._circuits = {dataset: Circuit(clock, ScopeError) for dataset in DATASETS}
        self._rereading = _rereading(client.hook, clock)
        self._silence = Silence(clock, POLL_PATIENCE_SECONDS)

    def settle(self, seconds: float) -> None:
        """Give the newest data so long to arrive, from the next window on."""
        self._settle = timedelta(seconds=seconds)


class AggregatesSource(_Asking):
    """Genesys Cloud's public API."""

    datasets = frozenset(DATASETS)

    def __init__(
        self, client: ApiClient, selection: Selection, bucket: str, settle_seconds: float, clock: Clock
    ) -> None:
        super().__init__(client, selection, bucket, settle_seconds, clock)
        self._window_report = aggregates.Report(
            aggregates.WINDOW_METRICS, bucket=None, media_types=selection.media_types
        )
        self._bucket_report = aggregates.Report(
            aggregates.BUCKET_METRICS, bucket=bucket, media_types=selection.media_types
        )
        self._ids_per_request = IDS_PER_REQUEST
        self._short: tuple[int, int | None] | None = None  # queues that came and that were counted, at the last listing

    @property
    def window_needs_directory(self) -> bool:
        return self._selection.by_queue

    def current_window(self, now: datetime) -> Window:
        """One bucket's length ending `settle` before now, on whole seconds: complete at every poll."""
        end = int((now - self._settle).timestamp())
        return Window.of_epoch(end - self._bucket_seconds, end)

    def plan(self, directory: Directory | None) -> CallPlan:
        known = len(directory.queues if directory else self._selection.queue_ids)
        batches = math.ceil(known / self._ids_per_request) if self._selection.by_queue else 1
        spans = math.ceil(max(1, 2 * 3600 // self._bucket_seconds) / self.buckets_per_request(directory))
        per_poll = {"aggregates": batches, "observations": math.ceil(known / observations.QUEUES_PER_REQUEST)}
        return CallPlan(per_poll, max(1, math.ceil(known / queues.PAGE_SIZE)), batches * spans)

    def buckets_per_request(self, directory: Directory | None) -> int:
        known = max(1, len(directory.queues)) if directory else 1
        a_day = max(1, DAY_SECONDS // self._bucket_seconds)
        return max(1, min(a_day, MAX_CELLS // known))

    async def directory(self, deadline: float) -> Directory:
        with _guarded(self._circuits[QUEUES]):
            listing = await queues.fetch_queues(self._client, deadline)
            self._expect_all(listing)
            whole = not listing.lost and not listing.is_short
            return replace(self._selection.cut(listing.queues), whole=whole)

    def _expect_all(self, listing: queues.Listing) -> None:
        """A queue that is missing from the directory is taken for deleted. So the first listing that is shorter than
        the service counts is a fault; with one that stays so it counts otherwise than we do, and nobody is gone."""
        known, self._short = self._short, (len(listing.queues), listing.total)
        if listing.is_short and known != self._short:
            raise PagingError(f"queues: the last page ends after {len(listing.queues)} queues of {listing.total}")

    async def window(self, window: Window, directory: Directory | None, deadline: float) -> QueueTable:
        async def read() -> QueueTable:
            rejects = Rejects()
            bodies, asked = await self._query(self._window_report, window, directory, deadline)
            table = await in_thread(
                sum(map(len, bodies)), lambda: aggregates.parse_window(bodies, window, self._selection, rejects, asked)
            )
            rejects.tell(self._client.hook)
            return table

        with _guarded(self._circuits[WINDOW]):
            return await self._silence.believed(read, told_by_window)

    async def buckets(
        self, span: Window, directory: Directory | None, deadline: float, *, background: bool = False
    ) -> BucketBatch:
        async def read(rejects: Rejects) -> BucketBatch:
            bodies, asked = await self._query(self._bucket_report, span, directory, deadline, background=background)
            batch = await in_thread(
                sum(map(len, bodies)),
                lambda: aggregates.parse_buckets(bodies, span, self._bucket_seconds, self._selection, rejects, asked),
            )
            return replace(batch, about=frozenset(chain.from_iterable(asked))) if asked else batch

        with _guarded(self._circuits[HISTORY]):
            return await self._silence.believed(
                lambda: self._rereading[background].batch(read), told_by_buckets, background=background
            )

    async def observations(self, directory: Directory | None, deadline: float) -> ObservationTable:
        with _guarded(self._circuits[OBSERVATIONS]):
            ids = self._named_queues(directory)
            return await observations.fetch_observations(
                self._client, ids, self._selection, self._clock.now(), deadline
            )

    async def _query(
        self,
        report: aggregates.Report,
        window: Window,
        directory: Directory | None,
        deadline: float,
        *,
        background: bool = False,
    ) -> tuple[list[bytes], aggregates.Asked]:
        """The bodies of one report, and the queues that each is about: one body for the whole org, or one per batch
        where queues are selected."""
        if not self._selection.by_queue:
            body = report.body(window, ())
            answer = await self._client.send(AGGREGATES, deadline, body=body, background=background)
            return [answer], aggregates.EVERYTHING
        ids, size = self._named_queues(directory), self._ids_per_request
        try:
            return await self._query_batches(report, window, ids, size, deadline, background=background)
        except QueryError as error:
            if min(len(ids), size) <= CAUTIOUS_IDS_PER_REQUEST:
                raise
            refusal = str(error)
        size = CAUTIOUS_IDS_PER_REQUEST
        bodies = await self._query_batches(report, window, ids, size, deadline, background=background)
        if self._ids_per_request != size:
            log.warning("%s; from now on only %d queues a request are asked for", refusal, size)
        self._ids_per_request = size
        return bodies

    async def _query_batches(
        self,
        report: aggregates.Report,
        window: Window,
        ids: Sequence[str],
        size: int,
        deadline: float,
        *,
        background: bool,
    ) -> tuple[list[bytes], aggregates.Asked]:
        batches = [ids[i : i + size] for i in range(0, len(ids), size)]
        bodies = [
            await self._client.send(AGGREGATES, deadline, body=report.body(window, batch), background=background)
            for batch in batches
        ]
        return bodies, [frozenset(batch) for batch in batches]

    def _named_queues(self, directory: Directory | None) -> list[str]:
        """The ids to ask for. Raises GenesysError while names decide and none are known yet."""
        if directory is not None:
            return list(directory.queues)
        if self._selection.queue_ids and not self._selection.by_name:
            return list(self._selection.queue_ids)
        raise GenesysError("the queue directory is needed first, and it could not be fetched yet")


class SummarySource(_Asking):
    """The summary-query contract: whole queues, names in the answer itself, no directory and no observations."""

    datasets = frozenset({WINDOW, HISTORY})
    window_needs_directory = False

    def __init__(
        self, client: ApiClient, selection: Selection, bucket: str, settle_seconds: float, clock: Clock
    ) -> None:
        super().__init__(client, selection, bucket, settle_seconds, clock)
        self._report = summary.Report(bucket, selection.queue_ids)
        self._entities = 1  # of the newest bucket: how large the org is

    def current_window(self, now: datetime) -> Window:
        """The newest bucket that has closed and settled."""
        settled = int((now - self._settle).timestamp())
        end = settled - settled % self._bucket_seconds
        return Window.of_epoch(end - self._bucket_seconds, end)

    def plan(self, directory: Directory | None) -> CallPlan:
        pages = math.ceil(self._entities / summary.PAGE_SIZE)
        again = max(1, 2 * 3600 // self._bucket_seconds)
        return CallPlan({"summary": pages}, 0, math.ceil(self._entities * again / summary.PAGE_SIZE))

    def buckets_per_request(self, directory: Directory | None) -> int:
        a_day = max(1, DAY_SECONDS // self._bucket_seconds)
        return max(1, min(a_day, MAX_CELLS // max(1, self._entities)))

    async def directory(self, deadline: float) -> Directory:
        raise GenesysError("the summary contract has no queue directory")

    async def window(self, window: Window, directory: Directory | None, deadline: float) -> QueueTable:
        async def read() -> BucketBatch:
            rejects = Rejects()
            batch = await self._fetch(window, deadline, rejects, background=False)
            rejects.tell(self._client.hook)
            return batch

        with _guarded(self._circuits[WINDOW]):
            batch = await self._silence.believed(read, told_by_buckets)
        self._entities = max(1, len(batch.keys))
        return summary.to_window(batch)

    async def buckets(
        self, span: Window, directory: Directory | None, deadline: float, *, background: bool = False
    ) -> BucketBatch:
        async def read() -> BucketBatch:
            return await self._rereading[background].batch(
                lambda rejects: self._fetch(span, deadline, rejects, background=background)
            )

        with _guarded(self._circuits[HISTORY]):
            return await self._silence.believed(read, told_by_buckets, background=background)

    async def observations(self, directory: Directory | None, deadline: float) -> ObservationTable:
        raise GenesysError("the summary contract has no observations")

    async def _fetch(self, span: Window, deadline: float, rejects: Rejects, *, background: bool) -> BucketBatch:
        run = await summary.fetch_entities(self._client, self._report, span, deadline, background=background)
        return await in_thread(
            len(run) * 200, lambda: summary.to_buckets(run, span, self._bucket, self._selection, rejects)
        )


def _rereading(hook: ApiHook, clock: Clock) -> Mapping[bool, Rereading]:
    """By whether it is background work."""
    return {
        False: Rereading(hook, clock, POLL_PATIENCE_SECONDS),
        True: Rereading(hook, clock, BACKFILL_PATIENCE_SECONDS),
    }


@contextmanager
def _guarded(circuit: Circuit) -> Iterator[None]:
    """Hold a dataset's calls back while its circuit is open; tell the circuit how they ended."""
    circuit.check()
    try:
        yield
    except GenesysError as error:
        circuit.record(error)
        raise
    circuit.reset()
