"""Incidents into histories, and figures out of scores.

An incident multiplies a queue's true rate by 2 or 4, or adds 50 points, for 15 minutes to 2 hours. It is found when
any of its buckets lies above the threshold. An alarm is a run of buckets above it; a pause of less than an hour does
not end one. Fixed budgets ask for the threshold at which the clean history rings so often, and how much is found there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.scoring.traffic import STEP, WEEK, History

Z = NDArray[np.float64]
WEEK_SECONDS = WEEK * STEP
KINDS = ("×2", "×4", "+50 points")
LENGTHS = (1, 2, 4, 8)
INCIDENTS_PER_WEEK = 3
#: Buckets without a flag that an alarm survives, and buckets kept free around an incident.
PAUSE, APART = 4, 16
BANDS = (1, 3, 6, 11, 31, 101, 301, 10**9)
BUDGETS = (2.0, 0.5)


@dataclass(frozen=True, slots=True)
class Incident:
    queue: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Judged:
    """One history scored clean and with incidents, from row `first` on."""

    history: History
    first: int
    clean: Z
    struck: Z
    incidents: tuple[Incident, ...]

    @property
    def queue_weeks(self) -> float:
        return (len(self.clean) - self.first) * self.history.step / WEEK_SECONDS * self.clean.shape[1]


def raised(p: Z, kind: int) -> Z:
    """The rate during an incident."""
    return np.maximum(np.minimum(0.95, (p * 2, p * 4, p + 0.5)[kind]), p)


def struck(history: History, seed: int, first: int) -> tuple[History, tuple[Incident, ...]]:
    """The history with incidents at random times when the queue is open."""
    rng = np.random.default_rng(seed)
    x, incidents = history.x.copy(), []
    for queue in range(x.shape[1]):
        open_rows = np.flatnonzero(history.n[first:, queue]) + first
        taken = np.zeros(len(x), bool)
        for _ in range(
            round(INCIDENTS_PER_WEEK * (len(x) - first) * history.step / WEEK_SECONDS) if len(open_rows) else 0
        ):
            begin = int(rng.choice(open_rows))
            end = min(len(x), begin + int(rng.choice(LENGTHS)))
            if taken[max(0, begin - APART) : end + APART].any():
                continue
            taken[begin:end] = True
            rows, p = slice(begin, end), history.p[begin:end, queue]
            more = (raised(p, int(rng.choice(len(KINDS)))) - p) / (1 - p)
            x[rows, queue] += rng.binomial(history.n[rows, queue] - x[rows, queue], more)
            incidents.append(Incident(queue, begin, end))
    return history.with_events(x), tuple(incidents)


def alarms(flags: NDArray[np.bool_]) -> int:
    """Runs of flags by column."""
    recent = np.zeros_like(flags)
    for back in range(1, PAUSE + 1):
        recent[back:] |= flags[:-back]
    return int((flags & ~recent).sum())


def alarm_rate(judged: Sequence[Judged], threshold: float) -> float:
    """Alarms a queue and week of the clean histories."""
    count = sum(alarms(np.nan_to_num(each.clean[each.first :], nan=-99) > threshold) for each in judged)
    return count / sum(each.queue_weeks for each in judged)


def threshold_for(judged: Sequence[Judged], budget: float) -> float:
    low, high = 0.0, 1e4
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if alarm_rate(judged, middle) > budget else (low, middle)
    return high


def recall(judged: Sequence[Judged], threshold: float) -> float:
    found = [
        np.nanmax(np.append(each.struck[one.begin : one.end, one.queue], -99)) > threshold
        for each in judged
        for one in each.incidents
    ]
    return float(np.mean(found))


def precision(judged: Sequence[Judged], threshold: float) -> float:
    """Incidents found, of all alarms in the struck histories."""
    true = false = 0
    for each in judged:
        flags = np.nan_to_num(each.struck, nan=-99) > threshold
        flags[: each.first] = False
        during = np.zeros_like(flags)
        for one in each.incidents:
            true += int(flags[one.begin : one.end, one.queue].any())
            during[one.begin : one.end + 1, one.queue] = True
        false += alarms(flags & ~during)
    return true / max(1, true + false)


@dataclass(frozen=True, slots=True)
class Band:
    least: int
    count: int
    stddev: float
    beyond: float  # share with |z| > 3


def bands(judged: Sequence[Judged], fewest: int = 100) -> tuple[Band, ...]:
    """Calibration of the clean histories by contacts in the bucket."""
    z = np.concatenate([each.clean[each.first :].ravel() for each in judged])
    n = np.concatenate([each.history.n[each.first :].ravel() for each in judged])
    z, n = z[~np.isnan(z)], n[~np.isnan(z)]
    found = []
    for least, above in pairwise(BANDS):
        part = z[(n >= least) & (n < above)]
        if len(part) >= fewest:
            found.append(Band(least, len(part), float(part.std()), float((np.abs(part) > 3).mean())))
    return tuple(found)


def beyond_three(judged: Sequence[Judged]) -> float:
    z = np.concatenate([each.clean[each.first :].ravel() for each in judged])
    return float((np.abs(z[~np.isnan(z)]) > 3).mean())
