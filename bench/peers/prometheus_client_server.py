"""prometheus_client's own aiohttp handler with the same series, beside the same loop watch as ours.

Called with a port and the file of the text that our server gives; samples with a queue_id are read from it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.aiohttp import make_aiohttp_handler

from bench.measuring import LoopLag

SAMPLE = re.compile(r'^(\w+)\{queue_id="([^"]*)",queue_name="([^"]*)",media_type="([^"]*)"\} (\S+)$', re.MULTILINE)


def registry_of(text: str) -> CollectorRegistry:
    """Every sample as a gauge with its labels."""
    registry, families = CollectorRegistry(), {}
    for name, queue_id, queue_name, media_type, value in SAMPLE.findall(text):
        if name not in families:
            labels = ("queue_id", "queue_name", "media_type")
            families[name] = Gauge(name, "x", labels, registry=registry)
        families[name].labels(queue_id, queue_name, media_type).set(float(value))
    return registry


async def serve(port: int, text: str) -> None:
    lag, app = LoopLag(), web.Application()

    app.router.add_get("/metrics", make_aiohttp_handler(registry_of(text)))
    lag.add_routes(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await lag.watch()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_text()))
