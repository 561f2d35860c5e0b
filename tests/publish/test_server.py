"""The routes, asked over HTTP on loopback."""

from __future__ import annotations

import csv
import gc
import gzip
import io
import weakref
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter.models import OBSERVATIONS, WINDOW, DatasetState
from tests.publish.conftest import Client, Exporter
from tests.publish.samples import NOW, datasets, report

PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
ROUTES = ("/", "/metrics", "/dashboard", "/api/dashboard/metrics", "/export.csv", "/-/healthy", "/-/ready")


async def samples(client: Client, accept: str = "", gzipped: bool = False) -> dict[tuple[Any, ...], float]:
    """What /metrics holds, as its parser reads it."""
    headers = {"Accept": accept, "Accept-Encoding": "gzip" if gzipped else "identity"}
    async with client.get("/metrics", headers=headers) as response:
        assert response.status == 200
        body = await response.read()
    text = (gzip.decompress(body) if gzipped else body).decode()
    parse = openmetrics_families if "openmetrics" in accept else text_families
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


async def test_nothing_of_a_snapshot_stays_when_the_next_one_is_there_whatever_was_asked_for(
    client: Client, exporter: Exporter
) -> None:
    """It is megabytes, and would stay until a garbage collection many polls later."""
    await exporter.publish()
    for path in (*ROUTES, "/api/live/state", "/api/live/numbers", "/api/live/queues", "/dashboard?queue_id=q1"):
        for accept in ("", PROMETHEUS):
            for encoding in ("identity", "gzip", "identity"):
                async with client.get(path, headers={"Accept": accept, "Accept-Encoding": encoding}) as response:
                    assert await response.read()
    view = await exporter.publisher.view()
    assert view is not None
    numbers = view.shown.snapshot.columns["offered"]
    parts = [view, numbers, view._dashboard, view._envelope, view._table, *view._plain.values()]
    left = [weakref.ref(each) for each in parts]
    gc.collect()
    gc.disable()
    try:
        del view, numbers, parts
        await exporter.publish(id=1772356565251)
        for path in ("/metrics", "/", "/api/live/numbers"):  # what was kept for the old one is kept for the new one
            async with client.get(path) as response:
                assert await response.read()
        assert [each() for each in left if each() is not None] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("gzipped", [False, True])
async def test_both_formats_hold_the_same_samples(client: Client, exporter: Exporter, gzipped: bool) -> None:
    await exporter.publish()
    text, openmetrics = await samples(client, "", gzipped), await samples(client, PROMETHEUS, gzipped)
    changing = {name for name in text if name[0].startswith(("process_", "python_gc"))}
    assert text.keys() == openmetrics.keys()
    assert {key: text[key] for key in text if key not in changing} == {
        key: openmetrics[key] for key in openmetrics if key not in changing
    }
    assert text["genesys_exporter_snapshot_id",] == 1772356565250


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("accept", ["", PROMETHEUS])
async def test_the_exporters_own_metrics_are_of_the_moment_of_the_scrape(
    client: Client, exporter: Exporter, accept: str, gzipped: bool
) -> None:
    await exporter.publish()
    polls = []
    for _ in range(3):
        exporter.metrics.on_report(report())
        polls.append((await samples(client, accept, gzipped))["genesys_exporter_polls_total",])
    assert polls == [1, 2, 3]


@pytest.mark.parametrize(
    ("headers", "content_type", "encoding"),
    [
        ({"Accept": PROMETHEUS}, "application/openmetrics-text; version=1.0.0; charset=utf-8", "gzip"),
        ({"Accept": "application/openmetrics-text;version=2.0.0"}, "text/plain; version=0.0.4; charset=utf-8", "gzip"),
        ({"Accept": "application/json"}, "text/plain; version=0.0.4; charset=utf-8", None),
    ],
)
async def test_the_answer_says_what_it_is_and_what_it_hangs_on(
    client: Client, exporter: Exporter, headers: dict[str, str], content_type: str, encoding: str | None
) -> None:
    await exporter.publish()
    async with client.get("/metrics", headers=headers | {"Accept-Encoding": encoding or "deflate, br"}) as response:
        assert response.headers["Content-Type"] == content_type
        assert response.headers.get("Content-Encoding") == encoding
        assert response.headers["Vary"] == "Accept, Accept-Encoding"
        assert response.headers["X-Snapshot-Id"] == "1772356565250"


async def test_before_the_first_snapshot_metrics_answers_with_its_own_and_the_rest_says_why(client: Client) -> None:
    assert all(not name[0].startswith("genesys_queue") for name in await samples(client))
    for route in ("/dashboard", "/api/dashboard/metrics", "/export.csv"):
        async with client.get(route) as response:
            assert response.status == 503
            assert await response.json() == {
                "status": "error",
                "message": "no data yet: the first poll has not ended",
            }
    async with client.get("/-/ready") as response:
        assert response.status == 503
        assert "first poll" in await response.text()


