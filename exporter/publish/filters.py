"""Which rows a request wants: `queue` (glob on name or id), `media_type`, `anomalous`.

In comes what the client asked for, already checked; out go row indices. Runs in a worker thread: a glob over
20,000 names takes some milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate

import numpy as np
from numpy.typing import NDArray

from exporter.models import FloatColumn, Rows, Scores

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Rows of queues that match any of `queues`, of any of `media_types`, and flagged if `anomalous`; empty = all."""

    queues: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    anomalous: bool = False

    def of_rows(self, rows: Rows) -> Index:
        """The rows that match by queue and media type."""
        matches = _matcher(self.queues)
        media = {media_type.casefold() for media_type in self.media_types}
        return np.array(
            [
                index
                for index, (key, name) in enumerate(zip(rows.keys, rows.names, strict=True))
                if (not media or key.media_type.casefold() in media) and (matches(name) or matches(key.queue_id))
            ],
            dtype=np.intp,
        )

    def select(self, rows: Rows, flagged: NDArray[np.bool_]) -> Index:
        """The rows that match; `flagged` tells which hold an anomaly."""
        chosen = self.of_rows(rows) if self.queues or self.media_types else np.arange(len(rows.keys))
        return chosen[flagged[chosen]] if self.anomalous else chosen


ALL = RowFilter()


def any_flag(anomalies: Iterable[FloatColumn], rows: int) -> NDArray[np.bool_]:
    """Which rows are flagged by at least one metric."""
    flagged = np.zeros(rows, dtype=np.bool_)
    for anomaly in anomalies:
        flagged |= anomaly == 1.0
    return flagged


def anomalies_of(scores: Scores | None) -> Mapping[str, FloatColumn]:
    """The anomaly column of every scored metric."""
    return {metric: columns.anomaly for metric, columns in scores.metrics.items()} if scores else {}


class _Anything:
    def __call__(self, text: str) -> bool:
        return True


class _Glob:
    """True where any of the globs covers the whole text, in upper or lower case."""

    def __init__(self, globs: tuple[str, ...]) -> None:
        self._match = re.compile("|".join(translate(glob) for glob in globs), re.IGNORECASE).match

    def __call__(self, text: str) -> bool:
        return self._match(text) is not None


def _matcher(globs: tuple[str, ...]) -> _Anything | _Glob:
    return _Glob(globs) if globs else _Anything()
