"""The queues of the simulated org: names, divisions, media types, size and habits, all from the seed.

In: a number of queues and a seed. Out: `Queue` records, the same for the same seed however many are asked for. Names
hold what real names hold: quotes, commas, letters of other scripts, a leading "=", and one name twice in two
divisions. The first queue is the one of the demo's incident: voice, busy, open round the clock.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from exporter.simulator.profiles import (
    AROUND_THE_CLOCK,
    CALLBACK,
    CHAT,
    COBROWSE,
    EMAIL,
    EVENING,
    EXTENDED,
    MESSAGE,
    NIGHT_LOW,
    OFFICE,
    PROFILES,
    VOICE,
)

_NAMESPACE = uuid.UUID("6f1c0e4e-5d0a-4d55-9f6e-2f7d3a1b8c90")


@dataclass(frozen=True, slots=True)
class Division:
    """An organisational part that permissions are granted on."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the directory shows it, and what traffic needs to know of it.

    `peak_per_hour` is the voice rate at the busiest hour of an average Monday; `service_levels` holds (target ratio,
    ms) by media type.
    """

    id: str
    name: str
    division: Division
    media_types: tuple[str, ...]
    peak_per_hour: float
    day_shape: int
    abandon_ratio: float
    volatility: float = 0.18
    utc_offset_hours: int = 0
    members: int = 10
    service_levels: Mapping[str, tuple[float, int]] = field(default_factory=dict)


def new_id(seed: int, kind: str, name: object) -> str:
    """A UUID that belongs to the name, within one seed."""
    return str(uuid.uuid5(_NAMESPACE, f"{seed}/{kind}/{name}"))


INCIDENT_QUEUE_NAME = "Support Hotline 24/7"

# (division, offset of its local time, share of the queues)
_DIVISIONS = (("Home", 0, 5), ("Europe", 1, 3), ("Americas", -5, 3))
#: Exists and holds nothing: a listing filtered by it is empty, and that is no error.
EMPTY_DIVISION = "Reserved"

_NAMES = (
    INCIDENT_QUEUE_NAME,
    "Customer Service Central",
    "Orders & Delivery",
    'Sales "Gold" Customers',
    "Billing, Accounts and Refunds",
    "=Renewals",
    "Kündigung – Rückgewinnung",
    "サポート窓口",
    "Technical Support \\ Level 2",
    "Claims",
    "Claims",
    "Complaints",
    "Web Shop 100% Online",
    "@Social Media",
    "Loyalty {Platinum}",
    "L'Assistance clientèle",
)
_TEAMS = ("Service", "Sales", "Billing", "Tech", "Claims", "Returns", "Onboarding", "Collections", "Dispatch", "Cards")
_PLACES = ("North", "South", "East", "West", "Köln", "Lyon", "Dublin", "Austin", "Toronto", "Porto", "Kraków", "Leeds")

# The largest ones, so that thousands of contacts an hour are there in an org of any size.
_FIXED_PEAKS = {0: 480.0, 1: 2600.0, 2: 900.0}
_MEDIAN_PEAK, _PEAK_SPREAD = 28.0, 1.15
_MEDIA_CHANCES = ((CALLBACK, 0.15), (CHAT, 0.12), (EMAIL, 0.25), (MESSAGE, 0.3))
_SHAPES = (OFFICE, EXTENDED, AROUND_THE_CLOCK, EVENING, NIGHT_LOW)
#: The queue that also shows a media type which nobody foresaw.
_COBROWSE_QUEUE = 2


def divisions(seed: int) -> tuple[Division, ...]:
    names = [name for name, _, _ in _DIVISIONS] + [EMPTY_DIVISION]
    return tuple(Division(new_id(seed, "division", name), name) for name in names)


def queues(count: int, seed: int) -> list[Queue]:
    """The first `count` queues of the org with this seed."""
    homes = divisions(seed)
    return [_queue(index, seed, homes) for index in range(count)]


def with_name(queue: Queue, name: str) -> Queue:
    return replace(queue, name=name)


def _queue(index: int, seed: int, homes: tuple[Division, ...]) -> Queue:
    chance = random.Random(f"{seed}/queue/{index}")
    place = chance.choices(range(len(_DIVISIONS)), weights=[share for _, _, share in _DIVISIONS])[0]
    if index < len(_NAMES):
        place = index % len(_DIVISIONS)  # the two queues of one name fall into two divisions
    peak = _FIXED_PEAKS.get(index) or _MEDIAN_PEAK * math.exp(_PEAK_SPREAD * NormalDist().inv_cdf(chance.random()))
    media_types = _media_types(index, chance)
    return Queue(
        id=new_id(seed, "queue", index),
        name=_name(index, chance),
        division=homes[place],
        media_types=media_types,
        peak_per_hour=max(2.0, peak),
        day_shape=AROUND_THE_CLOCK if index == 0 else chance.choices(_SHAPES, weights=(5, 3, 1, 2, 2))[0],
        abandon_ratio=0.04 if index == 0 else chance.uniform(0.02, 0.09),
        volatility=0.08 if index == 0 else chance.uniform(0.1, 0.3),
        utc_offset_hours=_DIVISIONS[place][1],
        members=max(3, math.ceil(peak / 9.0)),
        service_levels={media: _service_level(media, chance) for media in media_types},
    )


def _media_types(index: int, chance: random.Random) -> tuple[str, ...]:
    wanted = [media for media, ratio in _MEDIA_CHANCES if chance.random() < ratio]
    if chance.random() < 0.88 or not wanted or index in _FIXED_PEAKS:
        wanted.insert(0, VOICE)
    if index == _COBROWSE_QUEUE:
        wanted.append(COBROWSE)
    return tuple(wanted)


def _service_level(media: str, chance: random.Random) -> tuple[float, int]:
    profile = PROFILES[media]
    target = chance.choices((profile.sla_target, 0.7, 0.9), weights=(6, 1, 1))[0]
    return target, profile.sla_ms


def _name(index: int, chance: random.Random) -> str:
    if index < len(_NAMES):
        return _NAMES[index]
    return f"{chance.choice(_TEAMS)} {chance.choice(_PLACES)} {index:04d}"
