"""Many may use, one may change: the lock around the ring.

A fit works on views of the ring for a while; a merge must not move what they show. Users wait only for a change that is
under way, never for one that waits itself, so that a user may enter again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Guard:
    """`with guard.shared(): …` beside others of its kind; `with guard.exclusive(): …` alone."""

    def __init__(self) -> None:
        self._turn = Condition()
        self._users = 0
        self._changing = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Nobody changes anything inside."""
        with self._turn:
            self._turn.wait_for(lambda: not self._changing)
            self._users += 1
        try:
            yield
        finally:
            with self._turn:
                self._users -= 1
                self._turn.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else is inside."""
        with self._turn:
            self._turn.wait_for(lambda: not self._changing and not self._users)
            self._changing = True
        try:
            yield
        finally:
            with self._turn:
                self._changing = False
                self._turn.notify_all()
