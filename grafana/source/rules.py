"""Alerts and recordings as Prometheus rule files (promtool check rules --lint=all)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from grafana.source.alerts import Alert, AlertGroup, Number
from grafana.source.recordings import RecordingGroup

#: How a number is written: filters of both Prometheus' and Grafana's templates.
FORMATS = {
    "percent": "humanizePercentage",
    "duration": "humanizeDuration",
    "time": "humanizeTimestamp",
    "count": 'printf "%.0f"',
    "decimal": 'printf "%.1f"',
}
#: Relative to the project; prefix it with where you publish the project's docs.
RUNBOOK = "docs/runbook.md#"
EVALUATED_EVERY = "1m"

_PLACE = re.compile(r"\{(\w+)(?::(\w+))?\}")


def fill(text: str, number: Callable[[str, str], str]) -> str:
    """A template: `{label}` as the label's value, `{name:format}` as `number` writes it. No `$`: Grafana eats those."""

    def place(found: re.Match[str]) -> str:
        name, style = found.groups()
        return number(name, FORMATS[style]) if style else f"{{{{ .Labels.{name} }}}}"

    return _PLACE.sub(place, text)


def texts(alert: Alert, number: Callable[[str, str], str]) -> dict[str, str]:
    return {
        "summary": fill(alert.summary, number),
        "description": fill(alert.description, number),
        "runbook_url": RUNBOOK + alert.name.lower(),
    }


def labels(alert: Alert) -> dict[str, str]:
    return {"severity": alert.severity, "audience": alert.audience}


def alert_rules(group: AlertGroup) -> dict[str, Any]:
    """The contents of a rule file."""
    rules = [_rule(alert) for alert in group.alerts]
    return {"groups": [{"name": group.name, "interval": EVALUATED_EVERY, "rules": rules}]}


def _rule(alert: Alert) -> dict[str, Any]:
    def number(name: str, style: str) -> str:
        if name == "value":
            return f"{{{{ .Value | {style} }}}}"
        return _asked(alert.numbers[name], style)

    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.for_,
        "labels": labels(alert),
        "annotations": texts(alert, number),
    }


def _asked(number: Number, style: str) -> str:
    """A template that asks Prometheus for the number by the alert's labels; "unknown" where there is none."""
    matchers = ",".join([*(f"{label}=%q" for label in number.by), *filter(None, [number.matchers.replace('"', "'")])])
    given = " ".join(f".Labels.{label}" for label in number.by)
    asked = number.rounding.format(f"{number.metric}{{{matchers}}}")
    return (
        f'{{{{ with printf "{asked}" {given} | query }}}}'
        f"{{{{ . | first | value | {style} }}}}{{{{ else }}}}unknown{{{{ end }}}}"
    )


def recording_rules(groups: Sequence[RecordingGroup]) -> dict[str, Any]:
    """The contents of a rule file."""
    return {
        "groups": [
            {
                "name": group.name,
                "interval": group.interval,
                "rules": [{"record": each.record, "expr": each.expr} for each in group.recordings],
            }
            for group in groups
        ]
    }
