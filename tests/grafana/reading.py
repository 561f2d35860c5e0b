"""What stands in grafana/, as tests ask for it: panels, their queries, variables filled in, rules of both kinds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"

Json = dict[str, Any]

#: What Grafana would put in place of its variables: everything chosen, six hours shown, scraped every 30 s.
FILLED_IN = {
    "__rate_interval": "2m",
    "__range": "2h",
    "datasource": "genesys-prometheus",
    "job": ".+",
    "instance": ".+",
    "queue": ".*",
    "media": ".*",
}


class Asked(NamedTuple):
    """One expression and where it stands."""

    where: str
    expr: str
    instant: bool


def dashboards() -> dict[str, Json]:
    """Every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels() -> Iterator[tuple[str, Json]]:
    """Every panel, with the name of its dashboard and its title."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            yield f"{name}: {panel['title']}", panel


def asked() -> Iterator[Asked]:
    """Every query of every panel, annotation and variable, as it is written."""
    for where, panel in panels():
        for target in panel["targets"]:
            yield Asked(f"{where} {target['refId']}", target["expr"], target["instant"])
    for name, dashboard in dashboards().items():
        for annotation in dashboard["annotations"]["list"]:
            yield Asked(f"{name}: annotation {annotation['name']}", annotation["target"]["expr"], instant=False)
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield Asked(f"{name}: variable {variable['name']}", _selector(variable["query"]), instant=True)


def _selector(query: str) -> str:
    """The expression in `label_values(expression, label)` or `query_result(expression)`."""
    inner = query.partition("(")[2].removesuffix(")")
    return inner.rpartition(",")[0] if query.startswith("label_values") else inner


def filled_in(expr: str, values: Mapping[str, str] = FILLED_IN) -> str:
    """An expression as Prometheus would get it."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], expr)


@cache
def rule_files() -> dict[str, Json]:
    return {path.name: yaml.safe_load(path.read_text("utf-8")) for path in sorted((GRAFANA / "rules").glob("*.yml"))}


def rules() -> list[Json]:
    """Every rule of Prometheus."""
    return [rule for file in rule_files().values() for group in file["groups"] for rule in group["rules"]]


def alerts() -> dict[str, Json]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recordings() -> dict[str, str]:
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def managed() -> dict[str, Json]:
    """Grafana's own rules by title."""
    file = provisioning("alerting/rules.yml")
    return {rule["title"]: rule for group in file["groups"] for rule in group["rules"]}


@cache
def provisioning(name: str) -> Json:
    file: Json = yaml.safe_load((GRAFANA / "provisioning" / name).read_text("utf-8"))
    return file
