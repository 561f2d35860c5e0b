"""What a queue's rate usually is at each time, and how much it usually strays: the tables behind `seasonal`.

Comes in: contacts n and events x of some series on a calendar's grid. Goes out: the expected rate of every slot
ahead, the information behind it, and the overdispersion ρ. The steps are numbered as in docs/scoring.md:

1. A bucket counts n_e = n / (1 + (n − 1)ρ) effective contacts: a busy bucket does not count without limit.
2. Three levels, each leaning on the one above by information: all of the queue, the time of day, the same time on the
   same day of the week.
3. ρ from the distance between each bucket and what the *other* days say of its slot, so that it holds what a forecast
   really errs by: the bucket's own spread, the day's, and the forecast's. The worst day is left out.
4. V, by which neighbouring buckets repeat each other.
5. Events beyond what the spread allows are drawn in before they enter a mean: an incident must not become normal.
6. The level of the last hours moves the expectation of the next ones, by half at most.

ρ needs a ρ to weigh by: a first look at a sample of the times of day finds one, the second look takes all.

Sources: Prentice 1986 and Williams 1982 (beta-binomial, moments), Bühlmann (credibility), Hampel 1974 (limits that
descend again). The constants were chosen on simulated traffic, see bench/scoring.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from exporter.analysis.scoring.calendar import Calendar, Grid, sample_of

#: How far levels differ, as standard deviations of the logit: a time of day from the queue, a weekday from its time.
TIME_STDDEV, WEEKDAY_STDDEV = 0.5, 0.3
#: What is believed of ρ before anything is seen, worth this many typical buckets: half a day of them.
PRIOR_RHO, PRIOR_BUCKETS = 0.03, 50.0
RHO_RANGE = (1e-4, 0.9)
#: Leaving the worst day out makes the rest look too calm by this factor. On the safe side: it moves all z together, and
#: real busy hours scatter more than simulated ones.
CONSISTENCY = 1.5
#: Below this number of days none is left out; above, one, and one in ten where there are many.
DAYS_TO_LEAVE_ONE = 4
#: The usual correlation of neighbouring buckets, worth this many pairs, and its limit.
PRIOR_PHI, PRIOR_PAIRS, MAX_PHI = 0.4, 50.0, 0.85
#: Events farther out are drawn in to this many deviations, and the farther the fewer, down to the floor.
LIMIT, DESCENT, FLOOR = 2.5, 0.7, 1.0
USUAL_REPEATS = (1 + PRIOR_PHI) / (1 - PRIOR_PHI)
#: How far the level of some hours strays from the habit, as a standard deviation of the logit, and how far at most it
#: is followed: by half. More is news, for as long as it lasts.
LEVEL_STDDEV, MAX_LEVEL = 0.5, 0.4
RATE_RANGE = (1e-4, 1 - 1e-4)
#: More information is not told apart: it adds nothing to the spread, and float16 ends at 65,504.
MOST_INFORMATION = 60_000.0


@dataclass(frozen=True, slots=True, eq=False)
class RateTables:
    """`rate` and `information` (effective contacts behind it) by slot ahead, (slots, series).

    By series: `rho`, `samples` (Σ w·n_e, the weight of all that was seen) and `buckets` (those with volume).
    """

    by_slot: ClassVar[frozenset[str]] = frozenset({"rate", "information"})
    rough: ClassVar[frozenset[str]] = frozenset({"information"})  # W widens ρ by 1 / (W + 1): three digits are enough

    rate: Grid
    information: Grid
    rho: Grid
    samples: Grid
    buckets: Grid


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The buckets of some series on a grid, (days, slots, series): at least 1 contact each, the others but one, the
    rate, and the weight, which is 0 where nothing was seen or nothing is to be learnt; `taught` is then 0, else 1."""

    n: Grid
    others: Grid
    rate: Grid
    weight: Grid
    taught: Grid

    @property
    def buckets(self) -> Grid:
        """How many teach, by series."""
        count: Grid = (np.ones(self.taught.shape[1], np.float32) @ self.taught).sum(0)
        return count

    @classmethod
    def of(cls, calendar: Calendar, contacts: Grid, events: Grid) -> Cells:
        n = np.maximum(contacts, 1)
        rate = np.minimum(events, n)
        rate /= n
        taught = ((contacts > 0) & (calendar.weight[:, :, None] > 0)).astype(np.float32)
        return cls(n, n - 1, rate, calendar.weight[:, :, None] * taught, taught)

    def some(self, slots: slice) -> Cells:
        """The cells at some times of day."""
        return Cells(*(np.ascontiguousarray(getattr(self, field.name)[:, slots]) for field in fields(self)))


