"""`seasonal`: how far a count lies in the tail of what its queue usually does at this time, at this volume.

Comes in: the baseline. Goes out: for abandonment and SLA breach the tail of a beta-binomial around the rate of the
slot, for volume the tail of a negative binomial around the contacts of the slot, both as z, so that |z| means the same
at every queue, hour and volume. All that is heavy happens in `fit`; a score is a gather and a tail. docs/scoring.md
derives it, bench/scoring measures it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.analysis.scoring.base import METRIC_COUNTS, SCORE_COLUMNS, ScoreOptions, flag, ratio
from exporter.analysis.scoring.calendar import Calendar, Grid
from exporter.analysis.scoring.rates import RateTables, fit_rates
from exporter.analysis.scoring.tables import empty_tables, lay
from exporter.analysis.scoring.tails import betabinomial_z, negative_binomial_z
from exporter.analysis.scoring.volume import VolumeTables, fit_volume
from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn, IntColumn, ScoreColumns

#: Cells (slots × series) fitted at once: a dozen temporaries of 4 bytes each then fit into the processor's cache.
CHUNK_CELLS = 80_000
RHO_LIMIT = 0.95
#: NumPy lets go of the interpreter for the length of an operation: two threads need four fifths of the time of one.
FIT_THREADS = 2
#: Days with contacts before a volume is scored: the season of a queue that was created yesterday is not known.
MIN_VOLUME_DAYS = 4


class Table(Protocol):
    """The tables of one metric for all series."""

    def score(
        self, n: FloatColumn, x: FloatColumn, rows: IntColumn, series: NDArray[np.integer], rules: Rules
    ) -> ScoreColumns:
        """Scores x events of n contacts by the tables' `rows` (slots ahead) and `series`, all of one length."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What raises a flag, and from how many buckets on there is a score."""

    metric: str
    threshold: float
    options: ScoreOptions


@dataclass(frozen=True, slots=True)
class SeasonalModel:
    """Tables of each metric; None where the baseline is empty."""

    threshold: float
    options: ScoreOptions
    calendar: Calendar | None
    tables: Mapping[str, Table]
    metrics: tuple[str, ...]
    name: str = "seasonal"

    def score(
        self, metric: str, n: FloatColumn, x: FloatColumn, middle: datetime, series: NDArray[np.integer]
    ) -> ScoreColumns:
        """See `base.Model`. More events than contacts count as all of them: they were offered in an earlier bucket."""
        scores = self.score_many(metric, n[None, :], x[None, :], [middle], series)
        return ScoreColumns(*(getattr(scores, name)[0] for name in SCORE_COLUMNS))

    def score_many(
        self, metric: str, n: FloatColumn, x: FloatColumn, middles: Sequence[datetime], series: NDArray[np.integer]
    ) -> ScoreColumns:
        """See `base.Model`."""
        value = x.copy() if metric == OFFERED else ratio(n, x)
        scores = ScoreColumns(value, *(np.full(n.shape, np.nan) for _ in SCORE_COLUMNS[1:]))
        known = np.flatnonzero(series >= 0)
        if self.calendar is None or not len(known):
            return scores
        rows = np.repeat([self.calendar.row_ahead(middle) for middle in middles], len(known))
        columns = np.tile(series[known], len(middles))
        rules = Rules(metric, self.threshold, self.options)
        found = self.tables[metric].score(n[:, known].ravel(), x[:, known].ravel(), rows, columns, rules)
        for name in SCORE_COLUMNS:
            getattr(scores, name)[:, known] = getattr(found, name).reshape(len(middles), -1)
        return scores


@dataclass(frozen=True, slots=True)
class Seasonal:
    """`EXPORTER_SCORE_METHOD=seasonal`, the default."""

    name: ClassVar[str] = "seasonal"
    default_threshold: ClassVar[float] = 3.0
    metrics: ClassVar[tuple[str, ...]] = (ABANDONMENT, SLA_BREACH, OFFERED)
    z_is_tail: ClassVar[bool] = True
    max_model_age_seconds: ClassVar[float] = 6 * 3600.0  # as long as the newest hours teach nothing

    def fit(self, baseline: Baseline, options: ScoreOptions) -> SeasonalModel:
        """Tables for all series, a few at a time, so that memory does not grow with the baseline's length."""
        threshold = self.default_threshold if options.threshold is None else options.threshold
        if not len(baseline.starts) or not baseline.series:
            return SeasonalModel(threshold, options, None, {}, self.metrics)
        calendar = Calendar.of(baseline, options.timezone)
        tables = _fit_tables(calendar, baseline)
        return SeasonalModel(threshold, options, calendar, tables, self.metrics)


