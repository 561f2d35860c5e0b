"""The composition root: makes each part once, joins them, and fixes the order of start and stop.

    history → API client → publisher → web server → poll loop and back-fill; stopped in reverse

This module and `cli` are the only ones that know settings; the wings get plain values.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from exporter import __version__
from exporter.account import Client, client_key, open_client, same_client, selection_of
from exporter.analysis.analyst import Analyst
from exporter.analysis.history import History
from exporter.analysis.scoring import ScoreOptions, method
from exporter.analysis.scoring.walk import walk
from exporter.backfill import Backfill
from exporter.budget import BudgetWatch, check_budget, rhythm_of
from exporter.clock import Clock, SystemClock
from exporter.errors import ExporterError, HistoryError
from exporter.genesys.decode import REJECT_REASONS
from exporter.leadership import Leadership
from exporter.models import PollReport, Snapshot
from exporter.poller import Poller
from exporter.publish.access import Access
from exporter.publish.exposure import exposure
from exporter.publish.publisher import Publisher
from exporter.publish.runner import Runner
from exporter.publish.self_metrics import SelfMetrics
from exporter.publish.server import make_app
from exporter.reloading import Reloader
from exporter.replication import address, leadership_of, open_shared
from exporter.settings import Settings

log = logging.getLogger(__name__)

#: How long requests under way may take to end when the exporter stops.
DRAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """An exporter at work: `url` is where it listens, `work` ends only by a failure that polling cannot survive."""

    url: str
    poller: Poller
    publisher: Publisher
    history: History
    reloader: Reloader
    alive: Callable[[], bool]
    work: asyncio.Task[None]


@asynccontextmanager
async def running(
    settings: Settings,
    clock: Clock | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    read: Callable[[], Settings] | None = None,
) -> AsyncIterator[Running]:
    """A whole exporter while the context lasts; a reload asks `read` for the settings, which stay without it.

    Raises SettingsError where the call budget cannot work at any size of the org, and ExporterError where the
    address to listen on is taken.
    """
    clock = clock or SystemClock()
    metrics = SelfMetrics(
        clock,
        version=__version__,
        contract=settings.contract,
        reject_reasons=REJECT_REASONS,
        poll_interval_seconds=settings.poll_interval_seconds,
        calls_per_minute=settings.requests_per_minute,
    )
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(settings, clock, metrics.on_api_event))
        check_budget(client.source.plan(None), settings, 0)
        guard = _guard(settings, clock, metrics)
        history = await asyncio.to_thread(open_history, settings, clock)
        stack.push_async_callback(asyncio.to_thread, history.close)
        analyst = analyst_of(settings, history)
        publisher = Publisher(clock, metrics.on_series)
        budget = BudgetWatch(settings, client.source, client.gate, clock)
        serve = _serving(publisher, metrics, history if settings.history_path else None)
        leadership: Leadership | None = None

        async def publish(snapshot: Snapshot) -> None:
            if leadership is None:
                await serve(snapshot)
            elif leadership.leads:  # what a replica finds that was replaced meanwhile is dropped
                await serve(snapshot)
                leadership.sharing.offer(snapshot)

        def report(poll: PollReport) -> None:
            metrics.on_report(poll)
            budget.on_report(poll)
            if leadership is not None:
                leadership.on_report(poll)

        poller = _poller(settings, client, analyst, publish, report, metrics, budget, clock)
        budget.next_due = lambda: poller.next_due
        backfill = Backfill(
            client.source,
            analyst,
            rhythm=rhythm_of(settings),
            clock=clock,
            directory=lambda: poller.readings.directory,
            republish=poller.republish,
            progress=progress,
            on_missing=metrics.on_missing_buckets,
        )
        if shared := open_shared(settings):
            leadership = leadership_of(
                settings,
                shared,
                analyst,
                poller,
                serve,
                lambda: _work(poller, backfill),
                clock,
                on_role=metrics.on_role,
                on_link=metrics.on_redis,
            )
            client.gate.permit = leadership.permit
        alive = leadership.alive if leadership else poller.alive
        reloader = _reloader(settings, read, client, analyst, poller, backfill, budget, metrics, guard, leadership)
        app = _guarded_app(
            guard,
            publisher=publisher,
            self_metrics=metrics,
            clock=clock,
            history=history,
            alive=alive,
            replica=leadership.described if leadership else None,
            reload=reloader.reload if settings.enable_reload else None,
        )
        tls = guard.ssl_context() if guard else None
        url = await stack.enter_async_context(_listening(app, settings.host, settings.port, tls))
        if leadership:
            leadership.locate = partial(address, settings, url)
        if not leadership:  # a replica that follows needs no model
            ahead = asyncio.to_thread(analyst.prepare, client.source.current_window(clock.now()))
            stack.push_async_callback(_cancelled, asyncio.create_task(ahead))
        work = asyncio.create_task(leadership.run() if leadership else _work(poller, backfill))
        stack.push_async_callback(_cancelled, work)
        stack.callback(analyst.stop)
        yield Running(url, poller, publisher, history, reloader, alive, work)


def open_history(settings: Settings, clock: Clock) -> History:
    """The history of this org and selection; memory alone, with the reason, where its file cannot be used."""
    common: dict[str, Any] = {
        "scope": f"{settings.contract}|{settings.bucket}|{client_key(settings)}",
        "selection": selection_of(settings).digest,
        "bucket_seconds": settings.bucket_seconds,
        "baseline_days": settings.baseline_days,
        "retention_days": settings.retention_days,
        "now": clock.now(),
    }
    try:
        return History.open(settings.history_path, **common)
    except HistoryError as error:
        log.error("%s; history is kept in memory alone until a restart", error)
        return History.open(None, **common, disk_error=str(error))


async def _work(poller: Poller, backfill: Backfill) -> None:
    """Poll and back-fill until one of them ends by an error."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(poller.run())
            await poller.first_poll_done.wait()
            group.create_task(backfill.run())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def analyst_of(settings: Settings, history: History) -> Analyst:
    """What thinks over `history`, by the method and with the guards of `settings`."""
    return Analyst(
        history,
        method(settings.score_method),
        ScoreOptions(**settings.score_options),
        contract=settings.contract,
        bucket=settings.bucket,
        max_series=settings.max_series,
        walk=walk,
    )


