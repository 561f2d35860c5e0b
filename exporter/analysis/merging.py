"""One batch of closed buckets on its way into history.

Comes in: a BucketBatch. Goes out: its buckets as packed columns by position, without the series that had no contact
anywhere in it. Refuses what contradicts itself. Changes nothing but the packed columns it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.codec import Packed, pack, trim
from exporter.analysis.mending import LOST, VEILED
from exporter.models import BUCKET_COUNTS, BucketBatch, Flags, IntColumn

#: Counts of one bucket and the positions they belong to.
Counted = tuple[IntColumn | slice, Mapping[str, NDArray[Any]]]


def check(batch: BucketBatch, bucket_seconds: int) -> None:
    """ValueError where the batch is not made of whole, distinct buckets of this length with counts that can be."""
    if batch.bucket_seconds != bucket_seconds:
        raise ValueError(f"buckets of {batch.bucket_seconds} s do not fit a history of {bucket_seconds} s")
    if np.any(batch.starts % bucket_seconds) or len(np.unique(batch.starts)) != len(batch.starts):
        raise ValueError("bucket starts must be distinct multiples of the bucket's length")
    if len(set(batch.keys)) != len(batch.keys):
        raise ValueError("a series must not occur twice in a batch")
    shape = (len(batch.starts), len(batch.keys))
    for name, column in batch.counts.items():
        if name not in BUCKET_COUNTS or column.shape != shape:
            raise ValueError(f"column {name} of shape {column.shape} does not belong into a batch of {shape}")
        if column.size and column.min() < 0:
            raise ValueError(f"column {name} has negative counts")


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """A batch of which only the series with a contact, or of which something was lost, are looked at."""

    batch: BucketBatch
    touched: IntColumn  # their places among the batch's keys
    lost: Flags | None  # (buckets, keys); None where nothing of a series was lost that the batch names

    @classmethod
    def of(cls, batch: BucketBatch) -> Incoming:
        """The batch, reduced to what has contacts."""
        batch, lost = _with_lost_series(batch)
        touched = np.zeros(len(batch.keys), bool) if lost is None else lost.any(axis=0)
        for column in batch.counts.values():
            touched |= column.any(axis=0)
        return cls(batch, np.flatnonzero(touched), lost)

    @property
    def is_whole(self) -> bool:
        """Whether every series that the batch does not name had no contact."""
        return self.lost is None and not self.batch.lost.others and self.batch.about is None

    def is_lost(self, bucket: int, positions: IntColumn, length: int) -> Flags:
        """By position, the series of which the bucket's counts were lost, and can be told whose they were."""
        flags = np.zeros(length, bool)
        if self.lost is not None:
            flags[positions] = self.lost[bucket][self.touched]
        return flags

    def counts(self, bucket: int) -> dict[str, IntColumn]:
        """Counts of the touched series in one bucket, by its place in the batch."""
        return {name: column[bucket][self.touched] for name, column in self.batch.counts.items()}

    def dense(self, bucket: int, positions: IntColumn, length: int) -> dict[str, IntColumn]:
        """The bucket's columns by position."""
        return {name: _spread(column, positions, length) for name, column in self.counts(bucket).items()}


def packed(dense: Mapping[str, IntColumn]) -> Packed:
    """Columns by position as bytes; equal counts give equal bytes."""
    return pack(trim({name: dense[name] for name in (*BUCKET_COUNTS, LOST, VEILED) if name in dense}))


@dataclass(frozen=True, slots=True)
class Change:
    """A bucket that is not as history has it; `counted` is what the counters hold of it already."""

    start: int
    packed: Packed
    digest: int
    counted: Counted | None
    positions: IntColumn  # of its counts
    counts: Mapping[str, IntColumn]
    lost: IntColumn  # positions whose counts nobody knows
    veiled: bool  # and those of all others without a contact


def digest(packed: Packed) -> int:
    """Tells packed buckets apart, within one run of the program."""
    return hash((packed.layout, packed.length, packed.data))


def _with_lost_series(batch: BucketBatch) -> tuple[BucketBatch, Flags | None]:
    """The batch with the series among its keys of which it knows but that something was lost."""
    if not batch.lost.cells:
        return batch, None
    more = tuple(sorted(batch.lost.series().difference(batch.keys)))
    counts = {name: np.pad(column, ((0, 0), (0, len(more)))) for name, column in batch.counts.items()}
    batch = replace(batch, keys=batch.keys + more, counts=counts)
    place = {key: column for column, key in enumerate(batch.keys)}
    lost = np.zeros((len(batch.starts), len(batch.keys)), bool)
    for bucket, key in batch.lost.cells:
        lost[bucket, place[key]] = True
    return batch, lost


def _spread(column: IntColumn, positions: IntColumn, length: int) -> IntColumn:
    spread = np.zeros(length, np.int64)
    spread[positions] = column
    return spread
