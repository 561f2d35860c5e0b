"""What a score is measured against: the closed buckets of the baseline, as columns.

Comes from `history`; goes into a scoring method's `fit`. Views, not copies: a method must not write to them and
must not hold them after `fit` returns, since history goes on filling its ring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.models import Flags, IntColumn

#: The counts that scores need: contacts and events of abandonment, then of the service level.
BASELINE_COUNTS = ("offered", "abandoned", "sla_breached", "sla_contacts")


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """By which one reading of a growing history tells what has changed since another: the counts, not what is `lost`.

    While `layout` is the same object every column is that of the same series, and new ones come behind. While a row's
    number in `editions` (B,) is the same its counts are, and those of columns that came since are zero.
    """

    layout: object
    editions: IntColumn


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Closed buckets in time order: `starts` (epoch seconds, shape (B,)), only those that were fetched.

    `counts` holds an unsigned integer array of shape (B, S) for every name of BASELINE_COUNTS; a zero count in a
    fetched bucket is a true zero, unless `lost` (bool, (B, S); None = none) says that nobody knows it. Where `marks`
    are None, nothing is known of other readings. `asked` says which windows are to be scored by it, by the starts of
    the first and the last (epoch seconds); None: those of the 24 hours after it.
    """

    bucket_seconds: int
    starts: IntColumn
    counts: Mapping[str, NDArray[np.unsignedinteger]]
    lost: Flags | None = None
    marks: Marks | None = None
    asked: tuple[int, int] | None = None

    @property
    def series(self) -> int:
        """Number of series (S)."""
        return int(self.counts["offered"].shape[1])
