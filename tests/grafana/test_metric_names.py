"""Every metric and label that grafana/ asks for is one that the exporter publishes, by its table of families."""

from __future__ import annotations

from exporter.models import DATASETS
from exporter.publish.families import FAMILIES, SELF_FAMILIES, STANDARD_FAMILIES, Family, SelfFamily
from tests.grafana import promql, reading

#: What Prometheus itself adds to every target, and the metric that it writes about one.
TARGET_LABELS = {"job", "instance"}
OF_PROMETHEUS = {"up"}


def _series(family: Family | SelfFamily) -> dict[str, set[str]]:
    """The names of a family's samples with their labels."""
    labels = set(family.labels)
    if family.type != "histogram":
        return {family.name: labels}
    return {f"{family.name}_bucket": labels | {"le"}, f"{family.name}_sum": labels, f"{family.name}_count": labels}


PUBLISHED: dict[str, set[str]] = {name: set() for name in STANDARD_FAMILIES}
for _families in (FAMILIES, SELF_FAMILIES):
    for _family in _families:
        PUBLISHED |= _series(_family)

EXPRESSIONS = {
    **{asked.where: reading.filled_in(asked.expr) for asked in reading.asked()},
    **{name: rule["expr"] for name, rule in reading.alerts().items()},
    **reading.recordings(),
    **{
        f"{title}: {node['refId']}": node["model"]["expr"]
        for title, rule in reading.managed().items()
        for node in rule["data"]
        if "expr" in node["model"]
    },
}


def test_metrics_and_labels_are_published() -> None:
    for where, expr in EXPRESSIONS.items():
        known = TARGET_LABELS | promql.made_labels(expr)
        for metric, matchers in promql.selectors(expr):
            if metric not in OF_PROMETHEUS:
                assert metric in PUBLISHED, (where, metric)
                assert matchers.keys() <= PUBLISHED[metric] | TARGET_LABELS, (where, metric)
                known |= PUBLISHED[metric]
        assert promql.grouping_labels(expr) <= known, where


def test_values_of_labels_are_ones_that_the_exporter_writes() -> None:
    scored = {"abandonment_ratio", "sla_breach_ratio", "offered_contacts"}
    for where, expr in EXPRESSIONS.items():
        for _, matchers in promql.selectors(expr):
            assert matchers.get("dataset", "=window").removeprefix("=") in DATASETS, where
            assert set(matchers.get("metric", "=abandonment_ratio").lstrip("=~!").split("|")) <= scored, where


def test_every_measure_of_queues_is_shown_somewhere() -> None:
    shown = {metric for expr in EXPRESSIONS.values() for metric in promql.metrics(expr)}
    assert {family.name for family in FAMILIES} - shown <= {"genesys_exporter_snapshot_id"}
