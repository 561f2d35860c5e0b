"""The ceiling on queue series: what is left out of a snapshot when an org is larger than it may be.

Comes in: all that would be published. Goes out: the same, without the quietest rows and what belongs to their queues.
A row's cost is the samples it really has, plus those of its queue (agents, info); its weight is the contacts it ever
had. Rows that were published keep their place against slightly busier ones, and the `Rows` object stays the same while
the choice does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from exporter.analysis.rows import busiest
from exporter.analysis.snapshot import samples_by_row, take_scores
from exporter.models import FloatColumn, IntColumn, Queue, Rows, Scores, SeriesKey

#: How much busier another row must be to take the place of one that was published at the last poll.
STAYS = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """The parts of a snapshot that grow with the org; `dropped` counts the samples that were left out."""

    rows: Rows
    columns: Mapping[str, FloatColumn]
    scores: Scores | None
    agent_keys: tuple[tuple[str, str, str], ...]
    agents: FloatColumn
    queues: tuple[Queue, ...]
    dropped: int = 0


class Ceiling:
    """At most `most` samples."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._chosen: tuple[Rows, IntColumn] | None = None  # of these rows, these places
        self._rows = Rows((), ())
        self._kept: frozenset[SeriesKey] = frozenset()

    def apply(self, all_of_it: Published, contacts: Callable[[Sequence[SeriesKey]], FloatColumn]) -> Published:
        """What may be published; `contacts` tells how busy series ever were."""
        rows = all_of_it.rows
        samples = samples_by_row(all_of_it.columns, all_of_it.scores, len(rows.keys))
        total = int(samples.sum()) + len(all_of_it.agent_keys) + len(all_of_it.queues)
        if total <= self._most:
            return all_of_it
        weight = contacts(rows.keys) * [STAYS if key in self._kept else 1.0 for key in rows.keys]
        chosen = busiest(samples + _by_queue(all_of_it), weight, self._most)
        self._keep(rows, chosen)
        left = self._without(all_of_it, chosen)
        published = int(samples[chosen].sum()) + len(left.agent_keys) + len(left.queues)
        return replace(left, dropped=total - published)

    def _keep(self, rows: Rows, chosen: IntColumn) -> None:
        if self._chosen is None or self._chosen[0] is not rows or not np.array_equal(self._chosen[1], chosen):
            places = chosen.tolist()
            self._rows = Rows(tuple(rows.keys[i] for i in places), tuple(rows.names[i] for i in places))
            self._chosen, self._kept = (rows, chosen), frozenset(self._rows.keys)

    def _without(self, all_of_it: Published, chosen: IntColumn) -> Published:
        ids = {key.queue_id for key in self._rows.keys}
        agents = [i for i, key in enumerate(all_of_it.agent_keys) if key[0] in ids]
        return Published(
            rows=self._rows,
            columns={name: column[chosen] for name, column in all_of_it.columns.items()},
            scores=take_scores(all_of_it.scores, chosen),
            agent_keys=tuple(all_of_it.agent_keys[i] for i in agents),
            agents=all_of_it.agents[agents],
            queues=tuple(queue for queue in all_of_it.queues if queue.id in ids),
        )


def _by_queue(published: Published) -> IntColumn:
    """Samples of each row's queue: its agents and its entry in the directory."""
    agents = Counter(key[0] for key in published.agent_keys)
    listed = {queue.id for queue in published.queues}
    cost = (agents[key.queue_id] + (key.queue_id in listed) for key in published.rows.keys)
    return np.fromiter(cost, np.int64, len(published.rows.keys))
