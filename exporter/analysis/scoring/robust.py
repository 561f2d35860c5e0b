"""`robust`: the classic score with a median and a median deviation, from buckets at the same time of day.

Comes in: the baseline. Goes out: z = (ratio − median) / deviation. The samples are the ratios of all buckets with
volume within 90 minutes of the window's hour, on any local day. The deviation is 1.4826 · MAD (the median distance
from the median, scaled to agree with a standard deviation); where more than half of all ratios are equal and it is 0,
1.2533 · the mean distance. Like the classic score it knows no volume: a bucket with one contact counts like one with a
thousand. For people who want it; docs/scoring.md tells why `seasonal` is the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import METRIC_COUNTS, ScoreOptions, flag, gather, ratio, score_one_by_one
from exporter.analysis.scoring.calendar import DAY_SECONDS, Grid, local_slots
from exporter.models import ABANDONMENT, SLA_BREACH, FloatColumn, ScoreColumns

HOUR_SECONDS, NEIGHBOUR_SECONDS = 3600, 90 * 60
MAD_SCALE, MEAN_SCALE = 1.4826, 1.2533
#: Samples sorted at once: 4 MB.
CHUNK_SAMPLES = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class HourTables:
    """By hour of the local day and series, (24, series)."""

    median: FloatColumn
    stddev: FloatColumn
    samples: FloatColumn


@dataclass(frozen=True, slots=True)
class RobustModel:
    """The tables of each metric."""

    threshold: float
    options: ScoreOptions
    tables: Mapping[str, HourTables]
    name: str = "robust"

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.tables)

    def score(
        self, metric: str, n: FloatColumn, x: FloatColumn, middle: datetime, series: NDArray[np.integer]
    ) -> ScoreColumns:
        """See `base.Model`."""
        tables = self.tables[metric]
        moment = np.array([int(middle.timestamp())])
        hour = int(local_slots(moment, HOUR_SECONDS, self.options.timezone)[0]) % 24
        samples = gather(tables.samples[hour], series)
        enough = samples >= max(self.options.min_samples, 1)
        median, stddev = (
            np.where(enough, gather(column[hour], series), np.nan) for column in (tables.median, tables.stddev)
        )
        value = ratio(n, x)
        z = np.zeros(value.shape)
        np.divide(value - median, stddev, out=z, where=stddev != 0)
        z[np.isnan(value)] = np.nan
        raised = flag(z, value - median, x, metric, self.threshold, self.options)
        return ScoreColumns(value, z, raised, median, stddev, samples)

    def score_many(
        self, metric: str, n: FloatColumn, x: FloatColumn, middles: Sequence[datetime], series: NDArray[np.integer]
    ) -> ScoreColumns:
        """See `base.Model`."""
        return score_one_by_one(self, metric, n, x, middles, series)


@dataclass(frozen=True, slots=True)
class Robust:
    """`EXPORTER_SCORE_METHOD=robust`."""

    name: ClassVar[str] = "robust"
    default_threshold: ClassVar[float] = 3.0
    metrics: ClassVar[tuple[str, ...]] = (ABANDONMENT, SLA_BREACH)
    z_is_tail: ClassVar[bool] = False
    max_model_age_seconds: ClassVar[float] = 6 * 3600.0

    def fit(self, baseline: Baseline, options: ScoreOptions) -> RobustModel:
        """Medians and deviations of every series, metric and hour."""
        threshold = self.default_threshold if options.threshold is None else options.threshold
        near = _near(baseline, options.timezone)
        tables = {metric: _tables(baseline, metric, near) for metric in self.metrics}
        return RobustModel(threshold, options, tables)


def _near(baseline: Baseline, timezone: str) -> list[NDArray[np.intp]]:
    """The baseline's rows within 90 minutes of the middle of each hour of the day."""
    step = baseline.bucket_seconds
    middles = baseline.starts + step // 2
    second = local_slots(middles, 1, timezone) % DAY_SECONDS
    apart = [np.abs(second - (hour * HOUR_SECONDS + HOUR_SECONDS // 2)) for hour in range(24)]
    reach = max(NEIGHBOUR_SECONDS, step / 2)
    return [np.flatnonzero(np.minimum(each, DAY_SECONDS - each) <= reach) for each in apart]


def _tables(baseline: Baseline, metric: str, near: list[NDArray[np.intp]]) -> HourTables:
    n, x = (baseline.counts[name] for name in METRIC_COUNTS[metric])
    hours = [_columns(n[rows], x[rows]) for rows in near]
    return HourTables(*(np.stack(column) for column in zip(*hours, strict=True)))


def _columns(
    n: NDArray[np.unsignedinteger], x: NDArray[np.unsignedinteger]
) -> tuple[FloatColumn, FloatColumn, FloatColumn]:
    """Median, deviation and number of samples of each series."""
    parts = [_robust_moments(rates) for rates in _rates(n, x)]
    if not parts:
        return np.empty(0), np.empty(0), np.empty(0)
    median, stddev, samples = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
    return median, stddev, samples


def _rates(n: NDArray[np.unsignedinteger], x: NDArray[np.unsignedinteger]) -> Iterator[Grid]:
    """Ratios with one series a row, a few at a time; infinite where there is no volume, so that they sort last."""
    width = max(1, CHUNK_SAMPLES // max(1, len(n)))
    for first in range(0, n.shape[1], width):
        contacts, events = (each[:, first : first + width].T.astype(np.float32, order="C") for each in (n, x))
        yield np.divide(events, contacts, out=np.full(contacts.shape, np.inf, np.float32), where=contacts > 0)


def _robust_moments(rates: Grid) -> tuple[Grid, Grid, Grid]:
    samples = np.count_nonzero(np.isfinite(rates), axis=1)
    median = _median(rates, samples)
    distance = np.abs(rates - np.where(samples > 0, median, 0)[:, None])
    spread = MAD_SCALE * _median(distance, samples)
    total = np.where(np.isfinite(distance), distance, 0).sum(axis=1)
    mean = MEAN_SCALE * total / np.maximum(samples, 1)
    return median, np.where(spread == 0, mean, spread), samples.astype(np.float32)


def _median(values: Grid, samples: NDArray[np.intp]) -> Grid:
    """Median of the finite values of each row, NaN where there are none."""
    if not values.shape[1]:
        return np.full(len(values), np.nan, np.float32)
    ordered = np.sort(values, axis=1)
    low, high = np.maximum(samples - 1, 0) // 2, np.minimum(samples // 2, values.shape[1] - 1)
    rows, some = np.arange(len(values)), samples > 0
    middle = (np.where(some, ordered[rows, low], 0) + np.where(some, ordered[rows, high], 0)) / 2
    return np.where(some, middle, np.nan)
