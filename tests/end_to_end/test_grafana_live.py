"""Dashboards and rules against the demo: a real Prometheus scrapes it, with two hours of past, and asks everything.

The past is the demo's own page told again (tests/grafana/past), so that what looks back has something to look at. Rules
are those of the project with shorter waits; a real Alertmanager gets what fires.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
import yaml

from tests.end_to_end.processes import Process
from tests.grafana import promql, reading
from tests.grafana.past import told_again
from tests.grafana.servers import Server, alertmanager, prometheus, queried

JOB = "genesys-cloud"
PAST_SECONDS, STEP_SECONDS = 2 * 3600, 60
_INCIDENT = re.compile(r'An incident is under way on the queue "(.+)"\.')
VOLUME = 'metric="offered_contacts"'
OF_REPLICAS = frozenset({"genesys_exporter_leader", "genesys_exporter_redis_up"})


class Watched(NamedTuple):
    """The servers, and what the demo told of itself."""

    prometheus: Server
    alertmanager: Server
    page: str
    incident: str


@pytest.fixture(scope="module")
def watched(
    demo: Process, require_server: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder, target = tmp_path_factory.mktemp("watched"), demo.url().removeprefix("http://")
    programs = [require_server(name) for name in ("prometheus", "promtool", "prometheus-alertmanager")]
    page = _page_with_a_past(target)
    _write_past(programs[1], folder, page, target)
    _write_hasty_rules(folder / "rules")
    with (
        alertmanager(programs[2], folder) as receiver,
        prometheus(
            programs[0], folder, rules=folder / "rules", alertmanager=receiver.address, job=JOB, target=target
        ) as server,
    ):
        scraped = f"timestamp(genesys_exporter_snapshot_id) > {time.time() + 2}"  # by then there are rates, too
        server.wait(lambda: queried(server, scraped, instant=True))
        yield Watched(server, receiver, page, demo.said(_INCIDENT)[1])


def _page_with_a_past(target: str) -> str:
    """/metrics as soon as the back-fill is complete: then the counters are there."""
    deadline = time.monotonic() + 60
    while True:
        with urlopen(f"http://{target}/metrics", timeout=10) as answer:
            page: str = answer.read().decode("utf-8")
        if "genesys_queue_offered_contacts_total{" in page and "genesys_queue_zscore{" in page:
            return page
        assert time.monotonic() < deadline, "the back-fill takes too long"
        time.sleep(0.2)


def _write_past(promtool: str, folder: Path, page: str, target: str) -> None:
    text = folder / "past.txt"
    labels = {"job": JOB, "instance": target}
    with text.open("w", encoding="utf-8") as file:
        file.writelines(told_again(page, time.time(), seconds=PAST_SECONDS, step=STEP_SECONDS, target=labels))
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    text.unlink()


def _write_hasty_rules(folder: Path) -> None:
    """The project's rules, evaluated every second and waiting for one."""
    folder.mkdir()
    for name, file in reading.rule_files().items():
        groups = [
            {
                **group,
                "interval": "1s",
                "rules": [rule | ({"for": "1s"} if "alert" in rule else {}) for rule in group["rules"]],
            }
            for group in file["groups"]
        ]
        (folder / name).write_text(yaml.safe_dump({"groups": groups}), "utf-8")


def unpublished(expr: str, page: str) -> bool:
    """Whether the expression needs what this demo does not publish: volume is scored by some methods only, and what is
    told of Redis and replicas needs Redis (tests/end_to_end/test_replicas.py looks at it there)."""
    unscored = VOLUME in expr and VOLUME not in page
    return unscored or not OF_REPLICAS.isdisjoint(promql.metrics(expr))


def test_every_query_of_every_dashboard_returns_numbers(watched: Watched) -> None:
    empty = []
    for asked in reading.asked():
        expr = reading.filled_in(asked.expr)
        found = queried(watched.prometheus, expr, instant=asked.instant)
        if not any(not math.isnan(value) for _, values in found for value in values):
            empty.append((asked.where, expr))
    assert [where for where, expr in empty if not unpublished(expr, watched.page)] == []


