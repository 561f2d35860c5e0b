"""The classic score: how many standard deviations the window's ratio lies from the mean of the baseline's ratios.

Comes in: the baseline; every bucket with volume is one sample x / n, whatever its volume. Goes out: z = (ratio −
mean) / deviation with the population deviation (divisor N), and a flag where |z| > threshold, on both sides. Equal
to `np.mean` and `np.std` over the same ratios to 1e-9. It must stay what it is: users compare with their own sheets.
docs/scoring.md tells why it cries wolf at quiet queues and sleeps at busy ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import METRIC_COUNTS, ScoreOptions, exceeds, gather, ratio, score_one_by_one
from exporter.models import ABANDONMENT, SLA_BREACH, FloatColumn, ScoreColumns

Counts = NDArray[np.unsignedinteger[Any]]

#: Cells (buckets × series) worked on at once: four temporaries of 8 bytes each then stay near the processor.
CHUNK_CELLS = 100_000
#: Ratios that deviate less than this may be all equal.
HARDLY_ANY = 1e-12


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and population deviation of each series' ratios, NaN below the minimum of samples; `samples` counts them."""

    mean: FloatColumn
    stddev: FloatColumn
    samples: FloatColumn


@dataclass(frozen=True, slots=True)
class ZScoreModel:
    """The moments of each metric."""

    threshold: float
    moments: dict[str, Moments]
    name: str = "zscore"

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.moments)

    def score(
        self, metric: str, n: FloatColumn, x: FloatColumn, middle: datetime, series: NDArray[np.integer]
    ) -> ScoreColumns:
        """See `base.Model`; the time of day does not matter to this method."""
        moments = self.moments[metric]
        return score_ratio(
            ratio(n, x),
            gather(moments.mean, series),
            gather(moments.stddev, series),
            gather(moments.samples, series),
            self.threshold,
        )

    def score_many(
        self, metric: str, n: FloatColumn, x: FloatColumn, middles: Sequence[datetime], series: NDArray[np.integer]
    ) -> ScoreColumns:
        """See `base.Model`."""
        return score_one_by_one(self, metric, n, x, middles, series)


@dataclass(frozen=True, slots=True)
class ZScore:
    """`EXPORTER_SCORE_METHOD=zscore`."""

    name: ClassVar[str] = "zscore"
    default_threshold: ClassVar[float] = 2.0
    metrics: ClassVar[tuple[str, ...]] = (ABANDONMENT, SLA_BREACH)
    z_is_tail: ClassVar[bool] = False
    max_model_age_seconds: ClassVar[float] = 0.0  # the formula speaks of the buckets before: all of them

    def fit(self, baseline: Baseline, options: ScoreOptions) -> ZScoreModel:
        """Mean and deviation of every series and metric."""
        threshold = self.default_threshold if options.threshold is None else options.threshold
        moments = {metric: self.moments(baseline, metric, options.min_samples) for metric in self.metrics}
        return ZScoreModel(threshold, moments)

    def moments(self, baseline: Baseline, metric: str, min_samples: int) -> Moments:
        """Mean and deviation of every series."""
        return moments_of(baseline, metric, min_samples)


def score_ratio(
    value: FloatColumn, mean: FloatColumn, stddev: FloatColumn, samples: FloatColumn, threshold: float
) -> ScoreColumns:
    """The classic z of each value; 0 where the baseline never varied, whatever the value is now."""
    z = np.zeros(value.shape)
    np.divide(value - mean, stddev, out=z, where=stddev != 0)
    z[np.isnan(value)] = np.nan
    return ScoreColumns(value, z, exceeds(z, threshold), mean, stddev, samples)


def moments_of(baseline: Baseline, metric: str, min_samples: int) -> Moments:
    """Moments of one metric, a few series at a time."""
    parts = [_moments(n, x, min_samples) for n, x in _chunks(baseline, metric)]
    if not parts:
        return Moments(*(np.empty(0) for _ in range(3)))
    return Moments(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _chunks(baseline: Baseline, metric: str) -> Iterator[tuple[Counts, Counts]]:
    n, x = (baseline.counts[name] for name in METRIC_COUNTS[metric])
    width = max(1, CHUNK_CELLS // max(1, len(baseline.starts)))
    for first in range(0, baseline.series, width):
        columns = slice(first, first + width)
        yield n[:, columns], x[:, columns]


def _moments(n: Counts, x: Counts, min_samples: int) -> tuple[FloatColumn, FloatColumn, FloatColumn]:
    """Two passes: the running-sums formula would lose the digits that 1e-9 asks for."""
    sampled = (n > 0).astype(np.float64)
    samples = sampled.sum(axis=0)
    number = np.where(samples >= max(min_samples, 1), samples, np.nan)
    ratios = np.true_divide(x, np.maximum(n, 1), dtype=np.float64)
    ratios *= sampled
    mean = ratios.sum(axis=0) / number
    deviations = ratios - mean
    deviations *= sampled
    stddev = np.sqrt(np.einsum("bs,bs->s", deviations, deviations) / number)
    _level_out(ratios, sampled, mean, stddev)
    return mean, stddev, samples


def _level_out(ratios: FloatColumn, sampled: FloatColumn, mean: FloatColumn, stddev: FloatColumn) -> None:
    """Equal ratios have no deviation; their rounded mean can differ from them and leave one of 1e-17. In place."""
    few = np.flatnonzero(stddev < HARDLY_ANY)
    if len(few):
        seen = sampled[:, few] > 0
        highest = np.where(seen, ratios[:, few], -np.inf).max(axis=0)
        lowest = np.where(seen, ratios[:, few], np.inf).min(axis=0)
        equal = few[highest == lowest]
        mean[equal], stddev[equal] = highest[highest == lowest], 0.0
