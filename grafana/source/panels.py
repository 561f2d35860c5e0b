"""Panels as plain dicts of Grafana's dashboard JSON: a few kinds with the settings that all of one kind share.

A panel has a title, a description for people who have never seen it, a unit and queries; where it stands and its id
are given by `dashboard`. The keys are Grafana's own (checked once against @grafana/schema).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
GOOD, WARN, BAD, CALM = "green", "orange", "red", "blue"

#: Steps of a colour scale: (from this value on, colour); the first holds from minus infinity.
Steps = Sequence[tuple[float | None, str]]
PLAIN: Steps = ((None, CALM),)
NEUTRAL: Steps = ((None, "text"),)
Z_STEPS: Steps = ((None, GOOD), (2, "yellow"), (3, WARN), (5, BAD))
SERVICE_LEVEL_STEPS: Steps = ((None, BAD), (0.6, WARN), (0.8, GOOD))
ABANDONMENT_STEPS: Steps = ((None, GOOD), (0.05, WARN), (0.1, BAD))


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel; `legend` is a template over labels."""

    expr: str
    legend: str = ""
    instant: bool = False
    table: bool = False


def panel(kind: str, title: str, description: str, queries: Sequence[Query], defaults: Json, options: Json) -> Json:
    """What all panels share; `defaults` and `options` are those of the kind."""
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": [_target(query, chr(ord("A") + at)) for at, query in enumerate(queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _target(query: Query, ref: str) -> Json:
    target: Json = {
        "refId": ref,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
    }
    target |= {"instant": True, "range": False} if query.instant else {"instant": False, "range": True}
    return target | ({"format": "table"} if query.table else {})


def thresholds(steps: Steps) -> Json:
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}


def stat(
    title: str,
    description: str,
    queries: str | Sequence[Query],
    *,
    unit: str,
    steps: Steps = PLAIN,
    decimals: int | None = None,
    link: Json | None = None,
    graph: bool = True,
) -> Json:
    """One number now, with its course behind it; an expression alone stands for one query."""
    if isinstance(queries, str):
        queries = [Query(queries, title)]
    defaults: Json = {"unit": unit, "thresholds": thresholds(steps), "color": {"mode": "thresholds"}, "noValue": "–"}
    if decimals is not None:
        defaults["decimals"] = decimals
    if link is not None:
        defaults["links"] = [link]
    options = {
        "colorMode": "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, description, queries, defaults, options)


def timeseries(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    minimum: float | None = 0,
    stacked: bool = False,
    counts_faults: bool = False,
    link: Json | None = None,
) -> Json:
    """Lines over time, with a legend that shows the last value.

    What counts faults is mostly 0: its axis goes up to 1 then, and not to 100.
    """
    custom: Json = {
        "drawStyle": "line",
        "lineWidth": 2,
        "fillOpacity": 25 if stacked else 8,
        "showPoints": "never",
        "spanNulls": 180_000,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    if counts_faults:
        custom["axisSoftMax"] = 1
    defaults: Json = {"unit": unit, "custom": custom, "color": {"mode": "palette-classic"}}
    for key, value in (("min", minimum), ("links", [link] if link else None)):
        if value is not None:
            defaults[key] = value
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, queries, defaults, options)


def state_timeline(title: str, description: str, queries: Sequence[Query], *, states: Mapping[str, Json]) -> Json:
    """What was in which state when: a bar for each series, coloured by `states`."""
    defaults: Json = {
        "unit": "none",
        "custom": {"fillOpacity": 80, "lineWidth": 0},
        "color": {"mode": "thresholds"},
        "thresholds": thresholds(((None, GOOD),)),
        "mappings": [{"type": "value", "options": dict(states)}],
    }
    options = {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.85,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel("state-timeline", title, description, queries, defaults, options)


def table(title: str, description: str, labels: Mapping[str, str], columns: Mapping[str, Query | str]) -> Json:
    """One row for each set of labels, a column for each query; `columns` holds queries and, by name, further labels.

    The first query, under the name "", is only what the rows are sorted by, highest first.
    """
    queries = {name: each for name, each in columns.items() if isinstance(each, Query)}
    values = {name: f"Value #{chr(ord('A') + at)}" for at, name in enumerate(queries)}
    names = dict(labels) | {values.get(name, str(each)): name for name, each in columns.items() if name}
    arrange = {
        "excludeByName": {"Time": True, values[""]: True},
        "indexByName": {field: at for at, field in enumerate(names)},
        "renameByName": names,
    }
    defaults = {"unit": "short", "custom": {"align": "auto"}, "thresholds": thresholds(NEUTRAL), "noValue": "–"}
    asked = [Query(query.expr, instant=True, table=True) for query in queries.values()]
    made = panel("table", title, description, asked, defaults, {"showHeader": True, "cellHeight": "sm"})
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": values[""], "desc": True}]}},
        {"id": "organize", "options": arrange},
    ]
    return made


def field(made: Json, name: str, **properties: Any) -> Json:
    """Settings for one column or series; `custom_x` stands for custom.x. Returns the panel."""
    made["fieldConfig"]["overrides"].append(
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [
                {"id": key.replace("custom_", "custom."), "value": value} for key, value in properties.items()
            ],
        }
    )
    return made


def line(made: Json, name: str, color: str, *, width: int = 1, dashed: bool = False, fill_to: str = "") -> Json:
    """The look of one line: colour, dashes, and the line down to which it is filled."""
    style = {"fill": "dash", "dash": [8, 6]} if dashed else {"fill": "solid"}
    looks: Json = {
        "color": {"mode": "fixed", "fixedColor": color},
        "custom_lineWidth": width,
        "custom_lineStyle": style,
    }
    looks |= {"custom_fillBelowTo": fill_to, "custom_fillOpacity": 12} if fill_to else {"custom_fillOpacity": 0}
    return field(made, name, **looks)
