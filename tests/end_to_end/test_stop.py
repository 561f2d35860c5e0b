"""The end: SIGTERM drains within 5 s, whatever is under way; a second one does not wait."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from exporter.simulator import Fault, OrgConfig, SimulatedOrg, serve
from tests.conftest import OrgAtWork
from tests.end_to_end.processes import Process
from tests.end_to_end.reading import Served

PROMISED_SECONDS = 5.0
FILLED = re.compile(r"back-fill: (\d+) of \1 ")


@pytest.fixture
async def org() -> AsyncIterator[OrgAtWork]:
    simulated = SimulatedOrg(OrgConfig(queues=60))
    async with serve(simulated) as url:
        yield OrgAtWork(simulated, url)


@contextmanager
def _asking(url: str, path: str, **headers: str) -> Iterator[socket.socket]:
    """A client that has sent a request, and has room for a few kilobytes of its answer."""
    address = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect((address.hostname, address.port))
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {address.netloc}",
            *(f"{name}: {text}" for name, text in headers.items()),
        ]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        yield client


async def _wait_for(pattern: re.Pattern[str], process: Process) -> None:
    await asyncio.to_thread(process.said, pattern)


async def _stop(process: Process) -> float:
    begin = time.monotonic()
    assert await asyncio.to_thread(process.stop, signal.SIGTERM, 20.0) == 0
    return time.monotonic() - begin


async def test_a_stop_waits_for_nobody_for_long(org: OrgAtWork, tmp_path: Path) -> None:
    """An export that nobody reads, an open page, and a poll and a back-fill whose answers never come."""
    variables = org.variables | {
        "EXPORTER_PORT": "0",
        "EXPORTER_POLL_INTERVAL": "1",
        "GENESYS_REQUESTS_PER_MINUTE": "9999",
    }
    with Process(tmp_path, "run", **variables) as process:
        url = await asyncio.to_thread(process.url)
        await _wait_for(FILLED, process)
        hanging = org.org.faults.add(Fault("*", "slow", delay_seconds=600))
        await asyncio.to_thread(_until, lambda: hanging.fired > 0)
        with _asking(url, "/export.csv?from=-8d") as export, _asking(url, "/api/live/events") as page:
            assert await asyncio.to_thread(export.recv, 15) == b"HTTP/1.1 200 OK"
            assert await asyncio.to_thread(page.recv, 15) == b"HTTP/1.1 200 OK"
            assert await _stop(process) < PROMISED_SECONDS
    assert "Traceback" not in process.output()
    assert "ended without waiting" not in process.output()


async def test_an_export_that_is_read_ends_whole(org: OrgAtWork, tmp_path: Path) -> None:
    """A client that reads what it asked for before the stop gets all of it."""
    with Process(tmp_path, "run", **org.variables, EXPORTER_PORT="0") as process:
        url = await asyncio.to_thread(process.url)
        await _wait_for(FILLED, process)
        with _asking(url, "/export.csv?from=-1d", Connection="close") as export:
            begin = await asyncio.to_thread(export.recv, 15)
            process.send(signal.SIGTERM)
            answer = begin + await asyncio.to_thread(_rest, export)
    assert answer.endswith(b"\r\n0\r\n\r\n")


def _rest(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


async def test_a_second_signal_ends_at_once(org: OrgAtWork, tmp_path: Path) -> None:
    with Process(tmp_path, "run", **org.variables, EXPORTER_PORT="0") as process:
        url = await asyncio.to_thread(process.url)
        await _wait_for(FILLED, process)
        with _asking(url, "/export.csv?from=-8d") as export:
            assert await asyncio.to_thread(export.recv, 15) == b"HTTP/1.1 200 OK"
            process.send(signal.SIGTERM)
            await asyncio.to_thread(_until, lambda: not _listens(url))
            begin = time.monotonic()
            assert await asyncio.to_thread(process.stop, signal.SIGINT) == 128 + signal.SIGINT
            assert time.monotonic() - begin < 1.0
    assert "Traceback" not in process.output()


def _listens(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0)).close()
    except OSError:
        return False
    return True


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_thread_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Whatever a library does: here a thread of the pool that never comes back."""
    script = tmp_path / "hanging.py"
    script.write_text(
        "import asyncio, threading\n"
        "from exporter.signals import Signals\n"
        "async def work():\n"
        "    print('http://127.0.0.1:1/metrics', flush=True)\n"
        "    await asyncio.to_thread(threading.Event().wait)\n"
        "Signals(hangups=False).run(work)\n"
    )
    with Process(tmp_path, module="hanging", PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}") as process:
        await asyncio.to_thread(process.url)
        assert await _stop(process) < PROMISED_SECONDS
    assert "ended without waiting any longer" in process.output()


async def test_the_history_survives_any_end(org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """What was merged before a second signal is there at the next start."""
    variables = org.variables | {"EXPORTER_PORT": "0"}
    with Process(tmp_path, "run", **variables) as process:
        await asyncio.to_thread(process.url)
        await _wait_for(FILLED, process)
        process.send(signal.SIGTERM)
        await asyncio.to_thread(process.stop, signal.SIGTERM)
    with Process(tmp_path, "run", **variables) as again:
        samples = await Served(await asyncio.to_thread(again.url), http).metrics()
        assert "holds 0 buckets" not in again.output()
        assert samples.total("genesys_exporter_config_last_reload_successful") == 1
        assert await _stop(again) < PROMISED_SECONDS
