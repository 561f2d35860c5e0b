"""The whole program as operators start it, polling an API that answers at once: start-up, polls, memory, exports, lag.

`python -m exporter` with every default but those in `environment`, a full week of history with kept scores in its
file, and `bench.peers.api` for Genesys Cloud. Where its event loop is watched it is `bench.peers.whole`, which is the
same and a watch. Memory is what the kernel says of the process, CPU all of it: the calls and their bytes, too.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import numpy as np
import orjson

from bench import org
from bench.measuring import ROOT, child, cpu_seconds, free_port, median, memory_mb, percentile, python_child
from bench.scrape import ask
from bench.scraper import Scraper

SCORED = re.compile(rb"^genesys_queue_zscore\{", re.MULTILINE)
SCRAPERS = 8
#: Of a core, the watch itself takes a part of it; and for how long.
QUIET_SHARE, QUIET_SECONDS = 0.15, 3


@dataclass(frozen=True, slots=True)
class Site:
    """Where one size is measured: a folder with the history file, and the API."""

    home: Path
    disk_mb: float
    api: int
    poll_seconds: int

    def environment(self, port: int) -> dict[str, str]:
        """What the exporter is started with; everything else is as it comes."""
        return environment(self.home, self.api, port) | {"EXPORTER_POLL_INTERVAL": str(self.poll_seconds)}


def environment(home: Path, api: int, port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{api}"
    own = {
        "GENESYS_API_URL": url,
        "GENESYS_LOGIN_URL": url,
        "GENESYS_CLIENT_ID": "bench",
        "GENESYS_CLIENT_SECRET": "bench",
        "GENESYS_REQUESTS_PER_MINUTE": "10000",
        "EXPORTER_PORT": str(port),
        "EXPORTER_HISTORY": str(home / "history.sqlite3"),
        "EXPORTER_MAX_SERIES": "10000000",
        "EXPORTER_LOG_LEVEL": "error",
    }
    return own | {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}


@contextmanager
def site(queues: int, poll_seconds: int | None = None) -> Iterator[Site]:
    """A history of this size in a folder of its own, written by another process, and the API."""
    with tempfile.TemporaryDirectory() as place:
        code = f"from bench import program; print(program.write_week({place!r}, {queues}))"
        told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        port = free_port()
        with child(python_child("bench.peers.api", port, str(queues)), port):
            interval = poll_seconds or (10 if queues <= 5_000 else 20)
            yield Site(Path(place), float(told.splitlines()[-1]), port, interval)


def write_week(place: str, queues: int) -> float:
    """A history file with a full week before now and its scores; its size in MB."""
    from exporter.app import open_history
    from exporter.clock import SystemClock
    from exporter.settings import load_settings

    settings = load_settings(environment(Path(place), 1, 1))
    history = open_history(settings, SystemClock())
    starts = org.week_starts(datetime.now(UTC) - timedelta(seconds=settings.settle_seconds))
    rng = np.random.default_rng(1)
    for first in range(0, len(starts), 24):
        some = starts[first : first + 24]
        history.merge(org.batch(queues, some, seed=first))
        with history.baseline(some[-1] + org.BUCKET_SECONDS, some[-1] + org.BUCKET_SECONDS) as pinned:
            positions = pinned.positions
        history.set_scores(positions, {start: _scores(rng, queues) for start in some})
    history.mark_backfilled()
    history.close()
    return sum(each.stat().st_size for each in Path(place).glob("history*")) / 1e6


def _scores(rng: np.random.Generator, queues: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from exporter.analysis.scoring.seasonal import Seasonal

    found = {metric: rng.normal(size=queues) for metric in Seasonal.metrics}
    return {metric: (z, (z > 3).astype(np.float64)) for metric, z in found.items()}


def measured(queues: int, polls: int = 2, poll_seconds: int | None = None) -> dict[str, float]:
    """All figures of one size."""
    with site(queues, poll_seconds) as here:
        return {"disk_mb": here.disk_mb, **started(here, polls), **watched(here, polls), **asked(here)}


def started(here: Site, polls: int) -> dict[str, float]:
    """From the start of the process to the first score, then polls in which no bucket closes; and memory."""
    port, began = free_port(), time.monotonic()
    with child([sys.executable, "-m", "exporter"], port, here.environment(port)) as pid:
        listening = time.monotonic()
        ready = _until_scored(port)
        figures = {
            "start_to_listening_s": listening - began,
            "start_to_scored_s": ready - began,
            "first_answer_to_scored_s": ready - float(orjson.loads(ask(here.api, "/bench/first"))),
            "cpu_to_scored_s": cpu_seconds(pid),
        }
        _until_quiet(pid)
        _polled(port, 1)
        before = cpu_seconds(pid)
        _polled(port, polls)
        figures["poll_cpu_s"] = (cpu_seconds(pid) - before) / polls
        time.sleep(1)  # at rest: what the poll has used has gone back
        return figures | {"rss_mb": memory_mb(pid), "rss_most_mb": memory_mb(pid, "VmHWM")}


def watched(here: Site, polls: int) -> dict[str, float]:
    """The loop's lag while polls and eight scrapers are under way."""
    port, watch = free_port(), free_port()
    with child(python_child("bench.peers.whole", watch), watch, here.environment(port)) as pid:
        _until_scored(port)
        _until_quiet(pid)
        _polled(port, 1)
        ask(watch, "/")
        with _scraping(port) as seconds:
            _polled(port, polls)
        lag = orjson.loads(ask(watch, "/"))
        figures = {f"lag_{name}_ms": each for name, each in lag.items()}
        figures |= {"scrape_p50_ms": 1000 * median(seconds), "scrape_p99_ms": 1000 * percentile(seconds, 0.99)}
        return figures


