"""The frozen values that pass between the wings.

Tables, not objects: one row per (queue, media type), one NumPy column per measure. Counts are float64 in tables
of one interval, where NaN says "no value", and int64 in batches of buckets, where an absent row is a true zero.
Nothing here computes; the wings do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from sys import intern
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatColumn = NDArray[np.float64]
IntColumn = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Datasets: what is fetched apart, fails apart and ages apart.
QUEUES, WINDOW, HISTORY, OBSERVATIONS = "queues", "window", "history", "observations"
DATASETS = (QUEUES, WINDOW, HISTORY, OBSERVATIONS)

# Scored metrics: the values of the `metric` label.
ABANDONMENT, SLA_BREACH, OFFERED = "abandonment_ratio", "sla_breach_ratio", "offered_contacts"

#: Counts of a closed bucket: what history keeps. `sla_contacts` is the service level's own denominator.
BUCKET_COUNTS = ("offered", "answered", "abandoned", "flow_out", "sla_breached", "sla_contacts")

#: Columns that a source fills for the current window. Times are sums in seconds over the contacts counted beside
#: them (`answered`, `handled`, `waited`).
WINDOW_COLUMNS = (
    *BUCKET_COUNTS,
    "service_level_target",
    "answered_seconds",
    "handled",
    "handled_seconds",
    "waited",
    "waited_seconds",
)


class SeriesKey(NamedTuple):
    """What a row is about; `media_type` is "" where the contract knows none."""

    queue_id: str
    media_type: str

    @classmethod
    def of(cls, queue_id: str, media_type: str) -> SeriesKey:
        """A key of texts as they were read, of which every reading brings its own: equal ones are kept once."""
        return cls(intern(queue_id), intern(media_type))


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open interval of UTC time, [start, end)."""

    start: datetime
    end: datetime

    @classmethod
    def of_epoch(cls, start_seconds: int, end_seconds: int) -> Window:
        return cls(datetime.fromtimestamp(start_seconds, UTC), datetime.fromtimestamp(end_seconds, UTC))

    @property
    def start_seconds(self) -> int:
        return int(self.start.timestamp())

    @property
    def end_seconds(self) -> int:
        return int(self.end.timestamp())


@dataclass(frozen=True, slots=True)
class Queue:
    """One entry of the queue directory; targets are ratios by media type."""

    id: str
    name: str
    division: str
    service_level_targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Directory:
    """The queues that the client may see and the settings select, by id; `whole` is False where some could not be read,
    so that one that is missing may still be there."""

    queues: Mapping[str, Queue]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """What an answer speaks of and nobody can read: unknown, where what it does not speak of is a true zero.

    `cells` are (place of the bucket, series), the place 0 in a table of one interval. `others`: rows were lost of which
    nobody can say whose they are, so that no silence is a zero.
    """

    cells: frozenset[tuple[int, SeriesKey]] = frozenset()
    others: bool = False

    def __bool__(self) -> bool:
        return self.others or bool(self.cells)

    def series(self) -> frozenset[SeriesKey]:
        """The series that lost something."""
        return frozenset(key for _, key in self.cells)


NOTHING_LOST = Lost()


@dataclass(frozen=True, slots=True)
class QueueTable:
    """The current window: `columns` holds every name of WINDOW_COLUMNS, shape (len(keys),), NaN = no value."""

    window: Window
    keys: tuple[SeriesKey, ...]
    columns: Mapping[str, FloatColumn]
    names: Mapping[str, str] = field(default_factory=dict)  # queue id → name, where the answer itself names queues
    lost: Lost = NOTHING_LOST


@dataclass(frozen=True, slots=True)
class BucketBatch:
    """Closed buckets: `starts` (epoch seconds, shape (B,)) names every bucket that was asked for, also the empty ones.

    `counts` holds arrays of shape (B, S) under names of BUCKET_COUNTS; a name may be missing where the contract
    does not tell it (the summary contract knows neither answered nor flow_out). What is `lost` counts as 0 in them; its
    series need not be among `keys`. `about` are the ids of the queues that were asked for, None = all that there are.
    """

    bucket_seconds: int
    starts: IntColumn
    keys: tuple[SeriesKey, ...]
    counts: Mapping[str, IntColumn]
    names: Mapping[str, str] = field(default_factory=dict)
    lost: Lost = NOTHING_LOST
    about: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ObservationTable:
    """What is happening now: `columns` under OBSERVATION_COLUMNS, contacts and epoch seconds; NaN = no value."""

    at: datetime
    keys: tuple[SeriesKey, ...]
    columns: Mapping[str, FloatColumn]
    agent_keys: tuple[tuple[str, str], ...]  # (queue id, routing status)
    agents: FloatColumn


