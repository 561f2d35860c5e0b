"""Local time of buckets: which slot of which day each one belongs to.

Comes in: bucket starts in epoch seconds and an IANA time zone. Goes out: a grid of whole local days by slots of one
bucket's length. Queues follow the clock on the wall: in UTC, a change to or from summer time would shift every season
by an hour. A slot that such a change repeats holds two buckets, one that it skips holds none; a bucket belongs where
its middle lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.models import IntColumn

DAY_SECONDS, DAYS_OF_WEEK = 86_400, 7
#: Half the width of "the same time of day": one queue's season is smooth, its counts are not. Events are rarer than
#: contacts, and their rate changes less over the day.
KERNEL_SECONDS, RATE_KERNEL_SECONDS = 90 * 60, 150 * 60
#: What a bucket of last week still counts beside one of today: an old habit fades within a month or two.
DECAY_PER_WEEK = 0.75
#: The newest hours teach nothing: an incident that lasts must not become normal.
LEFT_OUT_SECONDS = 6 * 3600
#: The level of the last hours is taken this long before now and fades with this half-life. It moves the expectation
#: by little (`rates.MAX_LEVEL`), so that it need not wait as long.
LEVEL_LAG_SECONDS, LEVEL_HALF_LIFE_SECONDS = 2 * 3600, 4 * 3600
#: What a change to or from summer time moves local slots by, at most.
CLOCK_CHANGE_SECONDS = 3600
#: A short history leaves out no more than this share of itself.
LEFT_OUT_SHARE = 0.25
#: The zones in use change their clocks on quarter hours.
_CLOCK_STEP_SECONDS = 900

#: A first look, which has no spread yet to go by, takes so many times of day as a sample.
SAMPLE_SLOTS = 32

#: Of float32 in tables and of either width in passing: seven digits are more than counts tell.
Grid = NDArray[np.floating[Any]]


@lru_cache(maxsize=200_000)
def utc_offset(seconds: int, timezone: str) -> int:
    """Seconds that local time is ahead of UTC at `seconds` since the epoch."""
    offset = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(timezone)).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def local_slots(middles: IntColumn, bucket_seconds: int, timezone: str) -> IntColumn:
    """Number of the local slot that each moment lies in, counted from a local midnight."""
    marks = middles // _CLOCK_STEP_SECONDS * _CLOCK_STEP_SECONDS
    offsets = np.array([utc_offset(mark, timezone) for mark in marks.tolist()], np.int64)
    return (middles + offsets) // bucket_seconds


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """The grid of one baseline: `days` local days from `first_day`, each of `slots` slots.

    `cells` is the flat place of each of the baseline's rows in the grid; `exposure` counts the buckets of each cell,
    `weight` is what a bucket there counts, 0 among the newest, which do not teach; both of shape (days, slots).
    `recency`, likewise, is what it counts for the level of the last hours, and `fading` what is left of that level by
    slot ahead. The slots ahead are those that tables are made for: `rows` of them from the local slot `first_ahead` on,
    the 24 hours after the baseline, or what the baseline is asked about.
    """

    timezone: str
    bucket_seconds: int
    slots: int
    first_day: int
    days: int
    cells: IntColumn
    repeated: bool
    exposure: Grid
    weight: Grid
    recency: Grid
    fading: Grid
    first_ahead: int
    rows: int
    kernel: Grid  # weights of the slots around each slot, (slots, slots)
    rate_kernel: Grid

    @classmethod
    def of(cls, baseline: Baseline, timezone: str) -> Calendar:
        """The calendar of a baseline with at least one bucket."""
        step, starts = baseline.bucket_seconds, baseline.starts
        end = int(starts[-1]) + step
        left_out = min(LEFT_OUT_SECONDS, LEFT_OUT_SHARE * (end - int(starts[0])))
        taught = max(1, int(np.searchsorted(starts, end - left_out)))
        slots = max(1, DAY_SECONDS // step)
        places = local_slots(np.append(starts, end) + step // 2, step, timezone)
        first_day, last_day = int(places[:-1].min()) // slots, int(places[:-1].max()) // slots
        days = last_day - first_day + 1
        cells = places[:-1] - first_day * slots
        exposure = np.bincount(cells, minlength=days * slots).astype(np.float32).reshape(days, slots)
        ago = int(places[-1]) - first_day * slots - np.arange(days * slots)
        first_ahead, rows = _ahead(baseline, int(places[-1]), slots, timezone)
        after = np.maximum(0, first_ahead + np.arange(rows) - int(places[-1]))
        weight = DECAY_PER_WEEK ** (ago / (slots * DAYS_OF_WEEK))
        weight[int(places[taught]) - first_day * slots :] = 0
        return cls(
            timezone=timezone,
            bucket_seconds=step,
            slots=slots,
            first_day=first_day,
            days=days,
            cells=cells,
            repeated=bool(exposure.max() > 1),
            exposure=exposure,
            weight=weight.astype(np.float32).reshape(days, slots),
            recency=_recency((ago - 1) * step).reshape(days, slots),
            fading=_faded(after * step),
            first_ahead=first_ahead,
            rows=rows,
            kernel=time_of_day_kernel(slots, step, KERNEL_SECONDS),
            rate_kernel=time_of_day_kernel(slots, step, RATE_KERNEL_SECONDS),
        )

    def grid(self, counts: NDArray[np.unsignedinteger]) -> Grid:
        """Counts of some series (rows of the baseline, series) laid on the grid: (days, slots, series)."""
        laid = np.zeros((self.days * self.slots, counts.shape[1]), np.float32)
        if self.repeated:
            np.add.at(laid, self.cells, counts)
        else:
            laid[self.cells] = counts
        return laid.reshape(self.days, self.slots, -1)

    def ahead(self) -> Iterator[tuple[int, slice]]:
        """The slots ahead in order: the local days that they lie on, one or two, and which slots of each day."""
        day, first = divmod(self.first_ahead, self.slots)
        yield day, slice(first, min(self.slots, first + self.rows))
        if first + self.rows > self.slots:
            yield day + 1, slice(0, first + self.rows - self.slots)

    def same_weekday(self, day: int) -> NDArray[np.bool_]:
        """Which days of the grid are the same day of the week as `day`."""
        same: NDArray[np.bool_] = (self.first_day + np.arange(self.days) - day) % DAYS_OF_WEEK == 0
        return same

    def row_ahead(self, middle: datetime) -> int:
        """Where a table of the slots ahead holds `middle`; at other times, where it holds the same time of day, or the
        last one before it."""
        slot = int(local_slots(np.array([int(middle.timestamp())]), self.bucket_seconds, self.timezone)[0])
        return min((slot - self.first_ahead) % self.slots, self.rows - 1)


def _ahead(baseline: Baseline, next_slot: int, slots: int, timezone: str) -> tuple[int, int]:
    """The first slot ahead, and how many there are; `next_slot` is the one after the baseline.

    Some are spare on both sides: for the closed bucket that a window has begun in, and for a change of the clock.
    """
    if baseline.asked is None:
        return next_slot, slots
    step, (since, until) = baseline.bucket_seconds, baseline.asked
    spare = max(step, CLOCK_CHANGE_SECONDS)
    first = int(local_slots(np.array([since - spare]), step, timezone)[0])
    return first, min(slots, (until - since + 2 * spare) // step + 2)


def sample_of(slots: int) -> slice:
    """Every few times of day."""
    every = max(1, slots // SAMPLE_SLOTS)
    return slice(every // 2, None, every)


def _recency(ago_seconds: IntColumn) -> Grid:
    """What a bucket that ended so long ago counts for the level of the last hours."""
    waited = ago_seconds - LEVEL_LAG_SECONDS
    return np.where(waited >= 0, _faded(np.maximum(waited, 0)), np.float32(0))


def _faded(seconds: IntColumn) -> Grid:
    faded: Grid = (0.5 ** (seconds / LEVEL_HALF_LIFE_SECONDS)).astype(np.float32)
    return faded


def time_of_day_kernel(slots: int, bucket_seconds: int, half_width_seconds: int) -> Grid:
    """Weights of neighbouring times of day: a triangle that ends at the half-width, closed over midnight."""
    apart = np.abs(np.arange(slots)[:, None] - np.arange(slots)[None, :])
    seconds = np.minimum(apart, slots - apart) * bucket_seconds
    weights: Grid = np.maximum(0, 1 - seconds / half_width_seconds).astype(np.float32)
    return weights
