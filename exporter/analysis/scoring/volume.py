"""How many contacts a queue usually gets at each time, and how much that varies: the tables behind the volume score.

Comes in: offered contacts of some series on a calendar's grid. Goes out: the expected contacts of a bucket for every
slot ahead, and the spread α: the variance of a bucket is mean + α · mean² (negative binomial).

Levels are factors, each drawn to 1 by a prior in units of information: the queue's mean → the time of day, smooth,
then slot by slot → the day of the week as a whole → the same time on that day. The priors are weak: a queue that
closes on a Friday afternoon must be known to be closed after one Friday.

Sources: gamma-Poisson credibility (Bühlmann); moments of the negative binomial (Lawless 1987).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.scoring.calendar import Calendar, Grid, sample_of

#: How far levels differ: information of the prior factor 1, which is one over its variance.
TIME_PRIOR, SLOT_PRIOR, DAY_PRIOR, WEEKDAY_TIME_PRIOR = 0.25, 2.0, 4.0, 2.0
#: What is believed of α before anything is seen, worth this many typical buckets, and its limits.
PRIOR_SPREAD, PRIOR_BUCKETS = 0.05, 20.0
SPREAD_RANGE = (1e-3, 4.0)
#: Days differ from each other as wholes: what is believed of the variance of their ratio, worth this many pairs of
#: neighbouring days, and its limit. Half of all squares of a normal variable lie below MEDIAN_SQUARE.
PRIOR_DAY_SPREAD, PRIOR_DAY_PAIRS, MAX_DAY_SPREAD, MEDIAN_SQUARE = 0.02, 2.0, 0.25, 0.455
#: Counts farther from their expectation are drawn in to this many deviations before they enter a mean.
LIMIT = 3.0
#: Below this number of days none is left out of α.
DAYS_TO_LEAVE_ONE = 4
#: From this number of equal weekdays on, they are trusted: one alone may have been a holiday.
TRUSTED_WEEKDAYS = 3
#: Contacts expected where none were ever seen: one in some thousand buckets.
LEAST = 5e-4
REPEATS = 7 / 3


@dataclass(frozen=True, slots=True, eq=False)
class VolumeTables:
    """`mean` contacts of a bucket by slot ahead, (slots, series).

    Beside it what else may be expected: `usual` of the time of day alone, where too few such weekdays were seen to
    trust them, and `exact`, the very same slot of the same weekday. By series: `spread` α, `buckets` with volume and
    local `days` with volume.
    """

    by_slot: ClassVar[frozenset[str]] = frozenset({"mean", "usual", "exact"})
    rough: ClassVar[frozenset[str]] = frozenset()

    mean: Grid
    usual: Grid
    exact: Grid
    spread: Grid
    buckets: Grid
    days: Grid


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Contacts seen and expected, in units of information: of each day, and around some slots of each day."""

    day_seen: Grid  # (days, series)
    day_expected: Grid
    seen: Grid  # (days, slots, series): a slot for each row of the kernel
    expected: Grid

    @classmethod
    def of(cls, kernel: Grid, seen: Grid, expected: Grid) -> Sums:
        slots = np.ones(kernel.shape[1], np.float32)
        return cls(slots @ seen, slots @ expected, kernel @ seen, kernel @ expected)

    def factor(self, same: Grid) -> Grid:
        """What the days that `same` (wanted, days) marks have beyond the time of day: (wanted, slots, series)."""
        days, slots, _ = self.seen.shape
        day = _factor(same @ self.day_seen, same @ self.day_expected, DAY_PRIOR)[:, None, :]
        factor, expected = (
            (same @ each.reshape(days, -1)).reshape(len(same), slots, -1) for each in (self.seen, self.expected)
        )
        expected *= day
        expected += WEEKDAY_TIME_PRIOR
        factor += WEEKDAY_TIME_PRIOR
        factor /= expected
        factor *= day
        return factor


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Contacts on a grid, (days, slots, series), what each cell weighs, without and with its exposure; the kernel."""

    contacts: Grid
    weight: Grid
    weighted: Grid
    kernel: Grid

    def some(self, slots: slice) -> Cells:
        """The cells at some times of day."""
        contacts, weight, weighted = (each[:, slots] for each in (self.contacts, self.weight, self.weighted))
        return Cells(np.ascontiguousarray(contacts), weight, weighted, np.ascontiguousarray(self.kernel[slots, slots]))

    def usual(self, overall: Grid, alpha: Grid) -> Grid:
        """Mean contacts by time of day, (slots, series)."""
        share = 1 / (REPEATS * (1 + alpha * overall))
        seen = share * np.einsum("ds,dsq->sq", self.weight[:, :, 0], self.contacts)
        expected = share * overall * self.weighted.sum(0)
        smooth = _factor(self.kernel @ seen, self.kernel @ expected, TIME_PRIOR)
        # A queue that opens at eight has no smooth season there: the slot itself is the last word.
        return overall * smooth * _factor(seen, expected * smooth, SLOT_PRIOR)

    def informed(self, usual: Grid, alpha: Grid) -> tuple[Grid, Grid]:
        """Contacts seen and expected in units of information: busy buckets do not count without limit."""
        share = 1 / (REPEATS * (1 + alpha * usual))
        seen = self.contacts * self.weight
        seen *= share
        return seen, self.weighted * (share * usual)


def fit_volume(calendar: Calendar, contacts: Grid, lost: Grid | None = None) -> VolumeTables:
    """The tables of a few series; the grid as `Calendar.grid` lays it, and buckets of it whose contacts are unknown.

    In place where a whole grid would be copied, as in `rates`.
    """
    exposure, weight = calendar.exposure[:, :, None], calendar.weight[:, :, None]
    exposure = exposure if lost is None else exposure - lost
    cells = Cells(contacts, weight, weight * exposure, calendar.kernel)
    weekdays = np.stack([calendar.same_weekday(calendar.first_day + day) for day in range(calendar.days)])
    same = weekdays.astype(np.float32)
    exposed = np.maximum(cells.weighted.sum((0, 1)), np.finfo(np.float32).tiny)
    overall = np.maximum(np.einsum("ds,dsq->q", calendar.weight, contacts) / exposed, LEAST)
    alpha = np.full(contacts.shape[2], PRIOR_SPREAD, np.float32)
    few = sample_of(calendar.slots)
    alpha = _look(cells.some(few), exposure[:, few], overall, alpha, same)[1]
    expected, alpha = _look(cells, exposure, overall, alpha, same)
    drawn = replace(cells, contacts=_drawn_in(contacts, expected, alpha))
    usual = drawn.usual(overall, alpha)
    informed = drawn.informed(usual, alpha)
    sums = [Sums.of(calendar.kernel[times], *informed) for _, times in calendar.ahead()]
    told = [
        _ahead(calendar.same_weekday(day), contacts[:, times], exposure[:, times], usual[times], each)
        for (day, times), each in zip(calendar.ahead(), sums, strict=True)
    ]
    mean, familiar, exact = (np.maximum(np.concatenate(tables), LEAST) for tables in zip(*told, strict=True))
    happened = (contacts > 0).astype(np.float32).reshape(calendar.days, calendar.slots, -1)
    buckets = np.ones(calendar.slots, np.float32) @ happened
    return VolumeTables(
        mean,
        familiar,
        exact,
        alpha + _day_spread(sums[0]),
        buckets.sum(0),
        np.count_nonzero(buckets, axis=0).astype(np.float32),
    )


def _ahead(same: NDArray[np.bool_], contacts: Grid, exposure: Grid, usual: Grid, sums: Sums) -> tuple[Grid, Grid, Grid]:
    """`mean`, `usual` and `exact` of some slots of a day, whose weekday is that of the days in `same`."""
    mean = usual * sums.factor(same[None].astype(np.float32))[0]
    seen, exposed = contacts[same].sum(0), exposure[same].sum(0)
    exact = np.where(exposed > 0, seen / np.maximum(exposed, 1), mean)
    return mean, mean if same.sum() >= TRUSTED_WEEKDAYS else usual, exact


def _look(cells: Cells, exposure: Grid, overall: Grid, alpha: Grid, same: Grid) -> tuple[Grid, Grid]:
    """What is expected of each cell, its own slot of that day left aside, and α."""
    slots = len(cells.kernel)
    others = cells.kernel - np.diag(np.diag(cells.kernel)) if slots > 1 else cells.kernel
    usual = cells.usual(overall, alpha)
    expected = Sums.of(others, *cells.informed(usual, alpha)).factor(same)
    expected *= usual
    expected *= exposure
    return expected, _spread_of(cells.contacts, expected, cells.weight * (exposure > 0))


def _drawn_in(contacts: Grid, expected: Grid, alpha: Grid) -> Grid:
    """Contacts as they may enter a mean."""
    reach = expected * (alpha + PRIOR_DAY_SPREAD)
    reach += 1
    reach *= expected
    np.sqrt(reach, out=reach)
    reach *= LIMIT
    drawn = np.maximum(contacts, expected - reach)
    reach += expected
    return np.minimum(drawn, reach, out=drawn)


def _factor(seen: Grid, expected: Grid, prior: float) -> Grid:
    return (seen + prior) / (expected + prior)


def _day_spread(sums: Sums) -> Grid:
    """Variance of one day's level around another's, from neighbouring days; the median passes over closed days."""
    level = np.log(_factor(sums.day_seen, sums.day_expected, DAY_PRIOR))
    if len(level) < 3:
        return np.full(level.shape[1], PRIOR_DAY_SPREAD, np.float32)
    typical = np.median(np.diff(level, axis=0) ** 2, axis=0) / MEDIAN_SQUARE
    pairs = len(level) - 1
    blended = (typical * pairs + PRIOR_DAY_SPREAD * PRIOR_DAY_PAIRS) / (pairs + PRIOR_DAY_PAIRS)
    limited: Grid = np.minimum(blended, MAX_DAY_SPREAD).astype(np.float32)
    return limited


def _spread_of(contacts: Grid, expected: Grid, weight: Grid) -> Grid:
    """α by weighted moments; the worst day is left out, as for rates."""
    mean = np.maximum(expected, LEAST)
    inflation = mean * PRIOR_SPREAD
    inflation += 1
    share = weight * mean
    share /= inflation
    share /= inflation
    scale = np.einsum("dsq,dsq->dq", share, mean)
    distance = contacts - mean
    distance *= distance
    distance /= mean
    distance -= 1
    excess = np.einsum("dsq,dsq->dq", share, distance)
    kept = np.ones(excess.shape, bool)
    if len(excess) >= DAYS_TO_LEAVE_ONE:
        kept[np.argmax(excess - PRIOR_SPREAD * scale, axis=0), np.arange(excess.shape[1])] = False
    prior = PRIOR_BUCKETS * scale.sum(0) / np.maximum(1, np.count_nonzero(weight, axis=(0, 1))) + 1e-6
    estimate = ((excess * kept).sum(0) + PRIOR_SPREAD * prior) / ((scale * kept).sum(0) + prior)
    clipped: Grid = np.clip(estimate, *SPREAD_RANGE).astype(np.float32)
    return clipped
