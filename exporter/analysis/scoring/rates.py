"""What a queue's rate usually is at each time, and how much it usually strays: the tables behind `seasonal`.

Comes in: contacts n and events x of some series on a calendar's grid. Goes out: the expected rate of every slot of the
next 24 hours, the information behind it, and the overdispersion ρ. The steps are numbered as in docs/scoring.md:

1. A bucket counts n_e = n / (1 + (n − 1)ρ) effective contacts: a busy bucket does not count without limit.
2. Three levels, each leaning on the one above by information: all of the queue, the time of day, the same time on the
   same day of the week.
3. ρ from the distance between each bucket and what the *other* days say of its slot, so that it holds what a forecast
   really errs by: the bucket's own spread, the day's, and the forecast's. The worst day is left out.
4. V, by which neighbouring buckets repeat each other.
5. Events beyond what the spread allows are drawn in before they enter a mean: an incident must not become normal.

Sources: Prentice 1986 and Williams 1982 (beta-binomial, moments), Bühlmann (credibility), Hampel 1974 (limits that
descend again). The constants were chosen on simulated traffic, see bench/scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.scoring.calendar import Calendar, Grid

#: How far levels differ, as standard deviations of the logit: a time of day from the queue, a weekday from its time.
TIME_STDDEV, WEEKDAY_STDDEV = 0.5, 0.3
#: What is believed of ρ before anything is seen, worth this many typical buckets: a day of them.
PRIOR_RHO, PRIOR_BUCKETS = 0.03, 5.0
RHO_RANGE = (1e-4, 0.9)
#: Leaving the worst day out makes the rest look too calm by this factor. On the safe side: it costs no recall.
CONSISTENCY = 1.3
#: Below this number of days none is left out; above, one, and one in ten where there are many.
DAYS_TO_LEAVE_ONE = 4
#: The usual correlation of neighbouring buckets, worth this many pairs, and its limit.
PRIOR_PHI, PRIOR_PAIRS, MAX_PHI = 0.4, 50.0, 0.85
#: Events farther out are drawn in to this many deviations, and the farther the fewer, down to the floor.
LIMIT, DESCENT, FLOOR = 2.5, 0.7, 0.5
ROUNDS = 2
RATE_RANGE = (1e-4, 1 - 1e-4)


@dataclass(frozen=True, slots=True, eq=False)
class RateTables:
    """`rate` and `information` (effective contacts behind it) by slot of the next 24 hours, (slots, series).

    By series: `rho`, `samples` (Σ w·n_e, the weight of all that was seen) and `buckets` (those with volume).
    """

    rate: Grid
    information: Grid
    rho: Grid
    samples: Grid
    buckets: Grid

    @classmethod
    def joined(cls, parts: Sequence[RateTables]) -> RateTables:
        """Tables of chunks of series, side by side."""
        return cls(*(np.concatenate([getattr(each, field.name) for each in parts], axis=-1) for field in fields(cls)))


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Effective contacts and events of one state of the estimates: of each day, and around each slot of each day."""

    day_contacts: Grid  # (days, series)
    day_events: Grid
    contacts: Grid  # (days, slots, series)
    events: Grid

    @classmethod
    def of(cls, kernel: Grid, effective: Grid, rate: Grid) -> Sums:
        events = effective * rate
        return cls(effective.sum(1), events.sum(1), kernel @ effective, kernel @ events)


def fit_rates(calendar: Calendar, contacts: Grid, events: Grid) -> RateTables:
    """The tables of a few series; grids as `Calendar.grid` lays them.

    In place where a whole grid would be copied: this is the hot loop of a fit.
    """
    seen = contacts > 0
    n = np.maximum(contacts, 1)
    others = n - 1
    raw = np.minimum(events, n) / n
    weight = calendar.weight[:, :, None] * seen
    rho = np.full(n.shape[2], PRIOR_RHO, np.float32)
    repeats = np.full(n.shape[2], (1 + PRIOR_PHI) / (1 - PRIOR_PHI), np.float32)
    inflation = 1 + others * rho
    effective = weight * n / inflation
    rate = raw
    for last in range(ROUNDS - 1, -1, -1):
        expected = _expected_by_other_days(Sums.of(calendar.kernel, effective, rate), repeats)
        distance = raw - expected
        unit = expected * (1 - expected) / n  # variance of the rate of independent contacts
        rho = _overdispersion(distance**2 / unit, others, inflation, weight, rho)
        inflation = 1 + others * rho
        effective = weight * n / inflation
        deviation = np.sqrt(unit * inflation)
        distance /= deviation
        if not last:
            repeats = _repetition(distance, seen)
        _draw_in(distance)
        distance *= deviation
        distance += expected
        rate = np.clip(distance, 0, 1, out=distance)
    sums = Sums.of(calendar.kernel, effective, rate)
    table, information = _tables(calendar, sums, repeats)
    return RateTables(table, information, rho, sums.day_contacts.sum(0), seen.sum((0, 1)).astype(np.float32))


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


