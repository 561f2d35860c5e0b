"""The analyst: what the exporter knows, made into one snapshot per poll.

    readings + history ──▶ rows ──▶ columns ──▶ scores ──▶ Snapshot

Comes in: the latest good reading of every dataset, and closed buckets for history. Goes out: a `Snapshot`, complete and
never changed afterwards. The model is fitted anew only when history, its span or the rules have changed. Everything may
block (a fit takes long at many queues) and belongs into a worker thread; `snapshot` is called by one thread at a time,
the rest by any. Asks no API, knows no format, looks at no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Lock

import numpy as np

from exporter.analysis.baseline import BASELINE_COUNTS
from exporter.analysis.ceiling import Ceiling, Published
from exporter.analysis.fitting import Fitted
from exporter.analysis.history import History, MergeReport
from exporter.analysis.rows import AgentLabels, QueueNames, RowOrder, speaking
from exporter.analysis.scoring import Method, ScoreOptions, for_one_history
from exporter.analysis.series import COUNTERS
from exporter.analysis.snapshot import MediaTypes, observed_columns, service_level_targets, window_columns
from exporter.analysis.walking import Walk, score_past
from exporter.models import (
    WINDOW_COLUMNS,
    BucketBatch,
    DatasetState,
    Directory,
    FloatColumn,
    ObservationTable,
    Queue,
    QueueTable,
    Rows,
    SeriesKey,
    Snapshot,
    Window,
)

#: Old buckets and series are removed this often.
PRUNE_SECONDS = 3600

#: What makes a row of a window's answer more than an empty line.
_EVENTS = tuple(name for name in WINDOW_COLUMNS if name != "service_level_target")


@dataclass(frozen=True, slots=True, eq=False)
class RowFacts:
    """What follows from the rows and the directory alone, kept while both stay the same."""

    rows: Rows
    directory: Directory | None
    index: Mapping[SeriesKey, int]
    media: MediaTypes
    targets: FloatColumn

    @classmethod
    def of(cls, rows: Rows, directory: Directory | None) -> RowFacts:
        index = {key: row for row, key in enumerate(rows.keys)}
        return cls(rows, directory, index, MediaTypes.of(rows.keys), service_level_targets(rows, directory))


class Analyst:
    """Holds history and the model in force; see the module."""

    def __init__(
        self,
        history: History,
        method: Method,
        options: ScoreOptions,
        *,
        contract: str,
        bucket: str,
        max_series: int,
        walk: Walk | None = None,
    ) -> None:
        """`contract` and `bucket` as the user writes them; `max_series` is the ceiling on queue samples; `walk` scores
        the buckets of the back-fill, which stay unscored without it."""
        self.history = history
        self._rules, self._walk = (for_one_history(method), options), walk
        self._stopping = Event()
        self._contract, self._bucket = contract, bucket
        self._order, self._names, self._agents = RowOrder(), QueueNames(history.names()), AgentLabels()
        self._ceiling = Ceiling(max_series)
        self._facts = RowFacts.of(self._order.rows, None)
        self._fitted: Fitted | None = None
        self._fitted_by = self._rules
        self._queues: tuple[Queue, ...] = ()
        self._prune_due = float("-inf")
        self._last_id = 0
        self._turn = Lock()
        self._fitting = Lock()
        #: Told, in the merging thread, what `merge` was given and what came of it.
        self.on_merge: list[Callable[[BucketBatch, MergeReport], None]] = []

    def follow(self, method: Method, options: ScoreOptions, max_series: int) -> None:
        """Scores by other rules, under another ceiling, from the next snapshot on; the scores of the past stay."""
        self._rules, self._ceiling = (for_one_history(method), options), Ceiling(max_series)

    def merge(self, batch: BucketBatch) -> MergeReport:
        """Takes closed buckets into history."""
        report = self.history.merge(batch)
        for tell in self.on_merge:
            tell(batch, report)
        return report

    def missing(self, since_seconds: int, until_seconds: int) -> Sequence[int]:
        """Starts of the buckets that history lacks, newest first."""
        return self.history.missing(since_seconds, until_seconds)

    def complete(self) -> None:
        """There is nothing more to fetch: from now on the counters are published."""
        self.history.mark_backfilled()

    def score_past(self) -> None:
        """Gives fetched buckets the scores of the time when they closed; takes up to a minute, or until `stop`."""
        if self._walk is not None:
            score_past(self.history, self._walk, *self._rules, self._stopping.is_set)

    def stop(self) -> None:
        """Ends `score_past` after the buckets in hand."""
        self._stopping.set()

    def snapshot(
        self,
        *,
        now: datetime,
        directory: Directory | None,
        window: QueueTable | None,
        observations: ObservationTable | None,
        datasets: Mapping[str, DatasetState],
    ) -> Snapshot:
        """All that is known at `now`; a reading that was never had is None."""
        with self._turn:  # a poll that was called off may still be in its thread
            return self._snapshot(now, directory, window, observations, datasets)

    def prepare(self, window: Window) -> None:
        """Fits the model for `window` ahead of its snapshot: at a start, while the API is still being asked."""
        self._fit(window)

    def after(self, snapshot_id: int) -> None:
        """Later snapshots have higher ids than this one of another exporter."""
        self._last_id = max(self._last_id, snapshot_id)

    def _snapshot(
        self,
        now: datetime,
        directory: Directory | None,
        window: QueueTable | None,
        observations: ObservationTable | None,
        datasets: Mapping[str, DatasetState],
    ) -> Snapshot:
        self._learn_names(directory, window)
        facts = self._facts_of(self._rows(now, window, observations))
        columns = self._columns(facts, window, observations)
        counts = {name: columns[name] for name in BASELINE_COUNTS} if window else {}
        org = _org_sums(facts.media, counts, window) if window else {}
        fitted = self._fit(window.window) if window else None
        scores = fitted.scores(window.window, facts.rows.keys, counts) if window and fitted else None
        agent_keys, agents = self._agents.of(observations, self._names)
        everything = Published(facts.rows, columns, scores, agent_keys, agents, self._queues)
        shown = self._ceiling.apply(everything, self._contacts)
        self._tidy(now)
        return Snapshot(
            id=self._next_id(now),
            created=now,
            contract=self._contract,
            bucket=self._bucket,
            window=window.window if window else None,
            rows=shown.rows,
            columns=shown.columns,
            scores=shown.scores,
            agent_keys=shown.agent_keys,
            agents=shown.agents,
            queues=shown.queues,
            org_media=facts.media.names if window else (),
            org_offered=org["offered"] if window else np.zeros(0),
            org_scores=fitted.org_scores(window.window, facts.media.names, org) if window and fitted else None,
            datasets=dict(datasets),
            history_buckets=len(fitted.starts) if fitted else self.history.buckets,
            dropped_series=shown.dropped,
        )

    def _learn_names(self, directory: Directory | None, window: QueueTable | None) -> None:
        if self._names.follow(directory, window.names if window else {}) and directory is not None:
            self._queues = tuple(sorted(directory.queues.values(), key=lambda queue: queue.id))
            self.history.name_queues({queue.id: queue.name for queue in self._queues})

    def _rows(self, now: datetime, window: QueueTable | None, observations: ObservationTable | None) -> Rows:
        active = self.history.active(int(now.timestamp()) - self.history.baseline_seconds)
        candidates = set(self._names.listed(active))
        if window is not None:
            candidates.update(speaking(window.keys, (window.columns[name] for name in _EVENTS)))
            candidates.update(set(window.keys).intersection(active))  # idle, and named all the same: it is there
            candidates.update(self._names.listed(window.lost.series()))
        if observations is not None:
            candidates.update(speaking(observations.keys, observations.columns.values()))
        return self._order.update(candidates, self._names)

    def _facts_of(self, rows: Rows) -> RowFacts:
        if rows is not self._facts.rows or self._names.directory is not self._facts.directory:
            self._facts = RowFacts.of(rows, self._names.directory)
        return self._facts

    def _columns(
        self, facts: RowFacts, window: QueueTable | None, observations: ObservationTable | None
    ) -> dict[str, FloatColumn]:
        columns: dict[str, FloatColumn] = {}
        if window is not None:
            columns |= window_columns(window, facts.index, self._contract, facts.targets)
        if observations is not None:
            columns |= observed_columns(observations, facts.index)
        if self.history.backfilled:
            counters = self.history.counters(facts.rows.keys)
            columns |= {f"{name}_total": counters[name].astype(np.float64) for name in COUNTERS}
        return columns

    def _fit(self, window: Window) -> Fitted:
        """The model for `window`, fitted anew if it must be."""
        with self._fitting:  # ahead of a snapshot, which makes its rows meanwhile
            state = self.history.baseline_state(window.start_seconds, window.end_seconds)
            rules = self._rules
            if self._fitted is None or not self._fitted.is_for(state, window) or self._fitted_by is not rules:
                self._fitted = None  # its tables are large: they go before the next ones come
                self._fitted, self._fitted_by = Fitted.of(self.history, *rules, window), rules
            return self._fitted

    def _contacts(self, keys: Sequence[SeriesKey]) -> FloatColumn:
        return self.history.counters(keys)["offered"].astype(np.float64)

    def _tidy(self, now: datetime) -> None:
        """Scores the bucket that has just closed, and removes what is too old."""
        if self._fitted is not None and self.history.backfilled:
            self._score_closed(self._fitted)
        if now.timestamp() >= self._prune_due:
            self._prune_due = now.timestamp() + PRUNE_SECONDS
            self.history.prune(now)

    def _score_closed(self, fitted: Fitted) -> None:
        """Keeps the scores of the one bucket that the model in force may judge: the baseline ends before it."""
        start = fitted.next_start()
        closed = None if start is None or self.history.is_scored(start) else self.history.closed(start)
        if start is not None and closed is not None and closed.positions is fitted.positions:
            scores = fitted.closed_scores(start, closed.counts)
            self.history.set_scores(fitted.positions, {start: scores})

    def _next_id(self, now: datetime) -> int:
        self._last_id = max(self._last_id + 1, int(now.timestamp() * 1000))
        return self._last_id


def _org_sums(media: MediaTypes, counts: Mapping[str, FloatColumn], window: QueueTable) -> dict[str, FloatColumn]:
    """Counts of the org by media type; no value where a part of it was lost."""
    complete = media.complete(window.lost)
    return {name: np.where(complete, media.sums(column), np.nan) for name, column in counts.items()}