def _serving(
    publisher: Publisher, metrics: SelfMetrics, history: History | None
) -> Callable[[Snapshot], Awaitable[None]]:
    """Publishes; `history` is one that has a file, or should have."""

    async def serve(snapshot: Snapshot) -> None:
        await publisher.publish(snapshot)
        metrics.on_snapshot(snapshot)
        if history is not None:
            metrics.on_history(stored=history.disk_error is None)

    return serve


def _poller(
    settings: Settings,
    client: Client,
    analyst: Analyst,
    publish: Callable[[Snapshot], Awaitable[None]],
    report: Callable[[PollReport], None],
    metrics: SelfMetrics,
    budget: BudgetWatch,
    clock: Clock,
) -> Poller:
    return Poller(
        client.source,
        analyst,
        publish,
        rhythm=rhythm_of(settings),
        clock=clock,
        on_report=report,
        on_skipped=metrics.on_polls_skipped,
        on_directory=budget.on_directory,
    )


def _reloader(
    settings: Settings,
    read: Callable[[], Settings] | None,
    client: Client,
    analyst: Analyst,
    poller: Poller,
    backfill: Backfill,
    budget: BudgetWatch,
    metrics: SelfMetrics,
    guard: Access | None,
    leadership: Leadership | None,
) -> Reloader:
    """What a reload must pass, and which parts follow the new settings."""

    def take(new: Settings) -> None:
        client.follow(new)
        analyst.follow(method(new.score_method), ScoreOptions(**new.score_options), new.max_series)
        poller.follow(rhythm_of(new))
        backfill.follow(rhythm_of(new))
        budget.follow(new)
        if leadership is not None:
            leadership.follow(new.poll_interval_seconds)
        metrics.activity.follow(new.poll_interval_seconds, new.requests_per_minute)

    async def afterwards() -> None:
        await client.renew_token()
        if poller.first_poll_done.is_set():
            await poller.republish()

    def web_config(new: Settings) -> None:
        if guard is not None:
            guard.check()

    judges = [budget.check, same_client(settings), web_config]
    reloader = Reloader(settings, read or (lambda: settings), judges=judges, take=take, afterwards=afterwards)
    reloader.on_end.append(metrics.on_reload)
    return reloader


def _guard(settings: Settings, clock: Clock, metrics: SelfMetrics) -> Access | None:
    """Who may come in, as the web and the access configuration have it; a warning where that is more than is meant."""
    guard = Access.open(
        settings.web_config, settings.access_config, now=clock.now, complain=log.error, tell=metrics.on_file
    )
    if doubt := exposure(settings.host, guard):
        log.warning("%s", doubt)
    return guard


def _guarded_app(guard: Access | None, **parts: Any) -> web.Application:
    """The routes, behind the guard where there is one."""
    if guard is None:
        return make_app(**parts)
    app = make_app(**parts, middlewares=[guard.middleware()])
    guard.install(app)
    return app


@asynccontextmanager
async def _listening(app: web.Application, host: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    options: Any = {"access_log": None, "handle_signals": False, "shutdown_timeout": DRAIN_SECONDS}
    runner = Runner(app, **options)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise ExporterError(
                f"cannot listen on {host} port {port}: {error.strerror or error}; set EXPORTER_HOST or EXPORTER_PORT"
            ) from error
        yield f"{'https' if tls else 'http'}://{_shown(host)}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _shown(host: str) -> str:
    """An address that a person on this machine can open."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
