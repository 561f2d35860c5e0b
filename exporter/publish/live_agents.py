"""How many agents each row's queue has: free, and on queue at all.

In come the agent counts of a snapshot by (queue, routing status), out go two columns by row. Agents are joined to
queues, not to media types: every row of a queue tells the same. Which row belongs to which count is kept as long as
rows and labels are the same objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np
from numpy.typing import NDArray

from exporter.models import OBSERVATIONS, FloatColumn, Rows
from exporter.publish.shown import Shown

AgentKeys = tuple[tuple[str, str, str], ...]

#: Routing statuses as the vendor calls them; whatever else there is, is on queue and busy.
FREE, OFF_QUEUE = "IDLE", "OFF_QUEUE"


#: Queue id → (free, on queue).
Agents = Mapping[str, tuple[float, float]]


def agents_of(shown: Shown, queue_ids: Set[str]) -> Agents:
    """The same of these queues alone; one that no count speaks of is missing."""
    if OBSERVATIONS not in shown.fresh:
        return {}
    found: dict[str, tuple[float, float]] = {}
    for (queue_id, _, status), agents in zip(shown.snapshot.agent_keys, shown.snapshot.agents.tolist(), strict=True):
        if queue_id in queue_ids:
            free, on_queue = found.get(queue_id, (0.0, 0.0))
            found[queue_id] = free + agents * (status == FREE), on_queue + agents * (status != OFF_QUEUE)
    return found


class AgentColumns:
    """Makes the columns; not thread-safe."""

    def __init__(self) -> None:
        self._owners: tuple[Rows, AgentKeys] = (Rows((), ()), ())
        self._queue_of_row = self._queue_of_count = np.empty(0, np.int64)
        self._free = self._on_queue = np.empty(0, np.bool_)

    def of(self, shown: Shown) -> tuple[FloatColumn, FloatColumn]:
        """(free, on queue) by row; NaN where nobody is joined to the queue, or the observations are withdrawn."""
        snapshot = shown.snapshot
        if OBSERVATIONS not in shown.fresh or not snapshot.agent_keys:
            return np.full(shown.rows, np.nan), np.full(shown.rows, np.nan)
        if self._owners[0] is not snapshot.rows or self._owners[1] is not snapshot.agent_keys:
            self._learn(snapshot.rows, snapshot.agent_keys)
            self._owners = snapshot.rows, snapshot.agent_keys
        return self._sums(snapshot.agents, self._free), self._sums(snapshot.agents, self._on_queue)

    def _learn(self, rows: Rows, agent_keys: AgentKeys) -> None:
        places = {queue_id: place for place, queue_id in enumerate(dict.fromkeys(key.queue_id for key in rows.keys))}
        statuses = [status for _, _, status in agent_keys]
        self._queue_of_row = np.array([places[key.queue_id] for key in rows.keys], np.int64)
        self._queue_of_count = np.array([places.get(queue_id, -1) for queue_id, _, _ in agent_keys], np.int64)
        self._free = np.array([status == FREE for status in statuses])
        self._on_queue = np.array([status != OFF_QUEUE for status in statuses])

    def _sums(self, agents: FloatColumn, counted: NDArray[np.bool_]) -> FloatColumn:
        """By row; a queue that no count speaks of has no value."""
        known = self._queue_of_count >= 0
        at, queues = self._queue_of_count[known], int(self._queue_of_row.max(initial=-1)) + 1
        sums = np.bincount(at, np.where(counted, agents, 0.0)[known], queues).astype(np.float64)
        sums[np.bincount(at, minlength=queues) == 0] = np.nan
        return sums[self._queue_of_row]
