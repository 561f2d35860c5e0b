"""A bucket of which not all was told: what was known of the rest stays, what was never known is marked.

Comes in: one bucket's counts by position, which positions were not told, and the bucket as history has it, if it has.
Goes out: counts, and the column LOST that says whose are unknown; without it all are known. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.models import Flags, IntColumn

#: The column beside the counts: 1 where nobody knows them. They are 0 there.
LOST = "lost"


def mended(
    counts: Mapping[str, IntColumn], lost: Flags, foreign: Flags, before: Mapping[str, NDArray[Any]] | None
) -> dict[str, IntColumn]:
    """Counts by position with what was known in the place of what is `lost` or `foreign`, that is, not asked for."""
    known = before or {}
    untold = lost | foreign
    whole = {name: np.where(untold, fitting(known.get(name), len(lost)), column) for name, column in counts.items()}
    never = lost if before is None else untold & (fitting(known.get(LOST), len(lost)) > 0)
    return {**whole, LOST: never.astype(np.int64)} if never.any() else whole


def fitting(column: NDArray[Any] | None, length: int) -> IntColumn:
    """A stored column at today's length: series that came later had nothing."""
    whole = np.zeros(length, np.int64)
    if column is not None:
        whole[: len(column)] = column
    return whole
