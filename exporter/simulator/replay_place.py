"""Where in a file of the past "now" is put.

In: the buckets of a file and the present moment. Out: a `Place`: one constant shift for the whole run. Whole weeks are
preferred, so that weekday and time of day are the file's own, with 28 days of data behind now and the more ahead the
better; where nothing goes on around that time, or less than a day lies behind it, a busy time of the file is taken
instead, and the shift is then a whole number of buckets. When the data ends, it begins again after a whole number of
weeks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from exporter.simulator.replay_file import PastBuckets

HOUR, DAY, WEEK = 3600, 86_400, 604_800
#: Data wanted behind now: the longest baseline that the scores were judged with.
WANTED_BEHIND = 28 * DAY
#: With less there is nothing to measure now against.
_LEAST_BEHIND = DAY
#: A hole longer than this ends a run of data: the replay begins again instead of playing silence.
_LONGEST_HOLE = WEEK

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Place:
    """Real time = file time + shift_seconds; what lies in [run_start, run_end) recurs every `period_seconds`."""

    shift_seconds: int
    run_start: int
    run_end: int
    period_seconds: int

    @property
    def keeps_the_week(self) -> bool:
        return self.shift_seconds % WEEK == 0


def find_place(past: PastBuckets, now: datetime) -> Place:
    """The best place for `now`."""
    present = int(now.timestamp())
    runs = _runs(past)
    candidates = [(run, moment) for run in runs for moment in _same_time_of_week(present, run)]
    if candidates:
        run, moment = max(candidates, key=lambda candidate: _merit(*candidate))
    else:
        run = max(runs, key=lambda run: run[1] - run[0])
        moment = run[0] + min(WANTED_BEHIND, (run[1] - run[0]) * 3 // 4)
        moment += (present - moment) % past.bucket_seconds
    if not candidates or not _is_busy(past, moment):
        moment = _nearest_busy(past, run, moment)
    weeks = -(-(run[1] - run[0]) // WEEK)
    return Place(present - moment, run[0], run[1], weeks * WEEK)


def describe(past: PastBuckets, place: Place, now: datetime) -> str:
    """Two sentences for people: what is played, and where now is."""
    moment = int(now.timestamp()) - place.shift_seconds
    how = f"{place.shift_seconds // WEEK} weeks" if place.keeps_the_week else "not whole weeks: to a busy time"
    queues = len(set(zip(past.names, (key.queue_id for key in past.keys), strict=True)))
    return (
        f"Replaying {past.source}: {queues} queues, buckets of {past.bucket_seconds} s, "
        f"{_day(place.run_start)} to {_day(place.run_end)}. Now is {_minute(moment)} UTC in the file (shifted by "
        f"{place.shift_seconds} s, {how}), {(moment - place.run_start) // DAY} days after its begin and "
        f"{(place.run_end - moment) // DAY} days before its end; then it begins again."
    )


def _runs(past: PastBuckets) -> list[tuple[int, int]]:
    starts = np.unique(past.starts[(past.offered + past.answered + past.abandoned) > 0])
    if not len(starts):
        starts = np.unique(past.starts)
    breaks = np.flatnonzero(np.diff(starts) > _LONGEST_HOLE)
    firsts = starts[np.concatenate([[0], breaks + 1])]
    lasts = starts[np.concatenate([breaks, [len(starts) - 1]])] + past.bucket_seconds
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _same_time_of_week(present: int, run: tuple[int, int]) -> range:
    """The moments of the run that lie whole weeks before now, with data behind them."""
    begin = run[0] + _LEAST_BEHIND
    return range(begin + (present - begin) % WEEK, run[1], WEEK)


def _merit(run: tuple[int, int], moment: int) -> tuple[bool, int, int]:
    ahead = run[1] - moment
    return ahead >= DAY, min(moment - run[0], WANTED_BEHIND), ahead


def _contacts_between(past: PastBuckets, start: Ints | int, end: Ints | int) -> Ints:
    """Offered contacts of the buckets that start in [start, end)."""
    sums = np.concatenate([[0], np.cumsum(past.offered)])
    return np.asarray(sums[np.searchsorted(past.starts, end)] - sums[np.searchsorted(past.starts, start)])


def _is_busy(past: PastBuckets, moment: int) -> bool:
    """Something goes on in the half hour before and in the one after (or in a bucket's length, if that is longer)."""
    span = max(HOUR // 2, past.bucket_seconds)
    before = _contacts_between(past, moment - span, moment)
    return bool(before > 0 and _contacts_between(past, moment, moment + span) > 0)


def _nearest_busy(past: PastBuckets, run: tuple[int, int], moment: int) -> int:
    """The nearest moment, whole buckets away, around which at least the usual number of contacts comes in."""
    bucket, span = past.bucket_seconds, max(HOUR // 2, past.bucket_seconds)
    first = moment - (moment - run[0]) // bucket * bucket
    moments = np.arange(first, run[1], bucket, dtype=np.int64)
    around = _contacts_between(past, moments - span, moments + span)
    if not around.any():
        return moment
    usual = np.median(around[around > 0])
    busy = moments[around >= usual]
    return int(busy[np.argmin(np.abs(busy - moment))])


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _minute(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%A %Y-%m-%d %H:%M")
