"""The people of a queue at one moment: members, routing statuses, presences.

In: a queue, how many contacts are being talked to, the moment. Out: the data of the observation row without media
type. Invented from the seed and the minute, but adding up: on queue plus off queue are the active members, and the
presences are as many. Presences carry the organisation's own ids, as in the real service.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.simulator.directory import Queue, new_id

_ON_QUEUE = "ON_QUEUE"
_OFF_QUEUE_PRESENCES = ("AVAILABLE", "BREAK", "MEAL", "MEETING", "TRAINING", "AWAY", "BUSY")
_PRESENCES = (_ON_QUEUE, *_OFF_QUEUE_PRESENCES, "OFFLINE", "IDLE")


def presence_ids(seed: int) -> dict[str, list[str]]:
    """`systemToOrganizationMappings`: system presence → the organisation's presence ids."""
    mappings = {name: [new_id(seed, "presence", name)] for name in _PRESENCES}
    mappings["BREAK"].append(new_id(seed, "presence", "BREAK (coffee)"))
    return mappings


@dataclass(frozen=True, slots=True)
class Staff:
    """Counts of people; `on_queue` by routing status, `off_queue` by presence."""

    members: int
    on_queue: dict[str, int]
    off_queue: dict[str, int]

    @classmethod
    def of(cls, queue: Queue, seed: int, interacting: int, now_ms: int) -> Staff:
        chance = random.Random(f"{seed}/{queue.id}/{now_ms // 60_000}")
        members = max(queue.members, interacting + 1)
        idle = chance.randint(0, 1 + members // 20)
        statuses = {
            "IDLE": min(idle, members - interacting),
            "INTERACTING": interacting,
            "NOT_RESPONDING": int(chance.random() < 0.08),
            "COMMUNICATING": int(chance.random() < 0.05),
        }
        off_queue = max(0, min(members - sum(statuses.values()), round(members * chance.uniform(0.1, 0.4))))
        presences: dict[str, int] = {}
        for name in chance.choices(_OFF_QUEUE_PRESENCES, weights=(4, 3, 2, 2, 1, 1, 2), k=off_queue):
            presences[name] = presences.get(name, 0) + 1
        return cls(members, {name: count for name, count in statuses.items() if count}, presences)

    def data(self, metrics: Sequence[str], seed: int) -> Iterator[dict[str, Any]]:
        """The asked metrics; only qualifiers that somebody has."""
        on_queue, off_queue = sum(self.on_queue.values()), sum(self.off_queue.values())
        presences = {new_id(seed, "presence", name): count for name, count in self.off_queue.items()}
        statuses = self.on_queue | ({"OFF_QUEUE": off_queue} if off_queue else {})
        everybody = presences | ({new_id(seed, "presence", _ON_QUEUE): on_queue} if on_queue else {})
        rows: dict[str, dict[str, int]] = {
            "oMemberUsers": {"": max(self.members, on_queue + off_queue)},
            "oActiveUsers": {"": on_queue + off_queue},
            "oUserRoutingStatuses": statuses,
            "oOnQueueUsers": self.on_queue,
            "oUserPresences": everybody,
            "oOffQueueUsers": presences,
        }
        for metric, counts in rows.items():
            for qualifier, count in counts.items() if metric in metrics else ():
                named = {"qualifier": qualifier} if qualifier else {}
                yield {"metric": metric, **named, "stats": {"count": count}}
