"""`demo` as a visitor starts it, and what Prometheus makes of it."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.processes import Process
from tests.end_to_end.reading import QUARTER, Samples, Served, by_series, csv_rows

#: "within 60 s" of the promise.
READY_SECONDS = 60.0
_INCIDENT = re.compile(r'An incident is under way on the queue "(.+)"\.')

#: Columns of /export.csv and keys of /dashboard that are counts, and their metrics.
COUNTS = {
    "totalContacts": "genesys_queue_offered_contacts",
    "answeredContacts": "genesys_queue_answered_contacts",
    "abandonedContacts": "genesys_queue_abandoned_contacts",
    "slaBreaches": "genesys_queue_sla_breached_contacts",
}
RATES = {"abandonmentRate": "genesys_queue_abandonment_ratio", "slaBreachRate": "genesys_queue_sla_breach_ratio"}
#: Keys of /dashboard that /export.csv does not have.
MORE = {
    "flowOutContacts": "genesys_queue_flow_out_contacts",
    "averageSpeedOfAnswerSeconds": "genesys_queue_average_speed_of_answer_seconds",
    "averageHandleTimeSeconds": "genesys_queue_average_handle_time_seconds",
    "averageWaitSeconds": "genesys_queue_average_wait_seconds",
    "waitingContacts": "genesys_queue_waiting_contacts",
    "interactingContacts": "genesys_queue_interacting_contacts",
    "alertingContacts": "genesys_queue_alerting_contacts",
}
#: `metric` of alerts[] → label `metric`, column of /export.csv.
SCORES = {
    "abandonmentRate": ("abandonment_ratio", "abandonmentZScore"),
    "slaBreachRate": ("sla_breach_ratio", "slaBreachZScore"),
}

_SERIES = ("queueId", "queueName", "mediaType")
#: The keys of the first description's rows, in their order.
SEED_KEYS = (*_SERIES, "timeInterval", "totalContacts", "abandonmentRate", "slaBreachRate")
ALERT_KEYS = (*_SERIES, "metric", "currentValue", "baselineMean", "baselineStdDev", "isAnomaly", "zScore")


@pytest.fixture
async def served(demo: Process, http: aiohttp.ClientSession) -> Served:
    """The demo, ready and with its past complete."""
    served = Served(await asyncio.to_thread(demo.url), http)
    await served.filled()
    return served


def incident_queue(demo: Process) -> str:
    return demo.said(_INCIDENT)[1]


async def test_within_a_minute_the_demo_is_ready_with_a_week_behind_it_and_an_anomaly_on_the_incident_queue(
    demo: Process, served: Served
) -> None:
    metrics = await served.metrics()
    assert (await served.get("/-/ready")).status == (await served.get("/-/healthy")).status == 200
    assert (metrics.get("genesys_exporter_history_buckets") or 0) >= 7 * 96 - 2
    assert metrics.total("genesys_queue_anomaly", queue_name=incident_queue(demo)) >= 1
    assert (await served.dashboard())["status"] == "success"
    assert time.monotonic() - demo.started < READY_SECONDS


async def test_every_bucket_of_the_week_is_there_for_export(served: Served) -> None:
    history = await served.history()
    starts = {row.start for row in history}
    assert len(starts) >= 7 * 96
    assert max(starts) - min(starts) == (len(starts) - 1) * QUARTER
    assert datetime.now(UTC) - max(starts) < timedelta(minutes=33)
    assert [row for row in history if row.name == row.series[0]] == []


async def test_scores_have_a_week_behind_them(demo: Process, served: Served) -> None:
    metrics = await served.metrics()
    scored = metrics.by_series("genesys_queue_zscore", metric="abandonment_ratio")
    assert len(scored) >= 10
    samples = metrics.get(
        "genesys_queue_baseline_samples",
        queue_name=incident_queue(demo),
        media_type="voice",
        metric="abandonment_ratio",
    )
    assert samples is not None
    assert samples > 3


async def test_all_routes_agree_value_by_value(served: Served) -> None:
    answers = await served.of_one_snapshot("/metrics", "/dashboard", "/export.csv", "/api/dashboard/metrics")
    metrics, dashboard, table, envelope = answers
    samples, page, rows = Samples(metrics.text), dashboard.json, csv_rows(table.body)
    told = by_series(page["metrics"])
    assert page["snapshotId"] == metrics.headers["X-Snapshot-Id"]
    assert samples.get("genesys_exporter_snapshot_id") == int(page["snapshotId"])
    assert {row.series for row in rows} == told.keys() == samples.by_series("genesys_queue_offered_contacts").keys()
    for row in rows:
        labels = {"queue_id": row.series[0], "queue_name": told[row.series]["queueName"], "media_type": row.series[1]}
        assert row.name.removeprefix("'") == labels["queue_name"]
        assert f"{row.cells['timeInterval']}" == told[row.series]["timeInterval"]
        for column, name in COUNTS.items():
            assert row.number(column) == told[row.series][column] == samples.get(name, **labels), (column, labels)
        for column, name in RATES.items():
            ratio = samples.get(name, **labels)
            rate = None if ratio is None else round(ratio * 100, 4)
            assert row.number(column) == told[row.series][column] == rate, (column, labels)
        for key, name in MORE.items():
            assert told[row.series][key] == samples.get(name, **labels), (key, labels)
        for metric, column in SCORES.values():
            assert row.number(column) == samples.get("genesys_queue_zscore", metric=metric, **labels), (column, labels)
        flags = [samples.get("genesys_queue_anomaly", metric=metric, **labels) for metric in _scored(samples)]
        told_flag = {"": None, "true": True, "false": False}[row.cells["isAnomaly"]]
        assert told_flag == (None if set(flags) == {None} else 1.0 in flags), labels
    assert base64.b64decode(envelope.json["csvExportBase64"]) == table.body
    assert_seed_envelope(envelope.json, page)


def _scored(samples: Samples) -> set[str]:
    return samples.label_values("genesys_queue_zscore", "metric")


def assert_seed_envelope(envelope: Any, page: Any) -> None:
    """The first description's keys and metrics and no other, a rate without volume as 0, the same values."""
    assert list(envelope) == ["status", "timestamp", "metrics", "alerts", "csvExportBase64"]
    assert (envelope["status"], envelope["timestamp"]) == (page["status"], page["timestamp"])
    expected = [{key: row[key] if row[key] is not None else 0 for key in SEED_KEYS} for row in page["metrics"]]
    assert envelope["metrics"] == expected
    rates = [alert for alert in page["alerts"] if alert["metric"] != "offeredContacts"]
    assert 0 < len(rates) < len(page["alerts"])
    assert [list(alert) for alert in envelope["alerts"]] == [list(ALERT_KEYS)] * len(rates)
    assert envelope["alerts"] == [{key: alert[key] for key in ALERT_KEYS} for alert in rates]


