"""The model in force: fitted to history when that has changed, asked about a window in between.

Comes in: history's pinned baseline. Goes out: models that hold nothing of it, for every series and, where the method
scores volume, for the org as a whole: all queues summed by media type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import Baseline
from exporter.analysis.history import History
from exporter.analysis.rows import places
from exporter.analysis.scoring import NO_HISTORY, Method, Model, ScoreOptions, score_all
from exporter.analysis.scoring.discovery import all_discoveries
from exporter.analysis.snapshot import MediaTypes
from exporter.models import OFFERED, FloatColumn, IntColumn, ScoreColumns, Scores, SeriesKey, Window

#: Models are made for windows that begin within this time after the one at hand: as long as no bucket comes in.
REACH_SECONDS = 2 * 3600
#: Buckets summed at once: their float64 copies stay small beside the ring.
CHUNK_BUCKETS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The models of one state of history, and whose their columns are."""

    state: tuple[int, ...]
    asked: tuple[int, int]  # start of the first and of the last window that they are for, in epoch seconds
    starts: IntColumn
    bucket_seconds: int
    keys: tuple[SeriesKey, ...]
    positions: IntColumn
    index: Mapping[SeriesKey, int]
    model: Model
    org_index: Mapping[str, int]  # media type → column
    org_model: Model | None
    tested: ScoreOptions | None  # None where z is no tail probability: nothing then follows for many at once

    @classmethod
    def of(cls, history: History, method: Method, options: ScoreOptions, window: Window) -> Fitted:
        """Fits what `window` is scored against. A volume is measured by the very same slot of a week ago, too, so its
        baseline is of whole days."""
        scores_volume = OFFERED in method.metrics
        asked = (window.start_seconds, window.start_seconds + REACH_SECONDS)
        with history.baseline(window.start_seconds, window.end_seconds, whole_days=scores_volume) as pinned:
            media, baseline = MediaTypes.of(pinned.keys), replace(pinned.baseline, asked=asked)
            return cls(
                state=pinned.state,
                asked=asked,
                starts=baseline.starts.copy(),
                bucket_seconds=baseline.bucket_seconds,
                keys=pinned.keys,
                positions=pinned.positions,
                index={key: column for column, key in enumerate(pinned.keys)},
                model=method.fit(baseline, options),
                org_index={name: column for column, name in enumerate(media.names)},
                org_model=method.fit(summed(baseline, media), options) if scores_volume else None,
                tested=options if method.z_is_tail else None,
            )

    def is_for(self, state: tuple[int, ...], window: Window) -> bool:
        """Whether `of` would give the same for `window` in this state of history, or as good."""
        first, last = self.asked
        return state == self.state and first <= window.start_seconds <= last

    def scores(self, window: Window, keys: tuple[SeriesKey, ...], counts: Mapping[str, FloatColumn]) -> Scores:
        """Scores rows of a window; a series without history has no score and no samples."""
        scores = _scored(self.model, window, places(keys, self.index), counts)
        return replace(scores, discoveries=all_discoveries(scores, counts, self.tested)) if self.tested else scores

    def org_scores(self, window: Window, media: tuple[str, ...], counts: Mapping[str, FloatColumn]) -> Scores | None:
        """Scores the org by media type; None where the method has no score for volume."""
        if self.org_model is None:
            return None
        series = np.array([self.org_index.get(name, NO_HISTORY) for name in media], np.int64)
        return _scored(self.org_model, window, series, counts)

    def next_start(self) -> int | None:
        """Start of the bucket that this baseline ends before: the one closed bucket that these models may score."""
        return int(self.starts[-1]) + self.bucket_seconds if len(self.starts) else None

    def closed_scores(
        self, start: int, counts: Mapping[str, FloatColumn]
    ) -> dict[str, tuple[FloatColumn, FloatColumn]]:
        """z and anomaly of a closed bucket by metric; counts and scores by column of the baseline."""
        window = Window.of_epoch(start, start + self.bucket_seconds)
        scores = _scored(self.model, window, np.arange(len(self.keys)), counts)
        return {metric: (each.z, each.anomaly) for metric, each in scores.metrics.items()}


def summed(baseline: Baseline, media: MediaTypes) -> Baseline:
    """The baseline of the org: a column per media type."""
    belongs = np.zeros((baseline.series, len(media.names)))
    belongs[np.arange(baseline.series), media.codes] = 1.0
    counts = {name: _summed(column, belongs) for name, column in baseline.counts.items()}
    lost = None if baseline.lost is None else (baseline.lost @ belongs) > 0
    return Baseline(baseline.bucket_seconds, baseline.starts.copy(), counts, lost, asked=baseline.asked)


def _summed(column: NDArray[np.unsignedinteger[Any]], belongs: FloatColumn) -> NDArray[np.unsignedinteger[Any]]:
    """Exact: float64 holds every sum of contacts; a matrix product is the fastest way to it."""
    whole = np.zeros((len(column), belongs.shape[1]), np.uint64)
    for first in range(0, len(column), CHUNK_BUCKETS):
        rows = slice(first, first + CHUNK_BUCKETS)
        whole[rows] = column[rows].astype(np.float64) @ belongs
    return whole


def _scored(model: Model, window: Window, series: IntColumn, counts: Mapping[str, FloatColumn]) -> Scores:
    middle = window.start + (window.end - window.start) / 2
    scores = score_all(model, counts, middle, series)
    known = {metric: _with_no_samples(each, series) for metric, each in scores.metrics.items()}
    return replace(scores, metrics=known)


def _with_no_samples(score: ScoreColumns, series: IntColumn) -> ScoreColumns:
    """Says 0 samples, not nothing, of a series that history does not know."""
    return replace(score, samples=np.where(series == NO_HISTORY, 0.0, score.samples))
