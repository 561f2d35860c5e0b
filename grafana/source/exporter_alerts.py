"""Alerts about the exporter: for those who run it. They cover what would make the alerts about queues go silent."""

from __future__ import annotations

from grafana.source.alerts import (
    CRITICAL,
    OPERATIONS,
    WARNING,
    WHOLE_SECONDS,
    Alert,
    AlertGroup,
    Number,
    lines,
    queue,
    ratio_lines,
)
from grafana.source.dashboard import EXPORTER_PAGE
from grafana.source.exporter import (
    AGE_PANEL,
    DATASETS_PANEL,
    FAILURES_PANEL,
    HISTORY_PANEL,
    REJECTED_PANEL,
    REPLICAS_PANEL,
    SERIES_PANEL,
    SETTINGS_PANEL,
)
from grafana.source.exporter_work import CALLS_PANEL, POLLS_PANEL

#: Seconds after which the window is old at any sensible poll interval; raise it with intervals above 3 minutes.
STALE_SECONDS = 600
#: The share of the API's calls per minute beyond which other users of the OAuth client may be refused.
BUDGET_SHARE = 0.8


def failures(reasons: str, span: str, by: str = "job") -> str:
    """Failed polls within `span`; `reasons` is a matcher of the label `reason`."""
    return f"sum by ({by}) (increase(genesys_exporter_poll_failures_total{{reason{reasons}}}[{span}]))"


#: Failures that no person has to mend at Genesys Cloud, by reason.
OTHER_FAILURES = failures('!~"auth|permission"', "30m", "job, reason")


def window_is(up: int) -> str:
    return f'max by (job) (genesys_up{{dataset="window"}}) == {up}'


DOWN = Alert(
    name="GenesysExporterDown",
    expr=lines(
        "group by (job) (present_over_time(genesys_exporter_build_info[1d]))",
        "unless on (job) genesys_exporter_build_info",
        'or (label_replace(absent(genesys_exporter_build_info), "job", "any", "", "")',
        "  unless on () present_over_time(genesys_exporter_build_info[1d]))",
    ),
    for_="5m",
    severity=CRITICAL,
    audience=OPERATIONS,
    summary="No Genesys Cloud exporter is scraped (job: {job})",
    description=(
        "Prometheus has had no exporter of this job to scrape for 5 minutes: it is down, unreachable, or not in the "
        "scrape configuration. No alert about its queues can fire."
    ),
    panel=(EXPORTER_PAGE, AGE_PANEL),
)

REPLICA_DOWN = Alert(
    name="GenesysExporterReplicaDown",
    expr=lines(
        "up == 0",
        "and on (job, instance) present_over_time(genesys_exporter_build_info[6h])",
        "and on (job) genesys_exporter_build_info",
    ),
    for_="10m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="Exporter {instance} is down, another one is left",
    description="{instance} of job {job} has not answered a scrape for 10 minutes; it did within the last 6 hours.",
    panel=(EXPORTER_PAGE, AGE_PANEL),
)

STALE = Alert(
    name="GenesysDataStale",
    expr=lines(
        # A restart forgets the last success; Prometheus does not. Where there never was one: since the start.
        "time() - (",
        '  max by (job) (max_over_time(genesys_exporter_last_success_timestamp_seconds{dataset="window"}[1d]))',
        "  or max by (job) (genesys_exporter_config_last_reload_success_timestamp_seconds)",
        f") > {STALE_SECONDS}",
        "and on (job) group by (job) (genesys_exporter_build_info)",
    ),
    for_="2m",
    severity=CRITICAL,
    audience=OPERATIONS,
    summary="Queue data are {value:duration} old",
    description=(
        "The current window was last fetched {value:duration} ago (if it ever was; otherwise the exporter started "
        "then). What is shown of queues has been withdrawn, and no alert about queues can fire."
    ),
    panel=(EXPORTER_PAGE, AGE_PANEL),
)

