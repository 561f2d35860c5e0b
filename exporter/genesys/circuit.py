"""Refusals that trying again cannot mend: after a few in a row, ask only now and then.

Wrong credentials and missing permissions stay wrong until a person changes them. The first refusals are tried
again at the next poll, since an administrator may be at work right now; then a slow probe is enough.
"""

from __future__ import annotations

from exporter.clock import Clock
from exporter.errors import GenesysError

PATIENCE = 3  # refusals in a row before the probe slows down
PROBE_SECONDS = 300.0
#: Callers of the same poll that come together share one refusal.
TOGETHER_SECONDS = 1.0


class Circuit:
    """Remembers refusals of one kind; `key` tells one attempt's circumstances from another's (which credentials)."""

    def __init__(self, clock: Clock, refusal: type[GenesysError]) -> None:
        self._clock = clock
        self._kind = refusal
        self._error: GenesysError | None = None
        self._key: object = None
        self._refusals = 0
        self._refused_at = float("-inf")

    def check(self, key: object = None) -> None:
        """Raise the last refusal again when it is too early for another try with the same `key`."""
        if self._error is None or key != self._key:
            return
        rest = PROBE_SECONDS if self._refusals >= PATIENCE else TOGETHER_SECONDS
        if self._clock.monotonic() - self._refused_at < rest:
            raise self._error.with_traceback(None)

    def record(self, error: Exception | None, key: object = None) -> None:
        """Take note of a failure; only refusals count, each once. Another failure between them ends their row: where a
        bad line answers now with this and now with that, a 403 is no reason to wait for minutes when it is mended."""
        if error is None:
            return
        if not isinstance(error, self._kind):
            self._refusals = 0 if self._refusals < PATIENCE else self._refusals
            return
        if error is self._error:
            return
        self._refusals = self._refusals + 1 if key == self._key else 1
        self._error, self._key, self._refused_at = error, key, self._clock.monotonic()

    def reset(self) -> None:
        """A success: all is forgotten."""
        self._error, self._refusals = None, 0
