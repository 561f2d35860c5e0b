"""Replay: the contacts of a file of past buckets, moved to the present.

In: a file (see replay_file.py) and the present moment. Out: the queues that it names and a source of `Contacts`. A
bucket of the file knows no finer time, so all its events are stamped at its middle: any window of a bucket's length,
aligned or not, holds exactly one bucket of the file, and counts of closed buckets are the file's own. Waiting and
handling times are invented from the queue and the bucket. For observations alone, contacts are spread over the bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from exporter.simulator.contacts import ABANDONED, ANSWERED, NEVER, NOWHERE, Contacts
from exporter.simulator.directory import Division, Queue, new_id
from exporter.simulator.profiles import AROUND_THE_CLOCK, profile_of
from exporter.simulator.randomness import Keys, derive, exponentials, normals, uniforms
from exporter.simulator.replay_file import PastBuckets, read_past_buckets
from exporter.simulator.replay_place import Place, describe, find_place
from exporter.simulator.streams import Chunk, Ints, StreamTable, chunks_of

_MOMENT, _WAIT, _TALK, _ACW = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Replay:
    """A file, ready to be put in its place."""

    past: PastBuckets

    @classmethod
    def from_csv(cls, path: Path | str) -> Replay:
        """Read the file; `ReplayError` says what is wrong with it."""
        return cls(read_past_buckets(Path(path)))

    def anchored(self, now: datetime) -> AnchoredReplay:
        """The same with its shift fixed."""
        return AnchoredReplay(self.past, find_place(self.past, now), now)


@dataclass(frozen=True, slots=True)
class AnchoredReplay:
    """A file at its place in time: real time = file time + `shift_seconds`."""

    past: PastBuckets
    place: Place
    anchored_at: datetime

    @property
    def shift_seconds(self) -> int:
        return self.place.shift_seconds

    @property
    def description(self) -> str:
        return describe(self.past, self.place, self.anchored_at)

    def queue_id(self, series: int) -> str:
        """The id of a series' queue: the file's, or one that belongs to its name."""
        return self.past.keys[series].queue_id or new_id(0, "replayed queue", self.past.names[series])

    def queues(self, division: Division) -> list[Queue]:
        """The queues of the file, in the order of their first buckets."""
        found: dict[str, Queue] = {}
        for series, key in enumerate(self.past.keys):
            queue_id = self.queue_id(series)
            queue = found.get(queue_id) or _queue(queue_id, self.past.names[series], division)
            level = profile_of(key.media_type)
            found[queue_id] = replace(
                queue,
                media_types=(*queue.media_types, key.media_type),
                service_levels={**queue.service_levels, key.media_type: (level.sla_target, level.sla_ms)},
            )
        return list(found.values())


def _queue(queue_id: str, name: str, division: Division) -> Queue:
    return Queue(queue_id, name, division, (), peak_per_hour=0.0, day_shape=AROUND_THE_CLOCK, abandon_ratio=0.0)


class ReplayTraffic:
    """The contacts of a replayed file; queues that the file does not know stay silent."""

    def __init__(self, table: StreamTable, replay: AnchoredReplay) -> None:
        self.table = table
        self.chunks: tuple[Chunk, ...] = chunks_of(table)
        self._past, self._place = replay.past, replay.place
        self._stream_of_series = _streams(table, replay)

    def contacts(self, chunk_index: int, start_ms: int, end_ms: int) -> Iterator[Contacts]:
        """The contacts of all buckets whose middle lies in [start_ms, end_ms)."""
        middle = self._past.bucket_seconds * 500
        for rows, shift_ms in self._rows(start_ms - middle, end_ms - middle):
            yield self._make(rows, shift_ms, chunk_index, spread=False)

    def in_progress(self, chunk_index: int, now_ms: int) -> Iterator[Contacts]:
        """Contacts of the buckets that may reach into `now_ms`, spread over their buckets."""
        profile = profile_of(self.chunks[chunk_index].media_type)
        for rows, shift_ms in self._rows(now_ms - profile.lookback_ms - self._past.bucket_seconds * 1000, now_ms):
            yield self._make(rows, shift_ms, chunk_index, spread=True)

    def _rows(self, start_ms: int, end_ms: int) -> Iterator[tuple[Ints, int]]:
        """Rows of the file that start in [start_ms, end_ms) of real time, round by round: (rows, shift in ms)."""
        place = self._place
        begin_ms = (place.run_start + place.shift_seconds) * 1000
        for turn in range(max(0, (start_ms - begin_ms) // (place.period_seconds * 1000)), 1 << 62):
            shift_ms = (place.shift_seconds + turn * place.period_seconds) * 1000
            if turn and place.run_start * 1000 + shift_ms >= end_ms:
                return
            earliest = place.run_start if turn else np.iinfo(np.int64).min // 1000
            first = max(earliest, -((shift_ms - start_ms) // 1000))
            last = min(place.run_end, -((shift_ms - end_ms) // 1000))
            rows = np.arange(*np.searchsorted(self._past.starts, [first, last]), dtype=np.int64)
            if len(rows):
                yield rows, shift_ms

    def _make(self, rows: Ints, shift_ms: int, chunk_index: int, spread: bool) -> Contacts:
        past = self._past
        rows = rows[np.isin(self._stream_of_series[past.series[rows]], self.chunks[chunk_index].streams)]
        counts = np.maximum(past.offered[rows], past.answered[rows] + past.abandoned[rows])
        row = np.repeat(rows, counts)
        number = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        stream = self._stream_of_series[past.series[row]]
        keys = derive(derive(self.table.keys[stream], past.starts[row]), number)
        start_ms = past.starts[row] * 1000 + shift_ms
        moment = uniforms(keys, _MOMENT) if spread else np.full(len(row), 0.5)
        at = start_ms + (moment * past.bucket_seconds * 1000).astype(np.int64)
        return self._contacts(row, number, stream, keys, at, spread)

    def _contacts(self, row: Ints, number: Ints, stream: Ints, keys: Keys, at: Ints, spread: bool) -> Contacts:
        # A bucket's contacts in a fixed order: the abandoned, the answered, the rest; the first ones are the breaches.
        past, sla_ms = self._past, self.table.sla_ms[stream]
        is_abandoned = number < past.abandoned[row]
        is_answered = ~is_abandoned & (number < past.abandoned[row] + past.answered[row])
        is_breached = number < past.breached[row]
        in_time = sla_ms * (0.1 + 0.8 * uniforms(keys, _WAIT))
        wait = np.where(is_breached, sla_ms * (1.05 + exponentials(keys, _WAIT)), in_time).astype(np.int32)
        talk = np.where(is_answered, np.clip(180_000 * np.exp(0.6 * normals(keys, _TALK)), 5_000, 1_500_000), 0)
        acw = np.where(is_answered, np.minimum(25_000 * exponentials(keys, _ACW), 240_000), 0).astype(np.int32)
        talk = talk.astype(np.int32)
        left_at = at + wait if spread else at
        ended_at = left_at + talk if spread else at
        nothing = np.zeros(len(row), dtype=np.int32)
        return Contacts(
            stream=stream.astype(np.int32),
            offered_at=np.where(number < past.offered[row], at, NEVER),
            left_at=left_at,
            ended_at=np.where(is_answered, ended_at, NEVER),
            handled_at=np.where(is_answered, ended_at + acw if spread else at, NEVER),
            outcome=np.select([is_abandoned, is_answered], [ABANDONED, ANSWERED], NOWHERE).astype(np.int8),
            breached=is_breached,
            late_answer=is_answered & is_breached,
            wait=wait,
            alert=np.where(is_answered, np.minimum(3_000, wait), nothing),
            talk=talk,
            held=nothing,
            acw=acw,
            transferred=np.zeros(len(row), dtype=np.bool_),
            delay=nothing,
        )


def _streams(table: StreamTable, replay: AnchoredReplay) -> Ints:
    streams = {pair: stream for stream, pair in enumerate(zip(table.queue_ids, table.media_types, strict=True))}
    pairs = [(replay.queue_id(series), key.media_type) for series, key in enumerate(replay.past.keys)]
    return np.array([streams.get(pair, -1) for pair in pairs], dtype=np.int64)
