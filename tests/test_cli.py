"""The commands as users start them: what they print, how they end, and that a signal ends them well."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from exporter import __version__
from exporter.cli import _demo_history, main
from exporter.simulator import Fault, OrgConfig, SimulatedOrg, serve
from tests.conftest import OrgAtWork
from tests.end_to_end.processes import Process, command, environment, run_to_end
from tests.end_to_end.reading import Served

REQUESTS = "genesys_exporter_api_requests_total"
REPLAYED = "queue,t,offered,abandoned,sla_breach\n" + "".join(
    f"Sales,{915_148_800 + n * 900},10,2,3\n" for n in range(96 * 40)
)


@pytest.fixture
async def org() -> AsyncIterator[OrgAtWork]:
    """An org in everybody's time."""
    simulated = SimulatedOrg(OrgConfig(queues=3))
    async with serve(simulated) as url:
        yield OrgAtWork(simulated, url)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def past(folder: Path, name: str) -> str:
    """A small file for `backtest`, whose one queue is called so."""
    path = folder / "past.csv"
    path.write_text("\n".join(REPLAYED.replace("Sales", name).splitlines()[:100]), "utf-8")
    return str(path)


# Output


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_name_that_stdout_cannot_write_ends_nothing(tmp_path: Path, encoding: str) -> None:
    ended = run_to_end(tmp_path, "backtest", past(tmp_path, "サポート"), PYTHONIOENCODING=encoding)
    assert ended.returncode == 0, ended.stderr
    assert "????" in ended.stdout


def test_a_reader_that_stops_early_is_no_failure(tmp_path: Path) -> None:
    arguments = command("backtest", past(tmp_path, "Sales"))
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(  # noqa: S603
        arguments, env=environment(tmp_path, {}), cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert process.returncode == 0
    assert b"Traceback" not in process.stderr
    assert b"Broken pipe" not in process.stderr


def test_an_interrupted_backtest_is_no_success(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "past.csv")
    with (
        Process(tmp_path, "backtest", str(tmp_path / "past.csv")) as process,
        (tmp_path / "past.csv").open("w"),  # once it has opened it, too
    ):
        assert _interrupted(process) == 130


def _interrupted(process: Process) -> int:
    """The exit code after ^C, again and again as a person would: the interpreter does not hear one that comes
    between its look for signals and a read that then waits for ever."""
    for _ in range(10):
        try:
            return process.stop(signal.SIGINT, within_seconds=2.0)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it does not hear ^C")


# Arguments


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo", "--queues", "0"], "'0' is not a whole number from 1 to 100000"),
        (["demo", "--queues", "many"], "'many' is not a whole number from 1 to 100000"),
        (["demo", "--port", "65536"], "'65536' is not a whole number from 0 to 65535"),
        (["simulate", "--port", "-1"], "--port"),
        (["demo", "--seed", "x"], "--seed: invalid int value: 'x'"),
        (["scrape"], "invalid choice: 'scrape'"),
        (["run", "--port", "1"], "unrecognized arguments: --port 1"),
    ],
)
def test_arguments_that_cannot_work_are_exit_2_with_what_they_are(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"genesys-cloud-exporter {__version__}\n")