def fit_rates(calendar: Calendar, contacts: Grid, events: Grid) -> RateTables:
    """The tables of a few series; grids as `Calendar.grid` lays them.

    In place where a whole grid would be copied: this is the hot loop of a fit.
    """
    cells = Cells.of(calendar, contacts, events)
    rho = np.full(contacts.shape[2], PRIOR_RHO, np.float32)
    few = sample_of(calendar.slots)
    rho = _look(cells.some(few), np.ascontiguousarray(calendar.rate_kernel[few, few]), rho)[-1]
    expected, distance, unit, rho = _look(cells, calendar.rate_kernel, rho)
    inflation = cells.others * rho
    inflation += 1
    unit *= inflation
    deviation = np.sqrt(unit, out=unit)
    distance /= deviation
    repeats = _repetition(distance, cells.taught)
    _draw_in(distance)
    distance *= deviation
    effective = np.divide(cells.n, inflation, out=inflation)
    level = _level(calendar, contacts, effective, distance, expected, repeats)
    effective *= cells.weight
    expected += distance
    rate = np.clip(expected, 0, 1, out=expected)
    table, information = _tables(calendar, effective, rate, repeats)
    table = moved(table, calendar.fading[:, None] * level)
    return RateTables(table, information, rho, effective.sum((0, 1)), cells.buckets)


def _look(cells: Cells, kernel: Grid, rho: Grid) -> tuple[Grid, Grid, Grid, Grid]:
    """What the other days expect of each cell, how far it lies from that, the variance of independent contacts, ρ."""
    inflation = cells.others * rho
    inflation += 1
    effective = cells.weight * cells.n
    effective /= inflation
    expected = _expected_by_other_days(kernel, effective, cells.rate)
    distance = cells.rate - expected
    unit = 1 - expected
    unit *= expected
    unit /= cells.n
    return expected, distance, unit, _overdispersion(cells, distance, unit, inflation, rho)


def _draw_in(strays: Grid) -> None:
    """Deviations as they may enter a mean: themselves up to LIMIT, then ever less. In place."""
    size = np.abs(strays)
    limit = np.clip(LIMIT + DESCENT * LIMIT - DESCENT * size, FLOOR, LIMIT)
    np.copysign(np.minimum(size, limit, out=size), strays, out=strays)


def _shrunk(contacts: Grid, events: Grid, repeats: Grid, parent: Grid, stddev: float) -> tuple[Grid, Grid]:
    """A level's rate between its own data and its parent's rate, and the prior information K that the parent gets."""
    prior = 1 / (stddev**2 * parent * (1 - parent))
    weight = repeats * prior
    rate = (events + weight * parent) / (contacts + weight)
    return np.clip(rate, *RATE_RANGE, out=rate), prior


def _expected_by_other_days(kernel: Grid, effective: Grid, rate: Grid) -> Grid:
    """The rate of every cell as all days but its own tell it; where they are silent, as the queue's mean does."""
    happened = effective * rate
    slots = np.ones(len(kernel), np.float32)
    day_contacts, day_events = slots @ effective, slots @ happened
    contacts, events = day_contacts.sum(0), day_events.sum(0)
    overall = (events + 0.5) / (contacts + 1)
    parent = np.clip((events - day_events + overall) / (contacts - day_contacts + 1), *RATE_RANGE)
    weight = (USUAL_REPEATS / (TIME_STDDEV**2 * parent * (1 - parent)))[:, None, :]
    others = _around(kernel, happened)
    others += weight * parent[:, None, :]
    near = _around(kernel, effective)
    near += weight
    others /= near
    return np.clip(others, *RATE_RANGE, out=others)


def _around(kernel: Grid, cells: Grid) -> Grid:
    """Of the other days, the sum around each cell's time of day."""
    around: Grid = kernel @ (cells.sum(0) - cells)
    return around


