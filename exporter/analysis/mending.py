"""A bucket of which not all was told: what was known of the rest stays, what was never known is marked.

Comes in: one bucket's counts by position, which of them were not told, and the bucket as history has it, if it has.
Goes out: counts, and the columns LOST and VEILED that say whose are unknown; without them all are known. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.models import BUCKET_COUNTS, Flags, IntColumn

#: The column beside the counts: 1 where nobody knows them. They are 0 there.
LOST = "lost"
#: The mark of the whole bucket, at the first position: rows were lost of which nobody can say whose they were, so that
#: every series without a contact is unknown, also one that becomes known later.
VEILED = "veiled"


@dataclass(frozen=True, slots=True, eq=False)
class Untold:
    """What a batch does not tell of a bucket, by position: what was `lost`, and what was not asked for."""

    lost: Flags
    foreign: Flags
    others: bool

    def __bool__(self) -> bool:
        return self.others or bool(self.lost.any() or self.foreign.any())


def mended(
    counts: Mapping[str, IntColumn], untold: Untold, before: Mapping[str, NDArray[Any]] | None
) -> dict[str, IntColumn]:
    """Counts by position with what was known in the place of what is untold."""
    length = len(untold.lost)
    open_to_doubt = untold.lost | (silent(counts, length) if untold.others else False)
    if before is None:
        return _marked(dict(counts), untold.lost, veiled=untold.others)
    replaced = open_to_doubt | untold.foreign
    whole = {name: np.where(replaced, fitting(before.get(name), length), column) for name, column in counts.items()}
    return _marked(whole, replaced & unknown(before, length), veiled=untold.others and is_veiled(before))


def unknown(columns: Mapping[str, NDArray[Any]], length: int) -> Flags:
    """By position, whose counts a stored bucket does not know."""
    marked: Flags = fitting(columns.get(LOST), length) > 0
    return marked | silent(columns, length) if is_veiled(columns) else marked


def is_veiled(columns: Mapping[str, NDArray[Any]]) -> bool:
    """Whether no silence of the bucket is a zero."""
    return VEILED in columns


def silent(columns: Mapping[str, NDArray[Any]], length: int) -> Flags:
    """By position, who had no contact."""
    spoke = np.zeros(length, bool)
    for name in BUCKET_COUNTS:
        if name in columns:
            spoke |= fitting(columns[name], length) > 0
    return ~spoke


def _marked(counts: dict[str, IntColumn], lost: Flags, *, veiled: bool) -> dict[str, IntColumn]:
    if lost.any():
        counts[LOST] = lost.astype(np.int64)
    if veiled and len(lost):
        counts[VEILED] = np.zeros(len(lost), np.int64)
        counts[VEILED][0] = 1
    return counts


def fitting(column: NDArray[Any] | None, length: int) -> IntColumn:
    """A stored column at today's length: series that came later had nothing."""
    whole = np.zeros(length, np.int64)
    if column is not None:
        whole[: len(column)] = column[:length]
    return whole
