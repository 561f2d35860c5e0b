"""The rules: promtool's judgement, their own tests, and what every alert must tell and must be tested for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql_parser import AggregateExpr, VectorSelector

from exporter.errors import GenesysError
from tests.grafana import promql, reading
from tests.grafana.reading import GRAFANA, ROOT, Json

ALERTS = reading.alerts()
MANAGED = reading.managed()
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
HEADINGS = {line.lstrip("# ").lower() for line in RUNBOOK.splitlines() if line.startswith("#")}


def promtool(program: str, *arguments: str | Path) -> str:
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_has_no_objection(require_server: Callable[[str], str]) -> None:
    files = sorted((GRAFANA / "rules").glob("*.yml"))
    told = promtool(require_server("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *files)
    assert told.count("SUCCESS") == len(files) == 3


def test_alerts_fire_when_they_should_and_not_when_they_should_not(require_server: Callable[[str], str]) -> None:
    files = sorted((GRAFANA / "rules/tests").glob("*.yml"))
    told = promtool(require_server("promtool"), "test", "rules", *files)
    assert told.count("SUCCESS") == len(files) == 4


@cache
def cases() -> list[Json]:
    """Every check of an alert in the rule tests."""
    files = [yaml.safe_load(path.read_text("utf-8")) for path in (GRAFANA / "rules/tests").glob("*.yml")]
    return [case for file in files for test in file["tests"] for case in test.get("alert_rule_test", ())]


@pytest.mark.parametrize("name", ALERTS)
def test_the_rule_tests_say_when_it_fires_and_when_not(name: str) -> None:
    fires = [bool(case.get("exp_alerts")) for case in cases() if case["alertname"] == name]
    assert set(fires) == {True, False}


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_how_bad_for_whom_and_what_to_do(rule: Json) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["labels"]["audience"] in ("contact-centre", "operations")
    assert re.fullmatch(r"\d+[mh]", rule["for"]), "an alert that does not wait pages for a hiccup"
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    path, _, anchor = annotations["runbook_url"].partition("#")
    assert (ROOT / path).exists()
    assert anchor in HEADINGS


ABOUT_A_RATE = ("GenesysQueueAbandonmentHigh", "GenesysQueueServiceLevelLow", "GenesysQueueServiceLevelCollapsed")


@pytest.mark.parametrize("name", ABOUT_A_RATE)
def test_an_alert_about_a_rate_needs_a_flag_volume_and_time(name: str) -> None:
    expr = ALERTS[name]["expr"]
    assert {"genesys_queue_anomaly", "genesys_queue_offered_contacts"} <= promql.metrics(expr)
    assert re.search(r"genesys_queue_offered_contacts\) >= \d\d", expr)
    assert int(ALERTS[name]["for"].removesuffix("m")) >= 15


@pytest.mark.parametrize("name", sorted(ALERTS.keys() - {"GenesysExporterDown", "GenesysExporterReplicaDown"}))
def test_replicas_raise_one_alert(name: str) -> None:
    for inner, around in promql.nodes(ALERTS[name]["expr"]):
        if isinstance(inner, VectorSelector):
            assert any(isinstance(each, AggregateExpr) for each in around), inner


def test_the_runbook_has_a_heading_for_every_reason_of_failure() -> None:
    def reasons(error: type[GenesysError]) -> set[str]:
        return {error.reason}.union(*(reasons(each) for each in error.__subclasses__()))

    assert reasons(GenesysError) | {"internal"} <= HEADINGS


def test_the_runbook_has_no_heading_for_an_alert_that_is_gone() -> None:
    told = set(re.findall(r"^### (Genesys\w+)$", RUNBOOK, re.MULTILINE))
    assert told == ALERTS.keys()


def test_recordings_are_named_level_metric_operation() -> None:
    names = list(reading.recordings())
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"(queue|division|org):genesys_queue_\w+:\w+", name)] == []


def test_nothing_depends_on_recordings_so_that_grafana_can_be_used_without_them() -> None:
    exprs = [reading.filled_in(asked.expr) for asked in reading.asked()] + [rule["expr"] for rule in ALERTS.values()]
    assert not {metric for expr in exprs for metric in promql.metrics(expr) if ":" in metric}


# The same alerts, managed by Grafana


def node(rule: Json, ref: str) -> Json:
    (found,) = (each for each in rule["data"] if each["refId"] == ref)
    return dict(found)


def test_both_kinds_hold_the_same_alerts() -> None:
    assert MANAGED.keys() == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_a_managed_rule_asks_the_same_waits_as_long_and_says_the_same(name: str) -> None:
    rule, managed = ALERTS[name], MANAGED[name]
    assert node(managed, "query")["model"]["expr"] == rule["expr"]
    assert managed["for"] == rule["for"]
    assert managed["labels"] == rule["labels"]
    assert managed["annotations"]["runbook_url"] == rule["annotations"]["runbook_url"]
    for text in ("summary", "description"):
        assert _plain(managed["annotations"][text]) == _plain(rule["annotations"][text])


def _plain(template: str) -> str:
    """A text without what is put in."""
    asked = re.sub(r"\{\{ with .*?\{\{ end \}\}", "…", template)
    return re.sub(r"\{\{.*?\}\}", "…", asked)


@pytest.mark.parametrize("managed", MANAGED.values(), ids=MANAGED)
def test_a_managed_rule_fires_wherever_its_query_returns_anything(managed: Json) -> None:
    assert managed["condition"] == "threshold"
    assert node(managed, "prometheus_math")["model"]["expression"] == (
        "is_number($query) || is_nan($query) || is_inf($query)"
    )
    threshold = node(managed, "threshold")["model"]
    assert threshold["expression"] == "prometheus_math"
    assert threshold["conditions"] == [{"evaluator": {"type": "gt", "params": [0]}}]
    assert (managed["noDataState"], managed["missing_series_evals_to_resolve"]) == ("OK", 1)


@pytest.mark.parametrize("managed", MANAGED.values(), ids=MANAGED)
def test_numbers_in_a_managed_text_have_data_whenever_it_fires(managed: Json) -> None:
    """Grafana takes a rule for one without data as soon as one of its queries has none."""
    texts = " ".join(managed["annotations"].values())
    numbers = set(re.findall(r"\.Values\.(\w+)\.Value", texts)) - {"query"}
    queries = {each["refId"]: each["model"]["expr"] for each in managed["data"] if "expr" in each["model"]}
    assert queries.keys() == numbers | {"query"}
    # Score, mean and flag come from one scoring.
    implied = promql.metrics(queries["query"]) | {"genesys_queue_baseline_mean_ratio", "genesys_queue_zscore"}
    implied |= {"genesys_org_zscore", "genesys_exporter_last_success_timestamp_seconds"}
    for number in numbers:
        assert promql.metrics(queries[number]) <= implied, number


@pytest.mark.parametrize("name", ALERTS)
def test_a_percentage_or_a_moment_in_a_text_is_rounded_by_its_query(name: str) -> None:
    """The templates write 59.52% and 09:16:05.25."""
    texts, managed_texts = (str(each["annotations"]) for each in (ALERTS[name], MANAGED[name]))
    crooked = r"\| humanize(?:Percentage|Timestamp)"
    asked = re.findall(rf'with printf "([^"]+)"[^}}]*\}}\}}\{{\{{ \. \| first \| value {crooked}', texts)
    asked += [ALERTS[name]["expr"] for _ in re.findall(rf"\.Value {crooked}", texts)]
    refs = re.findall(rf"\.Values\.(\w+)\.Value {crooked}", managed_texts)
    assert len(asked) == len(refs)
    asked += [node(MANAGED[name], ref)["model"]["expr"] for ref in refs]
    assert [expr for expr in asked if not expr.startswith(("round(", "floor("))] == []


@pytest.mark.parametrize("kind", [ALERTS, MANAGED], ids=["prometheus", "grafana"])
def test_texts_hold_no_dollar_which_grafana_takes_for_its_environment(kind: dict[str, Any]) -> None:
    assert [name for name, rule in kind.items() if "$" in str(rule["annotations"]) + str(rule["labels"])] == []


@pytest.mark.parametrize("managed", MANAGED.values(), ids=MANAGED)
def test_a_managed_rule_belongs_to_a_panel_that_shows_what_it_asks(managed: Json) -> None:
    dashboards = {each["uid"]: each for each in reading.dashboards().values()}
    (panel,) = (each for each in dashboards[managed["dashboardUid"]]["panels"] if each["id"] == managed["panelId"])
    shown = {name for target in panel["targets"] for name in promql.metrics(reading.filled_in(target["expr"]))}
    unseen = ("GenesysExporterDown", "GenesysExporterReplicaDown", "GenesysScoresMissing")  # no panel can show nothing
    assert managed["title"] in unseen or shown & promql.metrics(node(managed, "query")["model"]["expr"])


def test_uids_of_managed_rules_are_unique_and_short_enough() -> None:
    uids = [managed["uid"] for managed in MANAGED.values()]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", uid) for uid in uids)
