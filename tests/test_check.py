"""`check`: the table of what works, the permission that is missing, the budget, and the exit code."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.settings import VARIABLES
from exporter.simulator import Fault, OrgConfig
from exporter.simulator.oauth import ALL_PERMISSIONS, CONVERSATIONS, QUEUE_OBSERVATIONS, QUEUE_VIEW, REPORTS
from tests.conftest import FakeClock, OrgAtWork
from tests.end_to_end.redis_server import RedisServer

Org = Callable[[OrgConfig], Awaitable[OrgAtWork]]


@pytest.fixture
def clock() -> FakeClock:
    """The org's time is everybody's: a command takes no other."""
    return FakeClock(datetime.now(UTC))


class Checked:
    """One run of `check`: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        before, _, after = out.partition("\n\n")
        settings, tried = (
            [re.split(r"\s{2,}", line, maxsplit=2) for line in part.splitlines()] for part in (before, after)
        )
        self.settings = {line[0]: tuple(line[1:]) for line in settings}
        self.rows = {line[0]: line[1] for line in tried if len(line) == 3}
        self.details = {line[0]: line[2] for line in tried if len(line) == 3}


PASSWORD = "s3cret-of-redis"


Check = Callable[[Mapping[str, str]], Awaitable[Checked]]


@pytest.fixture
def check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, own_logging: logging.Logger
) -> Check:
    """Runs `check` with these variables and no others."""
    monkeypatch.chdir(tmp_path)

    async def run(variables: Mapping[str, str]) -> Checked:
        for name, value in {"EXPORTER_HISTORY": str(tmp_path / "history.sqlite3"), **variables}.items():
            monkeypatch.setenv(name, value)
        code = await asyncio.to_thread(main, ["check"])
        return Checked(code, *capsys.readouterr())

    return run


async def test_all_good_is_exit_0_with_the_budget(start_org: Org, check: Check) -> None:
    org = await start_org(OrgConfig(queues=7))
    checked = await check(org.variables)
    assert checked.code == 0
    assert checked.rows == dict.fromkeys(("token", "queues", "window", "observations"), "ok")
    assert checked.details["queues"] == "7 queues selected"
    budget = "budget  2.2 calls a minute for 7 queues at an interval of 60 s; GENESYS_REQUESTS_PER_MINUTE is 100"
    assert checked.out.splitlines()[-1] == budget
    assert [request.endpoint for request in org.org.requests] == ["token", "queues", "aggregates", "observations"]


@pytest.mark.parametrize(
    ("ceiling", "verdict"),
    [("250000", "none is left out"), ("700", "the quietest queues may be left out"), ("5", "queues are left out")],
)
async def test_the_ceiling_on_series_is_held_against_the_queues(
    start_org: Org, check: Check, ceiling: str, verdict: str
) -> None:
    org = await start_org(OrgConfig(queues=7))
    checked = await check(org.variables | {"EXPORTER_MAX_SERIES": ceiling, "GENESYS_MEDIA_TYPES": "voice,chat,email"})
    assert checked.code == 0
    (line,) = [line for line in checked.out.splitlines() if line.startswith("series ")]
    bounds = re.fullmatch(
        r"series  at least (\d+) now for 7 queues, at most (\d+) if each has chat, email, voice; .+", line
    )
    assert bounds
    assert 5 < int(bounds[1]) < 700 < int(bounds[2])
    assert f"EXPORTER_MAX_SERIES is {ceiling}: " in line
    assert line.endswith(verdict)


async def test_every_setting_is_shown_with_whether_it_was_set_and_no_secret(start_org: Org, check: Check) -> None:
    org = await start_org(OrgConfig(queues=3))
    many = ",".join(queue.id for queue in org.org.queues)
    checked = await check(org.variables | {"EXPORTER_BUCKET": "pt1h", "GENESYS_QUEUE_IDS": many})
    assert checked.settings.keys() == VARIABLES.keys()
    assert checked.settings["EXPORTER_BUCKET"] == ("set", "PT1H")
    assert checked.settings["EXPORTER_PORT"] == ("default", "10420")
    assert checked.settings["EXPORTER_WEB_CONFIG"] == ("default",)
    assert checked.settings["GENESYS_CLIENT_SECRET"] == ("set", "(set)")
    assert checked.settings["GENESYS_QUEUE_IDS"] == ("set", f"{many[:100]}…")
    for secret in (org.org.config.client_id, org.org.config.client_secret):
        assert secret not in checked.out + checked.err


async def test_files_that_cannot_work_are_exit_2_and_an_open_door_is_told(
    start_org: Org, check: Check, tmp_path: Path
) -> None:
    org = await start_org(OrgConfig(queues=3))
    checked = await check(org.variables | {"EXPORTER_HOST": "0.0.0.0"})  # noqa: S104 - nothing listens
    assert (checked.code, "whoever can reach 0.0.0.0 may read everything" in checked.err) == (0, True)
    (tmp_path / "web.yml").write_text("basic_auth_user: {}\n")
    called = len(org.org.requests)
    checked = await check({"EXPORTER_WEB_CONFIG": str(tmp_path / "web.yml")})
    assert (checked.code, checked.out, len(org.org.requests)) == (2, "", called)
    assert "line 1" in checked.err


