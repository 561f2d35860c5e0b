"""The exporter's own web server with a made-up snapshot: `python -m bench.peers.ours PORT QUEUES`.

/bench/lag tells and forgets the event loop's lag; /bench/poll runs one poll's work (parse, snapshot, render) as the
poller does, in threads, beside the scrapes.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta

import orjson
from aiohttp import web

from bench import org
from bench.measuring import LoopLag
from exporter.clock import SystemClock
from exporter.genesys import aggregates
from exporter.genesys.decode import REJECT_REASONS, Rejects
from exporter.genesys.selection import Selection
from exporter.models import Window
from exporter.publish.publisher import Publisher
from exporter.publish.runner import Runner
from exporter.publish.self_metrics import SelfMetrics
from exporter.publish.server import make_app

WINDOW = Window(org.NOW - timedelta(minutes=15), org.NOW)


async def serve(port: int, queues: int) -> None:
    clock, lag = SystemClock(), LoopLag()
    publisher = Publisher(clock)
    metrics = SelfMetrics(clock, version="bench", contract="aggregates", reject_reasons=REJECT_REASONS)
    app = make_app(publisher=publisher, self_metrics=metrics, clock=clock)
    first, body = org.snapshot(queues), org.aggregates_body(queues, WINDOW)

    async def poll(request: web.Request) -> web.Response:
        await asyncio.to_thread(aggregates.parse_window, [body], WINDOW, Selection(), Rejects())
        latest = publisher.snapshot or first
        await publisher.publish(replace(first, id=latest.id + 1))
        return web.Response()

    async def tell_lag(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(lag.taken()))

    app.router.add_get("/bench/poll", poll)
    app.router.add_get("/bench/lag", tell_lag)
    await publisher.publish(first)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await lag.watch()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
