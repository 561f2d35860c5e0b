"""Reloads of the real program: `.env` is edited, a signal or a request asks, and all of it holds or nothing does."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from exporter.simulator import Fault, OrgConfig, SimulatedOrg, serve
from tests.conftest import OrgAtWork
from tests.end_to_end.processes import Process, command, environment
from tests.end_to_end.reading import Served

GOOD = "genesys_exporter_config_last_reload_successful"
TAKEN = "genesys_exporter_config_last_reload_success_timestamp_seconds"
THRESHOLD = "genesys_exporter_anomaly_threshold"
POLLS = "genesys_exporter_polls_total"


@pytest.fixture
async def org() -> AsyncIterator[OrgAtWork]:
    simulated = SimulatedOrg(OrgConfig(queues=4))
    async with serve(simulated) as url:
        yield OrgAtWork(simulated, url)


class Service:
    """The program in a folder whose `.env` a test edits."""

    def __init__(self, folder: Path, org: OrgAtWork, http: aiohttp.ClientSession, **written: str) -> None:
        self.folder, self.http = folder, http
        self.written = org.variables | {"EXPORTER_PORT": "0", "EXPORTER_ENABLE_RELOAD": "true"} | written
        self.write()
        self.process = Process(folder, "run", EXPORTER_LOG_FORMAT="json")
        self.served = Served("", http)

    def write(self, **changes: str) -> None:
        self.written |= changes
        text = "".join(f"{name}={value}\n" for name, value in self.written.items())
        (self.folder / ".env").write_text(text, "utf-8")

    async def ready(self) -> Service:
        self.served = Served(await asyncio.to_thread(self.process.url), self.http)
        await self.served.until(lambda samples: samples.get(THRESHOLD) is not None)
        return self

    async def post(self) -> int:
        async with self.http.post(f"{self.served.url}/-/reload") as answer:
            return answer.status

    def log(self) -> list[str]:
        """The messages so far."""
        records = [json.loads(line) for line in self.process.output().splitlines() if line.startswith("{")]
        return [record["message"] for record in records]


async def test_a_signal_reloads_and_what_is_refused_changes_nothing(
    org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    service = Service(tmp_path, org, http)
    with service.process:
        await service.ready()
        start = (await service.served.metrics()).get(TAKEN) or 0.0

        service.write(EXPORTER_ANOMALY_THRESHOLD="4.5")
        service.process.send(signal.SIGHUP)
        taken = await service.served.until(lambda samples: samples.get(THRESHOLD) == 4.5)
        assert taken.get(GOOD) == 1
        assert (taken.get(TAKEN) or 0.0) > start

        service.write(EXPORTER_ANOMALY_THRESHOLD="6", EXPORTER_BUCKET="PT1H", EXPORTER_BASELINE_DAYS="14")
        service.process.send(signal.SIGHUP)
        refused = await service.served.until(lambda samples: samples.get(GOOD) == 0)
        assert refused.get(THRESHOLD) == 4.5
        assert refused.get(TAKEN) == taken.get(TAKEN)
        refusals = [line for line in service.log() if line.startswith("reload refused")]
        assert refusals == [
            "reload refused: EXPORTER_BUCKET cannot change without a restart",
            "reload refused: EXPORTER_BASELINE_DAYS cannot change without a restart",
        ]

        service.write(EXPORTER_ANOMALY_THRESHOLD="six", EXPORTER_BUCKET="", EXPORTER_BASELINE_DAYS="")
        assert await service.post() == 422
        assert any(line.startswith('reload refused: EXPORTER_ANOMALY_THRESHOLD: "six"') for line in service.log())

        service.write(EXPORTER_ANOMALY_THRESHOLD="6")
        assert await service.post() == 200
        mended = await service.served.until(lambda samples: samples.get(GOOD) == 1)
        assert mended.get(THRESHOLD) == 6
        assert "settings reloaded: EXPORTER_ANOMALY_THRESHOLD 4.5 → 6" in service.log()
        assert service.process.stop() == 0
    assert "Traceback" not in service.process.output()
    assert org.variables["GENESYS_CLIENT_SECRET"] not in service.process.output()


async def test_a_poller_that_sleeps_for_an_hour_follows_a_shorter_interval(
    org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    service = Service(tmp_path, org, http, EXPORTER_POLL_INTERVAL="3600")
    with service.process:
        await service.ready()
        await service.served.until(lambda samples: samples.total(POLLS) == 1)
        service.write(EXPORTER_POLL_INTERVAL="1", GENESYS_REQUESTS_PER_MINUTE="1000")
        service.process.send(signal.SIGHUP)
        samples = await service.served.until(lambda samples: samples.total(POLLS) >= 3)
        assert samples.total("genesys_exporter_polls_skipped_total") < 60
        state = (await service.served.get("/api/live/state")).json
        assert (state["activity"]["pollSeconds"], state["activity"]["calls"]["allowed"]) == (1, 1000)
        assert any("EXPORTER_POLL_INTERVAL 3600 → 1" in line for line in service.log())


async def test_a_rotated_secret_is_taken_and_a_token_of_the_old_one_given_up(
    org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    service = Service(tmp_path, org, http, EXPORTER_POLL_INTERVAL="1", GENESYS_REQUESTS_PER_MINUTE="9999")
    with service.process:
        await service.ready()
        service.write(GENESYS_CLIENT_SECRET="never-valid")
        assert await service.post() == 200
        await service.served.until(lambda samples: samples.failures.get("auth", 0) > 0)
        service.write(**org.variables)
        assert await service.post() == 200
        await service.served.until(lambda samples: set(samples.up.values()) == {1.0})
        assert "settings reloaded: GENESYS_CLIENT_SECRET changed" in service.log()
    assert "never-valid" not in service.process.output()


async def test_a_budget_that_the_org_does_not_fit_is_refused(
    org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    service = Service(tmp_path, org, http)
    with service.process:
        await service.ready()
        service.write(GENESYS_REQUESTS_PER_MINUTE="1", EXPORTER_LOG_LEVEL="error")
        assert await service.post() == 422
        assert any("GENESYS_REQUESTS_PER_MINUTE: 1 cannot hold" in line for line in service.log())
        service.write(GENESYS_REQUESTS_PER_MINUTE="50")
        assert await service.post() == 200


async def test_the_web_configuration_is_judged_too_and_guards_the_route(
    org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    web_config = tmp_path / "web.yml"
    good = f"basic_auth_users:\n  ops: {bcrypt.hashpw(b'open', bcrypt.gensalt(4)).decode()}\n"
    web_config.write_text(good)
    service = Service(tmp_path, org, http, EXPORTER_WEB_CONFIG=str(web_config))
    with service.process:
        service.served = Served(await asyncio.to_thread(service.process.url), http)
        assert await service.post() == 401
        web_config.write_text("basic_auth_users: [")
        service.process.send(signal.SIGHUP)
        await asyncio.to_thread(service.process.said, re.compile("reload refused: .*web.yml"))
        web_config.write_text(good)
        service.process.send(signal.SIGHUP)
        await asyncio.to_thread(service.process.said, re.compile("settings reloaded"))
        assert await service.post() == 401


async def test_a_signal_while_the_first_poll_hangs_is_not_lost_and_not_deadly(
    org: OrgAtWork, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    org.org.faults.add(Fault("*", "slow", delay_seconds=600))
    service = Service(tmp_path, org, http)
    with service.process:
        await asyncio.to_thread(service.process.url)
        service.process.send(signal.SIGHUP)
        await asyncio.to_thread(service.process.said, re.compile("settings reloaded: none has changed"))
        assert service.process.stop() == 0


async def test_the_demo_reloads_too(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    with Process(tmp_path, "demo", "--queues", "3", "--port", "0") as process:
        served = Served(await asyncio.to_thread(process.url), http)
        await served.until(lambda samples: samples.get(THRESHOLD) == 3)
        (tmp_path / ".env").write_text("EXPORTER_ANOMALY_THRESHOLD=5\n", "utf-8")
        process.send(signal.SIGHUP)
        await served.until(lambda samples: samples.get(THRESHOLD) == 5)
        assert process.stop() == 0


def test_a_terminal_that_goes_away_ends_a_program_that_was_started_in_it(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    variables = {"EXPORTER_PORT": "0"}
    with subprocess.Popen(  # noqa: S603
        command("demo", "--queues", "3"),
        env=environment(tmp_path, variables),
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said = b""
        while b"Stop with Ctrl-C." not in said:
            said += os.read(ours, 4096)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        try:
            assert process.wait(10) in (0, 120)  # 120: Python could not write its last log lines
        finally:
            process.kill()
