"""The frame of a dashboard: uid, variables, links, annotations, and panels laid out row by row.

In: rows of panels with their widths (Grafana's grid has 24 columns). Out: the JSON that Grafana provisions. Ids follow
the order of the panels; alerts find theirs by title.
"""

from __future__ import annotations

from collections.abc import Sequence

from grafana.source.panels import DATASOURCE, Json
from grafana.source.promql import TARGET, now

TAG = "genesys-cloud"
OVERVIEW, QUEUE_PAGE, EXPORTER_PAGE = "genesys-overview", "genesys-queue", "genesys-exporter"

#: The schema that Grafana 11 writes; newer ones migrate it when they load it.
SCHEMA_VERSION = 39

#: Reads Grafana's text of a query's result: the name is shown, the id is used. Names may hold quotation marks.
NAME_AND_ID = r'/queue_id="(?<value>[^"]+)",\s*queue_name="(?<text>.*)"\} /'

#: A row of panels: its height and its panels with their widths.
Row = tuple[int, Sequence[tuple[int, Json]]]


def dashboard(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    variables: Sequence[Json] = (),
    annotations: Sequence[Json] = (),
    span: str = "now-6h",
) -> Json:
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "editable": False,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": span, "to": "now"},
        "graphTooltip": 1,
        "links": [_siblings()],
        "templating": {"list": [*_source_variables(), *variables]},
        "annotations": {"list": list(annotations)},
        "panels": _lay_out(rows),
    }


def _lay_out(rows: Sequence[Row]) -> list[Json]:
    panels: list[Json] = []
    y = 0
    for height, row in rows:
        x = 0
        for width, made in row:
            place = {"h": height, "w": width, "x": x, "y": y}
            panels.append({"id": len(panels) + 1, "gridPos": place, **made})
            x += width
        y += height
    return panels


def _siblings() -> Json:
    """The other dashboards, with the same variables and time."""
    return {
        "type": "dashboards",
        "title": "Genesys Cloud",
        "tooltip": "The other dashboards of the exporter",
        "icon": "dashboard",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _source_variables() -> list[Json]:
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    info = "genesys_exporter_build_info"
    return [
        source | {"description": "The Prometheus that scrapes the exporter.", "refresh": 1},
        label_variable("job", "Job", f"label_values({info}, job)", "The scrape job of the exporter.", every=".+"),
        label_variable(
            "instance", "Instance", f'label_values({info}{{job=~"$job"}}, instance)', "One replica of it.", every=".+"
        ),
    ]


def label_variable(name: str, label: str, query: str, description: str, *, every: str, first: str = "All") -> Json:
    """A choice of label values, several at once; `first` is chosen at the start, or else the first that there is."""
    variable = {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "query": query,
        "refresh": 2,
        "sort": 5,
        "multi": True,
        "includeAll": bool(every),
        "allValue": every,
    }
    chosen = {"text": [first], "value": ["$__all" if first == "All" else first]}
    return variable | ({"current": chosen} if first else {})


def queue_variables(*, one: bool) -> list[Json]:
    """Queue and media type, both all at first, or `one` of each; `.*` since the summary contract has no media types."""
    offered = f"genesys_queue_offered_contacts{{{TARGET}"
    every, queue, media = ("", "", "voice") if one else (".*", "All", "All")
    named = f"query_result(max by (queue_id, queue_name) ({offered}}}))"
    typed = f'label_values({offered}, queue_id=~"$queue"}}, media_type)'
    of_media = "voice, chat, email …; nothing to choose with the summary contract."
    return [
        label_variable("queue", "Queue", named, "By name; two queues may share one.", every=every, first=queue)
        | {"regex": NAME_AND_ID},
        label_variable("media", "Media type", typed, of_media, every=".*", first=media),
    ]


def anomaly_annotation(*, enabled: bool) -> Json:
    """A region for as long as a score is beyond its threshold."""
    flagged = now("genesys_queue_anomaly").replace("max by (", "max by (metric, ") + " == 1"
    return {
        "name": "Anomalies",
        "datasource": DATASOURCE,
        "enable": enabled,
        "iconColor": "red",
        "target": {"refId": "Anno", "expr": flagged, "interval": "1m", "instant": False, "range": True},
        "titleFormat": "{{queue_name}} {{media_type}}",
        "textFormat": "{{metric}} is beyond its threshold",
        "tagKeys": "metric",
    }


def link_to(uid: str, title: str, query: str) -> Json:
    """A data link to another dashboard at the same time, data source and job."""
    keep = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
    return {"title": title, "url": f"/d/{uid}?{keep}&{query}", "targetBlank": False}


def panel_id(made: Json, title: str) -> int:
    """The id of the panel of this title."""
    return next(int(each["id"]) for each in made["panels"] if each["title"] == title)
