"""The metrics that contacts can answer: which event each one counts, when it is stamped, how long it took.

One table, `MEASURES`; every other metric that the service knows is accepted in a query and never has a value, because
nothing in the simulated org produces it. Meanings follow the glossary in the reference: counters begin with n, timers
(milliseconds) with t; abandons within SHORT_ABANDON_MS are part of tAbandon and told apart in tShortAbandon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exporter.simulator.contacts import ABANDONED, ANSWERED, FLOWED_OUT, NEVER, SESSION, Contacts, Flags, Lengths

SHORT_ABANDON_MS = 5_000

OFFERED_AT, LEFT_AT, ENDED_AT, HANDLED_AT = "offered_at", "left_at", "ended_at", "handled_at"


@dataclass(frozen=True, slots=True)
class Measure:
    """`stamp` names the column of Contacts that dates the event; `length` is None for counters."""

    stamp: str
    happened: Callable[[Contacts], Flags]
    length: Callable[[Contacts], Lengths] | None = None


def _offered(contacts: Contacts) -> Flags:
    return np.asarray((contacts.offered_at != NEVER) & (contacts.outcome != SESSION))


def _left(contacts: Contacts) -> Flags:
    return np.asarray(contacts.outcome != SESSION)


def _answered(contacts: Contacts) -> Flags:
    return np.asarray(contacts.outcome == ANSWERED)


def _abandoned(contacts: Contacts) -> Flags:
    return np.asarray(contacts.outcome == ABANDONED)


def _flowed_out(contacts: Contacts) -> Flags:
    return np.asarray(contacts.outcome == FLOWED_OUT)


def _finished(contacts: Contacts) -> Flags:
    return _answered(contacts) | _abandoned(contacts)


MEASURES: dict[str, Measure] = {
    "nBlindTransferred": Measure(ENDED_AT, lambda c: c.transferred & (c.talk % 4 != 0)),
    "nCobrowseSessions": Measure(OFFERED_AT, lambda c: c.outcome == SESSION),
    "nConnected": Measure(LEFT_AT, _answered),
    "nConsultTransferred": Measure(ENDED_AT, lambda c: c.transferred & (c.talk % 4 == 0)),
    "nOffered": Measure(OFFERED_AT, _offered),
    "nOverSla": Measure(LEFT_AT, lambda c: c.late_answer),
    "nTransferred": Measure(ENDED_AT, lambda c: c.transferred),
    "tAbandon": Measure(LEFT_AT, _abandoned, lambda c: c.wait),
    "tAcd": Measure(LEFT_AT, _left, lambda c: c.wait),
    "tAcw": Measure(HANDLED_AT, lambda c: c.acw > 0, lambda c: c.acw),
    "tAlert": Measure(LEFT_AT, lambda c: c.alert > 0, lambda c: c.alert),
    "tAnswered": Measure(LEFT_AT, _answered, lambda c: c.wait),
    "tConnected": Measure(ENDED_AT, _answered, lambda c: c.wait + c.talk + c.held),
    "tFlowOut": Measure(LEFT_AT, _flowed_out, lambda c: c.wait),
    "tHandle": Measure(HANDLED_AT, _answered, lambda c: c.talk + c.held + c.acw),
    "tHeld": Measure(ENDED_AT, lambda c: c.held > 0, lambda c: c.held),
    "tHeldComplete": Measure(ENDED_AT, lambda c: c.held > 0, lambda c: c.held),
    "tShortAbandon": Measure(LEFT_AT, lambda c: _abandoned(c) & (c.wait < SHORT_ABANDON_MS), lambda c: c.wait),
    "tTalk": Measure(ENDED_AT, lambda c: c.talk > 0, lambda c: c.talk),
    "tTalkComplete": Measure(ENDED_AT, lambda c: c.talk > 0, lambda c: c.talk),
    "tWait": Measure(LEFT_AT, _left, lambda c: c.wait),
}

SERVICE_LEVEL, SERVICE_TARGET = "oServiceLevel", "oServiceTarget"
#: What the service level is computed from.
SLA_CONTACTS = Measure(LEFT_AT, _finished)
SLA_MET = Measure(LEFT_AT, lambda c: _finished(c) & ~c.breached)

#: Derived metrics come last, in this order; the stored ones before them by alphabet.
DERIVED_ORDER = (SERVICE_TARGET, SERVICE_LEVEL, "tWait", "tShortAbandon")