DATASET_FAILING = Alert(
    name="GenesysDatasetFailing",
    expr="max by (job, dataset) (genesys_up) == 0",
    for_="15m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="Dataset {dataset} cannot be fetched",
    description=(
        "Every poll of {dataset} has failed for 15 minutes; last fetched: {since:time}. Datasets without this alert "
        "are not touched by it."
    ),
    panel=(EXPORTER_PAGE, DATASETS_PANEL),
    numbers={
        "since": Number("genesys_exporter_last_success_timestamp_seconds", ("job", "dataset"), rounding=WHOLE_SECONDS)
    },
)

CREDENTIALS_REFUSED = Alert(
    name="GenesysCredentialsRefused",
    expr=lines(failures('="auth"', "10m") + " >= 2", f"and {window_is(0)}"),
    for_="5m",
    severity=CRITICAL,
    audience=OPERATIONS,
    summary="Genesys Cloud refuses the exporter's credentials",
    description=(
        "About {value:count} polls of the last 10 minutes were refused: the OAuth client is gone, disabled, or its "
        "secret was changed. Trying again does not help."
    ),
    panel=(EXPORTER_PAGE, FAILURES_PANEL),
)

PERMISSION_MISSING = Alert(
    name="GenesysPermissionMissing",
    expr=failures('="permission"', "30m") + " >= 2",
    for_="15m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="The exporter's OAuth client lacks a permission",
    description="About {value:count} polls of the last 30 minutes met a call that the client's roles do not allow.",
    panel=(EXPORTER_PAGE, FAILURES_PANEL),
)

POLLS_FAILING = Alert(
    name="GenesysPollsFailing",
    expr=ratio_lines(
        OTHER_FAILURES,
        "  / on (job) group_left ()",
        "  sum by (job) (increase(genesys_exporter_polls_total[30m]))",
        "  > 0.3",
        f"and {OTHER_FAILURES} >= 3",
    ),
    for_="15m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="{value:percent} of polls fail: {reason}",
    description="{value:percent} of the polls of the last 30 minutes failed with reason {reason}, for 15 minutes.",
    panel=(EXPORTER_PAGE, FAILURES_PANEL),
)

POLLS_SKIPPED = Alert(
    name="GenesysPollsSkipped",
    expr=ratio_lines(
        "sum by (job) (increase(genesys_exporter_polls_skipped_total[1h]))",
        "  / (sum by (job) (increase(genesys_exporter_polls_total[1h])",
        "     + increase(genesys_exporter_polls_skipped_total[1h])))",
        "  > 0.2",
    ),
    for_="30m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="{value:percent} of poll deadlines are missed",
    description=(
        "{value:percent} of the poll deadlines of the last hour were skipped because the poll before took longer than "
        "the interval."
    ),
    panel=(EXPORTER_PAGE, POLLS_PANEL),
)

BUDGET_NEARLY_USED = Alert(
    name="GenesysApiBudgetNearlyUsed",
    expr=ratio_lines(
        "60 * sum by (job) (rate(genesys_exporter_api_requests_total[10m]))",
        f"  / max by (job) (genesys_exporter_api_rate_limit_allowed) > {BUDGET_SHARE}",
        "or",
        "1 - max by (job) (max_over_time(genesys_exporter_api_rate_limit_remaining[10m]))",
        f"  / max by (job) (genesys_exporter_api_rate_limit_allowed) > {BUDGET_SHARE}",
    ),
    for_="15m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="{value:percent} of the API's call budget is in use",
    description=(
        "The OAuth client has used {value:percent} of the calls that Genesys Cloud allows it per minute, by this "
        "exporter or by whoever shares the client, for 15 minutes. Beyond the limit calls are refused."
    ),
    panel=(EXPORTER_PAGE, CALLS_PANEL),
)

BACKFILL_STUCK = Alert(
    name="GenesysBackfillStuck",
    expr=lines(
        "max by (job) (min_over_time(genesys_exporter_history_missing_buckets[30m])) > 0",
        "and max by (job) (delta(genesys_exporter_history_missing_buckets[1h])) >= 0",
    ),
    for_="30m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="The baseline lacks {value:count} buckets and gets no nearer",
    description=(
        "{value:count} buckets of the baseline are missing and their number has not fallen for an hour. Scores are "
        "made from what is there."
    ),
    panel=(EXPORTER_PAGE, HISTORY_PANEL),
)

