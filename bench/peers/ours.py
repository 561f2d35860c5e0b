"""The exporter's own web server with a made-up snapshot: `python -m bench.peers.ours PORT QUEUES`.

/bench/watch and /bench/lag watch the event loop's lag. `bench.peers.whole` is the whole exporter.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from bench import org
from bench.measuring import LoopLag
from exporter import machine
from exporter.clock import SystemClock
from exporter.genesys.decode import REJECT_REASONS
from exporter.publish.publisher import Publisher
from exporter.publish.runner import Runner
from exporter.publish.self_metrics import SelfMetrics
from exporter.publish.server import make_app


async def serve(port: int, queues: int) -> None:
    clock, lag = SystemClock(), LoopLag()
    publisher = Publisher(clock)
    metrics = SelfMetrics(clock, version="bench", contract="aggregates", reject_reasons=REJECT_REASONS)
    app = make_app(publisher=publisher, self_metrics=metrics, clock=clock)
    lag.add_routes(app)
    await publisher.publish(org.snapshot(queues))
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await lag.watch()


if __name__ == "__main__":
    machine.settle()
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
