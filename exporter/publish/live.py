"""The live page's own routes: its documents, and a stream that says when there are new ones.

    GET /api/live/state     how everything stands at this moment: snapshot, datasets, polls, call budget
    GET /api/live/events    the same as server-sent events: at every new snapshot, and as a heartbeat in between
    GET /api/live/queues    who the queues are; changes rarely
    GET /api/live/numbers   how they stand; changes with every snapshot
    GET /api/live/trends    the last hours of some rows: ?queues=<rows of numbers>&rows=0,5,12

They serve the page and may change with it; programs read /dashboard. Access control lies in front of them as of every
route. A stream costs a socket and nothing more: it is told of a snapshot by the publisher, holds no data of its own,
and ends at shutdown at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from exporter.clock import Clock
from exporter.errors import HistoryError
from exporter.publish.csv_export import HistoryReader
from exporter.publish.json_rows import dumps
from exporter.publish.live_activity import Activity
from exporter.publish.live_answers import tagged
from exporter.publish.live_documents import LivePage, LiveWriter, dataset_states, milliseconds
from exporter.publish.live_failures import failures
from exporter.publish.page import VERSION
from exporter.publish.publisher import Publisher, View
from exporter.publish.query import BadParameter
from exporter.publish.responses import JSON_TYPE, error
from exporter.publish.shown import ERROR, NO_SNAPSHOT
from exporter.publish.sparklines import Sparklines, state_of

logger = logging.getLogger(__name__)

#: Streams at a time; each is a socket. Pages that find no place ask for /api/live/state now and then instead.
MAX_STREAMS = 64
#: The page takes the exporter for lost when it has heard nothing for two and a half of these.
HEARTBEAT_SECONDS = 10.0
#: Then the page comes again by itself: who may no longer look is shown out, a peer that vanished is forgotten.
STREAM_SECONDS = 3600.0
#: How long a page waits before it comes again when its stream broke.
RETRY_MILLISECONDS = 2000
#: Rows of one question for trends: more than any screen shows.
MOST_TRENDS = 200

STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


class Live:
    """The routes and what they share."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        activity: Activity,
        clock: Clock,
        history: HistoryReader | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._publisher = publisher
        self._activity = activity
        self._clock = clock
        self._sparklines = Sparklines(history) if history is not None else None
        self._heartbeat_seconds = heartbeat_seconds
        self._writer = LiveWriter()
        self._writing = asyncio.Lock()
        self._page: LivePage | None = None
        self._streams = 0
        self._open = True
        self._bell = asyncio.Event()
        publisher.on_swap.append(self._ring)

    def add_routes(self, app: web.Application) -> None:
        """Joins the routes to the application, whose shutdown ends the streams."""
        app.router.add_get("/api/live/state", self.state)
        app.router.add_get("/api/live/events", self.events)
        app.router.add_get("/api/live/queues", self.queues)
        app.router.add_get("/api/live/numbers", self.numbers)
        app.router.add_get("/api/live/trends", self.trends)
        app.on_shutdown.append(self._close)

    async def state(self, request: web.Request) -> web.StreamResponse:
        view = await self._publisher.view()
        return _json(self._state(view))

    async def events(self, request: web.Request) -> web.StreamResponse:
        if self._streams >= MAX_STREAMS or not self._open:
            return error(503, "too many pages are open; this one asks now and then", {"Retry-After": "60"})
        response = web.StreamResponse(headers=STREAM_HEADERS)
        with self._place():
            await response.prepare(request)
            if request.method != "HEAD":
                await self._tell(response)
        return response

    async def queues(self, request: web.Request) -> web.StreamResponse:
        page = await self._current()
        if page is None:
            return error(503, NO_SNAPSHOT, {"Retry-After": "10"})
        return await tagged(request, page.queues.tag, page.queues.document, JSON_TYPE)

    async def numbers(self, request: web.Request) -> web.StreamResponse:
        page = await self._current()
        if page is None:
            return error(503, NO_SNAPSHOT, {"Retry-After": "10"})
        snapshot_id = {"X-Snapshot-Id": str(page.shown.snapshot.id)}
        return await tagged(request, page.shown.tag, page.numbers, JSON_TYPE, **snapshot_id)

    async def trends(self, request: web.Request) -> web.StreamResponse:
        rows = _rows(request.query.get("rows", ""))
        page = await self._current()
        if page is None or self._sparklines is None:
            return error(503, NO_SNAPSHOT if page is None else "there is no history", {"Retry-After": "10"})
        if request.query.get("queues") != page.queues.tag or max(rows, default=0) >= page.shown.rows:
            return _json({"changed": True})  # the page fetches names and numbers anew
        try:
            return _json(await self._sparklines.document(page.shown.snapshot, rows))
        except HistoryError as trouble:
            logger.warning("no sparklines: %s", trouble)
            return error(503, "the history cannot be read; the log says more", {"Retry-After": "60"})

    async def _current(self) -> LivePage | None:
        """The documents of the current view, made in a worker thread when first asked for."""
        view = await self._publisher.view()
        if view is None:
            return None
        if self._page is None or self._page.shown is not view.shown:
            async with self._writing:
                if self._page is None or self._page.shown is not view.shown:
                    self._page = await asyncio.to_thread(self._writer.write, view.shown)
        return self._page

    def _state(self, view: View | None) -> dict[str, Any]:
        shown = view.shown if view else None
        return {
            "now": milliseconds(self._clock.now()),
            "page": VERSION,
            "heartbeatSeconds": self._heartbeat_seconds,
            "tag": shown.tag if shown else None,
            "status": shown.status if shown else ERROR,
            "message": shown.message if shown else NO_SNAPSHOT,
            "datasets": dataset_states(shown) if shown else [],
            "failures": failures(shown, stored=self._activity.history_stored),
            "history": state_of(shown.snapshot) if shown and self._sparklines else None,
            "historyBuckets": shown.snapshot.history_buckets if shown else None,
            "activity": self._activity.document(),
        }

    async def _tell(self, response: web.StreamResponse) -> None:
        """Write the state now, at every ring and at every heartbeat, until the peer or the exporter goes."""
        end = time.monotonic() + STREAM_SECONDS
        try:
            await response.write(b"retry: %d\n\n" % RETRY_MILLISECONDS)
            while self._open and time.monotonic() < end:
                bell = self._bell
                state = dumps(self._state(await self._publisher.view()))
                async with asyncio.timeout(self._heartbeat_seconds):
                    await response.write(b"event: state\ndata: " + state + b"\n\n")
                await _rung(bell, self._heartbeat_seconds)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            return  # the peer has gone, or does not read

    @contextmanager
    def _place(self) -> Iterator[None]:
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def _ring(self) -> None:
        """Wake every stream."""
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    async def _close(self, app: web.Application) -> None:
        self._open = False
        self._ring()


async def _rung(bell: asyncio.Event, seconds: float) -> None:
    """Until the bell rings, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        pass


def _json(document: dict[str, Any]) -> web.Response:
    return web.Response(body=dumps(document), headers={"Content-Type": JSON_TYPE})


def _rows(text: str) -> list[int]:
    """`0,5,12`, each a row; BadParameter otherwise."""
    words = text.split(",") if text else []
    if not words or len(words) > MOST_TRENDS or not all(word.isdecimal() and len(word) < 8 for word in words):
        raise BadParameter(f"rows must be up to {MOST_TRENDS} numbers with commas between them")
    return list(dict.fromkeys(map(int, words)))
