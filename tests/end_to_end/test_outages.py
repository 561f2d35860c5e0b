"""When nothing answers: at the start, for longer than data may be old, or for a day by Genesys Cloud's own word."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import aiohttp

from exporter.app import running
from exporter.settings import load_settings
from exporter.simulator import Fault, OrgConfig, SimulatedOrg, serve
from tests.end_to_end.conftest import Starter
from tests.end_to_end.moving import SMALL, AtWork, MovingClock
from tests.end_to_end.reading import ALL_UP

OFFERED = "genesys_queue_offered_contacts"
STALE_AFTER = 240


def of_queues(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(("genesys_queue_", "genesys_org_"))}


async def test_an_api_that_comes_up_after_the_exporter_is_found(
    tmp_path: Path, http: aiohttp.ClientSession, moving_clock: MovingClock
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    org = SimulatedOrg(OrgConfig(queues=3), clock=moving_clock.now)
    url = f"http://127.0.0.1:{port}"
    variables = {
        "GENESYS_CLIENT_ID": org.config.client_id,
        "GENESYS_CLIENT_SECRET": org.config.client_secret,
        "GENESYS_LOGIN_URL": url,
        "GENESYS_API_URL": url,
        "EXPORTER_HISTORY": str(tmp_path / "history.sqlite3"),
    }
    async with running(load_settings(variables | SMALL), moving_clock) as exporter:
        at_work = AtWork(exporter.url, http, org, moving_clock, exporter)
        down = await at_work.polls(2)
        assert down.up == dict.fromkeys(ALL_UP, 0.0)
        assert down.failures.keys() == {"unavailable", "error"}
        assert of_queues(down.names()) == set()
        ready, healthy = await at_work.get("/-/ready"), await at_work.get("/-/healthy")
        assert (ready.status, healthy.status) == (503, 200)
        assert ready.text.startswith("not ready: no window was fetched yet: token: ")
        for path in ("/dashboard", "/export.csv", "/api/dashboard/metrics"):
            answer = await at_work.get(path)
            assert (answer.status, answer.json["status"]) == (503, "error"), path

        async with serve(org, port=port):
            found = await at_work.polls()
            assert found.up == ALL_UP
            assert (await at_work.get("/-/ready")).status == 200
            await at_work.filled()
            await at_work.assert_window_is_true()


async def test_without_the_directory_queues_go_by_their_ids_until_it_answers(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3), lambda org: org.faults.add(Fault("queues", status=503)))
    down = await at_work.polls(2)
    assert down.up == ALL_UP | {"queues": 0.0, "observations": 0.0}
    assert down.label_values(OFFERED, "queue_name") == down.label_values(OFFERED, "queue_id") != set()
    await at_work.assert_window_is_true()
    at_work.org.faults.clear()
    found = await at_work.polls()
    assert found.up == ALL_UP
    assert found.label_values(OFFERED, "queue_name") <= {queue.name for queue in at_work.org.queues}
    assert {row.name for row in await at_work.history()} <= {queue.name for queue in at_work.org.queues}


async def test_data_that_are_too_old_are_withdrawn_and_come_back_with_the_first_good_poll(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3), EXPORTER_STALE_AFTER=str(STALE_AFTER))
    good = await at_work.filled()
    last_good = good.get("genesys_exporter_last_success_timestamp_seconds", dataset="window")
    at_work.org.faults.add(Fault("*", "reset"))
    while at_work.clock.now().timestamp() - last_good < STALE_AFTER - 61:  # type: ignore[operator]
        samples = await at_work.polls()
    assert samples.by_series(OFFERED) == good.by_series(OFFERED)
    assert (await at_work.get("/-/ready")).status == 200

    lasting = at_work.clock.now().timestamp() - last_good  # type: ignore[operator]
    at_work.clock.advance(STALE_AFTER - lasting + 0.001)  # floats of 2026 are exact to a quarter of a microsecond
    stale = await at_work.metrics()
    left = {
        "genesys_queue_info",
        *(f"genesys_queue_{name}_contacts_total" for name in ("offered", "abandoned", "sla_breached")),
    }
    assert of_queues(stale.names()) == left  # the directory and closed buckets may be older
    assert stale.get("genesys_exporter_last_success_timestamp_seconds", dataset="window") == last_good
    assert stale.total("genesys_exporter_series") == len([name for name, _ in stale.values if name in left])
    assert stale.failures.keys() == {"unavailable"}
    await assert_told_stale(at_work)

    gone = await at_work.until(lambda samples: not of_queues(samples.names()))
    assert {"genesys_up", "genesys_exporter_polls_total", "process_resident_memory_bytes"} <= gone.names()

    at_work.org.faults.clear()
    back = await at_work.polls()
    assert back.up == ALL_UP
    assert (await at_work.dashboard())["status"] == "success"
    assert (await at_work.get("/-/ready")).status == 200
    await at_work.assert_window_is_true()


async def assert_told_stale(at_work: AtWork) -> None:
    page = await at_work.dashboard()
    assert (page["status"], page["metrics"], page["alerts"]) == ("stale", [], [])
    assert page["message"].startswith("the window's data are stale: ")
    envelope = (await at_work.get("/api/dashboard/metrics")).json
    assert (envelope["status"], envelope["metrics"]) == ("stale", [])
    assert (await at_work.get("/export.csv")).text.count("\r\n") == 1
    ready = await at_work.get("/-/ready")
    assert (ready.status, (await at_work.get("/-/healthy")).status) == (503, 200)
    assert ready.text.startswith("not ready: the window's data are stale: ")


async def test_a_retry_after_of_a_day_ends_the_poll_and_the_next_tries_come_within_three_minutes(
    start: Starter,
) -> None:
    at_work = await start(OrgConfig(queues=3))
    await at_work.filled()
    fault = at_work.org.faults.add(Fault("aggregates", status=429, retry_after=86_400, times=1))
    refused = await at_work.polls()
    assert fault.fired == 1
    assert refused.failures == {"rate_limited": 1.0}
    assert refused.total("genesys_exporter_api_retries_total", endpoint="aggregates") == 0
    told = (await at_work.dashboard())["datasets"]["window"]["message"]
    assert "86400" in told
    struck = at_work.org.calls("aggregates")[-1].at

    waiting = await at_work.polls(2)
    assert waiting.failures == {"rate_limited": 3.0}
    assert [request for request in at_work.org.requests if request.at > struck] == []
    back = await at_work.polls()
    assert back.up == ALL_UP
    assert at_work.org.calls("aggregates")[-1].at - struck >= timedelta(seconds=180)
    await at_work.assert_window_is_true()
