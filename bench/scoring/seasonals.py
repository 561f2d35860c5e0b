"""The seasonal beta-binomial as it was first written down, to compare with: from a batch of days, and streaming.

Comes in: a history. Goes out: z as in `rivals`. The batch form measures ρ against means that each bucket helped to
make; the streaming form sees every bucket once, judges it by what came before, and keeps sums by weekday and slot that
fade by a quarter a week, so that it remembers more than the days of its rivals' baselines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.traffic import History
from exporter.analysis.scoring.calendar import DAY_SECONDS, local_slots, time_of_day_kernel
from exporter.analysis.scoring.tails import betabinomial_z

Z = NDArray[np.float64]

HALF_WIDTH_SECONDS = 90 * 60
TIME_STDDEV, WEEKDAY_STDDEV = 0.5, 0.3
PRIOR_RHO, PRIOR_BUCKETS, CONSISTENCY = 0.03, 5, 1.3
PRIOR_PHI, PRIOR_PAIRS, MAX_PHI = 0.4, 50, 0.85
LIMIT, ROUNDS, DECAY_PER_WEEK = 3.0, 3, 0.75
LEFT_OUT_SECONDS = 6 * 3600
#: A model of the batch form serves this long.
REFIT_SECONDS = 6 * 3600


def _tail(n: Z, x: Z, p: Z, rho: Z) -> Z:
    z = np.full(n.shape, np.nan)
    some = n > 0
    z[some] = betabinomial_z(*(column[some] for column in (n, x, p, rho)))
    return z


def _shrunk(contacts: Z, events: Z, repeats: Z, parent: Z, stddev: float) -> tuple[Z, Z, Z]:
    """Rate, K and I of a level."""
    prior, known = 1 / (stddev**2 * parent * (1 - parent)), contacts / repeats
    rate = (events / repeats + prior * parent) / (known + prior)
    return np.clip(rate, 1e-4, 1 - 1e-4), prior, known


def _three_levels(total: tuple[Z, Z], at_time: tuple[Z, Z], weekday: tuple[Z, Z], repeats: Z) -> tuple[Z, Z]:
    """Rate and information W from (contacts, events) of each level."""
    contacts, events = total
    overall = np.clip((events + 0.5) / (contacts + 1), 1e-4, 1 - 1e-4)
    usual, prior, known = _shrunk(*at_time, repeats, overall, TIME_STDDEV)
    above = known + 1 / (1 / prior + 1 / (contacts / repeats + 1))
    rate, prior, known = _shrunk(*weekday, repeats, usual, WEEKDAY_STDDEV)
    return rate, known + 1 / (1 / prior + 1 / above)


def _rho_of(excess: Z, scale: Z, buckets: Z, rho: Z) -> Z:
    """ρ from sums by day, without the worst."""
    days = (scale > 0).sum(0)
    surprise = np.where(scale > 0, excess - rho * scale, -np.inf)
    left_out = np.where(days < 4, 0, np.maximum(1, np.round(days / 10)))
    kept = np.argsort(np.argsort(-surprise, axis=0), axis=0) >= left_out
    prior = PRIOR_BUCKETS * scale.sum(0) / np.maximum(buckets, 1) + 1e-6
    total = np.where(left_out > 0, CONSISTENCY, 1) * (excess * kept).sum(0)
    return np.clip((total + PRIOR_RHO * prior) / ((scale * kept).sum(0) + prior), 1e-4, 0.9)


def _repeats_of(products: Z, squares: Z, pairs: Z) -> Z:
    phi = (products / np.maximum(squares, 1e-9) * pairs + PRIOR_PHI * PRIOR_PAIRS) / (pairs + PRIOR_PAIRS)
    phi = np.clip(phi, 0, MAX_PHI)
    return (1 + phi) / (1 - phi)


@dataclass(frozen=True, slots=True)
class _Past:
    """A history as columns, and where its buckets lie on the week."""

    n: Z
    x: Z
    places: NDArray[np.int64]
    slots: int
    step: int
    kernel: Z

    @classmethod
    def of(cls, history: History) -> _Past:
        step = int(history.starts[1] - history.starts[0])
        slots = DAY_SECONDS // step
        kernel = time_of_day_kernel(slots, step, HALF_WIDTH_SECONDS).astype(np.float64)
        places = local_slots(history.starts + step // 2, step, history.timezone)
        n, x = history.n.astype(float), np.minimum(history.x, history.n).astype(float)
        return cls(n, x, places, slots, step, kernel)


def batch(history: History, first: int, days: int = 7) -> Z:
    past = _Past.of(history)
    z = np.full(past.n.shape, np.nan)
    refit, left_out = REFIT_SECONDS // past.step, LEFT_OUT_SECONDS // past.step
    for row in range(first, len(z), refit):
        rate, information, rho = _fitted(past, slice(max(0, row - days * past.slots), max(1, row - left_out)))
        now = slice(row, row + refit)
        week = past.places[now] // past.slots % 7, past.places[now] % past.slots
        z[now] = _tail(past.n[now], past.x[now], rate[week], np.minimum(rho + 1 / (information[week] + 1), 0.95))
    return z


def _fitted(past: _Past, rows: slice) -> tuple[Z, Z, Z]:
    """Rate and information by weekday and slot, and ρ."""
    n, x, places = past.n[rows], past.x[rows], past.places[rows]
    seen, n_or_one = n > 0, np.maximum(n, 1)
    week, day = (places // past.slots % 7, places % past.slots), places // past.slots - places[0] // past.slots
    rho, repeats = np.full(n.shape[1], PRIOR_RHO), np.full(n.shape[1], (1 + PRIOR_PHI) / (1 - PRIOR_PHI))
    raw = rate = x / n_or_one
    for _ in range(ROUNDS):
        p = _levels(past, week, n, rate, rho, repeats)[0][week]
        weight = np.where(seen, (n - 1) / (1 + (n - 1) * rho) ** 2, 0)
        chi = (x - n * p) ** 2 / (n_or_one * p * (1 - p))
        excess, scale = (np.zeros((day.max() + 1, n.shape[1])) for _ in range(2))
        np.add.at(excess, day, weight * (chi - 1))
        np.add.at(scale, day, weight * (n - 1))
        rho = _rho_of(excess, scale, seen.sum(0), rho)
        deviation = np.sqrt(p * (1 - p) * (1 + (n_or_one - 1) * rho) / n_or_one)
        strays = np.clip((raw - p) / deviation, -LIMIT, LIMIT)
        rate = np.clip(p + strays * deviation, 0, 1)
        both, flat = seen[1:] & seen[:-1], strays * seen
        squares = 0.5 * ((flat[1:] ** 2 + flat[:-1] ** 2) * both).sum(0)
        repeats = _repeats_of((flat[1:] * flat[:-1]).sum(0), squares, both.sum(0))
    return *_levels(past, week, n, rate, rho, repeats), rho


def _levels(past: _Past, week: tuple[Z, Z], n: Z, rate: Z, rho: Z, repeats: Z) -> tuple[Z, Z]:
    contacts, events = (np.zeros((7, past.slots, n.shape[1])) for _ in range(2))
    effective = np.where(n > 0, n / (1 + (n - 1) * rho), 0)
    np.add.at(contacts, week, effective)
    np.add.at(events, week, effective * rate)
    at_time = past.kernel @ contacts.sum(0), past.kernel @ events.sum(0)
    weekday = past.kernel @ contacts, past.kernel @ events
    return _three_levels((contacts.sum((0, 1)), events.sum((0, 1))), at_time, weekday, repeats)


class _Stream:
    """Sums that a closed bucket is added to once. `sums` (contacts and events by weekday and slot) grow in scale
    instead of fading, so that no bucket touches all of them."""

    def __init__(self, past: _Past) -> None:
        self.past, series = past, past.n.shape[1]
        self.growth, self.scale = DECAY_PER_WEEK ** (-1 / (7 * past.slots)), 1.0
        self.sums = np.zeros((2, 7, past.slots, series))
        self.at_time = np.zeros((2, past.slots, series))
        self.total = np.zeros((2, series))
        self.days = np.zeros((3, 7, series))  # excess, scale, buckets: a ring
        self.pairs = np.zeros((3, series))  # products, squares, how many
        self.before = np.full(series, np.nan)
        self.day = -1
        self.rho = np.full(series, PRIOR_RHO)
        self.repeats = np.full(series, (1 + PRIOR_PHI) / (1 - PRIOR_PHI))

    def expected(self, place: int) -> tuple[Z, Z]:
        slot, weekday = place % self.past.slots, place // self.past.slots % 7
        near = np.flatnonzero(self.past.kernel[slot])
        weights = self.past.kernel[slot, near] / self.scale
        total = self.total / self.scale
        at_time, same = (
            np.einsum("s,ksq->kq", weights, each) for each in (self.at_time[:, near], self.sums[:, weekday, near])
        )
        return _three_levels((total[0], total[1]), (at_time[0], at_time[1]), (same[0], same[1]), self.repeats)

    def close(self, n: Z, x: Z, place: int) -> None:
        seen, slot, weekday = n > 0, place % self.past.slots, place // self.past.slots % 7
        self._begin(place // self.past.slots)
        p, _ = self.expected(place)
        count, inflation = np.maximum(n, 1), 1 + np.maximum(n - 1, 0) * self.rho
        weight = np.where(seen, (n - 1) / inflation**2, 0)
        chi = (x - n * p) ** 2 / (count * p * (1 - p))
        self.days[:, self.day % 7] += weight * (chi - 1), weight * (n - 1), seen
        deviation = np.sqrt(p * (1 - p) * inflation / count)
        stray = np.clip((x / count - p) / deviation, -LIMIT, LIMIT)
        effective = np.where(seen, n / inflation, 0) * self.scale
        both = np.stack([effective, effective * np.clip(p + stray * deviation, 0, 1)])
        self.sums[:, weekday, slot] += both
        self.at_time[:, slot] += both
        self.total += both
        pair = seen & ~np.isnan(self.before)
        before = np.where(pair, self.before, 0)
        self.pairs += np.where(pair, stray * before, 0), np.where(pair, (stray**2 + before**2) / 2, 0), pair
        self.before = np.where(seen, stray, np.nan)

    def _begin(self, day: int) -> None:
        """ρ and V follow once a day."""
        if day == self.day:
            return
        self.day = day
        self.days[:, day % 7] = 0
        self.rho = _rho_of(self.days[0], self.days[1], self.days[2].sum(0), self.rho)
        self.repeats = _repeats_of(*self.pairs)


def streaming(history: History, first: int) -> Z:
    past = _Past.of(history)
    z, stream, left_out = np.full(past.n.shape, np.nan), _Stream(past), LEFT_OUT_SECONDS // past.step
    for row, place in enumerate(past.places.tolist()):
        stream.scale *= stream.growth
        if row > left_out:
            closed = row - left_out - 1
            stream.close(past.n[closed], past.x[closed], int(past.places[closed]))
        if row >= first and past.n[row].any():
            rate, information = stream.expected(place)
            z[row] = _tail(past.n[row], past.x[row], rate, np.minimum(stream.rho + 1 / (information + 1), 0.95))
    return z
