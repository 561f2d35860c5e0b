"""The composition root: what it refuses before anything runs, and what it goes on without."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from exporter.account import open_client
from exporter.app import analyst_of, open_history, running
from exporter.budget import check_budget
from exporter.errors import AuthError, ExporterError, SettingsError
from exporter.genesys.source import CallPlan
from exporter.models import ABANDONMENT, WINDOW_COLUMNS, BucketBatch, QueueTable, SeriesKey, Window
from exporter.settings import Settings
from exporter.simulator import OrgConfig
from tests.conftest import FakeClock, OrgAtWork

Make = Callable[..., Settings]
Org = Callable[[OrgConfig], Awaitable[OrgAtWork]]


# The call budget


@pytest.mark.parametrize(
    ("plan", "variables", "needed"),
    [
        (CallPlan({"aggregates": 1, "observations": 0}, 1, 1), {}, 1 + 0.1 + 1 / 15),
        (CallPlan({"aggregates": 1, "observations": 5}, 2, 1), {"EXPORTER_POLL_INTERVAL": "30"}, 12 + 0.2 + 1 / 15),
        (CallPlan({"summary": 3}, 0, 24), {"EXPORTER_BUCKET": "PT1H"}, 3 + 24 / 60),
        (CallPlan({"aggregates": 1}, 0, 0), {"GENESYS_REQUESTS_PER_MINUTE": "1"}, 1.0),
    ],
)
def test_the_budget_is_the_average_of_a_minute(
    make_settings: Make, plan: CallPlan, variables: dict[str, str], needed: float
) -> None:
    assert check_budget(plan, make_settings(**variables), 10) == pytest.approx(needed)


def test_a_budget_that_does_not_fit_is_refused_with_the_numbers_and_the_ways_out(make_settings: Make) -> None:
    plan = CallPlan({"aggregates": 1, "observations": 100}, 40, 1)
    with pytest.raises(SettingsError) as refused:
        check_budget(plan, make_settings(EXPORTER_POLL_INTERVAL="30"), 20_000)
    (fault,) = refused.value.faults
    assert fault == (
        "GENESYS_REQUESTS_PER_MINUTE: 100 cannot hold the 206.1 calls a minute that 20000 queues need"
        " (1 aggregates, 100 observations calls in every poll, every 30 s); write at least 227"
        " (the service allows 300 for one client), or EXPORTER_POLL_INTERVAL=64, or select fewer queues"
    )


def test_an_interval_that_it_names_as_a_way_out_is_one(make_settings: Make) -> None:
    plan = CallPlan({"aggregates": 1, "observations": 100}, 40, 1)
    assert check_budget(plan, make_settings(EXPORTER_POLL_INTERVAL="64"), 20_000) <= 100


def test_where_no_interval_helps_none_is_named(make_settings: Make) -> None:
    plan = CallPlan({"aggregates": 1}, 400, 1)
    with pytest.raises(SettingsError) as refused:
        check_budget(plan, make_settings(GENESYS_REQUESTS_PER_MINUTE="20"), 200_000)
    assert "EXPORTER_POLL_INTERVAL" not in refused.value.faults[0]


async def test_what_cannot_fit_at_any_size_of_the_org_is_refused_before_a_socket_opens(make_settings: Make) -> None:
    settings = make_settings(
        EXPORTER_POLL_INTERVAL="1", GENESYS_REQUESTS_PER_MINUTE="59", EXPORTER_HOST="no-such-host.invalid"
    )
    with pytest.raises(SettingsError, match="59 cannot hold"):
        async with running(settings):
            pass


# What it goes on without


def test_a_history_file_that_cannot_be_used_leaves_memory_and_says_why(
    make_settings: Make, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    (tmp_path / "history.sqlite3").mkdir()
    history = open_history(settings, clock)
    assert history.disk_error is not None
    assert "history is kept in memory alone until a restart" in caplog.text
    history.close()


def test_histories_of_other_clients_contracts_and_buckets_in_one_file_are_not_mixed(
    make_settings: Make, clock: FakeClock
) -> None:
    variables = [
        {},
        {"GENESYS_CLIENT_ID": "another-client"},
        {"GENESYS_CONTRACT": "summary"},
        {"EXPORTER_BUCKET": "PT1H"},
    ]
    start = int(clock.now().timestamp()) // 3600 * 3600 - 3600
    for others in variables:
        settings = make_settings(**others)
        history = open_history(settings, clock)
        assert start in history.missing(start, start + 3600), others
        counts = {"offered": np.array([[1]], np.int64)}
        starts = np.array([start], np.int64)
        history.merge(BucketBatch(settings.bucket_seconds, starts, (SeriesKey("a", "voice"),), counts))
        history.close()


async def test_a_secret_file_that_has_gone_is_a_refusal_and_not_the_end(
    start_org: Org, make_settings: Make, tmp_path: Path, clock: FakeClock
) -> None:
    org = await start_org(OrgConfig(queues=2))
    secret_file = tmp_path / "client-secret"
    secret_file.write_text(org.variables["GENESYS_CLIENT_SECRET"], "utf-8")
    variables = org.variables | {"GENESYS_CLIENT_SECRET": "", "GENESYS_CLIENT_SECRET_FILE": str(secret_file)}
    settings = make_settings(**variables)
    secret_file.unlink()
    async with open_client(settings, clock, lambda event: None) as client:
        with pytest.raises(AuthError, match=r"GENESYS_CLIENT_SECRET_FILE: .*client-secret"):
            await client.api.token(clock.monotonic() + 30)
        secret_file.write_text(org.variables["GENESYS_CLIENT_SECRET"], "utf-8")
        clock.advance(2)
        await client.api.token(clock.monotonic() + 30)


# Scores


@pytest.mark.parametrize(
    ("variables", "flagged"),
    [
        ({}, True),
        ({"EXPORTER_ANOMALY_MIN_EVENTS": "61"}, False),
        ({"EXPORTER_ANOMALY_MIN_EVENTS": "60"}, True),
        ({"EXPORTER_ANOMALY_MIN_DIFFERENCE": "0.6"}, False),
        ({"EXPORTER_ANOMALY_DIRECTION": "low"}, False),
        ({"EXPORTER_ANOMALY_DIRECTION": "abandonment=both,sla_breach=low"}, True),
        ({"EXPORTER_BASELINE_DAYS": "35"}, True),
    ],
)
def test_the_guards_that_are_set_decide_what_is_flagged(
    make_settings: Make, clock: FakeClock, variables: dict[str, str], flagged: bool
) -> None:
    """A week in which one caller of ten gives up, then a quarter in which 60 of 100 do."""
    settings = make_settings(EXPORTER_HISTORY=":memory:", **variables)
    queue, end = SeriesKey("a", "voice"), int(clock.now().timestamp())
    starts = np.arange(end - settings.baseline_days * 86_400, end, 900)
    counts = {name: np.full((len(starts), 1), n) for name, n in (("offered", 100), ("abandoned", 10))}
    history = open_history(settings, clock)
    analyst = analyst_of(settings, history)
    analyst.merge(BucketBatch(900, starts, (queue,), counts))
    window = Window.of_epoch(end, end + 900)
    zero = {name: np.zeros(1) for name in WINDOW_COLUMNS}
    table = QueueTable(window, (queue,), {**zero, "offered": np.array([100.0]), "abandoned": np.array([60.0])})
    made = analyst.snapshot(now=window.end, directory=None, window=table, observations=None, datasets={})
    assert made.scores is not None
    assert made.scores.metrics[ABANDONMENT].anomaly[0] == flagged
    history.close()


# Listening


async def test_a_port_that_is_taken_is_an_error_that_names_the_settings(make_settings: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ExporterError, match=f"cannot listen on 127.0.0.1 port {port}: .*set EXPORTER_HOST or"):
            async with running(make_settings(EXPORTER_PORT=str(port))):
                pass


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],  # noqa: S104
)
async def test_the_address_that_is_told_can_be_opened(
    start_org: Org, make_settings: Make, clock: FakeClock, host: str, shown: str
) -> None:
    org = await start_org(OrgConfig(queues=1))
    settings = make_settings(**org.variables, EXPORTER_HOST=host, EXPORTER_PORT="0")
    async with running(settings, clock) as exporter, aiohttp.ClientSession() as http:
        assert exporter.url.startswith(f"http://{shown}:")
        async with http.get(f"{exporter.url}/-/healthy") as answer:
            assert answer.status == 200


async def test_nothing_is_left_when_it_has_stopped(start_org: Org, make_settings: Make, clock: FakeClock) -> None:
    org = await start_org(OrgConfig(queues=2))
    before = asyncio.all_tasks()
    async with running(make_settings(**org.variables, EXPORTER_PORT="0"), clock) as exporter:
        await exporter.poller.first_poll_done.wait()
    assert exporter.work.cancelled()
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() - before if "exporter" in repr(task)} == set()
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"{exporter.url}/-/healthy")
