"""Requests that are byte for byte what an earlier one was: answered as that one was, without being read again.

A scraper sends the same bytes at every scrape. To parse and route them takes a quarter to a half of a scrape of 700 kB,
in or out of the processor's caches. What bytes ask for cannot change; what may
be answered can: that is asked for anew each time, and where it is not there the request goes the ordinary way. Behind a
guard every request does, since who may come in can change from one to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from aiohttp import web

from exporter.publish.responses import Piece, is_usual

logger = logging.getLogger(__name__)

F = TypeVar("F")

#: Scrapers of one exporter, with room to spare; of more the oldest goes.
MOST_KNOWN, MOST_BYTES = 32, 2048


class Repeats(Generic[F]):
    """Bytes of requests, and the form of the answer that each asks for.

    `again` is the whole answer in a form, head and body, as it may be given at this moment; None where it is not made.
    """

    def __init__(self, again: Callable[[F], Sequence[Piece] | None]) -> None:
        self._again = again
        self._known: dict[bytes, F] = {}

    def learn(self, request: web.Request, form: F) -> None:
        """Whoever sends the bytes of this request again wants the same form. Secrets are not kept."""
        sent: bytes | None = getattr(request.protocol, "sent", None)
        if sent is None or sent in self._known or len(sent) > MOST_BYTES or not is_usual(request):
            return
        if "Authorization" in request.headers or "Cookie" in request.headers or "Expect" in request.headers:
            return
        if len(self._known) == MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[sent] = form

    def answer(self, sent: bytes) -> Sequence[Piece] | None:
        """The answer to bytes that are known; None where they are to be read."""
        form = self._known.get(sent)
        if form is None:
            return None
        try:
            return self._again(form)
        except Exception:
            logger.exception("a request that is known is read anew")
            return None


REPEATS = web.AppKey("repeats", Repeats)
