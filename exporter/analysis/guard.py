"""Many may use, one may change: the lock around the ring.

A fit works on views of the ring for a while; a merge must not move what they show. A change that waits goes before
users who come after it, for some come again and again for a minute; who is inside already may enter again. Nobody
inside may wait for another thread that wants to come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local


class Guard:
    """`with guard.shared(): …` beside others of its kind; `with guard.exclusive(): …` alone."""

    def __init__(self) -> None:
        self._turn = Condition()
        self._users = 0
        self._changing = False
        self._held = local()  # by this thread: who is inside may go on inside
        self.awaited = 0  # by so many who want to be alone

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Nobody changes anything inside."""
        inside = getattr(self._held, "times", 0)
        with self._turn:
            self._turn.wait_for(lambda: not self._changing and (inside or not self.awaited))
            self._users += 1
        self._held.times = inside + 1
        try:
            yield
        finally:
            self._held.times = inside
            with self._turn:
                self._users -= 1
                self._turn.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else is inside."""
        with self._turn:
            self.awaited += 1
            self._turn.wait_for(lambda: not self._changing and not self._users)
            self.awaited -= 1
            self._changing = True
        try:
            yield
        finally:
            with self._turn:
                self._changing = False
                self._turn.notify_all()
