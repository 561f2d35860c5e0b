"""/metrics: the answer to a scrape, made before it is asked for.

Comes in: the publisher's view and the exporter's own metrics. Goes out: the first, and the second after it. The own
metrics change all the time, and to write them takes three times as long as to send a scrape of 5,000 queues. So while
somebody scrapes, what they ask for is made anew every second and after every poll, and a scrape only sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from aiohttp import web

from exporter.clock import Clock
from exporter.publish.exposition import EMPTY, OPENMETRICS_TYPE, TEXT_TYPE
from exporter.publish.negotiate import header, wants_gzip, wants_openmetrics
from exporter.publish.publisher import Publisher, View
from exporter.publish.repeats import REPEATS
from exporter.publish.responses import Piece, Ready, send, send_while_made
from exporter.publish.self_metrics import SelfMetrics

logger = logging.getLogger(__name__)

RENEW_SECONDS = 1.0
#: Prometheus takes longer intervals for stale, too.
WANTED_SECONDS = 300.0
#: Plain text is ten times as large as what Prometheus asks for: kept for a scraper that comes often; for somebody who
#: looks once it is made while it is sent.
PLAIN_WANTED_SECONDS = 30.0


class Form(NamedTuple):
    """How a scraper wants its answer."""

    openmetrics: bool
    gzip: bool

    @classmethod
    def of(cls, request: web.Request) -> Form:
        return cls(wants_openmetrics(header(request, "Accept")), wants_gzip(header(request, "Accept-Encoding")))

    @property
    def wanted_seconds(self) -> float:
        """How long after a scrape the next one is expected."""
        return WANTED_SECONDS if self.gzip else PLAIN_WANTED_SECONDS

    def headers(self) -> dict[str, str]:
        kind = OPENMETRICS_TYPE if self.openmetrics else TEXT_TYPE
        encoding = {"Content-Encoding": "gzip"} if self.gzip else {}
        return {"Content-Type": kind, "Vary": "Accept, Accept-Encoding"} | encoding


class Scrapes:
    """Answers scrapes; `kept_ready` works ahead of them while the application runs."""

    def __init__(self, publisher: Publisher, self_metrics: SelfMetrics, clock: Clock) -> None:
        self._publisher = publisher
        self._self_metrics = self_metrics
        self._clock = clock
        self._asked: dict[Form, float] = {}  # when, in monotonic seconds
        self._expected: set[Form] = set()  # of these what is made ahead
        self._swapped = asyncio.Event()
        publisher.on_swap.append(self._swapped.set)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """200 in every case: without a snapshot the exporter's own metrics alone."""
        view, form = await self._publisher.view(), Form.of(request)
        if form.gzip or form in self._asked:
            self._expected.add(form)
        self._asked[form] = self._clock.monotonic()
        own = self._self_metrics.exposition(openmetrics=form.openmetrics)
        if view is None:
            return await send(request, [EMPTY.member, EMPTY.gzip_tail(own)] if form.gzip else [own], form.headers())
        if form not in self._expected:
            body = view.exposition.openmetrics if form.openmetrics else view.exposition.text
            pieces = chain(body.pieces(), [own])
            return await send_while_made(request, body.length + len(own), pieces, _headers(view, form))
        if (repeats := request.app.get(REPEATS)) is not None:
            repeats.learn(request, form)
        return await (await _made(view, form, own)).send(request)

    def again(self, form: Form) -> Sequence[Piece] | None:
        """All that `answer` would send, head and body, where it is made already; for `Repeats`."""
        view = self._publisher.fresh_view
        own, answer = view.answers.get(form, (None, None)) if view else (None, None)
        if answer is None or own is not self._self_metrics.exposition(openmetrics=form.openmetrics):
            return None
        self._asked[form] = self._clock.monotonic()
        return answer.whole

    async def kept_ready(self, app: web.Application) -> AsyncIterator[None]:
        """For `cleanup_ctx`: until the application ends."""
        work = asyncio.create_task(self._keep_ready())
        yield
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    async def _keep_ready(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._swapped.wait()
            self._swapped.clear()
            try:
                await self.make_ready()
            except Exception:
                logger.exception("scrapes are not made ready; they are made when asked for")

    async def make_ready(self) -> None:
        """What is expected to be asked for, as it is now; what nobody has asked for lately is let go."""
        now = self._clock.monotonic()
        for form in tuple(self._asked):
            view = await self._publisher.view()
            if now - self._asked[form] > form.wanted_seconds:
                del self._asked[form]
                self._expected.discard(form)
                if view is not None:
                    view.let_go(form)
            elif form in self._expected:
                own = self._self_metrics.exposition(openmetrics=form.openmetrics, older_than=RENEW_SECONDS / 2)
                if view is not None:
                    await _made(view, form, own)


async def _made(view: View, form: Form, own: bytes) -> Ready:
    """The answer as it is kept with the view; made anew where the own metrics have changed."""
    kept_own, answer = view.answers.get(form, (None, None))
    if answer is None or kept_own is not own:
        parts = await view.metrics(own, openmetrics=form.openmetrics, gzip=form.gzip)
        answer = Ready(parts, _headers(view, form))
        view.answers[form] = own, answer
    return answer


def _headers(view: View, form: Form) -> dict[str, str]:
    return form.headers() | {"X-Snapshot-Id": str(view.shown.snapshot.id)}
