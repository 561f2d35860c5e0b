"""What contacts of each media type are like, and how traffic moves through the day and the week.

Out: `PROFILES` (waits, handling, outcomes and service levels by media type) and the shape tables that traffic reads.
Times are in milliseconds. Where the figures come from: service levels as new Genesys Cloud queues have them (voice
80 % in 20 s, e-mail in hours), handling times as call centres commonly report them; messaging knows no abandon, and a
cobrowse session shows nothing but its own count (seen in real answers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
#: Traffic is laid out in cells of a quarter hour.
CELL_MS = 15 * MINUTE
CELLS_A_DAY = 96

VOICE, CALLBACK, CHAT, EMAIL, MESSAGE, COBROWSE = "voice", "callback", "chat", "email", "message", "cobrowse"


@dataclass(frozen=True, slots=True)
class MediaProfile:
    """One media type. Ratios are of contacts, means are of exponential times, at a load of 1.

    `quick_ratio` of the contacts meet a free agent and wait `quick_mean`; the others wait `slow_mean`. `ends_nowhere`
    leave without an answer, an abandon or a flow-out. The `most_…` bounds are hard: they tell how far back a contact
    can begin that still ends now.
    """

    sla_ms: int
    sla_target: float
    volume_ratio: float
    abandons: float
    flow_out: float
    ends_nowhere: float
    quick_ratio: float
    quick_mean: int
    slow_mean: int
    patience_mean: int
    talk_median: int
    held_ratio: float
    acw_mean: int
    most_wait: int
    most_talk: int
    most_acw: int
    only_sessions: bool = False

    @property
    def lookback_ms(self) -> int:
        return self.most_wait + 2 * self.most_talk + self.most_acw


PROFILES: dict[str, MediaProfile] = {
    VOICE: MediaProfile(
        20 * SECOND, 0.8, 1.0, 1.0, 0.02, 0.0, 0.76, 6 * SECOND, 70 * SECOND, 80 * SECOND,
        220 * SECOND, 0.15, 30 * SECOND, 15 * MINUTE, 20 * MINUTE, 5 * MINUTE,
    ),
    CALLBACK: MediaProfile(
        30 * MINUTE, 0.8, 0.12, 0.4, 0.01, 0.0, 0.8, 8 * MINUTE, 40 * MINUTE, 20 * MINUTE,
        200 * SECOND, 0.1, 25 * SECOND, 4 * HOUR, 20 * MINUTE, 5 * MINUTE,
    ),
    CHAT: MediaProfile(
        30 * SECOND, 0.8, 0.3, 1.2, 0.02, 0.0, 0.8, 9 * SECOND, 90 * SECOND, 90 * SECOND,
        420 * SECOND, 0.0, 20 * SECOND, 15 * MINUTE, 25 * MINUTE, 5 * MINUTE,
    ),
    EMAIL: MediaProfile(
        4 * HOUR, 0.8, 0.3, 0.0, 0.01, 0.0, 0.7, 50 * MINUTE, 4 * HOUR, HOUR,
        300 * SECOND, 0.0, 20 * SECOND, 12 * HOUR, 25 * MINUTE, 5 * MINUTE,
    ),
    MESSAGE: MediaProfile(
        60 * SECOND, 0.8, 0.5, 0.0, 0.0, 0.06, 0.8, 18 * SECOND, 4 * MINUTE, 5 * MINUTE,
        540 * SECOND, 0.0, 20 * SECOND, 30 * MINUTE, 25 * MINUTE, 5 * MINUTE,
    ),
    COBROWSE: MediaProfile(
        20 * SECOND, 0.8, 0.05, 0.0, 0.0, 0.0, 1.0, SECOND, SECOND, SECOND,
        300 * SECOND, 0.0, SECOND, MINUTE, MINUTE, MINUTE, only_sessions=True,
    ),
}  # fmt: skip


def profile_of(media_type: str) -> MediaProfile:
    """The profile of a media type; of voice where nobody foresaw it."""
    return PROFILES.get(media_type, PROFILES[VOICE])


#: Local hours at the middle of each quarter hour of a day.
_HOURS: NDArray[np.float64] = (np.arange(CELLS_A_DAY, dtype=np.float64) + 0.5) / 4.0

OFFICE, EXTENDED, AROUND_THE_CLOCK, EVENING, NIGHT_LOW = range(5)


def _hump(centre: float, width: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * ((_HOURS - centre) / width) ** 2), dtype=np.float64)


def _day_shapes() -> NDArray[np.float64]:
    working = _hump(10.5, 2.1) + 0.85 * _hump(15.0, 2.3)
    evening = 0.5 * working + _hump(19.5, 2.2)
    shapes = np.stack(
        [
            np.where((_HOURS >= 7) & (_HOURS < 20), working, 0.0),
            np.where((_HOURS >= 6) & (_HOURS < 23), working + 0.05, 0.0),
            working,
            evening + 0.04,
            working + 0.03,
        ]
    )
    shapes /= shapes.max(axis=1, keepdims=True)
    shapes[AROUND_THE_CLOCK] = 0.4 + 0.6 * shapes[AROUND_THE_CLOCK]
    return shapes


#: Share of the peak rate by shape and local quarter hour, shape (5, 96).
DAY_SHAPES = _day_shapes()
#: The same by shape and weekday, Monday first, shape (5, 7).
WEEK_SHAPES = np.array(
    [
        [1.0, 0.95, 0.9, 0.9, 0.88, 0.3, 0.0],
        [1.0, 0.95, 0.92, 0.9, 0.92, 0.55, 0.3],
        [1.0, 0.98, 0.96, 0.96, 0.98, 0.9, 0.85],
        [0.85, 0.85, 0.86, 0.9, 1.0, 1.0, 0.9],
        [1.0, 0.95, 0.92, 0.9, 0.9, 0.5, 0.35],
    ]
)


def _staffing() -> NDArray[np.float64]:
    return np.asarray(0.92 + 0.28 * _hump(12.6, 0.9) + 0.22 * _hump(18.3, 1.2))


#: Load per agent by local quarter hour where volume is as planned: lunch and the end of the shift are thinly staffed.
STAFFING_LOAD = _staffing()
