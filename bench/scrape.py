"""What a scrape costs: our server beside prometheus_client's, client_golang's and nginx with the same bytes.

All servers are up at once and asked in turn, in an order that changes from round to round, so that a busy moment of
the machine meets all of them. Goes out: one record per server, size and way of asking.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bench.measuring import child, cpu_seconds, free_port, median, memory_mb, percentile, python_child
from bench.peers import others
from bench.scraper import Scraper, scraped

OURS = "ours"
#: Those that serve bytes; the others make them anew at each scrape, which takes seconds at a large org: they are asked
#: in fewer rounds, and not by eight at once where that would take minutes.
QUICK = (OURS, "nginx")
QUICK_REPEATS, SLOW_ROUNDS, MOST_AT_ONCE = 20, 2, 50_000
#: A real scraper comes after a pause, in which the processor has forgotten what a scrape is.
PAUSE_SECONDS, PAUSED_REPEATS = 0.5, 5
#: Servers in one event loop, whose lag is watched: in scrapes of their own, since the watch takes time of the loop.
LOOPS, WATCHED_ROUNDS = (OURS, "prometheus_client"), 20


@dataclass
class Server:
    name: str
    port: int
    pid: int


@dataclass
class Taken:
    """What one server took in one way of asking."""

    queues: int
    way: str
    scrapers: int
    server: str
    seconds: list[float] = field(default_factory=list)  # each scrape
    rounds: list[float] = field(default_factory=list)  # median of each round
    cpu: float = 0.0
    ratio: float = 1.0  # median over the rounds, to ours
    lag_ms: float | None = None

    @property
    def p50_ms(self) -> float:
        return 1000 * median(self.seconds)

    @property
    def p99_ms(self) -> float:
        return 1000 * percentile(self.seconds, 0.99)

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / len(self.seconds)


WAYS = {
    "text, gzip": {"gzip": True},
    "text, identity": {"gzip": False},
    "OpenMetrics, gzip": {"gzip": True, "openmetrics": True},
    "OpenMetrics, identity": {"gzip": False, "openmetrics": True},
}


AFTER_A_PAUSE = f"text, gzip, after {PAUSE_SECONDS:g} s"


@contextmanager
def servers(queues: int, home: Path) -> Iterator[list[Server]]:
    """All of them, with the same series."""
    with ExitStack() as stack:
        port = free_port()
        ours = stack.enter_context(child(python_child("bench.peers.ours", port, str(queues)), port))
        up = [Server(OURS, port, ours)]
        text = home / f"metrics-{queues}.txt"
        text.write_bytes(ask(port, "/metrics"))
        packed = ask(port, "/metrics", {"Accept-Encoding": "gzip"})
        for name, command in _peers(home / str(queues), text, packed):
            port = free_port()
            line = command(port)
            if line is not None:
                up.append(Server(name, port, stack.enter_context(child(line, port))))
        yield up


def _peers(home: Path, text: Path, packed: bytes):  # type: ignore[no-untyped-def]
    home.mkdir(parents=True, exist_ok=True)
    go = others.go_binary(Path(tempfile.gettempdir()) / "genesys-bench")
    peer = "bench.peers.prometheus_client_server"
    yield "prometheus_client", lambda port: python_child(peer, port, str(text))
    yield "client_golang", lambda port: [go, str(port), str(text)] if go else None
    yield "nginx", lambda port: others.nginx_command(home, port, text.read_bytes(), packed)


def ask(port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers or {}))
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def compare(queues: int, rounds: int, most_scrapers: int = 8) -> tuple[list[Taken], dict[str, float]]:
    """Every way of asking, of one and of eight; and memory by server."""
    found: list[Taken] = []
    with tempfile.TemporaryDirectory() as place, servers(queues, Path(place)) as up:
        for way, options in WAYS.items():
            counts = (1, most_scrapers) if "text" in way else (1,)
            for scrapers in counts:
                asked = up if scrapers * queues <= MOST_AT_ONCE else [each for each in up if each.name in QUICK]
                found += _paired(asked, queues, way, options, scrapers, rounds)
        quick = [each for each in up if each.name in QUICK]
        found += _paired(quick, queues, AFTER_A_PAUSE, {"gzip": True}, 1, rounds, pause_seconds=PAUSE_SECONDS)
        return found, {server.name: memory_mb(server.pid, "VmHWM") for server in up}


def _paired(
    up: list[Server],
    queues: int,
    way: str,
    options: dict[str, bool],
    scrapers: int,
    rounds: int,
    pause_seconds: float = 0.0,
) -> list[Taken]:
    taken = {server.name: Taken(queues, way, scrapers, server.name) for server in up}
    asking = {server.name: [Scraper(server.port, **options) for _ in range(scrapers)] for server in up}
    for server in up:  # not counted: what is made when first asked for
        scraped(asking[server.name][:1])
    for turn in range(rounds):
        for server in up[turn % len(up) :] + up[: turn % len(up)]:
            mine, before = taken[server.name], cpu_seconds(server.pid)
            if server.name not in QUICK and turn >= SLOW_ROUNDS:
                continue
            repeats = PAUSED_REPEATS if pause_seconds else QUICK_REPEATS if server.name in QUICK else 1
            seconds = [each for _ in range(repeats) for each in _after(pause_seconds, asking[server.name])]
            mine.cpu += cpu_seconds(server.pid) - before
            mine.seconds += seconds
            mine.rounds.append(median(seconds))
    for server in up:
        mine = taken[server.name]
        mine.ratio = median([a / b for a, b in zip(mine.rounds, taken[OURS].rounds, strict=False)])
        watched = server.name in LOOPS and not pause_seconds
        mine.lag_ms = _lag(server, asking[server.name]) if watched else None
        for scraper in asking[server.name]:
            scraper.close()
    return list(taken.values())


def _after(pause_seconds: float, asking: list[Scraper]) -> list[float]:
    time.sleep(pause_seconds)
    return scraped(asking)


def _lag(server: Server, asking: list[Scraper]) -> float:
    """p99 of the event loop's lag while it is scraped."""
    ask(server.port, "/bench/watch")
    for _ in range(WATCHED_ROUNDS if server.name in QUICK else SLOW_ROUNDS):
        scraped(asking)
    return float(orjson.loads(ask(server.port, "/bench/lag"))["p99"])
