"""Contact centre overview: which queue is in trouble, and why, on the first screen; then since when, and the whole."""

from __future__ import annotations

from grafana.source import worst
from grafana.source.dashboard import OVERVIEW, QUEUE_PAGE, anomaly_annotation, dashboard, link_to, queue_variables
from grafana.source.panels import (
    ABANDONMENT_STEPS,
    BAD,
    CALM,
    GOOD,
    SERVICE_LEVEL_STEPS,
    WARN,
    Json,
    Query,
    field,
    line,
    stat,
    state_timeline,
    table,
    timeseries,
)
from grafana.source.promql import MEDIA, ROW, agents, now, own, series, threshold, window_age
from grafana.source.worst import ABANDONED, BREACH, EXPECTED, FLAGGED, OFFERED, WAITING

#: A caller holds the line; a mail does not.
ON_THE_LINE = 'media_type!~"email|message|callback"'

TO_SERIES = link_to(
    QUEUE_PAGE,
    "Open this queue",
    "var-queue=${__field.labels.queue_id}&var-media=${__field.labels.media_type:percentencode}",
)


def build() -> Json:
    return dashboard(
        OVERVIEW,
        "Genesys Cloud: contact centre overview",
        "Which queues are in trouble now, and why. Values are of the current window (15 minutes unless configured).",
        [
            (4, [(3, each) for each in _stats()]),
            (12, [(24, worst.build())]),
            (8, [(12, _when()), (12, _distances())]),
            (8, [(8, _volume()), (8, _rates()), (8, _waiting())]),
            (8, [(8, _organisation()), (10, _divisions()), (6, _totals())]),
            (8, [(16, _organisation_expected()), (8, _organisation_weight())]),
        ],
        variables=queue_variables(one=False),
        annotations=[anomaly_annotation(enabled=False)],
    )


def _stats() -> list[Json]:
    weighted = f"sum({BREACH} * {OFFERED}) / (sum({OFFERED} and {BREACH}) > 0)"
    waiting = now("genesys_queue_waiting_contacts", ON_THE_LINE)
    oldest = now("genesys_queue_oldest_waiting_timestamp_seconds", ON_THE_LINE)
    return [
        stat(
            "In trouble",
            "Queues (by media type) with at least one score beyond its threshold: hang-ups, late answers or volume.",
            f"count({FLAGGED} == 1) or vector(0)",
            unit="none",
            steps=((None, GOOD), (1, WARN), (5, BAD)),
        ),
        stat(
            "Service level",
            "Share of contacts answered in time over all selected queues, weighted by contacts offered.",
            f"1 - {weighted}",
            unit="percentunit",
            steps=SERVICE_LEVEL_STEPS,
            decimals=1,
        ),
        stat(
            "Abandonment",
            "Share of the contacts offered in the window that gave up before an answer.",
            f"sum({ABANDONED}) / (sum({OFFERED}) > 0)",
            unit="percentunit",
            steps=ABANDONMENT_STEPS,
            decimals=1,
        ),
        stat("Offered", "Contacts offered to the selected queues in the window.", f"sum({OFFERED})", unit="short"),
        stat(
            "On the line",
            "Contacts that wait at this moment with somebody at the other end: no e-mail, message or callback.",
            f"sum({waiting})",
            unit="short",
        ),
        stat(
            "Longest wait",
            "How long the contact that waits longest has waited; e-mail, messages and callbacks left out.",
            f"(time() - min({oldest})) or 0 * sum({waiting})",
            unit="s",
        ),
        stat(
            "Agents free",
            "Agents on queue and idle. An agent who serves several queues counts in each of them.",
            f"sum({agents('IDLE')})",
            unit="short",
        ),
        stat(
            "Data age",
            "Time since the window was last fetched from Genesys Cloud. What is older than three polls is withdrawn.",
            window_age(),
            unit="s",
            steps=((None, GOOD), (180, WARN), (300, BAD)),
            decimals=0,
            graph=False,
        ),
    ]


def _when() -> Json:
    ever = f"max by ({ROW}) (max_over_time({series('genesys_queue_anomaly')}[$__range] @ end())) == 1"
    return state_timeline(
        "Anomalies over time",
        "Queues that were flagged at some time in the selected range, and when (red).",
        [Query(f"{FLAGGED} and on (queue_id, media_type) ({ever})", "{{queue_name}} {{media_type}}")],
        states={"0": {"text": "as usual", "color": GOOD}, "1": {"text": "anomaly", "color": BAD}},
    )


