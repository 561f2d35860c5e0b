"""Streams: one row per (queue, media type), a column per habit, for traffic to compute on.

In: queues of the directory. Out: a `StreamTable` of NumPy columns and its chunks: runs of streams of one media type
that are generated together. A stream's key depends on seed, queue id and media type alone. Knows nothing of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.simulator.directory import Queue
from exporter.simulator.profiles import CALLBACK, CHAT, COBROWSE, EMAIL, MESSAGE, VOICE, profile_of
from exporter.simulator.randomness import Keys, key_of

#: Streams generated together: large enough for NumPy, small enough that one busy hour stays within some megabytes.
CHUNK_STREAMS = 256
#: Those that are foreseen; a queue may have others.
MEDIA_TYPES = (VOICE, CALLBACK, CHAT, EMAIL, MESSAGE, COBROWSE)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Streams of one media type, by index."""

    media_type: str
    streams: Ints


@dataclass(frozen=True, slots=True)
class StreamTable:
    """Columns by stream; `queues` is the index of the queue in the org's own order."""

    queue_ids: tuple[str, ...]
    division_ids: tuple[str, ...]
    media_types: tuple[str, ...]
    queues: Ints
    keys: Keys
    peak_per_cell: NDArray[np.float64]
    day_shapes: Ints
    offset_cells: Ints
    abandon_ratios: NDArray[np.float64]
    volatilities: NDArray[np.float64]
    sla_ms: Ints
    sla_targets: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.queue_ids)


def table_of(queues: Sequence[Queue], seed: int) -> StreamTable:
    pairs = [(index, queue, media) for index, queue in enumerate(queues) for media in queue.media_types]
    levels = [queue.service_levels.get(media) or _default_level(media) for _, queue, media in pairs]
    return StreamTable(
        queue_ids=tuple(queue.id for _, queue, _ in pairs),
        division_ids=tuple(queue.division.id for _, queue, _ in pairs),
        media_types=tuple(media for _, _, media in pairs),
        queues=np.array([index for index, _, _ in pairs], dtype=np.int64),
        keys=np.array([key_of(seed, queue.id, media) for _, queue, media in pairs], dtype=np.uint64),
        peak_per_cell=np.array([_peak_per_cell(queue, media) for _, queue, media in pairs]),
        day_shapes=np.array([queue.day_shape for _, queue, _ in pairs], dtype=np.int64),
        offset_cells=np.array([queue.utc_offset_hours * 4 for _, queue, _ in pairs], dtype=np.int64),
        abandon_ratios=np.array([queue.abandon_ratio * profile_of(media).abandons for _, queue, media in pairs]),
        volatilities=np.array([queue.volatility for _, queue, _ in pairs]),
        sla_ms=np.array([milliseconds for _, milliseconds in levels], dtype=np.int64),
        sla_targets=np.array([target for target, _ in levels]),
    )


def chunks_of(table: StreamTable) -> tuple[Chunk, ...]:
    return tuple(_chunks(table))


def _chunks(table: StreamTable) -> Iterator[Chunk]:
    media_types = np.array(table.media_types, dtype=object)
    for media in (*MEDIA_TYPES, *sorted(set(table.media_types) - set(MEDIA_TYPES))):
        members = np.flatnonzero(media_types == media)
        for start in range(0, len(members), CHUNK_STREAMS):
            yield Chunk(media, members[start : start + CHUNK_STREAMS])


def _peak_per_cell(queue: Queue, media: str) -> float:
    return queue.peak_per_hour / 4.0 * profile_of(media).volume_ratio


def _default_level(media: str) -> tuple[float, int]:
    profile = profile_of(media)
    return profile.sla_target, profile.sla_ms
