"""One queue: what happens, what is usual, and what the score makes of the difference."""

from __future__ import annotations

from grafana.source.dashboard import QUEUE_PAGE, anomaly_annotation, dashboard, queue_variables
from grafana.source.panels import (
    ABANDONMENT_STEPS,
    BAD,
    CALM,
    GOOD,
    SERVICE_LEVEL_STEPS,
    WARN,
    Z_STEPS,
    Json,
    Query,
    line,
    stat,
    state_timeline,
    timeseries,
)
from grafana.source.promql import QUEUE, agents, band, now, score, threshold

OFFERED = now("genesys_queue_offered_contacts")
ABANDONMENT = now("genesys_queue_abandonment_ratio")
BREACH = now("genesys_queue_sla_breach_ratio")
WAITING = now("genesys_queue_waiting_contacts")
WAITED = f"time() - {now('genesys_queue_oldest_waiting_timestamp_seconds')}"

#: Scored metrics in the words of people.
SCORED = (("abandonment_ratio", "hang-ups"), ("sla_breach_ratio", "late answers"), ("offered_contacts", "volume"))

#: Titles that alerts link to.
ABANDONMENT_PANEL = "Abandonment and what is usual"
LATE_PANEL = "Late answers and what is usual"
VOLUME_PANEL = "Contacts offered and what is usual"
WAITING_PANEL = "Waiting and being served"


def build() -> Json:
    return dashboard(
        QUEUE_PAGE,
        "Genesys Cloud: queue",
        "One queue against its own baseline. Choose one queue and one media type; several are drawn together.",
        [
            (4, [(3, each) for each in _stats()]),
            (9, [(12, _abandonment()), (12, _late())]),
            (9, [(12, _volume()), (12, _scores())]),
            (5, [(12, _flags()), (12, _weight())]),
            (8, [(8, _contacts()), (8, _waiting()), (8, _oldest())]),
            (8, [(8, _speed()), (8, _handling()), (8, _agents())]),
        ],
        variables=queue_variables(one=True),
        annotations=[anomaly_annotation(enabled=True)],
    )


def _stats() -> list[Json]:
    farthest = f"max(abs({now('genesys_queue_zscore')}))"
    return [
        stat("Offered", "Contacts offered in the current window.", f"sum({OFFERED})", unit="short"),
        stat(
            "Abandonment",
            "Share of the contacts offered in the current window that gave up.",
            f"max({ABANDONMENT})",
            unit="percentunit",
            steps=ABANDONMENT_STEPS,
            decimals=1,
        ),
        stat(
            "Service level",
            "Share of contacts answered in time in the current window.",
            f"1 - max({BREACH})",
            unit="percentunit",
            steps=SERVICE_LEVEL_STEPS,
            decimals=1,
        ),
        stat(
            "Target",
            "The service level that the queue is meant to reach, as set in Genesys Cloud.",
            f"max({now('genesys_queue_service_level_target_ratio')})",
            unit="percentunit",
            graph=False,
        ),
        stat(
            "Highest z",
            "The highest distance of any score from its baseline, in standard deviations.",
            farthest,
            unit="none",
            steps=Z_STEPS,
            decimals=1,
        ),
        stat("Waiting", "Contacts that wait at this moment.", f"sum({WAITING})", unit="short"),
        stat(
            "Longest wait",
            "How long the contact that waits longest has waited.",
            f"max({WAITED}) or 0 * sum({WAITING})",
            unit="s",
        ),
        stat(
            "Agents free",
            "Agents on queue and idle.",
            f"sum({agents('IDLE')})",
            unit="short",
        ),
    ]


def _banded(title: str, description: str, now_expr: str, metric: str, unit: str) -> Json:
    """A value with its baseline: the mean, and the mean plus and minus threshold times deviation."""
    ratio = metric != "offered_contacts"
    upper, lower = band(metric, "+"), f"clamp_min({band(metric, '-')}, 0)"
    made = timeseries(
        title,
        f"{description} The band is the baseline's mean ± threshold × deviation at that time of day and week.",
        [
            Query(now_expr, "now"),
            Query(score("baseline_mean_ratio", metric), "usual"),
            Query(f"clamp_max({upper}, 1)" if ratio else upper, "upper"),
            Query(lower, "lower"),
        ],
        unit=unit,
    )
    line(made, "now", CALM, width=3)
    line(made, "usual", "text", dashed=True)
    line(made, "upper", "semi-dark-yellow", fill_to="lower")
    return line(made, "lower", "semi-dark-yellow")