HISTORY_NOT_STORED = Alert(
    name="GenesysHistoryNotStored",
    expr="min by (job) (genesys_exporter_history_stored) == 0",
    for_="15m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="The disk does not take an exporter's history",
    description=(
        "For 15 minutes an exporter of job {job} has kept closed buckets in memory alone: its disk does not take them. "
        "Everything is served; what waits must be fetched again if it restarts now."
    ),
    panel=(EXPORTER_PAGE, HISTORY_PANEL),
)

SCORES_MISSING = Alert(
    name="GenesysScoresMissing",
    expr=lines(
        f"sum by (job) ({queue('genesys_queue_offered_contacts')}) >= 20",
        f"and {window_is(1)}",
        "unless on (job) max by (job) (genesys_queue_zscore)",
    ),
    for_="1h",
    severity=WARNING,
    audience=OPERATIONS,
    summary="Queues are polled but none is scored",
    description=(
        "{value:count} contacts were offered in the current window and not one queue has a score, for an hour. No "
        "anomaly can be flagged."
    ),
    panel=(EXPORTER_PAGE, HISTORY_PANEL),
)

SERIES_DROPPED = Alert(
    name="GenesysSeriesDropped",
    expr="sum by (job) (increase(genesys_exporter_dropped_series_total[1h])) > 0",
    for_="30m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="Queues are left out of /metrics",
    description="EXPORTER_MAX_SERIES cuts off series in every poll: about {value:count} in the last hour.",
    panel=(EXPORTER_PAGE, SERIES_PANEL),
)

ROWS_REJECTED = Alert(
    name="GenesysRowsRejected",
    expr="sum by (job, reason) (increase(genesys_exporter_rejected_entities_total[1h])) > 10",
    for_="30m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="Rows of the API's answers are refused: {reason}",
    description="About {value:count} rows of the last hour made no sense ({reason}) and were left out.",
    panel=(EXPORTER_PAGE, REJECTED_PANEL),
)

RELOAD_REFUSED = Alert(
    name="GenesysReloadRefused",
    expr="min by (job) (genesys_exporter_config_last_reload_successful) == 0",
    for_="5m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="An exporter has refused its new settings",
    description=(
        "An exporter of job {job} goes on with the settings that it had: its last reload found a fault, or a change "
        "that needs a restart. Its log names each."
    ),
    panel=(EXPORTER_PAGE, SETTINGS_PANEL),
)

REDIS_UNREACHABLE = Alert(
    name="GenesysRedisUnreachable",
    expr="min by (job) (genesys_exporter_redis_up) == 0",
    for_="10m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="A replica does not reach Redis",
    description=(
        "For 10 minutes a replica of job {job} has not reached Redis: it does not see what the others do, and nobody "
        "takes over from it or it from another."
    ),
    panel=(EXPORTER_PAGE, REPLICAS_PANEL),
)

SEVERAL_LEADERS = Alert(
    name="GenesysSeveralReplicasPoll",
    expr="sum by (job) (genesys_exporter_leader) > 1",
    for_="10m",
    severity=WARNING,
    audience=OPERATIONS,
    summary="{value:count} replicas poll one org",
    description="For 10 minutes {value:count} replicas of job {job} have polled, each with a call budget of its own.",
    panel=(EXPORTER_PAGE, REPLICAS_PANEL),
)

GROUP = AlertGroup(
    "genesys-exporter",
    (
        DOWN,
        REPLICA_DOWN,
        STALE,
        DATASET_FAILING,
        CREDENTIALS_REFUSED,
        PERMISSION_MISSING,
        POLLS_FAILING,
        POLLS_SKIPPED,
        BUDGET_NEARLY_USED,
        BACKFILL_STUCK,
        HISTORY_NOT_STORED,
        SCORES_MISSING,
        SERIES_DROPPED,
        ROWS_REJECTED,
        RELOAD_REFUSED,
        REDIS_UNREACHABLE,
        SEVERAL_LEADERS,
    ),
)
