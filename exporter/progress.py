"""Progress of long work: a line that is rewritten on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

log = logging.getLogger(__name__)

_BAR = 30
#: Elsewhere than on a terminal: a line for every tenth.
_STEPS = 10


class Progress:
    """Call it with (done, total) as often as there is news."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = stream if stream is not None else sys.stderr
        self._told = -1

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
        self._stream.write(f"\r{self._what} [{bar}] {done}/{total}{end}")
        self._stream.flush()
