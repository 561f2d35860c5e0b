"""Histories to score: simulated call centres, and the real one beside the project.

Simulated queues have 1 to 2,000 contacts a bucket at their peak, a daily shape with two humps, a weekly shape, days and
buckets that stray; their abandonment has its own daily and weekly shape, beta-like overdispersion that carries over
from bucket to bucket, and, in the hard variant, whole days that stray. Buckets are 15 minutes from a Monday on.

`unruly` makes small queues as real ones are: nights and holidays, days that stray alone and together, levels that
drift and jump, more callers with a higher rate, and an incident a week that nobody has marked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.backtest import read_past
from exporter.analysis.baseline import Baseline

STEP, DAY, WEEK = 900, 96, 672
MONDAY = 1_767_571_200
REAL_FILE = Path(__file__).parents[2] / ".." / "shared" / "data" / "anonbank1999_15min.csv"
#: A pause of the records this long parts the real data into histories of their own.
PAUSE = 20 * DAY

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class History:
    """`n` contacts and `x` events, (buckets, queues); `p` is the true or pooled rate that incidents start from."""

    starts: Counts
    n: Counts
    x: Counts
    p: NDArray[np.float64]
    timezone: str = "UTC"

    @property
    def step(self) -> int:
        """Seconds of a bucket."""
        return int(self.starts[1] - self.starts[0])

    def baseline(self) -> Baseline:
        n, x = self.n.astype(np.uint32), self.x.astype(np.uint32)
        counts = {"offered": n, "abandoned": x, "sla_breached": x, "sla_contacts": n}
        return Baseline(self.step, self.starts, counts)

    def with_events(self, x: Counts) -> History:
        return replace(self, x=x)

    def hourly(self) -> History:
        """The same in buckets of an hour, from the first whole one on."""
        first = -int(self.starts[0]) % 3600 // STEP
        rows = slice(first, first + (len(self.n) - first) // 4 * 4)
        n, x = (column[rows].reshape(-1, 4, column.shape[1]).sum(1) for column in (self.n, self.x))
        return History(self.starts[rows][::4], n, x, self.p[rows][::4], self.timezone)


def simulated(seed: int, *, queues: int = 84, weeks: int = 2, hard: bool = False) -> History:
    """`weeks` of `queues`; the last week is the one to score."""
    rng = np.random.default_rng(seed)
    size = weeks * WEEK
    n = rng.poisson(_volume(rng, size, queues) * rng.gamma(50, 1 / 50, (size, queues)))
    p = _rate(rng, size, queues, hard)
    return History(MONDAY + np.arange(size) * STEP, n, rng.binomial(n, p), p)


def _hour(size: int) -> NDArray[np.float64]:
    return ((np.arange(size) % DAY) / 4 + 0.125)[:, None]


def _by_day(size: int, per_day: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.repeat(per_day, DAY, axis=0)[:size]


def _volume(rng: np.random.Generator, size: int, queues: int) -> NDArray[np.float64]:
    peak = np.exp(rng.uniform(np.log(1), np.log(2000), queues))
    night = np.exp(rng.uniform(np.log(0.01), np.log(0.2), queues))
    morning, afternoon = rng.uniform(9.5, 11.5, queues), rng.uniform(14, 16.5, queues)
    hour = _hour(size)
    shape = night + np.exp(-0.5 * ((hour - morning) / 1.8) ** 2) + 0.8 * np.exp(-0.5 * ((hour - afternoon) / 2.2) ** 2)
    weekend = np.stack([rng.uniform(0.3, 0.8, queues), rng.uniform(0.1, 0.6, queues)])
    weekday = np.concatenate([np.ones((5, queues)), weekend]) * np.exp(0.08 * rng.normal(size=(7, queues)))
    days = np.exp(0.08 * rng.normal(size=(size // DAY, queues)))
    return peak * shape * _by_day(size, weekday[np.arange(size // DAY) % 7] * days)


def _rate(rng: np.random.Generator, size: int, queues: int, hard: bool) -> NDArray[np.float64]:
    usual = np.exp(rng.uniform(np.log(0.03), np.log(0.15), queues))
    rho = np.exp(rng.uniform(*np.log((0.008, 0.08) if hard else (0.005, 0.05)), queues))
    season = rng.uniform(0, 0.6, queues) * np.cos(2 * np.pi * (_hour(size) - rng.uniform(0, 24, queues)) / 24)
    weekday = 0.1 * rng.normal(size=(7, queues))[np.arange(size // DAY) % 7]
    days = (0.25 if hard else 0.0) * rng.normal(size=(size // DAY, queues))
    carried = rng.uniform(0.2 if hard else 0.0, 0.9 if hard else 0.8, queues)
    noise = _carried(rng, carried, size)
    logit = (
        np.log(usual / (1 - usual))
        + season
        + _by_day(size, weekday + days)
        + noise * np.sqrt(rho / (usual * (1 - usual)))
    )
    return 1 / (1 + np.exp(-logit))


def unruly(seed: int, *, queues: int = 10, weeks: int = 14) -> History:
    """Months of small queues with a life of their own."""
    rng = np.random.default_rng(seed)
    size, days, hour = weeks * WEEK, weeks * 7, _hour(weeks * WEEK)
    surprise = rng.gamma(20, 1 / 20, (size, queues))
    n = rng.poisson(_small_volume(rng, hour, days, queues) * surprise)
    usual, rho = (np.exp(rng.uniform(*np.log(limits), queues)) for limits in ((0.04, 0.25), (0.02, 0.15)))
    season = sum(
        rng.uniform(0, size_of, queues) * np.cos(turns * np.pi * (hour - rng.uniform(0, 24, queues)) / 12)
        for turns, size_of in ((1, 0.7), (2, 0.4))
    )
    strays = 0.35 * rng.normal(size=(days, queues)) + 0.25 * rng.normal(size=(days, 1))
    jumps = 0.5 * rng.normal(size=(days, queues)) * (rng.random((days, queues)) < 1 / 60)
    drift = np.cumsum(0.04 * rng.normal(size=(days, queues)) + jumps, axis=0)
    weekday = 0.15 * rng.normal(size=(7, queues))[np.arange(days) % 7]
    noise = _carried(rng, rng.uniform(0.3, 0.9, queues), size)
    load = rng.uniform(0, 1.2, queues) * np.log(np.maximum(surprise, 0.05))
    logit = np.log(usual / (1 - usual)) + season + _by_day(size, weekday + strays + drift) + load
    p = 1 / (1 + np.exp(-logit - noise * np.sqrt(rho / (usual * (1 - usual)))))
    for begin, queue in np.argwhere(rng.random((size, queues)) < 1 / WEEK):
        rows, kind = slice(begin, begin + int(rng.choice([2, 4, 8, 12]))), rng.integers(3)
        worse = (p[rows, queue] * 2, p[rows, queue] * 3, p[rows, queue] + 0.3)[kind]
        p[rows, queue] = np.maximum(p[rows, queue], np.minimum(0.95, worse))
    return _pooled(MONDAY + np.arange(size) * STEP, n, rng.binomial(n, p))


def _small_volume(rng: np.random.Generator, hour: NDArray[np.float64], days: int, queues: int) -> NDArray[np.float64]:
    peak = np.exp(rng.uniform(np.log(1), np.log(40), queues))
    morning, evening = rng.uniform(9.5, 11.5, queues), rng.uniform(15, 18, queues)
    shape = 0.05 + np.exp(-0.5 * ((hour - morning) / 2.2) ** 2) + 0.8 * np.exp(-0.5 * ((hour - evening) / 2.8) ** 2)
    shape = np.where(hour > 7, shape, rng.choice([0, 0.02], queues))
    weekend = rng.uniform(0.1, 0.7, (2, queues)) * (rng.random((2, queues)) > 0.4)
    weekday = np.concatenate([np.exp(0.1 * rng.normal(size=(5, queues))), weekend])[np.arange(days) % 7]
    strays = np.exp(0.12 * rng.normal(size=(days, queues)) + 0.1 * rng.normal(size=(days, 1)))
    holiday = np.where(rng.random((days, 1)) < 0.03, rng.choice([0, 0.3, 1.5], (days, 1)), 1)
    return peak * shape * _by_day(len(hour), weekday * strays * holiday)


def _carried(rng: np.random.Generator, carried: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Noise of deviation 1, of which each bucket hands a share on to the next."""
    noise = rng.normal(size=(size, len(carried)))
    for row in range(1, size):
        noise[row] = carried * noise[row - 1] + np.sqrt(1 - carried**2) * noise[row]
    return noise


def _pooled(starts: Counts, n: Counts, x: Counts, timezone: str = "UTC") -> History:
    """A history whose true rates nobody knows: incidents start from each queue's mean."""
    return History(starts, n, x, np.broadcast_to(x.sum(0) / np.maximum(n.sum(0), 1), n.shape), timezone)


def real(metric: str = "abandoned") -> list[History]:
    """The real records, parted where they pause; none where the file is not there."""
    if not REAL_FILE.exists():
        return []
    past = read_past(REAL_FILE).history
    n, x = past.counts["offered"].astype(np.int64), past.counts[metric].astype(np.int64)
    pooled = np.broadcast_to(x.sum(0) / n.sum(0), n.shape)
    cuts = np.flatnonzero(np.diff(past.starts) > PAUSE * STEP) + 1
    parts = np.split(np.arange(len(past.starts)), cuts)
    return [History(past.starts[rows], n[rows], x[rows], pooled[rows], "Asia/Jerusalem") for rows in parts]
