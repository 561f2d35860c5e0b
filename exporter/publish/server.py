"""The routes: every answer comes from the publisher's current view, the history or the exporter's own counters.

In come HTTP requests, out go bytes. A request never calls Genesys Cloud, never waits for a poll and never blocks the
event loop. Errors are JSON without any exception text; `/metrics` always answers, at worst with the exporter's own
metrics alone. What is asked for is checked in `query`, what it looks like is made in `scrapes`, `dashboard`,
`csv_export` and `page`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.clock import Clock
from exporter.publish import page
from exporter.publish.csv_export import HistoryReader, history_chunks
from exporter.publish.exports import Busy, Exports, walked
from exporter.publish.json_rows import dumps
from exporter.publish.live import Live
from exporter.publish.live_activity import Activity
from exporter.publish.negotiate import header, wants_gzip
from exporter.publish.once import Document
from exporter.publish.publisher import Publisher, View
from exporter.publish.query import EXPORT, FILTERS, BadParameter, Query, parse_query
from exporter.publish.reload import Reload
from exporter.publish.repeats import REPEATS, Repeats
from exporter.publish.responses import (
    JSON_TYPE,
    SLOW_CLIENT,
    SLOW_CLIENT_SECONDS,
    error,
    plain,
    secure,
    send,
    stream,
)
from exporter.publish.runner import LIMITS
from exporter.publish.scrapes import Scrapes
from exporter.publish.self_metrics import SelfMetrics
from exporter.publish.shown import ERROR, NO_SNAPSHOT, SUCCESS
from exporter.publish.times import compact

logger = logging.getLogger(__name__)

CSV_TYPE = "text/csv; charset=utf-8"
MAX_QUERY_BYTES = 4096
_IN_A_QUERY = "%&=+*,:;@!$()/?-._~"

RUNNER_LIMITS = LIMITS


def make_app(
    *,
    publisher: Publisher,
    self_metrics: SelfMetrics,
    clock: Clock,
    history: HistoryReader | None = None,
    alive: Callable[[], bool] = lambda: True,
    reload: Callable[[], Awaitable[bool]] | None = None,
    replica: Callable[[Mapping[str, str]], Mapping[str, object]] | None = None,
    middlewares: Iterable[Middleware] = (),
    slow_client_seconds: float = SLOW_CLIENT_SECONDS,
) -> web.Application:
    """The application with all routes; `middlewares` (access control, say) come inside the error handling.

    `reload` takes the settings as they are written now, or says False; None where nobody may ask for that over HTTP.
    """
    activity = self_metrics.activity
    routes, scrapes = _Routes(publisher, activity, clock, history, alive), Scrapes(publisher, self_metrics, clock)
    guards = tuple(middlewares)
    app = web.Application(middlewares=[_errors_as_json, *guards], client_max_size=64 * 1024)
    app[SLOW_CLIENT] = slow_client_seconds
    if not guards:
        app[REPEATS] = Repeats(scrapes.again)
    app.on_response_prepare.append(secure)
    app.cleanup_ctx.append(scrapes.kept_ready)
    app.router.add_get("/", routes.page)
    app.router.add_get("/metrics", scrapes.answer)
    app.router.add_get("/dashboard", routes.dashboard)
    app.router.add_get("/api/dashboard/metrics", routes.envelope)
    app.router.add_get("/export.csv", routes.export)
    app.router.add_get("/-/healthy", routes.healthy)
    app.router.add_get("/-/ready", routes.ready)
    if replica is not None:
        app.router.add_get("/-/replica", _telling(replica))
    app.router.add_post("/-/reload", Reload(reload).answer)
    page.add_static_routes(app)
    Live(publisher=publisher, activity=activity, clock=clock, history=history).add_routes(app)
    return app


def _telling(facts: Callable[[Mapping[str, str]], Mapping[str, object]]) -> Handler:
    """For other replicas: who leads, and whether Redis answers here; `facts` may see who asks by the headers."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await send(request, [dumps(facts(request.headers))], {"Content-Type": JSON_TYPE})

    return answer


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    if len(request.query_string) > MAX_QUERY_BYTES:
        return error(414, f"the query is longer than {MAX_QUERY_BYTES} bytes")
    try:
        return await handler(request)
    except BadParameter as exc:
        return error(400, str(exc))
    except Busy:
        return error(429, "too many exports are under way; try again later", {"Retry-After": "30"})
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else None
        return error(exc.status, exc.reason, allow)
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return error(500, "internal error; the log says more")


