"""Which streams a filter selects.

In: a validated `Filter` and the stream table. Out: one flag per stream. Contacts of the simulated org carry queueId,
mediaType, divisionId and direction (inbound); every other dimension is absent from them: it matches nothing, does not
exist, and `notExists` holds.
"""

from __future__ import annotations

import numpy as np

from exporter.simulator.contacts import Flags
from exporter.simulator.contracts.requests import Filter, Predicate
from exporter.simulator.streams import StreamTable


class Selector:
    """Evaluates filters over one stream table."""

    def __init__(self, table: StreamTable) -> None:
        self._count = len(table)
        self._values = {
            "queueId": _positions(table.queue_ids),
            "mediaType": _positions(table.media_types),
            "divisionId": _positions(table.division_ids),
            "direction": _positions(("inbound",) * len(table)),
        }

    def select(self, query: Filter | None) -> Flags:
        """All streams where there is no filter, or one without predicates."""
        if query is None or query.predicate_count() == 0:
            return np.ones(self._count, dtype=np.bool_)
        return self._joined(query)

    def _joined(self, query: Filter) -> Flags:
        join = np.logical_or if query.is_or else np.logical_and
        flags = np.full(self._count, not query.is_or, dtype=np.bool_)
        for predicate in query.predicates:
            join(flags, self._holds(predicate), out=flags)
        for clause in query.clauses:
            if clause.predicate_count():
                join(flags, self._joined(clause), out=flags)
        return flags

    def _holds(self, predicate: Predicate) -> Flags:
        flags = np.zeros(self._count, dtype=np.bool_)
        positions = self._values.get(predicate.dimension)
        if predicate.operator == "matches":
            if positions is not None and predicate.value in positions:
                flags[positions[predicate.value]] = True
            return flags
        return ~flags if (positions is not None) == (predicate.operator == "exists") else flags


def _positions(values: tuple[str, ...]) -> dict[str | None, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    found: dict[str | None, list[int]] = {}
    for position, value in enumerate(values):
        found.setdefault(value, []).append(position)
    return {value: np.array(positions, dtype=np.int64) for value, positions in found.items()}
