"""What a leader hands to its followers, and what a follower makes of it: snapshots, readings, closed buckets.

In: each snapshot and batch of closed buckets as the leader has them; what stands in Redis. Out: the same snapshot at
every replica, and the same history. Buckets are shared before the snapshot that counts them. What cannot be written
now is written when Redis answers again; what a server forgot is written anew from history. Encoding and decoding happen
in worker threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from uuid import uuid4

import numpy as np

from exporter.analysis.analyst import Analyst
from exporter.analysis.history import MergeReport
from exporter.clock import Clock
from exporter.datasets import Readings
from exporter.errors import HistoryError
from exporter.models import BUCKET_COUNTS, BucketBatch, Directory, HistoryBucket, Lost, Snapshot
from exporter.replicas import wire
from exporter.replicas.frames import FrameError
from exporter.replicas.shared import LinkDown, Shared

log = logging.getLogger(__name__)

#: Buckets written or read in one go: a few MB at 20,000 queues.
BUCKETS_AT_A_TIME = 16
#: A follower takes old buckets for so long, then looks for a new snapshot, which is not to grow stale meanwhile.
CATCH_UP_SECONDS = 5.0
#: Old scores and buckets of a follower are looked after this often.
TIDY_SECONDS = 600.0


class _Refused(Exception):
    """The lease is not ours, or not yet: Redis holds what it held, and the next lease shares what is lacking."""


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """The newest of what the leader shared."""

    snapshot: Snapshot
    directory: str  # version of the directory that it was built with
    backfilled: bool = False  # the leader had fetched all there is


class Sharing:
    """See the module. `fence` is the leader's; it is not looked at while this replica follows."""

    def __init__(
        self,
        shared: Shared,
        analyst: Analyst,
        publish: Callable[[Snapshot], Awaitable[None]],
        readings: Callable[[], Readings],
        *,
        clock: Clock,
    ) -> None:
        """`publish` serves a snapshot here; `readings` are what the latest snapshot of ours was made of."""
        self._shared, self._analyst, self._publish, self._readings = shared, analyst, publish, readings
        self._clock = clock
        self._lock = Lock()
        self._closed: dict[int, tuple[BucketBatch, int]] = {}  # merged, not shared yet
        self._whole = False  # everything is to be compared with what stands in Redis
        self._fresh = asyncio.Event()
        self._snapshot: Snapshot | None = None
        self._directory: Directory | None = None
        self._directory_version = ""
        self._seen_id = 0
        self._own_ids = (0, 0)  # of the last snapshots that were shared and that were tried to
        self._versions: dict[int, str] = {}
        self._received: Received | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._tidy_due = float("-inf")
        self.fence = 0
        #: Whether all closed buckets that the leader has shared are here.
        self.caught_up = True
        analyst.on_merge.append(self._on_merge)

    # The leader's side.

    def begin(self, fence: int) -> None:
        """This replica leads: all that history holds shall stand in Redis."""
        self.fence, self._whole = fence, True
        self._fresh.set()

    def offer(self, snapshot: Snapshot) -> None:
        """A new snapshot was published here; it is shared soon, a newer one in its place."""
        self._snapshot = snapshot
        self._fresh.set()

    def _on_merge(self, batch: BucketBatch, report: MergeReport) -> None:
        touched = {*report.new, *report.changed}
        with self._lock:
            for row, start in enumerate(batch.starts.tolist()):
                if start in touched:
                    self._closed[start] = batch, row

    async def run(self) -> None:
        """Share what there is until cancelled."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            try:
                await self._share()
            except _Refused:
                self._whole = True
            except LinkDown:
                self._whole = True
                await self._clock.sleep(1.0)
                self._fresh.set()
            except Exception:
                self._whole = True
                log.exception("sharing with the other replicas failed in a way that was not foreseen")
                await self._clock.sleep(1.0)

    async def _share(self) -> None:
        if self._whole:
            self._whole = False  # first: a new lease may ask for it again meanwhile
            await self._share_lacking()
        await self._share_closed()
        snapshot = self._snapshot
        if snapshot is not None:
            await self._share_snapshot(snapshot)

    async def _share_lacking(self) -> None:
        """What history holds and Redis does not."""
        there = (await self._shared.versions()).keys()
        lacking = await asyncio.to_thread(self._lacking, there)
        source = self._stored(lacking)
        while some := await asyncio.to_thread(dict, islice(source, BUCKETS_AT_A_TIME)):
            await self._write(some)

    def _lacking(self, there: Collection[int]) -> list[int]:
        history = self._analyst.history
        end = history.newest() + history.bucket_seconds
        begin = end - history.baseline_seconds
        missing = set(history.missing(begin, end))
        starts = range(begin - begin % -history.bucket_seconds, end, history.bucket_seconds)
        return [start for start in starts if start not in missing and start not in there]

    def _stored(self, starts: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        if not starts:
            return
        wanted = set(starts)
        try:
            for bucket in self._analyst.history.read(starts[0], starts[-1] + 1):
                if bucket.start_seconds in wanted:
                    yield bucket.start_seconds, wire.bucket_bytes(_batch(bucket), 0)
        except HistoryError as error:
            log.warning("closed buckets could not be shared: %s", error)

    async def _share_closed(self) -> None:
        with self._lock:
            closed, self._closed = self._closed, {}
        starts = sorted(closed)
        try:
            while starts:
                some, starts = starts[:BUCKETS_AT_A_TIME], starts[BUCKETS_AT_A_TIME:]
                encoded = await asyncio.to_thread(_encoded, {each: closed[each] for each in some})
                await self._write(encoded)
                for each in some:
                    del closed[each]
        finally:
            with self._lock:  # what was not written stays, unless it was corrected meanwhile
                self._closed = closed | self._closed

    async def _write(self, buckets: Mapping[int, bytes]) -> None:
        history = self._analyst.history
        oldest = history.newest() - history.baseline_seconds
        dropped = [start for start in self._versions if start < oldest]
        version = uuid4().hex[:12]  # no clock is the same at all replicas
        if not await self._shared.share_buckets(self.fence, version, buckets, dropped):
            raise _Refused
        self._versions |= dict.fromkeys(buckets, version)
        for start in dropped:
            del self._versions[start]

    async def _share_snapshot(self, snapshot: Snapshot) -> None:
        readings = self._readings()
        shared = wire.Readings(readings.window, readings.observations)
        data = await asyncio.to_thread(
            lambda: {"snapshot": wire.snapshot_bytes(snapshot), "readings": wire.readings_bytes(shared)}
        )
        directory = readings.directory
        if directory is not None:
            if directory is not self._directory:
                self._directory, self._directory_version = directory, str(snapshot.id)
            data["directory"] = await asyncio.to_thread(wire.directory_bytes, directory)
        self._own_ids = self._own_ids[0], snapshot.id
        head = {
            "id": snapshot.id,
            "directory": self._directory_version,
            "backfilled": self._analyst.history.backfilled,
        }
        if await self._shared.share(self.fence, head, data):
            self._own_ids = snapshot.id, snapshot.id

    async def newest_is_ours(self) -> bool:
        """Whether nobody has shared anything since this replica did."""
        head = await self._shared.head()
        return head is None or head.get("id") in self._own_ids

    # The follower's side.

    async def receive(self) -> Received | None:
        """Take over what is new; the newest snapshot that any replica has shared, None where there never was one."""
        head = await self._shared.head()
        if head is not None and head.get("id") != self._seen_id:
            try:
                await self._take(head)
            except FrameError as error:
                log.warning("what another replica shared cannot be read: %s", error)
            self._seen_id = head.get("id", 0)
        elif not self.caught_up and self._received is not None:
            await self._take_past(self._received)
        return self._received

    def leap(self, seconds: float) -> None:
        """The next snapshot of ours has an id above all that the last leader can have given within so long."""
        if self._received is not None:
            self._analyst.after(self._received.snapshot.id + int(seconds * 1000))

    async def _take(self, head: Mapping[str, object]) -> None:
        data = await self._shared.data("snapshot")
        if data is None:
            return
        like = self._received.snapshot if self._received else None
        snapshot = await asyncio.to_thread(wire.snapshot_of, data, like)
        if like is None or snapshot.id > like.id:  # whoever asks for metrics need not wait for history
            await self._publish(snapshot)
        self._analyst.after(snapshot.id)
        self._received = Received(snapshot, str(head.get("directory", "")), bool(head.get("backfilled")))
        await self._take_past(self._received)

    async def _take_past(self, received: Received) -> None:
        """Closed buckets, and the counters once all are here: one that comes later would be added to them again."""
        await self._take_buckets()
        if self.caught_up:
            await asyncio.to_thread(self._keep_up, received)
            self._tidy()

    async def _take_buckets(self) -> None:
        """Those that are new or corrected, newest first, for a while: a new snapshot shall not wait for a long past."""
        there, until = await self._shared.versions(), self._clock.monotonic() + CATCH_UP_SECONDS
        changed = sorted((start for start, each in there.items() if self._versions.get(start) != each), reverse=True)
        while changed and self._clock.monotonic() < until:
            some, changed = changed[:BUCKETS_AT_A_TIME], changed[BUCKETS_AT_A_TIME:]
            for data in await self._shared.buckets(some):
                await self._merge(data)
            self._versions |= {start: there[start] for start in some}
        self.caught_up = not changed
        for start in self._versions.keys() - there.keys():
            del self._versions[start]

    async def _merge(self, data: bytes) -> None:
        try:
            await asyncio.to_thread(lambda: self._analyst.history.merge(wire.bucket_of(data)))
        except FrameError as error:  # one bucket is no reason to be without the rest
            log.warning("a closed bucket that another replica shared cannot be read: %s", error)

    def _keep_up(self, received: Received) -> None:
        """Counters go on where the leader's are."""
        history, snapshot = self._analyst.history, received.snapshot
        totals = {
            name.removesuffix("_total"): column for name, column in snapshot.columns.items() if name.endswith("_total")
        }
        history.raise_counters(snapshot.rows.keys, totals)
        if received.backfilled and not history.backfilled:
            history.mark_backfilled()

    def _tidy(self) -> None:
        """Scores for past buckets, and the end of old ones, beside everything else."""
        if self._clock.monotonic() < self._tidy_due or (self._tidying and not self._tidying.done()):
            return
        self._tidy_due = self._clock.monotonic() + TIDY_SECONDS
        self._tidying = asyncio.create_task(self._tidied())

    def stop(self) -> None:
        """What is done beside everything else need not be done any more."""
        if self._tidying is not None:
            self._tidying.cancel()

    async def _tidied(self) -> None:
        await asyncio.to_thread(self._analyst.history.prune, self._clock.now())
        await asyncio.to_thread(self._analyst.score_past)

    async def readings(self) -> Readings | None:
        """What the last leader's latest snapshot was made of; None where nothing is there or nothing can be read."""
        if self._received is None:
            return None
        states = dict(self._received.snapshot.datasets)
        directory = await self._shared.data("directory")
        latest = await self._shared.data("readings")
        try:
            known = None if directory is None else await asyncio.to_thread(wire.directory_of, directory)
            read = wire.Readings(None, None) if latest is None else await asyncio.to_thread(wire.readings_of, latest)
        except FrameError as error:
            log.warning("what another replica shared cannot be read: %s", error)
            return None
        return Readings(known, read.window, read.observations, states)


def _encoded(buckets: Mapping[int, tuple[BucketBatch, int]]) -> dict[int, bytes]:
    return {start: wire.bucket_bytes(batch, row) for start, (batch, row) in buckets.items()}


def _batch(bucket: HistoryBucket) -> BucketBatch:
    counts = {name: np.asarray(bucket.counts[name])[None, :] for name in BUCKET_COUNTS if name in bucket.counts}
    names = {key.queue_id: name for key, name in zip(bucket.rows.keys, bucket.rows.names, strict=True) if name}
    starts = np.array([bucket.start_seconds], np.int64)
    unknown = () if bucket.lost is None else np.flatnonzero(bucket.lost).tolist()
    lost = Lost(frozenset((0, bucket.rows.keys[row]) for row in unknown))
    return BucketBatch(bucket.bucket_seconds, starts, bucket.rows.keys, counts, names, lost)
