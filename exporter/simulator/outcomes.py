"""What becomes of contacts: waiting, abandoning, talking, and what incidents do to them.

In: quarter hours with their arrivals and load. Out: `Contacts` with every stamp fixed. Waits grow with load, whoever
abandons does so after a patience of their own, messages end without abandon. Each draw has its own purpose number, so
an incident changes the contacts it strikes and none beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.simulator.arrivals import Quarters
from exporter.simulator.contacts import (
    ABANDONED,
    ANSWERED,
    FLOWED_OUT,
    NEVER,
    NOWHERE,
    SESSION,
    Contacts,
    Flags,
    Lengths,
)
from exporter.simulator.incidents import Incident
from exporter.simulator.profiles import CELL_MS, MediaProfile
from exporter.simulator.randomness import Floats, Keys, derive, exponentials, normals, uniforms
from exporter.simulator.streams import Ints, StreamTable

# What a random number is for. The numbers are part of the simulated past: never reuse or reorder them.
_MOMENT, _OUTCOME, _BRANCH, _WAIT, _TALK, _HELD, _HELD_TIME, _ACW, _ALERT, _TRANSFER, _LATE, _LATER = range(10, 22)
_STRUCK, _STRUCK_WAIT = 30, 31


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late analytics shows an event: everyone up to `usual_ms`, a share of `late_ratio` up to `late_ms` more."""

    usual_ms: int = 0
    late_ratio: float = 0.0
    late_ms: int = 0

    @property
    def most_ms(self) -> int:
        return self.usual_ms + self.late_ms


#: Every event is there as soon as it happened.
ON_TIME = Lateness()


@dataclass(slots=True)
class Draft:
    """Contacts before their stamps are fixed; incidents change outcome and wait, or strike contacts out."""

    profile: MediaProfile
    stream: Ints
    keys: Keys
    offered_at: Ints
    outcome: NDArray[np.int8]
    wait: Floats
    sla_ms: Ints

    @classmethod
    def of(cls, table: StreamTable, profile: MediaProfile, quarters: Quarters) -> Draft:
        row = np.repeat(np.arange(len(quarters.counts)), quarters.counts)
        first = np.cumsum(quarters.counts) - quarters.counts
        keys = derive(quarters.keys[row], np.arange(len(row)) - first[row] + 1)
        outcome = _outcomes(profile, quarters.abandon_ratio[row], uniforms(keys, _OUTCOME))
        return cls(
            profile=profile,
            stream=quarters.streams[row],
            keys=keys,
            offered_at=quarters.start_ms[row] + (uniforms(keys, _MOMENT) * CELL_MS).astype(np.int64),
            outcome=outcome,
            wait=_waits(profile, quarters.load[row], outcome, keys),
            sla_ms=table.sla_ms[quarters.streams[row]],
        )

    def strike(self, incident: Incident, touched: Flags) -> None:
        """Apply one incident to the contacts that arrive while it lasts; `touched` is by stream."""
        present = touched[self.stream]
        present &= (self.offered_at >= incident.start_ms) & (self.offered_at < incident.end_ms)
        hit = present & (uniforms(self.keys, _STRUCK) < incident.strength)
        if incident.kind == "outage":
            self._remove(hit)
        elif incident.kind == "abandonment_surge" and self.profile.abandons > 0.0:
            self._give_up(hit, present & ~hit)
        else:
            self._answer_late(hit)

    def _remove(self, hit: Flags) -> None:
        for name in ("stream", "keys", "offered_at", "outcome", "wait", "sla_ms"):
            setattr(self, name, getattr(self, name)[~hit])

    def _give_up(self, hit: Flags, patient: Flags) -> None:
        # Nobody gives up in a short line: whoever stays is served late, so the service level falls with it.
        self.outcome[hit] = ABANDONED
        self.wait[hit] = 4_000.0 + 45_000.0 * exponentials(self.keys[hit], _STRUCK_WAIT)
        self._answer_late(patient)

    def _answer_late(self, hit: Flags) -> None:
        late = hit & (self.outcome == ANSWERED)
        self.wait[late] = self.sla_ms[late] * (1.2 + 2.0 * exponentials(self.keys[late], _STRUCK_WAIT))

    def finish(self, lateness: Lateness) -> Contacts:
        keys, profile = self.keys, self.profile
        answered = self.outcome == ANSWERED
        is_held = answered & (uniforms(keys, _HELD) < profile.held_ratio)
        wait = _lengths(np.clip(self.wait, 500.0, profile.most_wait))
        talk = _lengths(np.where(answered, _talks(profile, keys), 0.0))
        held = _lengths(np.minimum(is_held * (5_000 + 35_000 * exponentials(keys, _HELD_TIME)), profile.most_talk))
        acw = _lengths(np.minimum(answered * (profile.acw_mean * exponentials(keys, _ACW)), profile.most_acw))
        left_at = self.offered_at + wait
        ended_at = left_at + talk + held
        late_answer = answered & (wait > self.sla_ms)
        return Contacts(
            stream=self.stream.astype(np.int32),
            offered_at=self.offered_at,
            left_at=left_at,
            ended_at=np.where(answered, ended_at, NEVER),
            handled_at=np.where(answered, ended_at + acw, NEVER),
            outcome=self.outcome,
            breached=(self.outcome == ABANDONED) | late_answer,
            late_answer=late_answer,
            wait=wait,
            alert=_lengths(answered * np.minimum(1_500 + 4_000 * uniforms(keys, _ALERT), wait)),
            talk=talk,
            held=held,
            acw=acw,
            transferred=answered & (uniforms(keys, _TRANSFER) < 0.07),
            delay=_delays(lateness, keys),
        )


