"""The table of queues, worst first, with the reason in words.

Every column asks about the same few rows: the queues with the highest rank. A flagged score counts for more than any
score that is not flagged; among equals, distance from usual and the square root of the usual contacts.
"""

from __future__ import annotations

from grafana.source.dashboard import QUEUE_PAGE, link_to
from grafana.source.panels import (
    ABANDONMENT_STEPS,
    BAD,
    NEUTRAL,
    SERVICE_LEVEL_STEPS,
    WARN,
    Z_STEPS,
    Json,
    Query,
    field,
    table,
    thresholds,
)
from grafana.source.promql import ROW, agents, now, score, series

LISTED = 50
OFFERED, ABANDONED = now("genesys_queue_offered_contacts"), now("genesys_queue_abandoned_contacts")
BREACH = now("genesys_queue_sla_breach_ratio")
WAITING = now("genesys_queue_waiting_contacts")
OLDEST = now("genesys_queue_oldest_waiting_timestamp_seconds")
EXPECTED = score("baseline_mean_ratio", "offered_contacts")
FLAGGED = now("genesys_queue_anomaly")
FARTHEST = f"max by ({ROW}) (abs({series('genesys_queue_zscore')}))"
#: A surge at a queue of hundreds is worse than the same distance at a queue of three.
WEIGHT = f"sqrt(clamp_min({EXPECTED} or {OFFERED}, 1))"
RANK = f"topk({LISTED}, {FARTHEST} * {WEIGHT} + 1e6 * {FLAGGED})"

#: What a flagged score means to a supervisor: (metric, side of the baseline, words).
REASONS = (
    ("abandonment_ratio", "> 0", "Callers hang up"),
    ("sla_breach_ratio", "> 0", "Answers come late"),
    ("offered_contacts", "> 0", "More contacts than usual"),
    ("offered_contacts", "< 0", "Fewer contacts than usual"),
    ("abandonment_ratio", "< 0", "Fewer hang up than usual"),
    ("sla_breach_ratio", "< 0", "Faster answers than usual"),
)
AS_USUAL = "as usual"

#: Pixels; all up to the agents fit on a screen of 1,280.
WIDTHS = {
    "Queue": 200,
    "Media": 80,
    "Why": 200,
    "z": 60,
    "Abandoned": 90,
    "Usually abandoned": 130,
    "Service level": 100,
    "Usual service level": 130,
    "Waiting": 75,
    "Longest wait": 100,
    "Agents on queue": 115,
    "Offered": 75,
    "Usually offered": 110,
}

TO_QUEUE = link_to(
    QUEUE_PAGE,
    "Open this queue",
    "var-queue=${__data.fields.Id}&var-media=${__data.fields.Media:percentencode}",
)


def _why() -> str:
    """The distance of the flagged score that is farthest off, with the reason in words as the label `why`."""
    reasons = [
        _named(f"abs(({score('zscore', metric)} {side}) and {_flag(metric)})", text) for metric, side, text in REASONS
    ]
    return f"topk by ({ROW}) (1, {' or '.join(reasons)}) or on (queue_id, media_type) {_named(FARTHEST, AS_USUAL)}"


def _flag(metric: str) -> str:
    return f"{score('anomaly', metric)} == 1"


def _named(expr: str, text: str) -> str:
    return f'label_replace({expr}, "why", "{text}", "", "")'


def build() -> Json:
    on_queue = agents("IDLE", "INTERACTING", "COMMUNICATING", "NOT_RESPONDING")
    columns = {
        "z": _why(),
        "Abandoned": now("genesys_queue_abandonment_ratio"),
        "Usually abandoned": score("baseline_mean_ratio", "abandonment_ratio"),
        "Service level": f"1 - {BREACH}",
        "Usual service level": f"1 - {score('baseline_mean_ratio', 'sla_breach_ratio')}",
        "Waiting": WAITING,
        "Longest wait": f"time() - {OLDEST}",
        "Agents on queue": f"0 * {OFFERED} + on (queue_id) group_left () {on_queue}",
        "Offered": OFFERED,
        "Usually offered": EXPECTED,
    }
    shown = {name: Query(f"({expr}) and on (queue_id, media_type) {RANK}") for name, expr in columns.items()}
    made = table(
        "Queues, worst first",
        "Flagged queues first, then by distance from what is usual for the queue, more so at busy ones. Why: the "
        "flagged score that is farthest off. z: that distance in standard deviations. Click a queue for its page.",
        {"queue_name": "Queue", "media_type": "Media", "why": "Why"},
        {"": Query(RANK), **shown, "Id": "queue_id"},
    )
    return _dressed(made)


def _dressed(made: Json) -> Json:
    """Colours and units of the columns of the table of queues."""
    bad = {text: {"text": text, "color": BAD if "> 0" in side else WARN} for _, side, text in REASONS}
    words = [{"type": "value", "options": bad | {AS_USUAL: {"text": AS_USUAL, "color": "text"}}}]
    colored = {"type": "color-background", "mode": "basic"}
    text = {"type": "color-text"}
    for name, width in WIDTHS.items():
        field(made, name, custom_width=width)
    field(made, "Queue", links=[TO_QUEUE])
    field(made, "Why", mappings=words, custom_cellOptions=text)
    field(made, "z", decimals=1, custom_cellOptions=colored, thresholds=thresholds(Z_STEPS))
    field(made, "Usually offered", decimals=0)
    for name, steps in (
        ("Abandoned", ABANDONMENT_STEPS),
        ("Usually abandoned", NEUTRAL),
        ("Service level", SERVICE_LEVEL_STEPS),
        ("Usual service level", NEUTRAL),
    ):
        field(made, name, unit="percentunit", decimals=1, custom_cellOptions=text, thresholds=thresholds(steps))
    return field(made, "Longest wait", unit="dtdurations", decimals=0)