async def test_every_score_is_an_alert_row_with_what_explains_it(served: Served) -> None:
    metrics, dashboard = await served.of_one_snapshot("/metrics", "/dashboard")
    samples, alerts = Samples(metrics.text), dashboard.json["alerts"]
    for name, (metric, _) in SCORES.items():
        rows = by_series([alert for alert in alerts if alert["metric"] == name])
        scores = samples.by_series("genesys_queue_zscore", metric=metric)
        assert rows.keys() == scores.keys()
        for series, row in rows.items():
            labels = {"queue_id": series[0], "media_type": series[1], "metric": metric}
            assert row["zScore"] == scores[series]
            assert row["isAnomaly"] == (samples.get("genesys_queue_anomaly", **labels) == 1.0)
            assert row["samples"] == samples.get("genesys_queue_baseline_samples", **labels)
            for key, own in (("baselineMean", "mean"), ("baselineStdDev", "stddev")):
                ratio = samples.get(f"genesys_queue_baseline_{own}_ratio", **labels)
                assert ratio is not None
                assert row[key] == round(ratio * 100, 4)


async def test_both_formats_hold_the_same_samples(served: Served) -> None:
    for _ in range(5):
        text, openmetrics = await served.metrics(), await served.openmetrics()
        if text.get("genesys_exporter_snapshot_id") == openmetrics.get("genesys_exporter_snapshot_id"):
            break
    assert text.values.keys() == openmetrics.values.keys()
    changing = ("process_", "python_gc", "genesys_exporter_api", "genesys_exporter_poll")
    different = {key for key, value in text.values.items() if openmetrics.values[key] != value}
    assert {name for name, _ in different if not name.startswith(changing)} == set()


async def test_promtool_has_no_finding(served: Served, require_server: Callable[[str], str]) -> None:
    promtool = require_server("promtool")
    body = (await served.get("/metrics")).body
    linted = await asyncio.to_thread(_lint, promtool, body)
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, b"", b"")


def _lint(promtool: str, body: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, timeout=60, check=False)  # noqa: S603


#: What belongs to a snapshot and its datasets: it does not change between two polls.
PUBLISHED = re.compile("genesys_(queue|org)_.+|genesys_up")

PROMETHEUS_CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: genesys-cloud
    static_configs: [{{targets: ["{target}"]}}]
"""


@asynccontextmanager
async def prometheus(program: str, folder: Path, target: str) -> AsyncIterator[str]:
    """A Prometheus that scrapes `target`; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "prometheus.yml"
    config.write_text(PROMETHEUS_CONFIG.format(target=target), "utf-8")
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    )
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        await process.wait()


async def ask(http: aiohttp.ClientSession, address: str, query: str, at: float | None = None) -> list[dict[str, Any]]:
    """The instant vector of a query at a time; empty while Prometheus is still starting."""
    parameters = {"query": query} | ({} if at is None else {"time": str(at)})
    try:
        async with http.get(f"{address}/api/v1/query", params=parameters) as answer:
            result: list[dict[str, Any]] = (await answer.json())["data"]["result"]
            return result
    except (aiohttp.ClientError, KeyError, ValueError):
        return []


async def test_a_real_prometheus_holds_the_samples(
    served: Served, http: aiohttp.ClientSession, require_server: Callable[[str], str], tmp_path: Path
) -> None:
    target = served.url.removeprefix("http://")
    async with prometheus(require_server("prometheus"), tmp_path, target) as address:
        deadline = time.monotonic() + 30
        while True:
            samples = await served.metrics()
            held = await ask(http, address, "genesys_exporter_snapshot_id")
            if held and float(held[0]["value"][1]) == samples.get("genesys_exporter_snapshot_id"):
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        at = held[0]["value"][0]
        assert [row["value"][1] for row in await ask(http, address, "up", at)] == ["1"]
        rows = await ask(http, address, f'{{__name__=~"{PUBLISHED.pattern}"}}', at)
    kept = {_without_empty(row["metric"]): float(row["value"][1]) for row in rows}
    shown = {
        _without_empty({"__name__": name, **dict(labels)}): value
        for (name, labels), value in samples.values.items()
        if PUBLISHED.fullmatch(name)
    }
    assert kept == shown
    assert len(kept) > 500


def _without_empty(labels: dict[str, str]) -> frozenset[tuple[str, str]]:
    """Labels as Prometheus keeps them, less those that it adds: an empty one is none."""
    return frozenset((name, text) for name, text in labels.items() if text and name not in ("job", "instance"))
