"""Credentials and permissions that are refused: what it costs, who says so, and that mending them needs no restart."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from exporter.simulator import OrgConfig
from exporter.simulator.oauth import ALL_PERMISSIONS, QUEUE_OBSERVATIONS
from tests.end_to_end.conftest import Starter
from tests.end_to_end.reading import ALL_UP

OBSERVED = {
    "genesys_queue_waiting_contacts",
    "genesys_queue_interacting_contacts",
    "genesys_queue_alerting_contacts",
    "genesys_queue_agents",
}
NO_OBSERVATIONS = ALL_PERMISSIONS - {QUEUE_OBSERVATIONS}


async def test_a_secret_rotated_in_its_file_is_taken_up_by_the_next_poll(start: Starter, tmp_path: Path) -> None:
    config = OrgConfig(queues=3)
    secret_file = tmp_path / "client-secret"
    secret_file.write_text(config.client_secret + "\n", "utf-8")
    at_work = await start(config, GENESYS_CLIENT_SECRET="", GENESYS_CLIENT_SECRET_FILE=str(secret_file))
    good = await at_work.filled()
    assert good.up == ALL_UP

    at_work.org.rotate_secret("rotated-secret")
    refused = await at_work.polls()
    assert refused.up | {"queues": 1.0, "history": 1.0} == ALL_UP | {"window": 0.0, "observations": 0.0}
    assert refused.failures == {"auth": 1.0}
    told = (await at_work.dashboard())["datasets"]["window"]["message"]
    assert "check the client id and secret" in told

    secret_file.write_text("rotated-secret\n", "utf-8")
    mended = await at_work.polls()
    assert mended.up == ALL_UP
    assert mended.failures == refused.failures
    await at_work.assert_window_is_true()
    pages = [(await at_work.get(path)).text for path in ("/metrics", "/dashboard", "/", "/-/ready")]
    assert [page for page in pages if "rotated-secret" in page or config.client_secret in page] == []


async def test_refused_credentials_are_not_tried_at_every_poll_but_new_ones_are_at_once(
    start: Starter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = OrgConfig(queues=3)
    secret_file = tmp_path / "client-secret"
    secret_file.write_text(config.client_secret, "utf-8")
    at_work = await start(config, GENESYS_CLIENT_SECRET="", GENESYS_CLIENT_SECRET_FILE=str(secret_file))
    await at_work.filled()
    at_work.org.rotate_secret("rotated-secret")
    before, begin = len(at_work.org.calls("token")), at_work.clock.now()
    refused = await at_work.polls(20)
    minutes = (at_work.clock.now() - begin).total_seconds() / 60
    assert refused.failures["auth"] == 20
    assert 3 <= len(at_work.org.calls("token")) - before <= 3 + minutes / 5 + 1
    ready = await at_work.get("/-/ready")
    assert ready.status == 503
    assert "check the client id and secret" in ready.text
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([each for each in told if "check the client id" in each]) == len(told) == 1  # in twenty minutes

    secret_file.write_text("rotated-secret", "utf-8")
    mended = await at_work.polls()
    assert mended.up == ALL_UP
    assert (await at_work.get("/-/ready")).status == 200


async def test_without_the_permission_for_observations_only_they_are_missing(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3, permissions=NO_OBSERVATIONS))
    samples = await at_work.filled()
    assert samples.up == ALL_UP | {"observations": 0.0}
    assert samples.failures == {"permission": samples.total("genesys_exporter_polls_total")}
    assert samples.names() & OBSERVED == set()
    assert {"genesys_queue_offered_contacts", "genesys_queue_zscore", "genesys_queue_info"} <= samples.names()
    page = await at_work.dashboard()
    assert page["status"] == "success"
    assert QUEUE_OBSERVATIONS in page["datasets"]["observations"]["message"]
    assert {row["waitingContacts"] for row in page["metrics"]} == {None}
    assert (await at_work.get("/-/ready")).status == 200
    await at_work.assert_window_is_true()


async def test_a_permission_that_is_taken_away_and_given_back_needs_no_restart(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3))
    assert (await at_work.filled()).names() >= OBSERVED
    at_work.org.client.permissions = NO_OBSERVATIONS
    taken = await at_work.polls()
    assert taken.up == ALL_UP | {"observations": 0.0}
    assert taken.names() >= OBSERVED  # not stale yet

    stale = await at_work.until(lambda samples: not samples.names() & OBSERVED, within_seconds=241)
    assert "genesys_queue_offered_contacts" in stale.names()
    before = len(at_work.org.calls("observations"))
    await at_work.polls(10)
    assert len(at_work.org.calls("observations")) - before <= 3

    at_work.org.client.permissions = ALL_PERMISSIONS
    given = await at_work.until(lambda samples: samples.up == ALL_UP, within_seconds=361)
    assert given.names() >= OBSERVED
