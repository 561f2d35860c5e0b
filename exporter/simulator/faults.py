"""Faults on demand: what a test (or a curious person) lets go wrong, where, when and how often.

A `Fault` is a rule; `Faults` holds the rules in force and says which of them strike a request. Rules that come before
the answer end it, delay it or change the ground under it; the others spoil a good answer. The server carries them out.
Chance is seeded, so that a run can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from exporter.simulator.mutations import MUTATIONS

Kind = Literal[
    "status",  # the documented error body of `status`; of a token refusal at the token endpoint
    "html",  # a proxy's HTML page with `status`
    "reset",  # the connection is reset before any header
    "slow",  # a good answer after `delay_seconds`
    "expire_tokens",  # every token in use has expired
    "rotate_secret",  # the client has the secret `secret` from now on
    "truncated",  # Content-Length tells more than what comes before the connection is cut
    "content_type",  # the good body, called text/plain
    "oversized",  # the good body, padded to `size_bytes`
    "repeat_token",  # the next page token is the one that was sent
    "endless_pages",  # there is always one more page
    "mutate",  # the payload changed by `mutation`
]
BEFORE: tuple[Kind, ...] = ("status", "html", "reset", "slow", "expire_tokens", "rotate_secret", "endless_pages")
AFTER: tuple[Kind, ...] = ("truncated", "content_type", "oversized", "repeat_token", "endless_pages", "mutate")

#: Statuses that mean "answer as usual" in a sequence.
_GOOD = range(200, 300)
Payload = dict[str, Any]
Mutation = Callable[[Payload], Payload]


@dataclass(slots=True, eq=False)
class Fault:
    """One rule. It strikes matching requests after the first `after`, `times` times (None: until removed).

    `endpoint` is a name of the server's table, or "*". `statuses` is a sequence, one per matching request, where a
    200 lets the request through. `probability` and the span [start, end) of wall time narrow it further. `mutation`
    is a name of the table in mutations.py, applied to the first `rows` rows (None: all), or a function of the payload.
    """

    endpoint: str = "*"
    kind: Kind = "status"
    status: int = 503
    statuses: Sequence[int] = ()
    code: str | None = None
    message: str | None = None
    retry_after: float | str | None = None
    delay_seconds: float = 0.0
    size_bytes: int = 64 * 1024 * 1024
    secret: str = "rotated-secret"  # noqa: S105 - opens nothing but the simulation
    mutation: str | Mutation = "negative_counts"
    rows: int | None = 1
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    start: datetime | None = None
    end: datetime | None = None
    matched: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in BEFORE + AFTER:
            raise ValueError(f"unknown kind of fault {self.kind!r}: write one of {', '.join(BEFORE + AFTER)}")
        if isinstance(self.mutation, str) and self.mutation not in MUTATIONS:
            raise ValueError(f"unknown mutation {self.mutation!r}: write one of {', '.join(MUTATIONS)}")

    def strikes(self, endpoint: str, now: datetime, chance: random.Random) -> bool:
        """Whether it strikes this request; counts it."""
        if self.endpoint not in ("*", endpoint) or self.is_spent:
            return False
        if (self.start and now < self.start) or (self.end and now >= self.end):
            return False
        self.matched += 1
        if self.matched <= self.after or chance.random() >= self.probability:
            return False
        if self.statuses:
            self.status = self.statuses[self.fired]
        self.fired += 1
        return not self.statuses or self.status not in _GOOD

    @property
    def is_spent(self) -> bool:
        limit = len(self.statuses) if self.statuses else self.times
        return limit is not None and self.fired >= limit

    def mutate(self, payload: Payload) -> Payload:
        """The payload as this fault leaves it."""
        if callable(self.mutation):
            return self.mutation(payload)
        return MUTATIONS[self.mutation](payload, self.rows)


class Faults:
    """The rules in force, in the order they were added."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"{seed}/faults")
        self._rules: list[Fault] = []

    def add(self, *faults: Fault) -> Fault:
        """Put rules in force; returns the last, whose `fired` tells how often it struck."""
        self._rules.extend(faults)
        return faults[-1]

    def remove(self, fault: Fault) -> None:
        self._rules.remove(fault)

    def clear(self) -> None:
        """All is well from now on."""
        self._rules.clear()

    def before(self, endpoint: str, now: datetime) -> list[Fault]:
        """The rules that strike before the answer, in order."""
        return self._striking(BEFORE, endpoint, now)

    def after(self, endpoint: str, now: datetime) -> list[Fault]:
        """The rules that spoil a good answer, in order; a rule with a part in both was counted before."""
        return self._striking(tuple(kind for kind in AFTER if kind not in BEFORE), endpoint, now)

    def _striking(self, kinds: Sequence[Kind], endpoint: str, now: datetime) -> list[Fault]:
        return [rule for rule in self._rules if rule.kind in kinds and rule.strikes(endpoint, now, self._chance)]