class _Routes:
    def __init__(
        self,
        publisher: Publisher,
        activity: Activity,
        clock: Clock,
        history: HistoryReader | None,
        alive: Callable[[], bool],
    ) -> None:
        self._publisher = publisher
        self._activity = activity
        self._clock = clock
        self._history = history
        self._alive = alive
        self._exports = Exports()

    async def page(self, request: web.Request) -> web.StreamResponse:
        view = await self._publisher.view()
        stored = self._activity.history_stored
        body = await asyncio.to_thread(page.render, view.shown if view else None, stored=stored)
        return await send(request, [body], page.HEADERS)

    async def dashboard(self, request: web.Request) -> web.StreamResponse:
        query = self._query(request, FILTERS)
        view = await self._publisher.view()
        if view is None or view.shown.status == ERROR:
            return _not_yet(view)
        # Encoded, as a browser's is already: a raw client's own markup is not handed on.
        asked = quote(request.rel_url.raw_query_string, safe=_IN_A_QUERY, errors="surrogateescape")
        link = f"/export.csv?{asked}"
        return await _document(request, view, view.dashboard(query.rows, link), {"Content-Type": JSON_TYPE})

    async def envelope(self, request: web.Request) -> web.StreamResponse:
        query = self._query(request, FILTERS)
        view = await self._publisher.view()
        if view is None or view.shown.status == ERROR:
            return _not_yet(view)
        return await _document(request, view, view.envelope(query.rows), {"Content-Type": JSON_TYPE})

    async def export(self, request: web.Request) -> web.StreamResponse:
        query = self._query(request, EXPORT)
        if query.span is not None:
            return await self._export_history(request, query, query.span)
        view = await self._publisher.view()
        if view is None or view.shown.status == ERROR:
            return _not_yet(view)
        window = view.shown.snapshot.window
        name = f"genesys-queues-{compact(window.start)}-{view.shown.snapshot.bucket}" if window else "genesys-queues"
        return await _document(request, view, view.table(query.rows, bom=query.bom), _csv_headers(name))

    async def _export_history(self, request: web.Request, query: Query, span: tuple[int, int]) -> web.StreamResponse:
        history = self._history
        if history is None:
            return error(503, "there is no history to export from")

        def walk() -> Generator[bytes, None, None]:
            yield from history_chunks(history.read(*span), query.rows, bom=query.bom)

        start, end = (compact(datetime.fromtimestamp(seconds, UTC)) for seconds in span)
        headers = _csv_headers(f"genesys-queues-{start}-{end}")
        if (snapshot := self._publisher.snapshot) is not None:
            headers["X-Snapshot-Id"] = str(snapshot.id)
        with self._exports.place():
            async with aclosing(walked(walk)) as chunks:
                return await stream(request, chunks, headers)

    async def healthy(self, request: web.Request) -> web.StreamResponse:
        return plain(200, "healthy") if self._alive() else plain(503, "the poll loop has stopped")

    async def ready(self, request: web.Request) -> web.StreamResponse:
        view = await self._publisher.view()
        if view is None:
            return plain(503, f"not ready: {NO_SNAPSHOT}")
        if view.shown.status != SUCCESS:
            return plain(503, f"not ready: {view.shown.message}")
        return plain(200, "ready")

    def _query(self, request: web.Request, known: Iterable[str]) -> Query:
        return parse_query(request.query, known, self._clock.now().timestamp())


def _not_yet(view: View | None) -> web.Response:
    return error(503, view.shown.message if view else NO_SNAPSHOT, {"Retry-After": "10"})


def _csv_headers(name: str) -> dict[str, str]:
    return {"Content-Type": CSV_TYPE, "Content-Disposition": f'attachment; filename="{name}.csv"'}


async def _document(
    request: web.Request, view: View, document: Document, headers: dict[str, str]
) -> web.StreamResponse:
    """A document of a view with the headers that let a client ask for it again cheaply: 304 while nothing changed."""
    gzip = wants_gzip(header(request, "Accept-Encoding"))
    tag = view.shown.tag + ("-gzip" if gzip else "")
    caching = {
        "ETag": f'"{tag}"',
        "Vary": "Accept-Encoding",
        "Cache-Control": "no-cache",
        "X-Snapshot-Id": str(view.shown.snapshot.id),
    }
    if any(known.value in ("*", view.shown.tag, f"{view.shown.tag}-gzip") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=caching)
    if gzip:
        caching["Content-Encoding"] = "gzip"
    return await send(request, [await document.get(gzip=gzip)], headers | caching)
