"""What scores a history: the project's own methods, and two from elsewhere to compare with.

Comes in: a history. Goes out: z of every bucket from `first` on, (buckets, queues), NaN before and where there is none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.scoring.traffic import DAY, STEP, History
from exporter.analysis.scoring import ScoreOptions, method
from exporter.analysis.scoring.tails import betabinomial_z
from exporter.analysis.scoring.walk import blocks, steps
from exporter.models import ABANDONMENT

Z = NDArray[np.float64]
Scorer = Callable[[History, int], Z]


def own(name: str, *, days: int = 7, metric: str = ABANDONMENT, refit_seconds: float | None = 6 * 3600) -> Scorer:
    """One of the project's methods, walked as `backtest` does over long files, with a model at most six hours old."""

    def score(history: History, first: int) -> Z:
        z = np.full(history.n.shape, np.nan)
        walked = blocks(
            method(name),
            history.baseline(),
            ScoreOptions(timezone=history.timezone),
            baseline_seconds=days * DAY * STEP,
            refit_seconds=refit_seconds,
            wanted=frozenset(history.starts[first:].tolist()),
        )
        for row, step in enumerate(steps(walked), first):
            z[row] = step.scores.metrics[metric].z
        return z

    return score


def betabinomial(history: History, first: int, days: int = 7) -> Z:
    """One rate and one overdispersion for the whole baseline, made anew every hour."""
    z = np.full(history.n.shape, np.nan)
    day, hour = DAY * STEP // history.step, max(1, 3600 // history.step)
    for row in range(first, len(z), hour):
        n, x = (column[max(0, row - days * day) : row].astype(float) for column in (history.n, history.x))
        p = np.clip((x.sum(0) + 0.5) / (n.sum(0) + 1), 1e-4, 1 - 1e-4)
        chi = np.divide((x - n * p) ** 2, n * p * (1 - p), out=np.ones_like(n), where=n > 0)
        weight = np.maximum(n - 1, 0) / (1 + np.maximum(n - 1, 0) * 0.03) ** 2
        rho = np.clip((weight * (chi - 1)).sum(0) / np.maximum((weight * (n - 1)).sum(0), 1e-9), 1e-4, 0.9)
        now = slice(row, row + hour)
        z[now] = _tail(history.n[now], history.x[now], *np.broadcast_arrays(p, rho, history.n[now])[:2])
    return z


def rolling_median(history: History, first: int, hours: int = 26) -> Z:
    """After Grafana's promql-anomaly-detection, robust form: median and MAD of the last 26 hours of the ratio.

    Where most buckets are alike the MAD is 0; the mean deviation then stands in.
    """
    z = np.full(history.n.shape, np.nan)
    ratio = np.divide(history.x, history.n, out=np.full(history.n.shape, np.nan), where=history.n > 0)
    width = hours * 3600 // history.step
    for row in range(first, len(z), DAY):
        rows = np.arange(row, min(row + DAY, len(z)))
        before = ratio[rows[:, None] - width + np.arange(width)]
        middle = _median(before)
        away = np.abs(before - middle[:, None])
        spread, usual = 1.4826 * _median(away), 1.2533 * np.nansum(away, 1) / np.maximum((away >= 0).sum(1), 1)
        spread = np.maximum(np.where(spread > 0, spread, usual), 0.01)  # a band of no width would flag everything
        z[rows] = (ratio[rows] - middle) / spread
    return z


def _median(windows: Z) -> Z:
    """Over the second axis, of what is no NaN."""
    ordered = np.sort(windows, axis=1)  # NaN last
    count = (~np.isnan(ordered)).sum(1, keepdims=True)
    low, high = (
        np.take_along_axis(ordered, np.maximum(each, 0), 1) for each in ((count - 1) // 2, count // 2 - (count == 0))
    )
    return ((low + high) / 2)[:, 0]


def _tail(n: NDArray[np.int64], x: NDArray[np.int64], p: Z, rho: Z) -> Z:
    z = np.full(n.shape, np.nan)
    some = n > 0
    z[some] = betabinomial_z(*(column[some].astype(float) for column in (n, x, p, rho)))
    return z
