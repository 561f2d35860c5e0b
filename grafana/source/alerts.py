"""What an alert is, and the PromQL that alerts share.

An alert's texts hold places: `{queue_name}` is a label, `{value:percent}` the value of the expression, and
`{mean:percent}` another number that `numbers` names. Prometheus asks for such numbers when it fires (a query in the
template), Grafana beforehand (a query of the rule): see `rules` and `managed`. Templates cannot round what they write
as a percentage or a moment (23.81%, 09:16:05.25): queries do, and never before a value has been compared.

Expressions take the maximum over instances, so that two replicas raise one alert, and keep `job`, so that two
organisations in one Prometheus stay apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import indent

SERIES = "job, queue_id, queue_name, media_type"

#: Who should hear of it: label `audience`, for the routes of Alertmanager.
CONTACT_CENTRE, OPERATIONS = "contact-centre", "operations"
CRITICAL, WARNING, INFO = "critical", "warning", "info"

#: How a query rounds a ratio that is told in percent, and a moment.
TENTH_OF_A_PERCENT = "0.001"
TENTHS_OF_A_PERCENT, WHOLE_SECONDS = f"round({{}}, {TENTH_OF_A_PERCENT})", "floor({})"


@dataclass(frozen=True, slots=True)
class Number:
    """A number for an alert's text: a metric, found again by these labels of the alert.

    `while_` is an expression that is true whenever the alert fires; it keeps Grafana from fetching every queue.
    `rounding` holds `{}` where the metric stands.
    """

    metric: str
    by: tuple[str, ...]
    matchers: str = ""
    while_: str = ""
    rounding: str = "{}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: fires when `expr` has been true for `for_`. `panel` is (dashboard uid, title of a panel)."""

    name: str
    expr: str
    for_: str
    severity: str
    audience: str
    summary: str
    description: str
    panel: tuple[str, str]
    numbers: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertGroup:
    name: str
    alerts: tuple[Alert, ...]


def queue(name: str, matchers: str = "") -> str:
    """A metric of queues, one series for each queue and media type."""
    return f"max by ({SERIES}) ({name}{{{matchers}}})" if matchers else f"max by ({SERIES}) ({name})"


def before(selector: str, by: str) -> str:
    """What stood there at this time a week ago; a day ago where Prometheus does not remember a week."""
    return f"(max by ({by}) ({selector} offset 1w) or max by ({by}) ({selector} offset 1d))"


def flagged(metric: str) -> str:
    return queue("genesys_queue_anomaly", f'metric="{metric}"') + " == 1"


def of_queue(metric: str, scored: str, *, baseline: bool = False, rounding: str = "{}") -> Number:
    """A number of the queue that the alert is about, which is flagged for `scored`; `baseline`: from its score."""
    matchers = f'metric="{scored}"' if baseline else ""
    return Number(metric, ("job", "queue_id", "media_type"), matchers, flagged(scored), rounding)


def usual_ratio(scored: str) -> Number:
    """The mean of the queue's baseline for a ratio, to be told in percent."""
    return of_queue("genesys_queue_baseline_mean_ratio", scored, baseline=True, rounding=TENTHS_OF_A_PERCENT)


def lines(*parts: str) -> str:
    """An expression over several lines."""
    return "\n".join(parts)


def ratio_lines(*parts: str) -> str:
    """The same for an alert whose value is told in percent."""
    return f"round(\n{indent(lines(*parts), '  ')},\n  {TENTH_OF_A_PERCENT}\n)"
