"""Rates and averages of one interval, from its counts.

Comes in: columns of counts and of summed seconds, as a source fills them (WINDOW_COLUMNS). Goes out: the columns that
are published, under the names of the family table. Pure; NaN means "no value" on both sides.

A rate is the exact quotient of two counts and is never clipped. Offered contacts are stamped when they arrive,
abandoned ones when they finish, so that in a small window abandoned may exceed offered and the ratio 1. That is
what the service counted: the same quotient goes to the scores, to Prometheus, to JSON and to CSV, and whoever
divides the two counts beside it gets the very same number. Without contacts in the denominator there is no
value, whatever the numerator says. The service level is never recomputed: breaches and contacts are its own
denominator minus numerator, and denominator.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exporter.models import ABANDONMENT, BUCKET_COUNTS, SLA_BREACH, FloatColumn

#: Published quotient → (numerator, denominator); times are sums in seconds over the contacts beside them.
QUOTIENTS: Mapping[str, tuple[str, str]] = {
    ABANDONMENT: ("abandoned", "offered"),
    SLA_BREACH: ("sla_breached", "sla_contacts"),
    "average_speed_of_answer_seconds": ("answered_seconds", "answered"),
    "average_handle_time_seconds": ("handled_seconds", "handled"),
    "average_wait_seconds": ("waited_seconds", "waited"),
}


def ratio(events: FloatColumn, contacts: FloatColumn) -> FloatColumn:
    """events / contacts, row by row; NaN where contacts are 0 or either has no value."""
    value = np.full(np.shape(contacts), np.nan)
    np.divide(events, contacts, out=value, where=contacts > 0)
    return value


def derive(columns: Mapping[str, FloatColumn]) -> dict[str, FloatColumn]:
    """The published columns of a window: its counts, the service-level target, and every quotient."""
    published = {name: columns[name] for name in BUCKET_COUNTS}
    published["service_level_target_ratio"] = columns["service_level_target"]
    for name, (numerator, denominator) in QUOTIENTS.items():
        published[name] = ratio(columns[numerator], columns[denominator])
    return published
