"""Which rows a snapshot has, and in which order.

Comes in: the keys that the window, history and the observations speak of, and the directory. Goes out: `Rows`, sorted
by queue id and media type, and the same object as long as keys and names are the same, since label text is kept by
it. A queue that was in an earlier directory and is not in the present one is gone: it has no row, whatever still
speaks of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.models import Directory, FloatColumn, IntColumn, Rows, SeriesKey


class RowOrder:
    """Remembers the rows of the last snapshot and every queue that a directory ever named."""

    def __init__(self) -> None:
        self._directory: Directory | None = None
        self._seen: set[str] = set()
        self._gone: frozenset[str] = frozenset()
        self._keys: frozenset[SeriesKey] = frozenset()
        self.rows = Rows((), ())

    def follow(self, directory: Directory | None) -> None:
        """Learns which queues there are; one that came back is no longer gone."""
        if directory is None or directory is self._directory:
            return
        self._directory = directory
        self._seen.update(directory.queues)
        self._gone = frozenset(self._seen - directory.queues.keys())

    def exists(self, queue_id: str) -> bool:
        """False for a queue that has vanished from the directory."""
        return queue_id not in self._gone

    def listed(self, keys: Iterable[SeriesKey]) -> list[SeriesKey]:
        """Those whose queue stands in the present directory."""
        queues = self._directory.queues if self._directory else {}
        return [key for key in keys if key.queue_id in queues]

    def update(self, candidates: Iterable[SeriesKey], names: Mapping[str, str]) -> Rows:
        """The rows for these keys; `names` by queue id serve queues that the directory does not name."""
        keys = frozenset(key for key in candidates if key.queue_id not in self._gone)
        ordered = self.rows.keys if keys == self._keys else tuple(sorted(keys))
        named = tuple(self.queue_name(key.queue_id, names) for key in ordered)
        if ordered is not self.rows.keys or named != self.rows.names:
            self._keys, self.rows = keys, Rows(ordered, named)
        return self.rows

    def queue_name(self, queue_id: str, names: Mapping[str, str]) -> str:
        """By the directory, else by `names`, else the id."""
        queue = self._directory.queues.get(queue_id) if self._directory else None
        return (queue.name if queue else names.get(queue_id)) or queue_id


def speaking(keys: Sequence[SeriesKey], columns: Iterable[FloatColumn]) -> list[SeriesKey]:
    """The keys with a value other than zero in any of the columns."""
    says = np.zeros(len(keys), bool)
    for column in columns:
        says |= column > 0  # false for NaN
    return [keys[row] for row in np.flatnonzero(says).tolist()]


def places(keys: Sequence[SeriesKey], index: Mapping[SeriesKey, int]) -> IntColumn:
    """The place of each key, -1 where it has none."""
    return np.fromiter((index.get(key, -1) for key in keys), np.int64, len(keys))


def spread(column: FloatColumn, at: IntColumn, rows: int, absent: float) -> FloatColumn:
    """`column` by row: its i-th value goes to row `at[i]` (-1 = nowhere), `absent` to every other row."""
    whole = np.full(rows, absent)
    whole[at[at >= 0]] = column[at >= 0]
    return whole


def busiest(cost: IntColumn, weight: FloatColumn, most: int) -> NDArray[np.intp]:
    """The rows of the greatest weight whose cost is `most` together, in row order; the first of equals wins."""
    order = np.argsort(-weight, kind="stable")
    return np.sort(order[np.cumsum(cost[order]) <= most])