def _lengths(milliseconds: Floats) -> Lengths:
    return milliseconds.astype(np.int32)


def streams_touched(incident: Incident, table: StreamTable) -> Flags:
    """The streams that the incident names."""
    queue, media = incident.queue, incident.media_type
    streams = zip(table.queues.tolist(), table.queue_ids, table.media_types, strict=True)
    touched = [queue in (None, index, queue_id) and media in (None, kind) for index, queue_id, kind in streams]
    return np.array(touched, dtype=np.bool_)


def _outcomes(profile: MediaProfile, abandon_ratio: Floats, draws: Floats) -> NDArray[np.int8]:
    flows = abandon_ratio + profile.flow_out
    if profile.only_sessions:
        return np.full(len(draws), SESSION, dtype=np.int8)
    outcome = np.full(len(draws), ANSWERED, dtype=np.int8)
    outcome[draws < flows + profile.ends_nowhere] = NOWHERE
    outcome[draws < flows] = FLOWED_OUT
    outcome[draws < abandon_ratio] = ABANDONED
    return outcome


def _waits(profile: MediaProfile, load: Floats, outcome: NDArray[np.int8], keys: Keys) -> Floats:
    time = exponentials(keys, _WAIT)
    quick = uniforms(keys, _BRANCH) < profile.quick_ratio ** (load * load)
    wait = np.where(quick, profile.quick_mean * time, profile.slow_mean * load * load * time)
    return np.where(outcome == ABANDONED, 2_000.0 + profile.patience_mean * time, wait)


def _talks(profile: MediaProfile, keys: Keys) -> Floats:
    talk = profile.talk_median * np.exp(0.7 * normals(keys, _TALK))
    return np.asarray(np.clip(talk, 5_000.0, profile.most_talk))


def _delays(lateness: Lateness, keys: Keys) -> Lengths:
    if lateness.most_ms == 0:
        return np.zeros(len(keys), dtype=np.int32)
    delay = lateness.usual_ms * uniforms(keys, _LATE)
    late = uniforms(keys, _LATER) < lateness.late_ratio
    return _lengths(np.where(late, delay + lateness.late_ms * uniforms(keys, _LATE), delay))