def _abandonment() -> Json:
    text = "Share of contacts that gave up in each window."
    return _banded(ABANDONMENT_PANEL, text, ABANDONMENT, "abandonment_ratio", "percentunit")


def _late() -> Json:
    text = "Share of contacts that missed the service level in each window."
    return _banded(LATE_PANEL, text, BREACH, "sla_breach_ratio", "percentunit")


def _volume() -> Json:
    text = "Contacts offered in each window; both more and fewer than usual can be a sign."
    return _banded(VOLUME_PANEL, text, OFFERED, "offered_contacts", "short")


def _scores() -> Json:
    made = timeseries(
        "Scores",
        "Distance from usual in standard deviations, by metric. Beyond the dashed threshold a score is flagged.",
        [
            *(Query(score("zscore", metric), words) for metric, words in SCORED),
            Query(threshold(), "threshold"),
            Query(f"-{threshold()}", "lower threshold"),
        ],
        unit="none",
        minimum=None,
    )
    for name, color in (("hang-ups", BAD), ("late answers", WARN), ("volume", CALM)):
        line(made, name, color, width=2)
    return line(line(made, "threshold", BAD, dashed=True), "lower threshold", BAD, dashed=True)


def _flags() -> Json:
    return state_timeline(
        "Anomalies",
        "When which score was flagged.",
        [Query(score("anomaly", metric), f"{words} {{{{media_type}}}}") for metric, words in SCORED],
        states={"0": {"text": "as usual", "color": GOOD}, "1": {"text": "anomaly", "color": BAD}},
    )


def _weight() -> Json:
    return timeseries(
        "Weight of the baseline",
        "How much history stands behind each score: effective contacts, or buckets with the classic score.",
        [Query(score("baseline_samples", metric), words) for metric, words in SCORED],
        unit="short",
    )


def _contacts() -> Json:
    counts = {
        "offered": "offered",
        "answered": "answered",
        "abandoned": "abandoned",
        "flow_out": "left for a flow",
        "sla_breached": "late",
    }
    made = timeseries(
        "Contacts",
        "Contacts of each window by what became of them. Offered and answered can differ at a window's edge.",
        [Query(now(f"genesys_queue_{name}_contacts"), words) for name, words in counts.items()],
        unit="short",
    )
    for words, color in (("offered", CALM), ("answered", GOOD), ("abandoned", BAD), ("late", WARN)):
        line(made, words, color, width=2)
    return made


def _waiting() -> Json:
    states = ("waiting", "alerting", "interacting")
    return timeseries(
        WAITING_PANEL,
        "Contacts in the queue at each moment: waiting, ringing at an agent, and with an agent.",
        [Query(now(f"genesys_queue_{name}_contacts"), name) for name in states],
        unit="short",
        stacked=True,
    )


def _oldest() -> Json:
    return timeseries(
        "Longest wait over time",
        "How long the contact that waits longest has waited; nothing is drawn while nobody waits.",
        [Query(WAITED, "{{queue_name}} {{media_type}}")],
        unit="s",
    )


def _speed() -> Json:
    return timeseries(
        "Speed of answer",
        "Mean time to answer (ASA) of the contacts answered, and mean wait of all, in each window.",
        [
            Query(now("genesys_queue_average_speed_of_answer_seconds"), "ASA"),
            Query(now("genesys_queue_average_wait_seconds"), "wait"),
        ],
        unit="s",
    )


def _handling() -> Json:
    return timeseries(
        "Handle time",
        "Mean handle time (AHT) of each window: talk, hold and work after the contact.",
        [Query(now("genesys_queue_average_handle_time_seconds"), "AHT {{media_type}}")],
        unit="s",
    )


def _agents() -> Json:
    return timeseries(
        "Agents by status",
        "Agents joined to the queue, by routing status, over all media types.",
        [Query(f"sum by (status) (max by (queue_id, status) (genesys_queue_agents{{{QUEUE}}}))", "{{status}}")],
        unit="short",
        stacked=True,
    )
