"""The latest snapshot and everything made of it: one writer, many readers.

The poller hands a complete Snapshot to `publish`; it is rendered in a worker thread and only then swapped in, so a
request sees the one before or this one, never half of it. `view` picks the rendering that is honest at this moment:
datasets that have grown stale are left out, for which a new rendering is made once. Nothing here calls the API.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from exporter.clock import Clock
from exporter.models import Snapshot
from exporter.publish.csv_export import CsvWriter
from exporter.publish.dashboard import JsonWriter
from exporter.publish.exposition import Exposition, Renderer
from exporter.publish.filters import ALL, RowFilter
from exporter.publish.once import Document, Once
from exporter.publish.responses import Ready
from exporter.publish.shown import Shown

logger = logging.getLogger(__name__)


class View:
    """What may be shown of one snapshot while its fresh datasets stay the same.

    The metrics are rendered; the documents for people are built when somebody first asks for them. Nothing that a view
    holds refers to the view: it goes with the last reference, not with a garbage collection many polls later.
    """

    def __init__(self, shown: Shown, exposition: Exposition, json: JsonWriter, csv: CsvWriter) -> None:
        self.shown = shown
        self.exposition = exposition
        self.plain_wanted: set[bool] = set()  # of which formats (True: OpenMetrics) somebody wanted the plain text
        self._plain = {False: Once(exposition.text.plain), True: Once(exposition.openmetrics.plain)}
        self.answers: dict[tuple[bool, bool], tuple[bytes, Ready]] = {}  # (OpenMetrics, gzip) → own part, all of it
        self._json = json
        self._csv = csv
        self._dashboard = self._new_dashboard(ALL, "/export.csv")
        self._envelope = self._new_envelope(ALL)
        self._table = self._new_table(ALL, bom=False)

    async def metrics(self, own: bytes, *, openmetrics: bool, gzip: bool) -> list[bytes]:
        """The body of /metrics in parts: the snapshot's, then `own`, the exporter's metrics of this moment."""
        if gzip:
            body = self.exposition.openmetrics if openmetrics else self.exposition.text
            return [body.member, body.gzip_tail(own)]
        self.plain_wanted.add(openmetrics)
        return [await self._plain[openmetrics].get(), own]

    def let_go(self, form: tuple[bool, bool]) -> None:
        """Nobody wants (OpenMetrics, gzip) any more. Whoever does after all gets it made anew."""
        openmetrics, gzip = form
        self.answers.pop(form, None)
        if not gzip:
            self.plain_wanted.discard(openmetrics)
            body = self.exposition.openmetrics if openmetrics else self.exposition.text
            self._plain[openmetrics] = Once(body.plain)

    async def make_ready(self, plain_wanted: set[bool]) -> None:
        """Build the plain text of these formats ahead of the first request."""
        for openmetrics in plain_wanted:
            await self._plain[openmetrics].get()

    def dashboard(self, rows: RowFilter = ALL, csv_link: str = "/export.csv") -> Document:
        return self._dashboard if rows == ALL else self._new_dashboard(rows, csv_link)

    def envelope(self, rows: RowFilter = ALL) -> Document:
        return self._envelope if rows == ALL else self._new_envelope(rows)

    def table(self, rows: RowFilter = ALL, *, bom: bool = False) -> Document:
        return self._table if rows == ALL and not bom else self._new_table(rows, bom=bom)

    def _new_dashboard(self, rows: RowFilter, csv_link: str) -> Document:
        json, shown = self._json, self.shown
        return Document(lambda: json.dashboard(shown, rows, csv_link))

    def _new_envelope(self, rows: RowFilter) -> Document:
        json, csv, shown = self._json, self._csv, self.shown
        return Document(lambda: json.envelope(shown, csv.window(shown, rows), rows))

    def _new_table(self, rows: RowFilter, *, bom: bool) -> Document:
        csv, shown = self._csv, self.shown
        return Document(lambda: csv.window(shown, rows, bom=bom))


class Publisher:
    """Holds the current view. `on_series` is told how many samples /metrics shows whenever a view is swapped in."""

    def __init__(self, clock: Clock, on_series: Callable[[int], None] = lambda series: None) -> None:
        self._clock = clock
        self._on_series = on_series
        #: Told after every swap, on the event loop.
        self.on_swap: list[Callable[[], None]] = []
        self._renderer, self._json, self._csv = Renderer(), JsonWriter(), CsvWriter()
        self._view: View | None = None
        self._renewal: asyncio.Task[None] | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot that is being served."""
        return self._view.shown.snapshot if self._view else None

    async def publish(self, snapshot: Snapshot) -> None:
        """Render off the event loop, then swap; what somebody wanted in plain of the last one is made ready too.

        A snapshot that is older than the one that is served, from another replica say, is left out.
        """
        if self.snapshot is not None and snapshot.id < self.snapshot.id:
            return
        view = await self._render(snapshot)
        if self._view is not None:
            await view.make_ready(self._view.plain_wanted)
        self._swap(view)

    @property
    def fresh_view(self) -> View | None:
        """What may be shown now, where it is rendered already."""
        view = self._view
        return view if view is not None and view.shown.fresh == self._fresh(view.shown.snapshot) else None

    async def view(self) -> View | None:
        """What may be shown now; None before the first snapshot."""
        while self._view is not None and self.fresh_view is None:
            if self._renewal is None:
                self._renewal = asyncio.create_task(self._renew(self._view.shown.snapshot))
            await asyncio.shield(self._renewal)
        return self._view

    async def _renew(self, snapshot: Snapshot) -> None:
        """Render the same snapshot without what has grown stale, unless a newer one comes in meanwhile."""
        try:
            view = await self._render(snapshot)
            if self.snapshot is snapshot:
                self._swap(view)
        finally:
            self._renewal = None

    async def _render(self, snapshot: Snapshot) -> View:
        shown = Shown(snapshot, self._fresh(snapshot))
        exposition = await asyncio.to_thread(self._renderer.render, snapshot, shown.fresh)
        return View(shown, exposition, self._json, self._csv)

    def _fresh(self, snapshot: Snapshot) -> frozenset[str]:
        return snapshot.fresh(self._clock.now())

    def _swap(self, view: View) -> None:
        if self.snapshot is not view.shown.snapshot:
            self._tell_of_the_ceiling(self.snapshot, view.shown.snapshot)
        self._view = view
        self._on_series(view.exposition.series)
        for tell in self.on_swap:
            tell()

    def _tell_of_the_ceiling(self, before: Snapshot | None, now: Snapshot) -> None:
        """Once when it begins, and once when it is over."""
        was = before.dropped_series if before else 0
        if now.dropped_series and not was:
            told = "the quietest queues are not shown: there are %d series more than EXPORTER_MAX_SERIES allows"
            logger.warning(told, now.dropped_series)
        elif was and not now.dropped_series:
            logger.info("all queues are shown again")