def _distances() -> Json:
    farthest = f"topk(8, max by ({ROW}) (max_over_time({series('genesys_queue_zscore')}[$__range] @ end())))"
    worst = f"max by ({ROW}) ({series('genesys_queue_zscore')}) and on (queue_id, media_type) {farthest}"
    return timeseries(
        "Distance from usual",
        "The highest z-score of the eight queues that were farthest above their baseline in the selected range.",
        [Query(worst, "{{queue_name}} {{media_type}}")],
        unit="none",
        minimum=None,
        link=TO_SERIES,
    )


def _volume() -> Json:
    made = timeseries(
        "Contacts offered, and usual",
        "Contacts offered in each window over the selected queues, and what their baselines expect at that time.",
        [Query(f"sum({OFFERED})", "offered"), Query(f"sum({EXPECTED})", "usual")],
        unit="short",
    )
    return line(line(made, "offered", CALM, width=2), "usual", "text", dashed=True)


def _rates() -> Json:
    made = timeseries(
        "Abandonment and late answers",
        "Shares of contacts over the selected queues: given up, and not answered within the service level's time.",
        [
            Query(f"sum({ABANDONED}) / (sum({OFFERED}) > 0)", "abandoned"),
            Query(f"sum({BREACH} * {OFFERED}) / (sum({OFFERED} and {BREACH}) > 0)", "late"),
        ],
        unit="percentunit",
    )
    return line(line(made, "abandoned", BAD, width=2), "late", WARN, width=2)


def _waiting() -> Json:
    waiting = "genesys_queue_waiting_contacts"
    most = f"topk(8, max by ({ROW}) (max_over_time({series(waiting, ON_THE_LINE)}[$__range] @ end())))"
    return timeseries(
        "Waiting on the line",
        "The eight queues in which most contacts waited on the line at one time in the selected range.",
        [Query(f"{now(waiting, ON_THE_LINE)} and on (queue_id, media_type) {most}", "{{queue_name}} {{media_type}}")],
        unit="short",
        link=TO_SERIES,
    )


def _organisation() -> Json:
    distance = "max by (media_type) (" + own("genesys_org_zscore", 'metric="offered_contacts"', MEDIA) + ")"
    return timeseries(
        "Volume of the whole organisation",
        "Distance of the contacts of all queues together from usual, in standard deviations: far below 0 is an outage.",
        [Query(distance, "{{media_type}}")],
        unit="none",
        minimum=None,
    )


def _organisation_expected() -> Json:
    def by_media(name: str, *matchers: str) -> str:
        return f"max by (media_type) ({own(name, *matchers, MEDIA)})"

    mean, stddev = (
        by_media(f"genesys_org_baseline_{part}_ratio", 'metric="offered_contacts"') for part in ("mean", "stddev")
    )
    lower = f"clamp_min({mean} - {stddev} * on () group_left () {threshold()}, 0)"
    return timeseries(
        "Contacts of the whole organisation, and usual",
        "Contacts of all queues together in each window, what their baseline expects, and where an outage begins.",
        [
            Query(by_media("genesys_org_offered_contacts"), "{{media_type}}"),
            Query(mean, "{{media_type}} usual"),
            Query(lower, "{{media_type}} outage below"),
        ],
        unit="short",
    )


def _organisation_weight() -> Json:
    weight = own("genesys_org_baseline_samples", 'metric="offered_contacts"', MEDIA)
    return timeseries(
        "Weight of the organisation's baseline",
        "Buckets with contacts that stand behind the organisation's volume scores.",
        [Query(f"max by (media_type) ({weight})", "{{media_type}}")],
        unit="short",
    )


def _divisions() -> Json:
    division = f"topk by (queue_id) (1, max by (queue_id, division) ({own('genesys_queue_info')}))"

    def total(expr: str) -> str:
        return f"sum by (division) (({expr}) * on (queue_id) group_left (division) {division})"

    made = table(
        "Divisions",
        "The current window by division of the organisation, busiest first.",
        {"division": "Division"},
        {
            "": Query(total(OFFERED)),
            "Offered": Query(total(OFFERED)),
            "Usually offered": Query(total(EXPECTED)),
            "Abandoned": Query(f"{total(ABANDONED)} / ({total(OFFERED)} > 0)"),
            "Waiting": Query(total(WAITING)),
            "Flagged": Query(total(FLAGGED)),
        },
    )
    field(made, "Usually offered", decimals=0)
    return field(made, "Abandoned", unit="percentunit", decimals=1)


def _totals() -> Json:
    def total(what: str) -> str:
        return f"sum(max by ({ROW}) (increase({series(f'genesys_queue_{what}_contacts_total')}[$__range])))"

    return stat(
        "Contacts in the selected range",
        "Counted over closed buckets: offered, abandoned and not answered in time. Moves when a bucket closes.",
        [
            Query(total("offered"), "offered"),
            Query(total("abandoned"), "abandoned"),
            Query(total("sla_breached"), "late"),
        ],
        unit="short",
        decimals=0,
        graph=False,
    )
