"""Which queues and media types the settings select, before anything is fetched for them.

Comes in: the configured ids, name patterns and media types. Goes out: the directory cut down to them, and the
filters of the queries. Filters follow the schema of the reference: up to two levels, predicates of the type
dimension / matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.models import Directory, Queue


@dataclass(frozen=True, slots=True)
class Selection:
    """Empty fields select everything."""

    queue_ids: tuple[str, ...] = ()
    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    media_types: tuple[str, ...] = ()
    _ids: frozenset[str] = field(init=False, repr=False, compare=False)  # thousands may be asked about thousands of ids

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", frozenset(self.queue_ids))

    @property
    def by_queue(self) -> bool:
        """True where queries must name the queues that they are about."""
        return bool(self.queue_ids or self.by_name)

    @property
    def by_name(self) -> bool:
        """True where a queue's name decides, so that nothing can be asked before names are known."""
        return self.include is not None or self.exclude is not None

    @property
    def digest(self) -> str:
        """The same text for the same selection: history remembers under which one a bucket was fetched."""
        patterns = (self.include.pattern if self.include else "", self.exclude.pattern if self.exclude else "")
        return repr((sorted(self.queue_ids), patterns, sorted(self.media_types)))

    def takes_name(self, name: str) -> bool:
        """The patterns match anywhere in the name, as `grep` does; exclusion wins."""
        if self.exclude is not None and self.exclude.search(name):
            return False
        return self.include is None or self.include.search(name) is not None

    def takes(self, queue_id: str, name: str) -> bool:
        return (not self._ids or queue_id in self._ids) and self.takes_name(name)

    def takes_media(self, media_type: str) -> bool:
        return not self.media_types or media_type in self.media_types

    def cut(self, queues: Iterable[Queue]) -> Directory:
        return Directory({queue.id: queue for queue in queues if self.takes(queue.id, queue.name)})


def queue_predicates(queue_ids: Iterable[str]) -> dict[str, Any]:
    """The clause "one of these queues"."""
    return _any_of("queueId", queue_ids)


def aggregate_filter(queue_ids: Sequence[str], media_types: Sequence[str]) -> dict[str, Any] | None:
    """The filter of an aggregates query; None where nothing is to be filtered."""
    clauses = [
        _any_of(dimension, values)
        for dimension, values in (("queueId", queue_ids), ("mediaType", media_types))
        if values
    ]
    if not clauses:
        return None
    return clauses[0] if len(clauses) == 1 else {"type": "and", "clauses": clauses}


def _any_of(dimension: str, values: Iterable[str]) -> dict[str, Any]:
    predicates = [
        {"type": "dimension", "dimension": dimension, "operator": "matches", "value": value} for value in values
    ]
    return {"type": "or", "predicates": predicates}
