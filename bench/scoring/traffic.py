"""Histories to score: simulated call centres, and the real one beside the project.

Simulated queues have 1 to 2,000 contacts a bucket at their peak, a daily shape with two humps, a weekly shape, days and
buckets that stray; their abandonment has its own daily and weekly shape, beta-like overdispersion that carries over
from bucket to bucket, and, in the hard variant, whole days that stray. Buckets are 15 minutes from a Monday on.
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

    def baseline(self) -> Baseline:
        n, x = self.n.astype(np.uint32), self.x.astype(np.uint32)
        counts = {"offered": n, "abandoned": x, "sla_breached": x, "sla_contacts": n}
        return Baseline(STEP, self.starts, counts)

    def with_events(self, x: Counts) -> History:
        return replace(self, x=x)


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
    noise = rng.normal(size=(size, queues))
    for row in range(1, size):
        noise[row] = carried * noise[row - 1] + np.sqrt(1 - carried**2) * noise[row]
    logit = (
        np.log(usual / (1 - usual))
        + season
        + _by_day(size, weekday + days)
        + noise * np.sqrt(rho / (usual * (1 - usual)))
    )
    return 1 / (1 + np.exp(-logit))


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
