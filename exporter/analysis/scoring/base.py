"""What every scoring method shares: its options, the two steps fit and score, and the rule that raises a flag.

Comes in: a `Baseline` (closed buckets as columns) to `Method.fit`, then a window's contacts n and events x to
`Model.score`, as often as asked. Goes out: `ScoreColumns`, a row per row of the window. A model holds no reference
to the baseline, is never changed once made, and may be used by several threads. Whoever calls `fit` leaves out
every bucket that overlaps the window to be scored (`buckets_between`), or the window would vouch for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn, ScoreColumns, Scores

#: Which side of the baseline raises the flag.
Direction = Literal["high", "low", "both"]

#: In `series`: a row that the baseline has no column for.
NO_HISTORY = -1

#: The counts (contacts n, events x) behind each metric; volume has no denominator, so its n is its x.
METRIC_COUNTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        ABANDONMENT: ("offered", "abandoned"),
        SLA_BREACH: ("sla_contacts", "sla_breached"),
        OFFERED: ("offered", "offered"),
    }
)

#: More abandons and more breaches are news, fewer are not; with volume a silence is as bad as a flood.
DEFAULT_DIRECTIONS: Mapping[str, Direction] = MappingProxyType(
    {ABANDONMENT: "high", SLA_BREACH: "high", OFFERED: "both"}
)

#: The columns of a score, in order.
SCORE_COLUMNS = tuple(each.name for each in fields(ScoreColumns))


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What a user may set.

    The guards of practical significance (`min_events`, `min_difference`, `directions`) bind `seasonal` and `robust`;
    the classic score keeps its own definition, |z| > threshold and nothing else. They touch the flag, never z.
    """

    threshold: float | None = None  # in standard deviations; None = the method's own default
    min_samples: int = 3  # buckets with volume before a series is scored
    timezone: str = "UTC"  # IANA name: the local time that the seasons follow
    min_events: float = 2.0  # fewer events than this in the window never raise a high-side flag
    min_difference: float = 0.02  # of the ratio from its baseline mean; less never raises a flag
    directions: Mapping[str, Direction] = field(default_factory=lambda: DEFAULT_DIRECTIONS)


class Model(Protocol):
    """A fitted baseline: scores windows."""

    @property
    def name(self) -> str:
        """Name of the method that made it."""

    @property
    def threshold(self) -> float:
        """|z| above it is an anomaly."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that `score` knows."""

    def score(
        self, metric: str, n: FloatColumn, x: FloatColumn, middle: datetime, series: NDArray[np.integer]
    ) -> ScoreColumns:
        """Scores one window.

        `n` contacts and `x` events of each row (see METRIC_COUNTS; for OFFERED `n` is not looked at), NaN = no
        value; `middle` of the window, aware; `series[i]` is the baseline's column of row i or NO_HISTORY. A row
        without a value or with too little history has NaN for z and anomaly.
        """

    def score_many(
        self, metric: str, n: FloatColumn, x: FloatColumn, middles: Sequence[datetime], series: NDArray[np.integer]
    ) -> ScoreColumns:
        """`score` for several windows at once: n, x and all that comes back have the shape (windows, rows)."""


class Method(Protocol):
    """A way of scoring; `METHODS` are without state of their own, see `for_one_history`."""

    @property
    def name(self) -> str:
        """What EXPORTER_SCORE_METHOD says to choose it."""

    @property
    def default_threshold(self) -> float:
        """The threshold where the user sets none."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it scores."""

    @property
    def z_is_tail(self) -> bool:
        """Whether z is a tail probability in normal units, so that thousands of them can be judged together."""

    @property
    def max_model_age_seconds(self) -> float:
        """How old a model may be when many past buckets are scored; 0 = made anew for every bucket."""

    def fit(self, baseline: Baseline, options: ScoreOptions) -> Model:
        """Learns what is normal. The heavy part: needed again only when a bucket has closed."""


def score_all(model: Model, counts: Mapping[str, FloatColumn], middle: datetime, series: NDArray[np.integer]) -> Scores:
    """Every metric of one window, from columns under the names of METRIC_COUNTS; a missing column scores nothing."""
    metrics = {
        metric: model.score(metric, counts[n_name], counts[x_name], middle, series)
        for metric in model.metrics
        for n_name, x_name in (METRIC_COUNTS[metric],)
        if n_name in counts and x_name in counts
    }
    return Scores(model.name, model.threshold, metrics)


def score_one_by_one(
    model: Model, metric: str, n: FloatColumn, x: FloatColumn, middles: Sequence[datetime], series: NDArray[np.integer]
) -> ScoreColumns:
    """`Model.score_many` for a model that gains nothing by scoring windows together."""
    each = [model.score(metric, n[row], x[row], middle, series) for row, middle in enumerate(middles)]
    return ScoreColumns(*(np.stack([getattr(scores, name) for scores in each]) for name in SCORE_COLUMNS))


def buckets_between(baseline: Baseline, start_seconds: int, end_seconds: int) -> Baseline:
    """The buckets that lie wholly in [start, end), as views."""
    first = int(np.searchsorted(baseline.starts, start_seconds))
    last = int(np.searchsorted(baseline.starts, end_seconds - baseline.bucket_seconds, side="right"))
    rows = slice(first, max(first, last))
    counts = {name: column[rows] for name, column in baseline.counts.items()}
    lost = None if baseline.lost is None else baseline.lost[rows]
    return Baseline(baseline.bucket_seconds, baseline.starts[rows], counts, lost)


def gather(table: FloatColumn, series: NDArray[np.integer]) -> FloatColumn:
    """`table` by row of the window; NaN for rows without history."""
    if table.size == 0:
        return np.full(series.shape, np.nan)
    return np.where(series >= 0, table[np.maximum(series, 0)], np.nan)


def ratio(n: FloatColumn, x: FloatColumn) -> FloatColumn:
    """x / n, NaN where there is no volume or no value; not clipped."""
    value = np.full(np.shape(n), np.nan)
    np.divide(x, n, out=value, where=np.asarray(n) > 0)
    return value


def exceeds(z: FloatColumn, threshold: float, direction: Direction = "both") -> FloatColumn:
    """1.0 where z lies beyond the threshold on a side that counts, 0.0 where not, NaN where there is no z."""
    side = {"high": z, "low": -z, "both": np.abs(z)}[direction]
    return np.where(np.isnan(z), np.nan, (side > threshold).astype(np.float64))


def flag(
    z: FloatColumn, difference: FloatColumn, x: FloatColumn, metric: str, threshold: float, options: ScoreOptions
) -> FloatColumn:
    """`exceeds` on the metric's side, unless the difference from the mean is too small to matter in practice.

    `difference` is in the metric's unit; see `matters`.
    """
    raised = exceeds(z, threshold, options.directions.get(metric, "both"))
    return np.where(raised == 1, matters(difference, x, metric, options).astype(np.float64), raised)


def matters(difference: FloatColumn, x: FloatColumn, metric: str, options: ScoreOptions) -> NDArray[np.bool_]:
    """Practical significance: whether anybody would feel a difference from the mean.

    A high rate needs `min_events` events and `min_difference`, a low one the difference; a volume, high or low, needs
    a difference of `min_events` contacts.
    """
    least = options.min_events if metric == OFFERED else options.min_difference
    enough: NDArray[np.bool_] = np.abs(difference) >= least
    if metric != OFFERED:
        enough &= (difference < 0) | (x >= options.min_events)
    return enough