async def test_a_stale_window_is_withdrawn_and_the_other_datasets_stay(client: Client, exporter: Exporter) -> None:
    states = datasets()
    states[WINDOW] = DatasetState(
        up=False,
        last_success=NOW - timedelta(seconds=100),
        stale_at=NOW + timedelta(seconds=10),
        reason="unavailable",
        message="api.example.org refused the connection",
    )
    await exporter.publish(datasets=states)
    before = {name[0] for name in await samples(client)}
    exporter.clock.advance(10)
    after = {name[0] for name in await samples(client)}
    assert {"genesys_queue_offered_contacts", "genesys_queue_zscore"} <= before - after
    assert {"genesys_queue_waiting_contacts", "genesys_queue_offered_contacts_total", "genesys_queue_info"} <= after
    async with client.get("/dashboard") as response:
        document = await response.json()
    assert (document["status"], document["metrics"], document["alerts"]) == ("stale", [], [])
    assert document["message"] == "the window's data are stale: api.example.org refused the connection"
    async with client.get("/-/ready") as response:
        assert (response.status, "refused the connection" in await response.text()) == (503, True)


async def test_stale_observations_are_withdrawn_alone(client: Client, exporter: Exporter) -> None:
    states = datasets() | {OBSERVATIONS: DatasetState(up=False, last_success=NOW, stale_at=NOW)}
    await exporter.publish(datasets=states)
    names = {name[0] for name in await samples(client)}
    assert "genesys_queue_offered_contacts" in names
    assert not names & {"genesys_queue_waiting_contacts", "genesys_queue_agents"}
    async with client.get("/dashboard") as response:
        row = (await response.json())["metrics"][0]
    assert (row["totalContacts"], row["waitingContacts"]) == (12, None)
    async with client.get("/-/ready") as response:
        assert response.status == 200


@pytest.mark.parametrize("route", [*ROUTES, "/static/page.css", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_every_answer_is_hardened(client: Client, exporter: Exporter, route: str, method: str) -> None:
    await exporter.publish()
    async with client.request(method, route) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] in ("no-store", "no-cache")
        assert "aiohttp" not in response.headers["Server"].lower()


@pytest.mark.parametrize("route", ROUTES)
async def test_head_answers_like_get_without_a_body(client: Client, exporter: Exporter, route: str) -> None:
    await exporter.publish()
    headers = {"Accept-Encoding": "identity"}
    async with client.get(route, headers=headers) as get, client.head(route, headers=headers) as head:
        assert (head.status, head.headers["Content-Type"]) == (get.status, get.headers["Content-Type"])
        assert head.headers["Content-Length"] == str(len(await get.read()))
        assert await head.read() == b""


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [
        ("POST", "/metrics", 405),
        ("GET", "/nothing", 404),
        ("GET", "/static/../server.py", 404),
        ("GET", "/dashboard?quere=x", 400),
        ("GET", "/dashboard?anomalous=yes", 400),
        ("GET", "/dashboard?anomalous=1&anomalous=0", 400),
        ("GET", "/dashboard?from=-2h", 400),
        ("GET", "/export.csv?from=yesterday", 400),
        ("GET", "/export.csv?from=-1h&to=-2h", 400),
        ("GET", "/export.csv?queue=" + "a" * 300, 400),
        ("GET", "/export.csv?queue=" + "a" * 5000, 414),
    ],
)
async def test_refusals_are_json_that_tells_what_to_do(
    client: Client, exporter: Exporter, method: str, route: str, status: int
) -> None:
    await exporter.publish()
    async with client.request(method, route) as response:
        assert response.status == status
        assert response.headers.get("Allow") == ("GET,HEAD" if status == 405 else None)
        assert response.content_type == "application/json"
        answer = await response.json()
    assert answer["status"] == "error"
    assert answer["message"]
    assert "quere" not in answer["message"]


async def test_a_defect_of_ours_gives_500_without_its_text(client: Client, exporter: Exporter, caplog: Any) -> None:
    exporter.metrics.registry.register(_Broken())  # type: ignore[arg-type]
    async with client.get("/metrics") as response:
        assert response.status == 500
        assert "secret" not in await response.text()
    assert "secret" in caplog.text


class _Broken:
    def collect(self) -> Iterator[Any]:
        raise RuntimeError("secret")


@pytest.mark.parametrize("route", ["/dashboard", "/api/dashboard/metrics", "/export.csv"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_documents_carry_the_snapshot_and_are_not_sent_twice(
    client: Client, exporter: Exporter, route: str, encoding: str
) -> None:
    await exporter.publish()
    async with client.get(route, headers={"Accept-Encoding": encoding}) as response:
        tag = response.headers["ETag"]
        assert response.headers["X-Snapshot-Id"] == "1772356565250"
        assert "1772356565250" in tag
        assert response.headers.get("Content-Encoding", "identity") == encoding
    async with client.get(route, headers={"Accept-Encoding": encoding, "If-None-Match": f'"x", W/{tag}'}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == tag
    await exporter.publish(id=1772356565251)
    async with client.get(route, headers={"Accept-Encoding": encoding, "If-None-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["X-Snapshot-Id"] == "1772356565251"


async def test_the_history_is_exported_by_time_and_filter(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    async with client.get("/export.csv?from=-35m&queue=sal*&media_type=VOICE&bom=true") as response:
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert response.headers["Content-Disposition"].startswith('attachment; filename="genesys-queues-20260301T08')
        body = (await response.read()).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(body, newline="")))
    assert [row["timeInterval"] for row in rows] == ["2026-03-01T08:45:00.000Z/PT15M", "2026-03-01T09:00:00.000Z/PT15M"]
    assert {(row["queueName"], row["mediaType"]) for row in rows} == {("Sales", "voice")}
    assert exporter.history.closed


async def test_health_follows_the_poll_loop(client: Client, exporter: Exporter) -> None:
    async with client.get("/-/healthy") as response:
        assert response.status == 200
    exporter.alive = False
    async with client.get("/-/healthy") as response:
        assert response.status == 503