def test_the_first_row_of_the_overview_is_the_incident_and_says_why(watched: Watched) -> None:
    targets = dict(reading.panels())["overview: Queues, worst first"]["targets"]
    rank, why = (queried(watched.prometheus, reading.filled_in(each["expr"]), instant=True) for each in targets[:2])
    worst, _ = max(rank, key=lambda each: each[1])
    assert worst["queue_name"] == watched.incident
    (reason,) = [labels["why"] for labels, _ in why if _series(labels) == _series(worst)]
    assert reason in ("Callers hang up", "Answers come late")


def _series(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels["queue_id"], labels["media_type"]


def test_the_choice_of_queues_offers_every_queue_by_name(watched: Watched) -> None:
    (variable,) = [each for each in reading.dashboards()["queue"]["templating"]["list"] if each["name"] == "queue"]
    expr = reading.filled_in(variable["query"].removeprefix("query_result(").removesuffix(")"))
    pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
    queues = queried(watched.prometheus, expr, instant=True)
    assert len(queues) >= 40
    for labels, (value,) in queues:
        # As Grafana writes a result for its regular expressions: labels in order, not escaped.
        text = "{" + ",".join(f'{name}="{labels[name]}"' for name in sorted(labels)) + f"}} {value:g} 1795459118638"
        found = pattern.search(text)
        assert found
        assert found.groupdict() == {"value": labels["queue_id"], "text": labels["queue_name"]}


def test_every_rule_is_evaluated_without_an_error(watched: Watched) -> None:
    def rules() -> list[dict[str, str]]:
        groups = watched.prometheus.get("/api/v1/rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    watched.prometheus.wait(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert {rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"} == {}
    assert {rule["name"] for rule in rules()} == {*reading.alerts(), *reading.recordings()}


def test_every_recording_has_something_to_record(watched: Watched) -> None:
    for name, expr in reading.recordings().items():
        assert queried(watched.prometheus, expr, instant=True), name
        watched.prometheus.wait(lambda name=name: queried(watched.prometheus, name, instant=True), 20)  # type: ignore[misc]


def test_an_exporter_at_work_raises_no_alert_about_itself(watched: Watched) -> None:
    for name, rule in reading.alerts().items():
        if rule["labels"]["audience"] == "operations":
            assert queried(watched.prometheus, rule["expr"], instant=True) == [], name


def test_every_metric_in_an_alert_is_there_to_be_asked(watched: Watched) -> None:
    """An alert that cannot fire for want of a metric is silent in the same way as one that has no reason to."""
    for name, rule in reading.alerts().items():
        for metric in promql.metrics(rule["expr"]):
            unscored = metric.startswith("genesys_org_") and VOLUME not in watched.page
            assert unscored or metric in OF_REPLICAS or queried(watched.prometheus, f"count({metric})", instant=True), (
                name,
                metric,
            )


def test_alertmanager_is_told_of_the_incident_in_whole_sentences(watched: Watched) -> None:
    def told() -> list[dict[str, dict[str, str]]]:
        alerts = watched.alertmanager.get("/api/v2/alerts")
        about = [each for each in alerts if each["labels"].get("queue_name") == watched.incident]
        return [each for each in about if each["labels"]["alertname"] == "GenesysQueueAbandonmentHigh"]

    (alert,) = watched.alertmanager.wait(told)
    assert alert["labels"]["severity"] == "warning"
    texts = alert["annotations"]
    assert re.fullmatch(rf"[\d.]+% of the callers of {re.escape(watched.incident)} \(voice\) hang up", texts["summary"])
    assert re.fullmatch(
        r"\d+ of \d+ contacts of the current window gave up before an answer: [\d.]+%, where [\d.]+% is usual at this "
        r"time \(z = [\d.]+\)\. It has been so for 20 minutes\.",
        texts["description"],
    )
