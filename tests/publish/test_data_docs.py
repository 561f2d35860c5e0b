"""docs/data.md tells the parameters, the JSON keys and the CSV columns that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import exporter.datasets  # noqa: F401 - knows a reason of its own
from exporter.genesys.decode import REJECT_REASONS
from exporter.publish.csv_export import COLUMNS, CsvWriter
from exporter.publish.dashboard import JsonWriter
from exporter.publish.query import EXPORT, FILTERS
from exporter.publish.self_metrics import failure_reasons
from exporter.publish.shown import Shown
from tests.publish.samples import NOW, org_scores, snapshot

DOCS = Path(__file__).parents[2] / "docs"
DATA, METRICS = ((DOCS / name).read_text("utf-8") for name in ("data.md", "metrics.md"))


def tables(section: str) -> list[list[str]]:
    """The names in the first column of each table under a heading, in their order."""
    text = DATA.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [named(re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)) for table in re.split(r"\|(?:---\|)+", text)[1:]]


def named(cells: Iterable[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture
def shown() -> Shown:
    whole = snapshot(org_scores=org_scores())
    return Shown(whole, whole.fresh(NOW))


@pytest.fixture
def dashboard(shown: Shown) -> dict[str, Any]:
    return dict(json.loads(JsonWriter().dashboard(shown)))


def test_the_parameters_are_those_of_the_routes() -> None:
    assert tables("Parameters") == [list(EXPORT)]
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+?) \|", DATA, re.MULTILINE))
    assert [name for name in EXPORT if rows[name] == "all three"] == list(FILTERS)


def test_the_keys_of_the_dashboard_are_told_in_their_order(dashboard: dict[str, Any]) -> None:
    top, metrics, alerts, datasets = tables("/dashboard")
    top.remove("message")  # there while something is stale
    assert top == list(dashboard)
    assert metrics == list(dashboard["metrics"][0])
    assert alerts == list(dashboard["alerts"][0])
    assert [datasets] * len(dashboard["datasets"]) == [list(state) for state in dashboard["datasets"].values()]


def test_what_is_said_of_the_organisation_and_the_links(dashboard: dict[str, Any]) -> None:
    *_, alerts, _ = tables("/dashboard")
    of_org = dashboard["org"][1]
    assert set(of_org["scores"][0]) == {*alerts} - {"queueId", "queueName", "mediaType", "isAnomalyFdr"}
    assert of_org.keys() - {"scores"} == {"mediaType", "offeredContacts"}
    (links,) = re.findall(r"^\| `links` \| (.+) \|$", DATA, re.MULTILINE)
    assert named([links]) == list(dashboard["links"])


def test_the_envelope_is_as_described(shown: Shown) -> None:
    document = json.loads(JsonWriter().envelope(shown, CsvWriter().window(shown)))
    (told,) = re.findall(r"to the letter: (.+?)\. Here", DATA.replace("\n", " "))
    assert [name for name in named([told]) if name in document] == list(document)
    _, metrics, alerts, _ = tables("/dashboard")
    assert list(document["metrics"][0]) == metrics[:7]
    assert set(document["alerts"][0]) == {*alerts[: alerts.index("zScore") + 1]}


def test_the_columns_are_told_in_their_order() -> None:
    assert tables("/export.csv") == [list(COLUMNS)]


def test_the_reasons_are_those_that_there_are() -> None:
    text = METRICS.split("\n`reason` of a failure is ")[1].split("`endpoint`")[0]
    failures, rows = text.split("`reason` of a refused row is ")
    assert {*named([failures])} == failure_reasons()
    assert named([rows]) == list(REJECT_REASONS)
