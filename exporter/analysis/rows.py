"""Which rows a snapshot has, in which order, and what their queues are called.

Comes in: the keys that the window, history and the observations speak of, and the directory. Goes out: `Rows`, sorted
by queue id and media type, and labels: the same objects as long as keys and names are the same, since label text is
kept by them. A queue that was in an earlier directory and is not in the present one is gone: it has no row, whatever
still speaks of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from exporter.models import Directory, FloatColumn, IntColumn, ObservationTable, Rows, SeriesKey


class QueueNames:
    """Which queues there are, and what they are called: by the directory, else by an answer or history, else by id."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.directory: Directory | None = None
        self.revision = 0  # grows whenever a name or a presence may have changed
        self._names = dict(names)
        self._seen: set[str] = set()
        self.gone: frozenset[str] = frozenset()

    def follow(self, directory: Directory | None, names: Mapping[str, str]) -> bool:
        """Learns from a poll's readings; tells whether the directory is a new one. A queue that came back is there."""
        new = directory is not None and directory is not self.directory
        if directory is not None and new:
            self.directory = directory
            self._seen.update(directory.queues)
            self.gone = frozenset(self._seen - directory.queues.keys())
        told = names.items() - self._names.items()
        self._names.update(told)
        self.revision += bool(new or told)
        return new

    def listed(self, keys: Iterable[SeriesKey]) -> list[SeriesKey]:
        """Those whose queue stands in the present directory."""
        queues = self.directory.queues if self.directory else {}
        return [key for key in keys if key.queue_id in queues]

    def of(self, queue_ids: Iterable[str]) -> Iterator[str]:
        """The name of each queue."""
        queues, names = self.directory.queues if self.directory else {}, self._names
        for queue_id in queue_ids:
            queue = queues.get(queue_id)
            yield (queue.name if queue else names.get(queue_id)) or queue_id


class RowOrder:
    """The rows of the last snapshot."""

    def __init__(self) -> None:
        self.rows = Rows((), ())
        self._keys: frozenset[SeriesKey] = frozenset()
        self._revision = -1

    def update(self, candidates: Iterable[SeriesKey], names: QueueNames) -> Rows:
        """The rows for these keys, less those of queues that are gone."""
        keys = frozenset(candidates)
        if names.gone:
            keys = frozenset(key for key in keys if key.queue_id not in names.gone)
        if keys == self._keys and names.revision == self._revision:
            return self.rows
        ordered = self.rows.keys if keys == self._keys else tuple(sorted(keys, key=sort_text))
        named = tuple(names.of(key.queue_id for key in ordered))
        self._keys, self._revision = keys, names.revision
        if ordered is not self.rows.keys or named != self.rows.names:
            self.rows = Rows(ordered, named)
        return self.rows


class AgentLabels:
    """The labels of agent counts; the same tuple as long as nothing in it changes."""

    def __init__(self) -> None:
        self._labels: tuple[tuple[str, str, str], ...] = ()
        self._keys: tuple[tuple[str, str], ...] = ()
        self._present: list[int] = []
        self._revision = -1

    def of(
        self, observations: ObservationTable | None, names: QueueNames
    ) -> tuple[tuple[tuple[str, str, str], ...], FloatColumn]:
        """Labels and counts of agents, without those of queues that are gone."""
        if observations is None:
            return (), np.zeros(0)
        if self._revision != names.revision or self._keys != observations.agent_keys:
            self._keys, self._revision = observations.agent_keys, names.revision
            self._present = [i for i, key in enumerate(self._keys) if key[0] not in names.gone]
            keys = [self._keys[i] for i in self._present]
            named = names.of(queue_id for queue_id, _ in keys)
            labels = tuple((key[0], name, key[1]) for key, name in zip(keys, named, strict=True))
            self._labels = labels if labels != self._labels else self._labels
        self._keys = observations.agent_keys  # equal, but those of the earlier answer need not be kept
        return self._labels, observations.agents[self._present]


def sort_text(key: SeriesKey) -> str:
    """Sorts as the key does; texts compare several times faster, and the interpreter's lock is held for so long."""
    return f"{key.queue_id}\0{key.media_type}"


def speaking(keys: Sequence[SeriesKey], columns: Iterable[FloatColumn]) -> list[SeriesKey]:
    """The keys with a value other than zero in any of the columns."""
    says = np.zeros(len(keys), bool)
    for column in columns:
        says |= column > 0  # false for NaN
    return [keys[row] for row in np.flatnonzero(says).tolist()]


def places(keys: Sequence[SeriesKey], index: Mapping[SeriesKey, int]) -> IntColumn:
    """The place of each key, -1 where it has none."""
    return np.fromiter(map(index.get, keys, repeat(-1)), np.int64, len(keys))


def spread(column: FloatColumn, at: IntColumn, rows: int, absent: float) -> FloatColumn:
    """`column` by row: its i-th value goes to row `at[i]` (-1 = nowhere), `absent` to every other row."""
    whole = np.full(rows, absent)
    whole[at[at >= 0]] = column[at >= 0]
    return whole


def busiest(cost: IntColumn, weight: FloatColumn, most: int) -> NDArray[np.intp]:
    """The rows of the greatest weight whose cost is `most` together, in row order; the first of equals wins."""
    order = np.argsort(-weight, kind="stable")
    return np.sort(order[np.cumsum(cost[order]) <= most])
