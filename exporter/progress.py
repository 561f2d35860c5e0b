"""Progress of long work: on a terminal a line that is rewritten, with the time that is left; elsewhere log lines."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

log = logging.getLogger(__name__)

_BAR = 30
#: Elsewhere than on a terminal: a line for every tenth.
_STEPS = 10
#: Before so many seconds nobody knows how long it will take.
_GUESS_FROM = 2.0


class Progress:
    """Call it with (done, total) as often as there is news."""

    def __init__(self, what: str, stream: TextIO | None = None, seconds: Callable[[], float] = time.monotonic) -> None:
        """`seconds` tells the time of a steady clock."""
        self._what, self._seconds = what, seconds
        self._stream = stream if stream is not None else sys.stderr
        self._told = -1
        self._begun, self._begun_at, self._last, self._drawn = seconds(), 0, 0, 0

    def __call__(self, done: int, total: int) -> None:
        share = done / total if total else 1.0
        if self._stream.isatty():
            self._draw(share, done, total)
        elif (step := int(share * _STEPS)) != self._told:
            self._told = step
            log.info("%s: %d of %d (%d %%)", self._what, done, total, 100 * share)

    def _draw(self, share: float, done: int, total: int) -> None:
        bar = ("#" * round(share * _BAR)).ljust(_BAR, ".")
        end = "\n" if done >= total else ""
        line = f"{self._what} [{bar}] {done}/{total}{self._left(done, total)}"
        self._stream.write(f"\r{line.ljust(self._drawn)}{end}")
        self._stream.flush()
        self._drawn = 0 if end else len(line)

    def _left(self, done: int, total: int) -> str:
        """How long the rest will take if it goes on like this."""
        now = self._seconds()
        if done < self._last:  # other work
            self._begun, self._begun_at = now, done
        self._last = done
        passed, worked = now - self._begun, done - self._begun_at
        if passed < _GUESS_FROM or worked <= 0 or done >= total:
            return ""
        left = round(passed * (total - done) / worked)
        return f", {left // 60}:{left % 60:02d} left"