OBSERVATION_COLUMNS = ("waiting", "interacting", "alerting", "oldest_waiting")


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """One metric's scores, a row per series; NaN where there is no score. `anomaly` is 1.0, 0.0 or NaN.

    `value`, `mean` and `stddev` are in the metric's own unit (a ratio 0–1, or contacts); `samples` is the weight of
    the baseline (for the classic score: the number of buckets with volume).
    """

    value: FloatColumn
    z: FloatColumn
    anomaly: FloatColumn
    mean: FloatColumn
    stddev: FloatColumn
    samples: FloatColumn


@dataclass(frozen=True, slots=True)
class Scores:
    """All metrics of one poll, scored by one method."""

    method: str
    threshold: float
    metrics: Mapping[str, ScoreColumns]  # by ABANDONMENT, SLA_BREACH, OFFERED
    #: By metric, 1.0 where the score stands among all of the poll's (Benjamini-Hochberg), 0.0 or NaN; a metric is
    #: absent where the method's z is no tail probability.
    discoveries: Mapping[str, FloatColumn] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The row order of a snapshot. The same object as long as nothing in it changes, so that label text can be kept."""

    keys: tuple[SeriesKey, ...]
    names: tuple[str, ...]  # queue_name of each row


@dataclass(frozen=True, slots=True)
class DatasetState:
    """How one dataset stands. `up` is None before the first try; `stale_at` is when its values must be withdrawn."""

    up: bool | None = None
    last_success: datetime | None = None
    data_end: datetime | None = None
    stale_at: datetime | None = None
    reason: str | None = None  # why it is not up: a GenesysError.reason
    message: str | None = None  # the same in words, for people


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that is published, built whole by one poll and never changed afterwards.

    `columns` maps names of the family table to arrays of shape (len(rows.keys),): the window's counts, the derived
    ratios and averages, observations and counters; NaN = no sample. A dataset that never succeeded leaves no
    column. `agent_keys` are (queue id, queue name, status).
    """

    id: int  # milliseconds since the epoch; grows from snapshot to snapshot, also over restarts
    created: datetime
    contract: str
    bucket: str  # ISO 8601 duration as the user writes it: PT15M
    window: Window | None
    rows: Rows
    columns: Mapping[str, FloatColumn]
    scores: Scores | None
    agent_keys: tuple[tuple[str, str, str], ...]
    agents: FloatColumn
    queues: tuple[Queue, ...]
    org_media: tuple[str, ...]
    org_offered: FloatColumn
    org_scores: Scores | None
    datasets: Mapping[str, DatasetState]
    history_buckets: int
    dropped_series: int = 0

    def fresh(self, now: datetime) -> frozenset[str]:
        """The datasets whose values may still be shown at `now`."""
        return frozenset(
            name
            for name, state in self.datasets.items()
            if state.last_success is not None and (state.stale_at is None or now < state.stale_at)
        )


@dataclass(frozen=True, slots=True, eq=False)
class HistoryBucket:
    """One closed bucket as history keeps it, for export; arrays have the shape (len(rows.keys),).

    `z` and `anomaly` are by scored metric, as scored when the bucket closed (NaN = no score). `lost` marks the series
    whose counts nobody knows; they are 0 in `counts`.
    """

    start_seconds: int
    bucket_seconds: int
    rows: Rows
    counts: Mapping[str, IntColumn]
    z: Mapping[str, FloatColumn]
    anomaly: Mapping[str, FloatColumn]
    lost: Flags | None = None


@dataclass(frozen=True, slots=True)
class PollReport:
    """What became of one poll. `outcome` is "ok", "partial" (a dataset failed) or "failed" (no window)."""

    started: datetime
    duration_seconds: float
    outcome: str
    rows: int
    failures: Mapping[str, str]  # dataset → reason
    messages: Mapping[str, str]  # dataset → text for people
    retry_after_seconds: float | None = None


# What the API client tells while it works: frozen records handed to one hook.


@dataclass(frozen=True, slots=True)
class ApiCalled:
    endpoint: str
    code: str  # HTTP status, or "error" where no answer came
    seconds: float


@dataclass(frozen=True, slots=True)
class ApiRetried:
    endpoint: str
    reason: str
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class ApiThrottled:
    """The pacing gate or a Retry-After made a call wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RateLimitSeen:
    allowed: float
    remaining: float


@dataclass(frozen=True, slots=True)
class EntitiesRejected:
    reason: str
    count: int


ApiEvent = ApiCalled | ApiRetried | ApiThrottled | RateLimitSeen | EntitiesRejected
ApiHook = Callable[[ApiEvent], None]