def _overdispersion(cells: Cells, distance: Grid, unit: Grid, inflation: Grid, rho: Grid) -> Grid:
    """ρ by weighted moments: a bucket's distance²/unit is 1 + (n − 1)ρ in the mean; see step 3."""
    share = cells.weight * cells.others
    share /= inflation
    share /= inflation
    scale = np.einsum("dsq,dsq->dq", share, cells.others)
    chi = distance * distance
    chi /= unit
    chi -= 1
    excess = np.einsum("dsq,dsq->dq", share, chi)
    days = (scale > 0).sum(0)
    surprise = np.where(scale > 0, excess - rho * scale, -np.inf)
    rank = np.argsort(np.argsort(-surprise, axis=0), axis=0)
    left_out = np.where(days < DAYS_TO_LEAVE_ONE, 0, np.maximum(1, np.round(days / 10)))
    kept = rank >= left_out
    prior = PRIOR_BUCKETS * scale.sum(0) / np.maximum(cells.buckets, 1) + 1e-6
    factor = np.where(left_out > 0, CONSISTENCY, 1)
    estimate = (factor * (excess * kept).sum(0) + PRIOR_RHO * prior) / ((scale * kept).sum(0) + prior)
    clipped: Grid = np.clip(estimate, *RHO_RANGE).astype(np.float32)
    return clipped


def _level(calendar: Calendar, contacts: Grid, effective: Grid, distance: Grid, expected: Grid, repeats: Grid) -> Grid:
    """How far the last hours lay from their expectation, in logits: one step of a likelihood, drawn to 0; (series)."""
    recent = slice(-2, None)
    weight = (calendar.recency[recent, :, None] * (contacts[recent] > 0)) * effective[recent]
    weight /= repeats
    rate = expected[recent]
    told = (weight * distance[recent]).sum((0, 1))
    known = (weight * rate * (1 - rate)).sum((0, 1))
    limited: Grid = np.clip(told / (known + 1 / LEVEL_STDDEV**2), -MAX_LEVEL, MAX_LEVEL)
    return limited


def moved(rate: Grid, level: Grid) -> Grid:
    """Rates whose odds are e^level times as high."""
    odds = rate / (1 - rate) * np.exp(level)
    result: Grid = np.clip(odds / (1 + odds), *RATE_RANGE)
    return result


def _repetition(strays: Grid, taught: Grid) -> Grid:
    """V = (1 + φ) / (1 − φ) of the correlation φ between neighbouring buckets; `taught` is 1 where one counts, or 0."""
    flat = np.clip(strays, -LIMIT, LIMIT)
    flat *= taught
    flat, taught = (each.reshape(-1, strays.shape[2]) for each in (flat, taught))
    square = flat * flat
    count = _product(taught[1:], taught[:-1])
    size = 0.5 * (_product(square[1:], taught[:-1]) + _product(square[:-1], taught[1:]))
    mean_product = _product(flat[1:], flat[:-1]) / np.maximum(size, 1e-9)
    phi = np.clip((mean_product * count + PRIOR_PHI * PRIOR_PAIRS) / (count + PRIOR_PAIRS), 0, MAX_PHI)
    repeats: Grid = ((1 + phi) / (1 - phi)).astype(np.float32)
    return repeats


def _product(these: Grid, those: Grid) -> Grid:
    """Sum of products by series."""
    total: Grid = np.einsum("rq,rq->q", these, those)
    return total


def _tables(calendar: Calendar, effective: Grid, rate: Grid, repeats: Grid) -> tuple[Grid, Grid]:
    """Step 2 for the slots ahead; information adds up level by level, each blurred by how far levels differ."""
    kernel, happened = calendar.rate_kernel, effective * rate
    of_slot, events_of_slot = effective.sum(0), happened.sum(0)
    contacts, events = of_slot.sum(0), events_of_slot.sum(0)
    overall = np.clip((events + 0.5) / (contacts + 1), *RATE_RANGE)
    at_time = kernel @ of_slot
    usual, prior = _shrunk(at_time, kernel @ events_of_slot, repeats, overall, TIME_STDDEV)
    usual_information = at_time / repeats + 1 / (1 / prior + 1 / (contacts / repeats + 1))
    rates, information = [], []
    for day, times in calendar.ahead():
        same = calendar.same_weekday(day)
        weekday, weekday_events = (kernel[times] @ each[same].sum(0) for each in (effective, happened))
        rate_of_day, prior = _shrunk(weekday, weekday_events, repeats, usual[times], WEEKDAY_STDDEV)
        rates.append(rate_of_day)
        information.append(weekday / repeats + 1 / (1 / prior + 1 / usual_information[times]))
    return np.concatenate(rates), np.minimum(np.concatenate(information), MOST_INFORMATION)
