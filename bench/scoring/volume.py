"""Volumes, clock changes, first days and repeats: the questions that are not about recall at a budget.

Each function scores histories made for one question and returns its figure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from bench.scoring.judging import alarms, raised
from bench.scoring.rivals import Scorer, own
from bench.scoring.traffic import DAY, STEP, WEEK, History, simulated
from exporter.models import OFFERED


def outages(seed: int, method: str = "seasonal") -> tuple[float, float, float, float]:
    """Share found at busy queues; low and high alarms a queue-week; share of org outages found in two buckets."""
    history = simulated(seed)
    score = own(method, metric=OFFERED)
    clean = score(history, WEEK)[WEEK:]
    weeks = clean.shape[1]
    rng = np.random.default_rng(seed)
    n, struck = history.n.copy(), []
    for queue in range(weeks):
        level = np.convolve(history.n[:, queue], np.ones(9) / 9, "same")
        busy = np.flatnonzero(level[WEEK + 10 : -10] > 50) + WEEK + 10
        for begin in rng.choice(busy, min(3, len(busy)), replace=False) if len(busy) else []:
            end = begin + int(rng.choice([1, 2, 4]))
            n[begin:end, queue] = 0
            struck.append((queue, begin, end))
    z = score(History(history.starts, n, np.minimum(history.x, n), history.p), WEEK)
    found = np.mean([(z[begin:end, queue] < -3).any() for queue, begin, end in struck])
    low, high = (alarms(side > 3) / weeks for side in (-clean, clean))
    return float(found), low, high, _org_outages(history, score, rng)


def _org_outages(history: History, score: Scorer, rng: np.random.Generator) -> float:
    """The whole org falls silent in working hours; found in the first or second bucket?"""
    whole = history.n.sum(1, keepdims=True)
    begins = WEEK + rng.integers(0, 5, 12) * DAY + rng.integers(36, 72, 12)
    silent = whole.copy()
    for begin in begins:
        silent[begin : begin + 2] = 0
    org = History(history.starts, silent, np.zeros_like(silent), np.zeros(silent.shape))
    z = score(org, WEEK)
    return float(np.mean([(z[begin : begin + 2] < -3).any() for begin in begins]))


def second_week(timezone: str, month: int, day: int) -> float:
    """Volume alarms a queue in the week after one that begins on this day in Berlin; seasons follow `timezone`."""
    berlin = ZoneInfo("Europe/Berlin")
    start = int(datetime(2026, month, day, tzinfo=berlin).timestamp())
    moments = start + np.arange(14 * DAY) * STEP
    local = np.array([datetime.fromtimestamp(int(each), UTC).astimezone(berlin).hour for each in moments])[:, None]
    rng = np.random.default_rng(77)
    level = np.exp(rng.uniform(np.log(3), np.log(300), 40))
    n = rng.poisson(np.where((local >= 8) & (local < 20), level, 0) * rng.gamma(50, 1 / 50, (len(moments), 40)))
    z = own("seasonal", metric=OFFERED)(History(moments, n, n // 10, np.zeros(n.shape), timezone), WEEK)
    return alarms(np.abs(z[WEEK:]) > 3) / 40


def first_days(seed: int, days: float) -> tuple[float, float]:
    """Share of |z| > 3 in clean buckets right after `days` of history, and share of +50-point hours found there."""
    history = simulated(seed, weeks=1)
    first = int(days * DAY)
    score = own("seasonal")
    window = slice(first, first + DAY)
    clean = score(history, first)[window]
    rng = np.random.default_rng(seed)
    x = history.x + rng.binomial(history.n - history.x, (raised(history.p, 2) - history.p) / (1 - history.p))
    struck = history.x.copy()
    hour = first + 40
    struck[hour : hour + 4] = x[hour : hour + 4]
    z = score(history.with_events(struck), first)[hour : hour + 4]
    busy = history.n[hour : hour + 4].min(0) >= 10
    return float((np.abs(clean[~np.isnan(clean)]) > 3).mean()), float((z[:, busy] > 3).any(0).mean())


def repeat(score: Scorer, seed: int, hours: int) -> float:
    """Median z of an incident whose like, `hours` long, was a week before, by median z without the earlier one."""
    history = simulated(seed)
    rng = np.random.default_rng(seed)
    now = WEEK + DAY + 48
    found = []
    for kind in (1, 2):
        x = history.x.copy()
        for rows in (slice(now, now + 1), slice(now - WEEK, now - WEEK + 4 * hours)):
            p = history.p[rows]
            x[rows] += rng.binomial(history.n[rows] - x[rows], (raised(p, kind) - p) / (1 - p))
        once = history.x.copy()
        once[now] = x[now]
        clean, again = (_at(score, history.with_events(each), now) for each in (once, x))
        seen = clean > 2
        found.append(np.median(again[seen]) / np.median(clean[seen]))
    return float(min(found))


def _at(score: Scorer, history: History, row: int) -> np.ndarray:
    until = slice(0, row + 1)
    cut = History(*(column[until] for column in (history.starts, history.n, history.x, history.p)), history.timezone)
    return score(cut, row)[row]
