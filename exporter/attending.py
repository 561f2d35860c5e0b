"""An exporter at work, attended: it reloads when a signal asks, and systemd is told how it goes.

In: what `app.running` yields. Out: nothing, until the work ends or is cancelled.
"""

from __future__ import annotations

import asyncio
import logging

from exporter import machine
from exporter.app import Running
from exporter.clock import SystemClock
from exporter.models import Snapshot
from exporter.reloading import Reloader
from exporter.systemd import Systemd

log = logging.getLogger(__name__)


async def attend(exporter: Running, hangup: asyncio.Event, systemd: Systemd) -> None:
    """Wait for the end of the work; raises what ended it."""

    def status() -> str:
        return f"{exporter.url}: {described(exporter.publisher.snapshot)}"

    exporter.publisher.on_swap.append(lambda: systemd.status(status()))
    exporter.reloader.on_begin.append(systemd.reloading)
    exporter.reloader.on_end.append(lambda taken: systemd.ready(status() if taken else f"{status()}; reload refused"))
    systemd.ready(status())
    helpers = [
        asyncio.create_task(_reload_on(hangup, exporter.reloader)),
        asyncio.create_task(systemd.keep_watch(exporter.alive, SystemClock())),
        asyncio.create_task(keep_small(exporter)),
    ]
    try:
        await exporter.work
    finally:
        systemd.stopping()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def keep_small(exporter: Running) -> None:
    """What a start has made is no matter for collections; what a poll has used and needs no more goes back."""
    loop = asyncio.get_running_loop()

    def give_back() -> None:
        loop.run_in_executor(None, machine.give_back)

    exporter.publisher.on_swap.append(give_back)
    await exporter.poller.first_poll_done.wait()
    machine.keep_what_is_there()


async def _reload_on(hangup: asyncio.Event, reloader: Reloader) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            await reloader.reload()
        except Exception:
            log.exception("a reload failed in a way that was not foreseen; please report this")


def described(snapshot: Snapshot | None) -> str:
    """How polling goes, in a line."""
    if snapshot is None:
        return "waiting for the first poll"
    failing = [f"{name} ({state.reason})" for name, state in snapshot.datasets.items() if state.up is False]
    told = f"{len(snapshot.rows.keys)} rows"
    return f"{told}; failing: {', '.join(failing)}" if failing else told
