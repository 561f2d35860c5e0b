"""systemd: what the service manager is told, over real sockets, and that the unit is one that it takes."""

from __future__ import annotations

import asyncio
import configparser
import os
import re
import signal
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from exporter.settings import VARIABLES
from exporter.simulator import OrgConfig, SimulatedOrg, serve
from exporter.systemd import Systemd
from tests.conftest import FakeClock, OrgAtWork
from tests.end_to_end.processes import Process

DEPLOYED = Path(__file__).parents[1] / "deploy/systemd"
UNIT = DEPLOYED / "genesys-cloud-exporter.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd listens on it, and its name as NOTIFY_SOCKET tells it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listening.settimeout(30)
        yield listening, name


def told(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def nothing_more(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        manager.recv(4096)
    except BlockingIOError:
        return True
    return False


# Datagrams


def test_a_service_says_that_it_is_ready_reloads_and_stops(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    systemd.ready("serving\nhere")
    assert told(listening) == {"READY": "1", "STATUS": "serving here"}
    systemd.reloading()
    reloading = told(listening)
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0
    systemd.status("all is well")
    assert told(listening) == {"STATUS": "all is well"}
    systemd.stopping()
    assert told(listening)["STOPPING"] == "1"


@pytest.mark.parametrize("name", ["", "/nowhere/at/all", "@nobody-listens-here", "vsock:2:1234", "/" + "x" * 200])
def test_a_manager_that_does_not_listen_is_no_reason_to_fail(name: str) -> None:
    Systemd({"NOTIFY_SOCKET": name}).ready("serving")


def test_a_manager_that_does_not_read_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    for _ in range(5000):  # far beyond what a socket keeps
        systemd.status("x" * 1000)
    assert told(listening)["STATUS"] == "x" * 1000


async def test_the_watchdog_is_fed_at_half_of_its_time_while_polls_come_round(
    manager: tuple[socket.socket, str], clock: FakeClock
) -> None:
    listening, name = manager
    answers = iter([True, True, False])

    def alive() -> bool:
        answer = next(answers, None)
        if answer is None:
            raise asyncio.CancelledError
        return answer

    systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())})
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(systemd.keep_watch(alive, clock), 10)
    assert clock.sleeps == [15, 15, 15]
    assert [told(listening), told(listening)] == [{"WATCHDOG": "1"}] * 2
    assert nothing_more(listening)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
    ],
)
async def test_a_watchdog_that_watches_nobody_or_another_is_not_fed(
    manager: tuple[socket.socket, str], clock: FakeClock, variables: dict[str, str]
) -> None:
    listening, name = manager
    await Systemd({"NOTIFY_SOCKET": name} | variables).keep_watch(lambda: True, clock)
    assert nothing_more(listening)


# The real process


@pytest.fixture
async def org() -> AsyncIterator[OrgAtWork]:
    simulated = SimulatedOrg(OrgConfig(queues=3))
    async with serve(simulated) as url:
        yield OrgAtWork(simulated, url)


async def test_the_exporter_tells_its_life_to_systemd(
    org: OrgAtWork, manager: tuple[socket.socket, str], tmp_path: Path
) -> None:
    listening, name = manager
    variables = org.variables | {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000", "EXPORTER_PORT": "0"}

    async def until(key: str) -> dict[str, str]:
        while key not in (message := await asyncio.to_thread(told, listening)):
            pass
        return message

    with Process(tmp_path, "run", **variables) as process:
        ready = await until("READY")
        assert ready["STATUS"].startswith("http://127.0.0.1:")
        assert ready["STATUS"].split()[0].rstrip(":") == process.url()
        await until("WATCHDOG")
        process.send(signal.SIGHUP)
        await until("RELOADING")
        await until("READY")
        stopped = asyncio.create_task(asyncio.to_thread(process.stop))
        await until("STOPPING")
        assert await stopped == 0


# The unit


def test_systemd_takes_the_unit(require_server: Callable[[str], str], tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", UNIT.read_text("utf-8")), "utf-8")
    judged = subprocess.run(  # noqa: S603
        [require_server("systemd-analyze"), "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (judged.returncode, judged.stderr) == (0, "")


def test_the_unit_waits_for_readiness_feeds_the_watchdog_and_reloads() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text("utf-8"))
    service = dict(unit["Service"])
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert {"WatchdogSec", "DynamicUser", "StateDirectory", "LoadCredential"} <= service.keys()
    assert (service["ProtectSystem"], service["NoNewPrivileges"]) == ("strict", "yes")


def test_the_unit_and_its_settings_name_settings_that_exist() -> None:
    for path in DEPLOYED.iterdir():
        named = set(re.findall(r"\b(?:GENESYS|EXPORTER)_[A-Z_]+\b", path.read_text("utf-8")))
        assert named <= VARIABLES.keys(), path.name
        assert named
