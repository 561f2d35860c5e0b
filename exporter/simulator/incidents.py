"""Incidents: what goes wrong in the simulated contact centre, where and when.

An `Incident` is data; traffic applies it to the contacts that arrive while it lasts, and to no others. `demo_incidents`
is the schedule of the demo: one abandonment surge under way when it starts, then one after another on other queues,
fixed by the seed and the moment of the start.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Kind = Literal["abandonment_surge", "sla_collapse", "outage"]
KINDS: tuple[Kind, ...] = ("abandonment_surge", "sla_collapse", "outage")


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens to one queue (by index or id), or to the whole org (None), in [start, end).

    `strength` is a ratio: of the contacts that give up (abandonment_surge), of the contacts answered late
    (sla_collapse), of the contacts that never arrive (outage). `media_type` narrows it to one media type.
    """

    kind: Kind
    queue: int | str | None
    start: datetime
    end: datetime
    strength: float = 0.6
    media_type: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of incident {self.kind!r}: write one of {', '.join(KINDS)}")
        if self.start.tzinfo is None or self.end.tzinfo is None or self.end <= self.start:
            raise ValueError("an incident needs an aware start before an aware end")
        if not 0.0 < self.strength <= 1.0:
            raise ValueError(f"strength {self.strength} is not in (0, 1]")

    @property
    def start_ms(self) -> int:
        return round(self.start.timestamp() * 1000)

    @property
    def end_ms(self) -> int:
        return round(self.end.timestamp() * 1000)


#: Two buckets and the time that data are given to settle: the newest closed bucket lies in the incident, too.
FIRST_BEGAN_BEFORE_START = timedelta(minutes=32)
FIRST_ENDS_AFTER_START = timedelta(minutes=45)
#: How long the demo's schedule reaches: longer than anybody watches one.
SCHEDULE_LENGTH = timedelta(days=30)


def demo_incidents(seed: int, started: datetime, busy_queues: Sequence[int]) -> tuple[Incident, ...]:
    """The demo's schedule; `busy_queues` are indexes, the first of them the queue of the first incident."""
    first = Incident(
        "abandonment_surge",
        busy_queues[0],
        started - FIRST_BEGAN_BEFORE_START,
        started + FIRST_ENDS_AFTER_START,
        strength=0.65,
    )
    return (first, *_later(random.Random(f"{seed}/incidents"), first.end, busy_queues[1:] or busy_queues))


def _later(chance: random.Random, after: datetime, queues: Sequence[int]) -> Iterator[Incident]:
    moment = after
    while moment < after + SCHEDULE_LENGTH:
        start = moment + timedelta(minutes=chance.randint(5, 20))
        end = start + timedelta(minutes=chance.randint(20, 45))
        kind = chance.choices(KINDS, weights=(3, 2, 1))[0]
        strength = 1.0 if kind == "outage" else chance.uniform(0.45, 0.75)
        yield Incident(kind, chance.choice(queues), start, end, round(strength, 2))
        moment = end
