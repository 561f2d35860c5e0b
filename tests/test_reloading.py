"""Reloads: which settings may change, that all are taken or none, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from exporter.account import open_client
from exporter.app import running
from exporter.errors import SettingsError
from exporter.models import ABANDONMENT
from exporter.reloading import LIVE, Reloader, changed
from exporter.settings import Settings
from exporter.simulator import OrgConfig
from tests.conftest import FakeClock, OrgAtWork

Make = Callable[..., Settings]
Org = Callable[[OrgConfig], Awaitable[OrgAtWork]]

#: Another value than the default for every setting, and what else it takes to be valid.
OTHER = {
    "GENESYS_CLIENT_ID": {"GENESYS_CLIENT_ID": "another-client"},
    "GENESYS_CLIENT_SECRET": {"GENESYS_CLIENT_SECRET": "another-secret"},
    "GENESYS_ENVIRONMENT": {"GENESYS_ENVIRONMENT": "mypurecloud.de"},
    "GENESYS_CONTRACT": {"GENESYS_CONTRACT": "summary"},
    "GENESYS_LOGIN_URL": {"GENESYS_LOGIN_URL": "https://login.example"},
    "GENESYS_API_URL": {"GENESYS_API_URL": "https://api.example"},
    "GENESYS_QUEUE_IDS": {"GENESYS_QUEUE_IDS": "3f2504e0-4f89-11d3-9a0c-0305e82c3301"},
    "GENESYS_QUEUE_INCLUDE": {"GENESYS_QUEUE_INCLUDE": "^Sales"},
    "GENESYS_QUEUE_EXCLUDE": {"GENESYS_QUEUE_EXCLUDE": "test$"},
    "GENESYS_MEDIA_TYPES": {"GENESYS_MEDIA_TYPES": "voice"},
    "GENESYS_REQUESTS_PER_MINUTE": {"GENESYS_REQUESTS_PER_MINUTE": "200"},
    "EXPORTER_HOST": {"EXPORTER_HOST": "::1"},
    "EXPORTER_PORT": {"EXPORTER_PORT": "1"},
    "EXPORTER_POLL_INTERVAL": {"EXPORTER_POLL_INTERVAL": "30"},
    "EXPORTER_BUCKET": {"EXPORTER_BUCKET": "PT1H"},
    "EXPORTER_SETTLE": {"EXPORTER_SETTLE": "30"},
    "EXPORTER_BASELINE_DAYS": {"EXPORTER_BASELINE_DAYS": "14"},
    "EXPORTER_SCORE_METHOD": {"EXPORTER_SCORE_METHOD": "zscore"},
    "EXPORTER_ANOMALY_THRESHOLD": {"EXPORTER_ANOMALY_THRESHOLD": "4"},
    "EXPORTER_BASELINE_MIN_SAMPLES": {"EXPORTER_BASELINE_MIN_SAMPLES": "5"},
    "EXPORTER_ANOMALY_MIN_EVENTS": {"EXPORTER_ANOMALY_MIN_EVENTS": "5"},
    "EXPORTER_ANOMALY_MIN_DIFFERENCE": {"EXPORTER_ANOMALY_MIN_DIFFERENCE": "0.1"},
    "EXPORTER_ANOMALY_DIRECTION": {"EXPORTER_ANOMALY_DIRECTION": "both"},
    "EXPORTER_TIMEZONE": {"EXPORTER_TIMEZONE": "Europe/Berlin"},
    "EXPORTER_STALE_AFTER": {"EXPORTER_STALE_AFTER": "600"},
    "EXPORTER_MAX_SERIES": {"EXPORTER_MAX_SERIES": "10"},
    "EXPORTER_HISTORY": {"EXPORTER_HISTORY": ":memory:"},
    "EXPORTER_RETENTION_DAYS": {"EXPORTER_RETENTION_DAYS": "60"},
    "EXPORTER_ENABLE_RELOAD": {"EXPORTER_ENABLE_RELOAD": "true"},
    "EXPORTER_LOG_LEVEL": {"EXPORTER_LOG_LEVEL": "debug"},
    "EXPORTER_LOG_FORMAT": {"EXPORTER_LOG_FORMAT": "text"},
}
#: Live by themselves; each needs a file to be set.
FILES = {
    "GENESYS_CLIENT_ID_FILE",
    "GENESYS_CLIENT_SECRET_FILE",
    "EXPORTER_SECRETS_DIR",
}


class Desk:
    """A reloader over settings that a test writes; notes what is taken and told."""

    def __init__(self, settings: Settings) -> None:
        self.written: Settings | Exception = settings
        self.faults: list[str] = []
        self.taken: list[Settings] = []
        self.shown: list[Settings] = []
        self.ends: list[bool] = []
        self.reloader = Reloader(
            settings, self.read, judges=[self.judge, self.judge], take=self.taken.append, afterwards=self.show
        )
        self.reloader.on_end.append(self.ends.append)

    def read(self) -> Settings:
        if isinstance(self.written, Exception):
            raise self.written
        return self.written

    def judge(self, settings: Settings) -> None:
        if self.faults:
            raise SettingsError([self.faults.pop(0)])

    async def show(self) -> None:
        self.shown.append(self.taken[-1])


@pytest.fixture(autouse=True)
def _own_logging(own_logging: logging.Logger) -> None:
    """What a reload sets up in the root logger is undone."""


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "exporter.reloading"]


# What may change


@pytest.mark.parametrize("variable", OTHER)
async def test_a_change_is_taken_or_needs_a_restart(
    make_settings: Make, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    caplog.set_level(logging.INFO)
    desk = Desk(make_settings(EXPORTER_LOG_FORMAT="json"))
    desk.written = make_settings(**{"EXPORTER_LOG_FORMAT": "json"} | OTHER[variable])
    assert await desk.reloader.reload() == (variable in LIVE)
    if variable in LIVE:
        assert desk.taken == desk.shown == [desk.written]
    else:
        assert desk.taken == desk.shown == []
        assert f"reload refused: {variable} cannot change without a restart" in lines(caplog)


def test_every_setting_that_changes_is_tried_above() -> None:
    assert LIVE - OTHER.keys() == FILES


async def test_every_change_that_needs_a_restart_is_named_and_nothing_is_taken(
    make_settings: Make, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(make_settings())
    desk.written = make_settings(EXPORTER_PORT="1", EXPORTER_BUCKET="PT1H", EXPORTER_ANOMALY_THRESHOLD="4")
    desk.faults = ["the budget is too small", "the web configuration is broken"]
    assert not await desk.reloader.reload()
    assert lines(caplog) == [
        "reload refused: EXPORTER_PORT cannot change without a restart",
        "reload refused: EXPORTER_BUCKET cannot change without a restart",
        "reload refused: the budget is too small",
        "reload refused: the web configuration is broken",
    ]
    assert (desk.taken, desk.shown, desk.ends) == ([], [], [False])


async def test_what_was_refused_is_still_a_change_the_next_time(make_settings: Make) -> None:
    desk = Desk(make_settings())
    desk.written = make_settings(EXPORTER_PORT="1")
    assert not await desk.reloader.reload()
    assert not await desk.reloader.reload()
    desk.written = make_settings(EXPORTER_SETTLE="30")
    assert await desk.reloader.reload()
    assert desk.ends == [False, False, True]


async def test_faults_of_the_settings_are_a_line_each(make_settings: Make, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(make_settings())
    desk.written = SettingsError(["EXPORTER_PORT: too high", "EXPORTER_SETTLE: too low"])
    assert not await desk.reloader.reload()
    assert lines(caplog) == ["reload refused: EXPORTER_PORT: too high", "reload refused: EXPORTER_SETTLE: too low"]


async def test_a_defect_is_a_refusal(make_settings: Make, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(make_settings())
    desk.written = RuntimeError("boom")
    assert not await desk.reloader.reload()
    assert "please report this" in lines(caplog)[0]
    assert desk.ends == [False]


# What is told


async def test_a_reload_is_one_line_with_all_changes_and_no_secret(
    make_settings: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    desk = Desk(make_settings())
    desk.written = make_settings(
        GENESYS_CLIENT_SECRET="hush-hush",
        EXPORTER_POLL_INTERVAL="30",
        EXPORTER_ANOMALY_DIRECTION="low",
    )
    assert await desk.reloader.reload()
    (line,) = lines(caplog)
    assert line == (
        "settings reloaded: GENESYS_CLIENT_SECRET changed; EXPORTER_POLL_INTERVAL 60 → 30;"
        " EXPORTER_ANOMALY_DIRECTION abandonment_ratio=high,sla_breach_ratio=high,offered_contacts=both →"
        " abandonment_ratio=low,sla_breach_ratio=low,offered_contacts=low; EXPORTER_STALE_AFTER 180 → 90"
    )


async def test_a_reload_without_a_change_says_so(make_settings: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    desk = Desk(make_settings())
    assert await desk.reloader.reload()
    assert lines(caplog) == ["settings reloaded: none has changed"]


async def test_new_doubts_are_warned_of(make_settings: Make, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(make_settings())
    desk.written = make_settings(GENESYS_REQUESTS_PER_MINUTE="301")
    assert await desk.reloader.reload()
    assert "grants a client 300 calls" in lines(caplog)[0]


async def test_the_log_level_holds_at_once(make_settings: Make) -> None:
    desk = Desk(make_settings())
    desk.written = make_settings(EXPORTER_LOG_LEVEL="error")
    assert await desk.reloader.reload()
    assert logging.getLogger().level == logging.ERROR


async def test_reloads_come_one_after_the_other(make_settings: Make) -> None:
    desk, events = Desk(make_settings()), list[str]()
    desk.reloader.on_begin.append(lambda: events.append("begin"))
    desk.reloader.on_end.append(lambda taken: events.append("end"))
    assert await asyncio.gather(*(desk.reloader.reload() for _ in range(3))) == [True, True, True]
    assert events == ["begin", "end"] * 3


def test_equal_settings_do_not_differ(make_settings: Make) -> None:
    variables = {"GENESYS_QUEUE_INCLUDE": "^Sales", "EXPORTER_TIMEZONE": "Europe/Berlin"}
    assert changed(make_settings(**variables), make_settings(**variables)) == set()


# The parts of the exporter


class Working:
    """An exporter at work over a simulated org, and the variables that its next reload reads."""

    def __init__(self, org: OrgAtWork, make_settings: Make, clock: FakeClock, **variables: str) -> None:
        self.org, self.make, self.clock = org, make_settings, clock
        self.variables = org.variables | {"EXPORTER_PORT": "0"} | variables
        self.at_work = running(self.settings(), clock, read=self.settings)

    def settings(self) -> Settings:
        return self.make(**self.variables)


async def test_the_parts_follow(start_org: Org, make_settings: Make, clock: FakeClock) -> None:
    working = Working(await start_org(OrgConfig(queues=4)), make_settings, clock)
    async with working.at_work as exporter:
        await exporter.poller.first_poll_done.wait()
        working.variables |= {
            "EXPORTER_SCORE_METHOD": "zscore",
            "EXPORTER_ANOMALY_THRESHOLD": "7",
            "EXPORTER_MAX_SERIES": "3",
        }
        assert await exporter.reloader.reload()
        snapshot = exporter.publisher.snapshot
        assert snapshot is not None
        assert snapshot.scores is not None
        assert (snapshot.scores.method, snapshot.scores.threshold) == ("zscore", 7)
        assert ABANDONMENT in snapshot.scores.metrics
        assert snapshot.dropped_series > 0


@pytest.mark.parametrize("contract", ["aggregates", "summary"])
async def test_the_client_follows(make_settings: Make, clock: FakeClock, contract: str) -> None:
    async with open_client(make_settings(GENESYS_CONTRACT=contract), clock, lambda event: None) as client:
        now = clock.now() + timedelta(seconds=30)
        before = client.source.current_window(now)
        client.follow(
            make_settings(
                GENESYS_CONTRACT=contract,
                GENESYS_REQUESTS_PER_MINUTE="7",
                EXPORTER_SETTLE="0",
                GENESYS_CLIENT_SECRET="another",
            )
        )
        assert client.gate.per_minute == 7
        assert client.source.current_window(now).end > before.end
        assert client.credentials().client_secret == "another"


async def test_a_reload_before_the_first_poll_publishes_nothing_empty(
    start_org: Org, make_settings: Make, clock: FakeClock
) -> None:
    working = Working(await start_org(OrgConfig(queues=2)), make_settings, clock)
    async with working.at_work as exporter:
        assert await exporter.reloader.reload()
        assert exporter.publisher.snapshot is None or exporter.poller.first_poll_done.is_set()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"GENESYS_REQUESTS_PER_MINUTE": "2"}, "GENESYS_REQUESTS_PER_MINUTE: 2 cannot hold the"),
        ({"GENESYS_CLIENT_ID": "another-client"}, "GENESYS_CLIENT_ID cannot change without a restart"),
    ],
)
async def test_what_the_exporter_at_work_could_not_bear_is_refused(
    start_org: Org,
    make_settings: Make,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    words: str,
) -> None:
    working = Working(await start_org(OrgConfig(queues=150)), make_settings, clock)
    async with working.at_work as exporter:
        await exporter.poller.first_poll_done.wait()
        working.variables |= variables
        assert not await exporter.reloader.reload()
        assert words in lines(caplog)[-1]


async def test_an_id_that_only_moves_into_a_file_is_taken(
    start_org: Org, make_settings: Make, clock: FakeClock, tmp_path: Path
) -> None:
    working = Working(await start_org(OrgConfig(queues=2)), make_settings, clock)
    async with working.at_work as exporter:
        file = tmp_path / "client-id"
        file.write_text(working.variables["GENESYS_CLIENT_ID"] + "\n", "utf-8")
        working.variables |= {"GENESYS_CLIENT_ID": "", "GENESYS_CLIENT_ID_FILE": str(file)}
        assert await exporter.reloader.reload()


async def test_over_http_only_who_is_allowed_and_is_no_browser_reloads(
    start_org: Org, make_settings: Make, clock: FakeClock
) -> None:
    working = Working(await start_org(OrgConfig(queues=2)), make_settings, clock, EXPORTER_ENABLE_RELOAD="true")
    async with working.at_work as exporter, aiohttp.ClientSession(exporter.url) as http:
        ends: list[bool] = []
        exporter.reloader.on_end.append(ends.append)

        async def asked(method: str = "POST", **options: object) -> int:
            async with http.request(method, "/-/reload", **options) as answer:  # type: ignore[arg-type]
                return answer.status

        assert await asked("GET") == 405
        assert await asked(headers={"Origin": exporter.url}) == 403
        assert await asked(headers={"Origin": "null"}) == 403
        assert await asked(headers={"Sec-Fetch-Site": "cross-site"}) == 403
        assert await asked(data=b"x") == 400
        assert await asked(params={"x": "1"}) == 400
        assert ends == []
        assert await asked() == 200
        working.variables["EXPORTER_PORT"] = "1"
        async with http.post("/-/reload") as answer:
            assert answer.status == 422
            assert "EXPORTER_PORT" not in await answer.text()
        assert ends == [True, False]


async def test_over_http_nobody_reloads_unless_it_is_allowed(
    start_org: Org, make_settings: Make, clock: FakeClock
) -> None:
    working = Working(await start_org(OrgConfig(queues=2)), make_settings, clock)
    async with (
        working.at_work as exporter,
        aiohttp.ClientSession(exporter.url) as http,
        http.post("/-/reload") as answer,
    ):
        assert answer.status == 403
        assert "EXPORTER_ENABLE_RELOAD" in (await answer.json())["message"]
