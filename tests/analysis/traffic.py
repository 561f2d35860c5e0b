"""Contact centre weeks for the tests of scores: small, seeded, with known rates."""

from __future__ import annotations

import numpy as np

from exporter.analysis.baseline import Baseline

STEP, DAY, WEEK = 900, 96, 672
#: A Monday, 00:00 UTC.
MONDAY = 1_767_571_200


def history(offered, abandoned=None, breached=None, *, start=MONDAY, step=STEP) -> Baseline:
    """A baseline of (buckets, series) counts; one-dimensional counts are one series."""
    n = np.asarray(offered, np.uint32)
    n = n[:, None] if n.ndim == 1 else n
    x = np.zeros_like(n) if abandoned is None else np.asarray(abandoned, np.uint32).reshape(n.shape)
    y = x if breached is None else np.asarray(breached, np.uint32).reshape(n.shape)
    counts = {"offered": n, "abandoned": x, "sla_breached": y, "sla_contacts": n}
    return Baseline(step, start + np.arange(len(n), dtype=np.int64) * step, counts)


def weeks(seed, volumes, *, days=8, rate=0.08, rho=0.02, open_hours=(0, 24)):
    """Offered and abandoned: a daily hump of each volume, beta-binomial abandonment; closed outside `open_hours`."""
    rng = np.random.default_rng(seed)
    volumes = np.asarray(volumes, float)
    hour = (np.arange(days * DAY) % DAY)[:, None] / 4
    shape = 0.3 + np.exp(-0.5 * ((hour - 13) / 3) ** 2)
    shape = np.where((hour >= open_hours[0]) & (hour < open_hours[1]), shape, 0)
    mean = shape * volumes
    offered = rng.poisson(mean * rng.gamma(50, 1 / 50, mean.shape))
    size = 1 / rho - 1
    return offered, rng.binomial(offered, rng.beta(rate * size, (1 - rate) * size, mean.shape))
