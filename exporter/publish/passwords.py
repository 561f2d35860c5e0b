"""Passwords against bcrypt hashes: at one price for all, off the event loop, one at a time, and remembered.

In: a name, a password, and the hashes in force. Out: whether they belong together. A wrong password costs the same
whoever's name came with it. bcrypt is slow by design: it runs in a thread, one comparison at a time, and what it once
accepted is remembered by a keyed digest, so that a flood of wrong passwords cannot delay a scraper that is known. One
that is not yet known waits for one comparison of each address that asks, not for all that a flood has sent.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakValueDictionary

import bcrypt

#: Accepted passwords remembered; a handful of scrapers and people.
REMEMBERED = 128
#: Comparisons that one address may have waiting: some ten seconds of work at the usual cost.
MOST_WAITING = 128
#: bcrypt looks at no more; longer passwords are cut, as Go does it.
_BCRYPT_BYTES = 72
_CHEAPEST = 4
#: What stands for the hash of a user who does not exist: as long as any.
_NO_HASH = bytes(60)


class TooMany(Exception):
    """An address has as many passwords waiting to be compared as it may have."""


class Passwords:
    """Compares passwords, and remembers which it has accepted."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()
        self._peers: WeakValueDictionary[str, _Peer] = WeakValueDictionary()

    async def right(
        self, name: str, password: bytes, users: Mapping[str, bytes], *, peer: str, gone: Callable[[], bool]
    ) -> bool:
        """Whether it is the user's password. `gone` says whether anyone still waits for the answer at `peer`."""
        hashed = users.get(name)
        # A hash is of a fixed length and has a salt of its own: with the password it says who was accepted.
        digest = hmac.digest(self._key, (hashed or _NO_HASH) + password, "sha256")
        if self._knows(digest):
            return True
        place = self._peers.setdefault(peer, _Peer())
        with place.waiting():
            async with place.turn, self._one_at_a_time:
                if self._knows(digest):  # the same one was before us
                    return True
                if gone():  # who has gone costs nothing more
                    return False
                good = await asyncio.to_thread(matches, password, hashed, users.values())
        if good:
            self._remember(digest)
        return good

    def _knows(self, digest: bytes) -> bool:
        if digest in self._accepted:
            self._accepted.move_to_end(digest)
            return True
        return False

    def _remember(self, digest: bytes) -> None:
        self._accepted[digest] = None
        while len(self._accepted) > REMEMBERED:
            self._accepted.popitem(last=False)


class _Peer:
    """An address that asks: its comparisons come one after the other, between those of others."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._waiting = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        if self._waiting >= MOST_WAITING:
            raise TooMany
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


def matches(password: bytes, hashed: bytes | None, everyone: Iterable[bytes]) -> bool:
    """Whether the password is right. A wrong one, and a name that nobody has, cost as much as the dearest hash.

    A cheaper hash is followed by decoys that make up the difference: each step of bcrypt's cost doubles the work.
    """
    dearest = max(map(_cost, everyone), default=_CHEAPEST)
    if bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed or _decoy(dearest)) and hashed is not None:
        return True
    for cost in range(_cost(hashed) if hashed else dearest, dearest):
        bcrypt.checkpw(password[:_BCRYPT_BYTES], _decoy(cost))
    return False


def _cost(hashed: bytes) -> int:
    return int(hashed[4:6])


def _decoy(cost: int) -> bytes:
    """A hash that no password is known to have."""
    return bcrypt.gensalt(cost) + b"." * 31
