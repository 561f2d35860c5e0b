"""Clocks and counters of processes, and children that tell where they listen.

Children are started one by one and ended by their own handle; all of them listen on loopback, on free ports.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
from aiohttp import web

ROOT = Path(__file__).parent.parent


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used, to the nanosecond (its CLOCK_PROCESS_CPUTIME_ID, see clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory; VmHWM is the most there ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


median = statistics.median


def machine() -> str:
    """What the figures were taken on, as one line."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}, {load()}"


def load() -> str:
    """How busy the machine is: figures of a busy one say little."""
    return "load average " + ", ".join(f"{each:.1f}" for each in os.getloadavg())


class LoopLag:
    """Watches the event loop it is started in: by how much a short sleep is overslept, in milliseconds.

    To wake up so often costs the loop's other work a tenth of its time: where that is measured, the watch is off.
    """

    STEP_SECONDS = 0.002

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.on = asyncio.Event()

    async def watch(self) -> None:
        while True:
            await self.on.wait()
            due = time.perf_counter() + self.STEP_SECONDS
            await asyncio.sleep(self.STEP_SECONDS)
            self.seen.append(1000 * (time.perf_counter() - due))

    def taken(self) -> dict[str, float]:
        """p50, p99 and the worst since the last time."""
        seen, self.seen = self.seen or [0.0], []
        return {"p50": percentile(seen, 0.5), "p99": percentile(seen, 0.99), "max": max(seen)}

    def add_routes(self, app: web.Application) -> None:
        """/bench/watch begins to watch, /bench/lag ends it and tells what was seen."""

        async def begin(request: web.Request) -> web.Response:
            self.on.set()
            return web.Response()

        async def tell(request: web.Request) -> web.Response:
            self.on.clear()
            return web.Response(body=orjson.dumps(self.taken()))

        app.router.add_get("/bench/watch", begin)
        app.router.add_get("/bench/lag", tell)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def child(command: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """A server process while the context lasts, with an environment of its own or ours; its pid once it listens."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)
    try:
        _wait_for(port, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # what it was asked for has been told: that must not be lost
            process.kill()
            process.wait()


def python_child(module: str, port: int, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, str(port), *arguments]


def _wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args} does not listen on {port}")