def _expected_by_other_days(sums: Sums, repeats: Grid) -> Grid:
    """The rate of every cell as all days but its own tell it; where they are silent, as the queue's mean does."""
    contacts, events = sums.day_contacts.sum(0), sums.day_events.sum(0)
    overall = (events + 0.5) / (contacts + 1)
    others = (events - sums.day_events + overall) / (contacts - sums.day_contacts + 1)
    parent = np.clip(others, *RATE_RANGE)[:, None, :]
    near, near_events = sums.contacts.sum(0) - sums.contacts, sums.events.sum(0) - sums.events
    return _shrunk(near, near_events, repeats, parent, TIME_STDDEV)[0]


def _overdispersion(chi: Grid, others: Grid, inflation: Grid, weight: Grid, rho: Grid) -> Grid:
    """ρ by weighted moments: a bucket's `chi` is 1 + (n − 1)ρ in the mean; see step 3."""
    share = weight * others / (inflation * inflation)
    scale = (share * others).sum(1)
    chi -= 1
    chi *= share
    excess = chi.sum(1)
    days = (scale > 0).sum(0)
    surprise = np.where(scale > 0, excess - rho * scale, -np.inf)
    rank = np.argsort(np.argsort(-surprise, axis=0), axis=0)
    left_out = np.where(days < DAYS_TO_LEAVE_ONE, 0, np.maximum(1, np.round(days / 10)))
    kept = rank >= left_out
    buckets = np.maximum(np.count_nonzero(weight, axis=(0, 1)), 1)
    prior = PRIOR_BUCKETS * scale.sum(0) / buckets + 1e-6
    factor = np.where(left_out > 0, CONSISTENCY, 1)
    estimate = (factor * (excess * kept).sum(0) + PRIOR_RHO * prior) / ((scale * kept).sum(0) + prior)
    clipped: Grid = np.clip(estimate, *RHO_RANGE).astype(np.float32)
    return clipped


def _repetition(strays: Grid, seen: NDArray[np.bool_]) -> Grid:
    """V = (1 + φ) / (1 − φ) of the correlation φ between neighbouring buckets."""
    flat = (np.clip(strays, -LIMIT, LIMIT) * seen).reshape(-1, strays.shape[2])
    both = seen.reshape(flat.shape)
    pairs = both[1:] & both[:-1]
    square = flat * flat
    square[1:] += square[:-1]
    size = 0.5 * (square[1:] * pairs).sum(0)
    count = np.count_nonzero(pairs, axis=0)
    mean_product = (flat[1:] * flat[:-1]).sum(0) / np.maximum(size, 1e-9)
    phi = np.clip((mean_product * count + PRIOR_PHI * PRIOR_PAIRS) / (count + PRIOR_PAIRS), 0, MAX_PHI)
    repeats: Grid = ((1 + phi) / (1 - phi)).astype(np.float32)
    return repeats


def _tables(calendar: Calendar, sums: Sums, repeats: Grid) -> tuple[Grid, Grid]:
    """Step 2 for the two days ahead; information adds up level by level, each blurred by how far levels differ."""
    contacts, events = sums.day_contacts.sum(0), sums.day_events.sum(0)
    overall = np.clip((events + 0.5) / (contacts + 1), *RATE_RANGE)
    at_time, at_time_events = sums.contacts.sum(0), sums.events.sum(0)
    usual, prior = _shrunk(at_time, at_time_events, repeats, overall, TIME_STDDEV)
    usual_information = at_time / repeats + 1 / (1 / prior + 1 / (contacts / repeats + 1))
    rates, information = [], []
    for day in calendar.ahead():
        same = calendar.same_weekday(day)
        weekday, weekday_events = sums.contacts[same].sum(0), sums.events[same].sum(0)
        rate, prior = _shrunk(weekday, weekday_events, repeats, usual, WEEKDAY_STDDEV)
        rates.append(rate)
        information.append(weekday / repeats + 1 / (1 / prior + 1 / usual_information))
    return calendar.next_day(np.stack(rates)), calendar.next_day(np.stack(information))
