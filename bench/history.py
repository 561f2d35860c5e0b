"""Start-up from a week of history, resident memory, and /export.csv of a week: `python -m bench.history FILE QUEUES`.

The parent writes the file and starts this module as a process of its own, so that memory and start-up are an
exporter's: imports, history from the file, the first answer parsed, scored and rendered, then the export over HTTP.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from bench import org
from bench.measuring import ROOT, LoopLag, free_port, memory_mb
from exporter.clock import SystemClock

SCORE = "zscore"


def open_file(path: Path) -> Any:
    from exporter.analysis.history import History

    common = {"scope": "bench", "selection": "all", "bucket_seconds": org.BUCKET_SECONDS, "now": org.NOW}
    return History.open(path, **common, baseline_days=7, retention_days=7)


def write_week(path: Path, queues: int) -> float:
    """A file with a full week; its size in MB."""
    history, starts = open_file(path), org.week_starts()
    for first in range(0, len(starts), 24):
        history.merge(org.batch(queues, starts[first : first + 24], seed=first))
    history.mark_backfilled()
    history.close()
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")) / 1e6


def measured(queues: int) -> dict[str, float]:
    """All figures of one size."""
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "history.sqlite"
        imports = "from pathlib import Path; from bench.history import write_week"
        writer = f"{imports}; print(write_week(Path({str(path)!r}), {queues}))"
        size = float(subprocess.run([sys.executable, "-c", writer], cwd=ROOT, check=True, capture_output=True).stdout)
        child = [sys.executable, "-m", "bench.history", str(path), str(queues)]
        told = subprocess.run(child, cwd=ROOT, check=True, capture_output=True).stdout
    return {"disk_mb": size, **orjson.loads(told)}


async def exporter(path: Path, queues: int) -> dict[str, float]:
    """Start as the exporter does, then export a week."""
    import os

    from aiohttp import web

    from exporter.analysis.analyst import Analyst
    from exporter.analysis.scoring import ScoreOptions, method
    from exporter.genesys import aggregates
    from exporter.genesys.decode import REJECT_REASONS, Rejects
    from exporter.genesys.selection import Selection
    from exporter.models import DATASETS, DatasetState, Window
    from exporter.publish.publisher import Publisher
    from exporter.publish.runner import Runner
    from exporter.publish.self_metrics import SelfMetrics
    from exporter.publish.server import make_app

    window = Window(org.NOW - timedelta(minutes=15), org.NOW)
    body = Path(f"{path}.body").read_bytes()  # noqa: ASYNC240 - nothing else runs yet
    began = time.perf_counter()
    history = open_file(path)
    loaded = time.perf_counter()
    options = ScoreOptions(threshold=3.0, min_samples=20, timezone="UTC")
    analyst = Analyst(history, method(SCORE), options, contract="aggregates", bucket="PT15M", max_series=10**9)
    clock = _Fixed()
    publisher = Publisher(clock)
    state = DatasetState(True, org.NOW, org.NOW, org.NOW + timedelta(days=1))
    answered = time.perf_counter()
    table = aggregates.parse_window([body], window, Selection(), Rejects())
    states = dict.fromkeys(DATASETS, state)
    shot = analyst.snapshot(now=org.NOW, directory=None, window=table, observations=None, datasets=states)
    await publisher.publish(shot)
    ready = time.perf_counter()
    del body, table
    figures = {"load_s": loaded - began, "first_answer_to_ready_s": ready - answered, "start_s": ready - began}
    figures |= {"rss_mb": memory_mb(os.getpid()), "start_peak_mb": memory_mb(os.getpid(), "VmHWM")}
    metrics = SelfMetrics(clock, version="bench", contract="aggregates", reject_reasons=REJECT_REASONS)
    runner = Runner(make_app(publisher=publisher, self_metrics=metrics, clock=clock, history=history))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    figures |= await export(port)
    await runner.cleanup()
    history.close()
    return figures


class _Fixed(SystemClock):
    """The made-up org's time."""

    def now(self) -> datetime:
        return org.NOW


CLIENT = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
began = time.perf_counter()
s.sendall(b"GET /export.csv?from=%s&to=%s HTTP/1.1\\r\\nHost: b\\r\\nConnection: close\\r\\n\\r\\n"
          % (sys.argv[2].encode(), sys.argv[3].encode()))
first, lines, head = None, 0, b""
while got := s.recv(1 << 20):
    head = head or got
    first = first or time.perf_counter() - began
    lines += got.count(b"voice,")
print(first, lines, time.perf_counter() - began, head[:40])
"""


async def export(port: int) -> dict[str, float]:
    """A week over HTTP to a client in a process of its own."""
    import os

    lag, before = LoopLag(), memory_mb(os.getpid())
    watch, most = asyncio.create_task(lag.watch()), before
    starts = org.week_starts()
    span = [f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(each))}" for each in (starts[0], starts[-1] + 900)]
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, str(port), *span, stdout=asyncio.subprocess.PIPE
    )
    reading = asyncio.create_task(client.communicate())
    while not reading.done():
        most = max(most, memory_mb(os.getpid()))
        await asyncio.sleep(0.05)
    first, rows, seconds, *_ = reading.result()[0].split()
    watch.cancel()
    lags = lag.taken()
    return {
        "export_first_byte_ms": 1000 * float(first),
        "export_rows": float(rows),
        "export_rows_per_s": float(rows) / float(seconds),
        "export_growth_mb": most - before,
        "export_lag_p99_ms": lags["p99"],
        "export_lag_max_ms": lags["max"],
    }


if __name__ == "__main__":
    place, number = Path(sys.argv[1]), int(sys.argv[2])
    imports = "from pathlib import Path; from bench import org, poll"
    written = f"Path({f'{place}.body'!r}).write_bytes(org.aggregates_body({number}, poll.WINDOW))"
    answer = f"{imports}; {written}"
    subprocess.run([sys.executable, "-c", answer], check=True)
    sys.stdout.write(orjson.dumps(asyncio.run(exporter(place, number))).decode())