@pytest.mark.parametrize("command", ["demo", "simulate"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read as CSV"),
        ("", "the header '' is not known"),
        ("queue,t,offered,abandoned,sla_breach\nSales,915148800,1,2,x\n", "line 2: sla_breach 'x' is not a whole"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_exit_2_with_the_line(
    command: str,
    content: str | None,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    own_logging: logging.Logger,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "past.csv"
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(SystemExit) as left:
        main([command, "--replay", str(file), "--queues", "7"])
    assert left.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert main([command, "--replay", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "genesys-cloud-exporter: settings that cannot work:"
    assert lines[1].startswith(f"genesys-cloud-exporter: --replay {file}: ")
    assert told in lines[1]


def test_the_demo_keeps_its_history_in_memory_where_no_folder_can_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with _demo_history() as history:
        assert Path(history).parent.parent == tmp_path
        assert Path(history).parent.is_dir()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with _demo_history() as history:
        assert history == ":memory:"


# Settings


def test_bad_settings_end_run_with_exit_2_and_a_line_for_every_fault(tmp_path: Path) -> None:
    ended = run_to_end(
        tmp_path,  # no command is `run`
        GENESYS_CLIENT_SECRET="hunter2 hunter2",
        GENESYS_ENVIRONMENT="https://api.mypurecloud.com",
        EXPORTER_PORT="http",
        EXPORTER_POLL_INTERVAL="0",
        EXPORTER_BUCKET="PT5M",
        EXPORTER_TIMEZONE="Europe/Atlantis",
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    first, *faults = ended.stderr.splitlines()
    assert first == "genesys-cloud-exporter: settings that cannot work:"
    assert [re.match(r"genesys-cloud-exporter: ([A-Z_]+): .+; write .+", fault)[1] for fault in faults] == [  # type: ignore[index]
        "GENESYS_CLIENT_ID",
        "GENESYS_CLIENT_SECRET",
        "GENESYS_ENVIRONMENT",
        "EXPORTER_PORT",
        "EXPORTER_POLL_INTERVAL",
        "EXPORTER_BUCKET",
        "EXPORTER_TIMEZONE",
    ]
    assert "hunter2" not in ended.stderr


async def test_run_refuses_an_org_that_the_budget_cannot_hold_with_the_numbers(org: OrgAtWork, tmp_path: Path) -> None:
    tight = {"GENESYS_REQUESTS_PER_MINUTE": "100", "EXPORTER_POLL_INTERVAL": "1", "EXPORTER_PORT": "0"}
    ended = await asyncio.to_thread(lambda: run_to_end(tmp_path, "run", **org.variables, **tight))
    assert ended.returncode == 2
    fault = ended.stderr.splitlines()[-1]
    assert "GENESYS_REQUESTS_PER_MINUTE: 100 cannot hold the 120.2 calls a minute that 3 queues need" in fault
    assert "EXPORTER_POLL_INTERVAL=2" in fault
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["run", "simulate"])
async def test_a_port_that_is_taken_is_exit_1_and_says_so(command: str, org: OrgAtWork, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = ("simulate", "--port", port) if command == "simulate" else ("run",)
        variables = org.variables | {"EXPORTER_PORT": port}
        ended = await asyncio.to_thread(lambda: run_to_end(tmp_path, *arguments, **variables))
    assert ended.returncode == 1
    assert re.search(rf"cannot listen on .*port {port}: .*address already in use; (set|use) ", ended.stderr)
    assert "Traceback" not in ended.stderr


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_in_the_middle_of_the_back_fill_is_a_quick_and_quiet_exit_0(
    number: signal.Signals, org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    org.org.faults.add(Fault("aggregates", "slow", delay_seconds=0.3))
    with Process(tmp_path, "run", **org.variables, EXPORTER_PORT="0") as process:
        url = await asyncio.to_thread(process.url)
        scraper = asyncio.create_task(_scrape_on(Served(url, http)))
        await Served(url, http).until(lambda samples: samples.total(REQUESTS, endpoint="aggregates") >= 4)
        begin = time.monotonic()
        assert await asyncio.to_thread(process.stop, number) == 0
        assert time.monotonic() - begin < 5
        await scraper
    assert "Traceback" not in process.output()
    assert "error" not in process.output()


async def _scrape_on(served: Served) -> None:
    """Like a Prometheus that keeps its connection, until nobody answers."""
    try:
        while True:
            await served.metrics()
            await asyncio.sleep(0.05)
    except aiohttp.ClientError:
        return


async def test_simulate_says_what_an_exporter_needs_and_stops_on_a_signal(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    file = tmp_path / "past.csv"
    file.write_text(REPLAYED, "utf-8")
    with Process(tmp_path, "simulate", "--replay", str(file), "--port", "0") as process:
        told = await asyncio.to_thread(process.said, re.compile(r"^GENESYS_LOGIN_URL=.+$", re.MULTILINE))
        variables = dict(pair.split("=", 1) for pair in told[0].split())
        ended = await asyncio.to_thread(lambda: run_to_end(tmp_path, "check", **variables))
        assert ended.returncode == 0
        assert "1 queues selected" in ended.stdout
        assert process.stop() == 0
    assert "Traceback" not in process.output()


async def test_the_demo_stops_on_a_signal_and_leaves_nothing_behind(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Process(tmp_path, "demo", "--queues", "3", EXPORTER_PORT="0", TMPDIR=str(scratch)) as process:
        await asyncio.to_thread(process.url)
        assert len(list(scratch.iterdir())) == 1
        assert process.stop() == 0
    assert list(scratch.iterdir()) == []
    assert "Traceback" not in process.output()
