"""The exporter with a watch on its event loop: `python -m bench.peers.whole PORT`, settings from the environment.

PORT tells and forgets the loop's lag at /; the exporter listens where EXPORTER_PORT says.
"""

from __future__ import annotations

import asyncio
import os
import sys

import orjson
from aiohttp import web

from bench.measuring import LoopLag
from exporter import machine
from exporter.app import running
from exporter.attending import keep_small
from exporter.logs import configure_logging
from exporter.settings import load_settings


async def serve(port: int) -> None:
    lag, app = LoopLag(), web.Application()
    lag.on.set()

    async def tell(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(lag.taken()))

    app.router.add_get("/", tell)
    settings = load_settings(os.environ)
    configure_logging("error", "text")
    async with running(settings) as exporter:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        watch = asyncio.create_task(lag.watch())
        await keep_small(exporter)
        await exporter.work
        watch.cancel()


if __name__ == "__main__":
    machine.settle()
    asyncio.run(serve(int(sys.argv[1])))
