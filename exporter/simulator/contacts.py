"""Contacts as columns: the one form in which traffic and replay hand their events to every contract.

A row is one contact with four stamps (epoch ms), because analytics counts each event when it happens: offered on
arrival, the end of waiting (answered, abandoned, flowed out), the end of talking, the end of handling. A stamp of
NEVER means that the event did not happen. Computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.int64]
Lengths = NDArray[np.int32]
Flags = NDArray[np.bool_]

NEVER = np.int64(-1)

#: A SESSION (cobrowse) was never offered to anybody: it shows nothing but its own count.
ANSWERED, ABANDONED, FLOWED_OUT, NOWHERE, SESSION = range(5)


@dataclass(frozen=True, slots=True)
class Contacts:
    """Columns of equal length; times without `_at` are lengths in ms, and fit into 24 days."""

    stream: NDArray[np.int32]  # index into the org's streams
    offered_at: Longs
    left_at: Longs
    ended_at: Longs
    handled_at: Longs
    outcome: NDArray[np.int8]
    breached: Flags  # counts against the service level: answered late, or abandoned
    late_answer: Flags  # answered outside the service level's time
    wait: Lengths
    alert: Lengths
    talk: Lengths
    held: Lengths
    acw: Lengths
    transferred: Flags
    delay: Lengths  # from the event to the moment that analytics shows it

    def __len__(self) -> int:
        return len(self.stream)

    def where(self, keep: Flags | Longs) -> Contacts:
        """The contacts that `keep` selects, by flag or by position."""
        return replace(self, **{field.name: getattr(self, field.name)[keep] for field in fields(self)})
