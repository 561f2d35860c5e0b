"""The same alerts as Grafana-managed rules, for provisioning/alerting.

Each rule is built the way Grafana's own import of Prometheus rules builds it: a query, a math node that is true
wherever the query returned anything (also 0), and a threshold on that. Numbers of the text are further queries of the
rule. Texts hold no `$`, which Grafana's provisioning would take for variables of the environment; models may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grafana.source.alerts import Alert, AlertGroup, Number
from grafana.source.dashboard import panel_id
from grafana.source.rules import EVALUATED_EVERY, labels, texts

#: The uid of the provisioned data source (provisioning/datasources).
DATASOURCE_UID = "genesys-prometheus"
FOLDER = "Genesys Cloud"
EXPRESSION = "__expr__"
LOOKS_BACK_SECONDS = 600

Json = dict[str, Any]


def managed_rules(groups: Sequence[AlertGroup], dashboards: Mapping[str, Json]) -> Json:
    """The contents of a provisioning file; `dashboards` by uid give the panels that alerts belong to."""
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": group.name,
                "folder": FOLDER,
                "interval": EVALUATED_EVERY,
                "rules": [_rule(alert, dashboards) for alert in group.alerts],
            }
            for group in groups
        ],
    }


def _rule(alert: Alert, dashboards: Mapping[str, Json]) -> Json:
    uid, title = alert.panel

    def number(name: str, style: str) -> str:
        ref = "query" if name == "value" else name
        return f"{{{{ .Values.{ref}.Value | {style} }}}}"

    return {
        "uid": alert.name.lower(),
        "title": alert.name,
        "condition": "threshold",
        "for": alert.for_,
        "noDataState": "OK",
        "execErrState": "Error",
        "missing_series_evals_to_resolve": 1,
        "isPaused": False,
        "dashboardUid": uid,
        "panelId": panel_id(dashboards[uid], title),
        "labels": labels(alert),
        "annotations": texts(alert, number),
        "data": [
            _query("query", alert.expr),
            *(_query(name, _everywhere(each)) for name, each in alert.numbers.items()),
            _expression("prometheus_math", {"type": "math", "expression": _anything("query")}),
            _expression("threshold", _above_zero("prometheus_math")),
        ],
    }


def _everywhere(number: Number) -> str:
    """The number wherever the alert might fire; Grafana finds the right one by its labels."""
    by = ", ".join(number.by)
    selector = f"{number.metric}{{{number.matchers}}}" if number.matchers else number.metric
    found = number.rounding.format(f"max by ({by}) ({selector})")
    return f"{found}\nand on ({by}) {number.while_}" if number.while_ else found


def _anything(ref: str) -> str:
    return f"is_number(${ref}) || is_nan(${ref}) || is_inf(${ref})"


def _above_zero(ref: str) -> Json:
    return {"type": "threshold", "expression": ref, "conditions": [{"evaluator": {"type": "gt", "params": [0]}}]}


def _query(ref: str, expr: str) -> Json:
    model = {
        "datasource": {"type": "prometheus", "uid": DATASOURCE_UID},
        "expr": expr,
        "instant": True,
        "range": False,
        "refId": ref,
    }
    span = {"from": LOOKS_BACK_SECONDS, "to": 0}
    return {"refId": ref, "datasourceUid": DATASOURCE_UID, "relativeTimeRange": span, "model": model}


def _expression(ref: str, model: Json) -> Json:
    """A server-side expression over other nodes of the rule."""
    source = {"datasource": {"type": EXPRESSION, "uid": EXPRESSION}, "refId": ref}
    span = {"from": LOOKS_BACK_SECONDS, "to": 0}
    return {"refId": ref, "datasourceUid": EXPRESSION, "relativeTimeRange": span, "model": source | model}