def _fit_tables(calendar: Calendar, baseline: Baseline) -> dict[str, Table]:
    """Every chunk is worked out by one of FIT_THREADS threads and laid into the tables, so that no part is kept."""
    chunks = list(_chunks(calendar, baseline))
    tables = _Tables.for_series(calendar.rows, baseline.series)
    with ThreadPoolExecutor(min(FIT_THREADS, len(chunks)), thread_name_prefix="fit") as threads:
        for _ in threads.map(partial(tables.fit, calendar, baseline), chunks):
            pass
    return {metric: RateTable(rates) for metric, rates in tables.rates.items()} | {OFFERED: VolumeTable(tables.volume)}


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of all series in the making."""

    rates: Mapping[str, RateTables]
    volume: VolumeTables

    @classmethod
    def for_series(cls, slots: int, series: int) -> _Tables:
        rates = {metric: empty_tables(RateTables, slots, series) for metric in (ABANDONMENT, SLA_BREACH)}
        return cls(rates, empty_tables(VolumeTables, slots, series))

    def fit(self, calendar: Calendar, baseline: Baseline, columns: slice) -> None:
        """Lay the tables of some series into their columns."""
        grids = {name: calendar.grid(counts[:, columns]) for name, counts in baseline.counts.items()}
        for metric, whole in self.rates.items():
            contacts, events = METRIC_COUNTS[metric]
            lay(fit_rates(calendar, grids[contacts], grids[events]), whole, columns)
        lost = None if baseline.lost is None else calendar.grid(baseline.lost[:, columns].astype(np.uint8))
        lay(fit_volume(calendar, grids["offered"], lost), self.volume, columns)


def _chunks(calendar: Calendar, baseline: Baseline) -> Iterator[slice]:
    width = max(1, CHUNK_CELLS // (calendar.days * calendar.slots))
    for first in range(0, baseline.series, width):
        yield slice(first, first + width)


@dataclass(frozen=True, slots=True)
class RateTable:
    """Scores rates by a `RateTables`."""

    tables: RateTables

    def score(
        self, n: FloatColumn, x: FloatColumn, rows: IntColumn, series: NDArray[np.integer], rules: Rules
    ) -> ScoreColumns:
        """The beta-binomial tail. ρ' = ρ + 1 / (W + 1) lets the forecast's own uncertainty widen it."""
        tables = self.tables
        mean = tables.rate[rows, series].astype(np.float64)
        information = tables.information[rows, series].astype(np.float32)
        rho = np.minimum(tables.rho[series] + 1 / (information + 1.0), RHO_LIMIT)
        enough = tables.buckets[series] >= rules.options.min_samples
        scored = enough & (n > 0) & ~np.isnan(x)
        z = np.full(n.shape, np.nan)
        z[scored] = rate_z(n[scored], np.minimum(x[scored], n[scored]), mean[scored], rho[scored])
        value = ratio(n, x)
        stddev = np.sqrt(mean * (1 - mean) * (1 + (n - 1) * rho) / np.where(n > 0, n, np.nan))
        raised = flag(z, value - mean, x, rules.metric, rules.threshold, rules.options)
        return ScoreColumns(
            value, z, raised, _where(enough, mean), _where(enough, stddev), _double(tables.samples[series])
        )


def rate_z(n: FloatColumn, x: FloatColumn, mean: FloatColumn, rho: FloatColumn) -> FloatColumn:
    """Mid-p tail of the beta-binomial as z; on the short side of a skewed one, the standardised distance if it is more.

    Where few events are expected, none is not surprising, and the mid-p tail puts every such bucket near 0. That
    side raises no flag, but z would scatter by half of what it should at quiet queues.
    """
    z = betabinomial_z(n, x, mean, rho)
    distance = (x - n * mean) / np.sqrt(n * mean * (1 - mean) * (1 + (n - 1) * rho))
    short = np.where(mean < 0.5, distance < 0, distance > 0)
    return np.where(short & (np.abs(distance) > np.abs(z)), distance, z)


@dataclass(frozen=True, slots=True)
class VolumeTable:
    """Scores volumes by a `VolumeTables`."""

    tables: VolumeTables

    def score(
        self, n: FloatColumn, x: FloatColumn, rows: IntColumn, series: NDArray[np.integer], rules: Rules
    ) -> ScoreColumns:
        """The negative binomial tail; contacts are the value, `n` is not looked at."""
        tables = self.tables
        mean = tables.mean[rows, series].astype(np.float64)
        spread = tables.spread[series].astype(np.float64)
        enough = (tables.buckets[series] >= rules.options.min_samples) & (tables.days[series] >= MIN_VOLUME_DAYS)
        scored = enough & ~np.isnan(x)
        z = np.full(x.shape, np.nan)
        others = [table[rows, series].astype(np.float64)[scored] for table in (tables.usual, tables.exact)]
        z[scored] = volume_z(x[scored], mean[scored], others, spread[scored])
        stddev = np.sqrt(mean + spread * mean**2)
        raised = flag(z, x - mean, x, rules.metric, rules.threshold, rules.options)
        return ScoreColumns(x, z, raised, _where(enough, mean), _where(enough, stddev), _double(tables.buckets[series]))


def volume_z(x: FloatColumn, mean: FloatColumn, others: Sequence[FloatColumn], spread: FloatColumn) -> FloatColumn:
    """Tail of the negative binomial as z: the mildest of several expectations, 0 between them.

    One Monday that was a holiday must not make the next Monday a flood, and a Saturday that opens at ten is no outage
    at half past nine: what lies within what was seen before is no news.
    """
    z = negative_binomial_z(x, mean, spread)
    for expected in others:
        differs = expected != mean
        other = z.copy()
        other[differs] = negative_binomial_z(x[differs], expected[differs], spread[differs])
        z = np.where(z * other <= 0, 0.0, np.where(np.abs(other) < np.abs(z), other, z))
    return z


def _where(enough: NDArray[np.bool_], column: FloatColumn) -> FloatColumn:
    return np.where(enough, column, np.nan)


def _double(column: Grid) -> FloatColumn:
    return column.astype(np.float64)
