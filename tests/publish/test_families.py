"""The table of families, the code that fills it and docs/metrics.md tell the same story."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.models import ApiCalled, ApiRetried, ApiThrottled, EntitiesRejected, RateLimitSeen
from exporter.publish.exposition import Renderer
from exporter.publish.families import FAMILIES, SELF_FAMILIES, STANDARD_FAMILIES, Family, SelfFamily, Source
from exporter.publish.self_metrics import SelfMetrics
from tests.conftest import FakeClock
from tests.publish.samples import NOW, col, columns, org_scores, report, snapshot

DOCS = (Path(__file__).parents[2] / "docs/metrics.md").read_text("utf-8")
ROWS = [re.findall(r"(?<=\| ).*?(?= \|)", line) for line in DOCS.splitlines() if line.startswith("| `")]


def _labels(family: Family | SelfFamily) -> str:
    return ", ".join(f"`{label}`" for label in family.labels) or "–"


def test_every_family_is_documented_as_it_is_and_nothing_else() -> None:
    told = [[f"`{f.name}`", f.type, _labels(f), f.dataset or "–", f.help] for f in FAMILIES]
    own = [[f"`{f.name}`", f.type, _labels(f), f.help] for f in SELF_FAMILIES]
    assert told + own == ROWS
    assert [name for name in STANDARD_FAMILIES if f"`{name}`" not in DOCS] == []


def test_names_stand_in_the_table_once() -> None:
    names = [family.name for family in (*FAMILIES, *SELF_FAMILIES)]
    assert len(names) == len(set(names))


def test_a_whole_snapshot_fills_every_family_with_the_labels_of_the_table() -> None:
    whole = snapshot(org_scores=org_scores())
    text = Renderer().render(whole, whole.fresh(NOW)).text.plain().decode()
    found = {family.samples[0].name: family for family in text_string_to_metric_families(text)}
    for family in FAMILIES:
        parsed = found.pop(family.name)
        assert {tuple(sample.labels) for sample in parsed.samples} == {family.labels}
        assert parsed.documentation == family.help
    assert found == {}


def test_every_column_of_the_contract_is_shown_or_kept_back_on_purpose() -> None:
    assert {f.column for f in FAMILIES if f.source is Source.QUEUE} | {"sla_contacts"} == columns().keys()


@pytest.mark.parametrize("column", sorted(columns().keys() - {"sla_contacts"}))
def test_a_column_that_is_absent_or_empty_leaves_no_line(column: str) -> None:
    (family,) = (f for f in FAMILIES if f.source is Source.QUEUE and f.column == column)
    absent = snapshot(columns={name: values for name, values in columns().items() if name != column})
    empty = snapshot(columns=columns() | {column: col(np.nan, np.inf, -np.inf)})
    for whole in (absent, empty):
        lines = Renderer().render(whole, whole.fresh(NOW)).text.plain().decode().splitlines()
        assert [line for line in lines if re.search(rf"\b{family.name}\b", line)] == []


def test_the_exporters_own_metrics_are_those_of_the_table() -> None:
    metrics = SelfMetrics(FakeClock(NOW), version="1.2.3", contract="summary", reject_reasons=["negative"])
    metrics.on_api_event(ApiCalled("token", "200", 0.1))
    metrics.on_api_event(ApiRetried("token", "unavailable", 1.0))
    metrics.on_api_event(ApiThrottled(0.5))
    metrics.on_api_event(RateLimitSeen(300, 299))
    metrics.on_api_event(EntitiesRejected("negative", 2))
    metrics.on_report(report())
    metrics.on_snapshot(snapshot())
    metrics.on_missing_buckets(3)
    metrics.on_history(stored=True)
    metrics.on_file("EXPORTER_WEB_CONFIG", True)
    metrics.on_role(True)
    metrics.on_redis(True)
    found = {}
    for parsed in text_string_to_metric_families(metrics.exposition(openmetrics=False).decode()):
        name = parsed.name + "_total" if parsed.type == "counter" else parsed.name
        labels = tuple(sorted(parsed.samples[0].labels.keys() - {"le"}))
        found[name] = ("info" if name.endswith("build_info") else parsed.type, parsed.documentation, labels)
    own = {family.name: (family.type, family.help, tuple(sorted(family.labels))) for family in SELF_FAMILIES}
    assert {name: told for name, told in found.items() if name not in STANDARD_FAMILIES} == own
    assert found.keys() - own.keys() == set(STANDARD_FAMILIES)


def test_who_has_no_redis_shows_no_metric_of_it() -> None:
    metrics = SelfMetrics(FakeClock(NOW), version="1.2.3", contract="summary", reject_reasons=["negative"])
    text = metrics.exposition(openmetrics=False).decode()
    assert "genesys_exporter_leader" not in text
    assert "genesys_exporter_redis_up" not in text