def asked(here: Site) -> dict[str, float]:
    """The dashboard, and an export of the week, in between two polls."""
    port, watch = free_port(), free_port()
    rarely = here.environment(port) | {"EXPORTER_POLL_INTERVAL": "3600"}
    with child(python_child("bench.peers.whole", watch), watch, rarely) as pid:
        _until_scored(port)
        _until_quiet(pid)
        return _dashboard(port) | _exported(port, watch, pid)


@contextmanager
def _scraping(port: int) -> Iterator[list[float]]:
    """Eight gzip scrapers, a scrape a second each, while the context lasts; the seconds of all scrapes."""
    done, seconds = Event(), []

    def ask() -> None:
        scraper = Scraper(port, gzip=True)
        seconds.append(scraper.scrape()[0])
        while not done.wait(1.0):
            seconds.append(scraper.scrape()[0])
        scraper.close()

    threads = [Thread(target=ask) for _ in range(SCRAPERS)]
    for thread in threads:
        thread.start()
    try:
        yield seconds
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _dashboard(port: int) -> dict[str, float]:
    """Milliseconds of the first answer with gzip, and of the later ones."""
    scraper = Scraper(port, gzip=True, path="/dashboard")
    first, size = scraper.scrape()
    later = [scraper.scrape()[0] for _ in range(20)]
    scraper.close()
    return {
        "dashboard_first_ms": 1000 * first,
        "dashboard_p50_ms": 1000 * median(later),
        "dashboard_gzip_mb": size / 1e6,
    }


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


def _exported(port: int, watch: int, pid: int) -> dict[str, float]:
    """A week over HTTP to a client in a process of its own."""
    now = time.time()
    span = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each)) for each in (now - 7 * 86_400, now)]
    ask(watch, "/")
    before, cpu = memory_mb(pid), cpu_seconds(pid)
    with subprocess.Popen([sys.executable, "-c", CLIENT, str(port), *span], stdout=subprocess.PIPE) as client:
        most = _watch(lambda: memory_mb(pid), client)
        assert client.stdout is not None
        first, rows, seconds, *_ = client.stdout.read().split()
    lag = orjson.loads(ask(watch, "/"))
    return {
        "export_first_byte_ms": 1000 * float(first),
        "export_rows": float(rows),
        "export_rows_per_s": float(rows) / float(seconds),
        "export_rows_per_cpu_s": float(rows) / (cpu_seconds(pid) - cpu),
        "export_growth_mb": most - before,
        "export_lag_p99_ms": lag["p99"],
        "export_lag_max_ms": lag["max"],
    }


def _watch(look: Callable[[], float], process: subprocess.Popen[bytes]) -> float:
    """The most that was seen until the process ended."""
    most = look()
    while process.poll() is None:
        time.sleep(0.1)
        most = max(most, look())
    return most


def _until_scored(port: int, seconds: float = 180) -> float:
    """When /metrics, first asked again and again, was there with a score of some queue; on the monotonic clock."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _is_ready(port):
            packed, arrived = ask(port, "/metrics", {"Accept-Encoding": "gzip"}), time.monotonic()
            if SCORED.search(gzip.decompress(packed)):
                return arrived
        time.sleep(0.01)
    raise RuntimeError("the exporter shows no score")


def _until_quiet(pid: int, seconds: float = 60) -> None:
    """Until the process does next to nothing but look at its loop: what belongs to its start is done."""
    end, quiet = time.monotonic() + seconds, 0
    while time.monotonic() < end and quiet < QUIET_SECONDS:
        before = cpu_seconds(pid)
        time.sleep(1)
        quiet = quiet + 1 if cpu_seconds(pid) - before < QUIET_SHARE else 0


def _is_ready(port: int) -> bool:
    try:
        return bool(ask(port, "/-/ready"))
    except urllib.error.HTTPError:
        return False


def _polled(port: int, polls: int) -> None:
    """Until so many snapshots more have been published."""
    for _ in range(polls):
        before = _snapshot(port)
        while _snapshot(port) == before:
            time.sleep(0.2)


def _snapshot(port: int) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", method="HEAD", headers={"Accept-Encoding": "gzip"}
    )
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["X-Snapshot-Id"])