async def test_with_the_summary_contract_the_answer_tells_how_many_queues_there_are(
    start_org: Org, check: Check
) -> None:
    org = await start_org(OrgConfig(queues=7))
    checked = await check(org.variables | {"GENESYS_CONTRACT": "summary"})
    assert checked.code == 0
    assert checked.rows == {"token": "ok", "window": "ok"}
    assert "calls a minute for 7 queues" in checked.out
    assert "now for 7 queues, at most 252; EXPORTER_MAX_SERIES is 250000: none is left out" in checked.out


@pytest.mark.parametrize(
    ("contract", "permission", "subject"),
    [
        ("aggregates", QUEUE_VIEW, "queues"),
        ("aggregates", CONVERSATIONS, "window"),
        ("aggregates", QUEUE_OBSERVATIONS, "observations"),
        ("summary", REPORTS, "window"),
    ],
)
async def test_a_missing_permission_is_exit_1_and_named_while_the_rest_is_tried(
    start_org: Org, check: Check, contract: str, permission: str, subject: str
) -> None:
    org = await start_org(OrgConfig(queues=3, permissions=ALL_PERMISSIONS - {permission}))
    checked = await check(org.variables | {"GENESYS_CONTRACT": contract})
    assert checked.code == 1
    assert checked.rows[subject] == "refused"
    assert f"need the permission {permission}" in checked.details[subject]
    others = {name: outcome for name, outcome in checked.rows.items() if name not in (subject, "observations")}
    assert set(others.values()) == {"ok"}
    assert "budget" in checked.out


async def test_refused_credentials_are_exit_1_and_nothing_else_is_tried(start_org: Org, check: Check) -> None:
    org = await start_org(OrgConfig(queues=3))
    checked = await check(org.variables | {"GENESYS_CLIENT_SECRET": "a-wrong-secret"})
    assert checked.code == 1
    assert checked.rows == {"token": "refused"}
    assert "check the client id and secret" in checked.details["token"]
    assert "a-wrong-secret" not in checked.out + checked.err
    assert checked.out.splitlines()[-2:] == [
        "series  cannot be told without the list of queues; EXPORTER_MAX_SERIES is 250000",
        "budget  cannot be told without the list of queues; GENESYS_REQUESTS_PER_MINUTE is 100",
    ]


async def test_what_fails_without_a_refusal_says_so(start_org: Org, check: Check) -> None:
    org = await start_org(OrgConfig(queues=3))
    org.org.faults.add(Fault("aggregates", "html", status=200))
    checked = await check(org.variables)
    assert checked.code == 1
    assert checked.rows == {"token": "ok", "queues": "ok", "window": "failed", "observations": "ok"}


async def test_a_client_without_queues_is_told_where_to_look(start_org: Org, check: Check) -> None:
    org = await start_org(OrgConfig(queues=3))
    org.org.client.divisions = frozenset({"no such division"})
    checked = await check(org.variables)
    assert checked.details["queues"].startswith("no queue is visible: ")
    assert "budget  cannot be told without the list of queues" in checked.out


async def test_a_budget_that_cannot_hold_the_org_is_exit_2_with_the_numbers(start_org: Org, check: Check) -> None:
    org = await start_org(OrgConfig(queues=3))
    checked = await check(org.variables | {"EXPORTER_POLL_INTERVAL": "1", "GENESYS_REQUESTS_PER_MINUTE": "119"})
    assert checked.code == 2
    assert "119 cannot hold the 120.2 calls a minute that 3 queues need" in checked.err
    assert "(1 aggregates, 1 observations calls in every poll, every 1 s)" in checked.err
    assert "write at least 133" in checked.err
    assert "or EXPORTER_POLL_INTERVAL=2" in checked.err


async def test_bad_settings_are_exit_2_without_a_call(start_org: Org, check: Check) -> None:
    org = await start_org(OrgConfig(queues=3))
    checked = await check(org.variables | {"EXPORTER_PORT": "http", "EXPORTER_BUCKET": "PT5M"})
    assert checked.code == 2
    assert {line.split()[1] for line in checked.err.splitlines()} == {"settings", "EXPORTER_PORT:", "EXPORTER_BUCKET:"}
    assert org.org.requests == []


async def test_redis_is_tried_where_the_settings_name_one(
    start_org: Org, check: Check, require_server: Callable[[str], str], tmp_path: Path
) -> None:
    org = await start_org(OrgConfig(queues=2))
    assert "redis" not in (await check(org.variables)).rows
    with RedisServer(require_server("redis-server"), tmp_path / "redis", PASSWORD) as redis:
        address = f"127.0.0.1:{redis.port}/0"
        checked = await check(org.variables | {"EXPORTER_REDIS_URL": f"redis://:{PASSWORD}@{address}"})
        assert (checked.code, checked.rows["redis"]) == (0, "ok")
        checked = await check(org.variables | {"EXPORTER_REDIS_URL": f"redis://:wrong-{PASSWORD}@{address}"})
        assert (checked.code, checked.rows["redis"]) == (1, "failed")
        assert "AuthenticationError" in checked.details["redis"]
    checked = await check(org.variables | {"EXPORTER_REDIS_URL": f"redis://:{PASSWORD}@{address}"})
    assert (checked.code, checked.rows["redis"], checked.rows["token"]) == (1, "failed", "ok")
    assert PASSWORD not in checked.out + checked.err
