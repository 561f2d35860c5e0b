"""Every metric that is published, as data: the one table that the exposition, the docs and the dashboards read.

`FAMILIES` are rendered from a Snapshot: each entry says where its values stand (`source`, `column`), which dataset
they age with, and how they are named. `SELF_FAMILIES` are the exporter's own, counted in `self_metrics`;
`STANDARD_FAMILIES` come from prometheus_client's process and Python collectors. Nothing here computes.

`column` of a QUEUE family is a name in `Snapshot.columns`. A column that is absent, or NaN in a row, is no sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from exporter.models import HISTORY, OBSERVATIONS, QUEUES, WINDOW


class Source(Enum):
    """Where in a Snapshot a family's values stand."""

    SNAPSHOT = "an attribute of the snapshot itself"
    QUEUE = "columns[column], a value per row"
    SCORE = "scores.metrics[…].column, a value per row and metric"
    DISCOVERY = "scores.discoveries[…], a value per row and metric"
    AGENTS = "agents, a value per queue and routing status"
    INFO = "queues, the constant 1 per queue"
    ORG = "org_offered, a value per media type"
    ORG_SCORE = "org_scores.metrics[…].column, a value per media type and metric"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `dataset` None: not withdrawn when data grow stale."""

    name: str
    type: str  # as text 0.0.4 says it, but "info" for info metrics
    help: str
    labels: tuple[str, ...] = ()
    source: Source = Source.QUEUE
    column: str = ""
    dataset: str | None = WINDOW


#: Columns of Snapshot.columns that no family shows: CSV and JSON need the service level's own denominator.
UNEXPOSED_COLUMNS = ("sla_contacts",)

ROW_LABELS = ("queue_id", "queue_name", "media_type")
AGENT_LABELS = ("queue_id", "queue_name", "status")
INFO_LABELS = ("queue_id", "queue_name", "division")
ORG_LABELS = ("media_type",)


def _queue(name: str, column: str, text: str, dataset: str = WINDOW) -> Family:
    return Family(f"genesys_queue_{name}", "gauge", text, ROW_LABELS, Source.QUEUE, column, dataset)


def _counter(name: str, column: str, text: str) -> Family:
    return Family(f"genesys_queue_{name}", "counter", text, ROW_LABELS, Source.QUEUE, column, HISTORY)


def _score(name: str, column: str, text: str) -> Family:
    labels = (*ROW_LABELS, "metric")
    return Family(f"genesys_queue_{name}", "gauge", text, labels, Source.SCORE, column)


def _org_score(name: str, column: str, text: str) -> Family:
    labels = (*ORG_LABELS, "metric")
    return Family(f"genesys_org_{name}", "gauge", text, labels, Source.ORG_SCORE, column)


def _snapshot(name: str, column: str, text: str) -> Family:
    return Family(f"genesys_exporter_{name}", "gauge", text, (), Source.SNAPSHOT, column, None)


FAMILIES: tuple[Family, ...] = (
    _snapshot("snapshot_id", "id", "Id of the snapshot that all routes answer from."),
    _snapshot("snapshot_timestamp_seconds", "created", "When the snapshot was built, in seconds since the epoch."),
    _queue("offered_contacts", "offered", "Contacts offered to the queue in the current window."),
    _queue("answered_contacts", "answered", "Contacts answered in the current window."),
    _queue("abandoned_contacts", "abandoned", "Contacts abandoned in the current window."),
    _queue("flow_out_contacts", "flow_out", "Contacts that left the queue for a flow in the window."),
    _queue(
        "sla_breached_contacts",
        "sla_breached",
        "Contacts in the current window that missed the service level.",
    ),
    _queue(
        "abandonment_ratio", "abandonment_ratio", "Abandoned by offered contacts in the current window; 1 means all."
    ),
    _queue("sla_breach_ratio", "sla_breach_ratio", "Share of contacts that missed the service level; 1 means all."),
    _queue("service_level_target_ratio", "service_level_target_ratio", "Service level that the queue aims at, 0 to 1."),
    _queue(
        "average_speed_of_answer_seconds",
        "average_speed_of_answer_seconds",
        "Mean time to answer (ASA) of contacts answered in the current window.",
    ),
    _queue(
        "average_handle_time_seconds",
        "average_handle_time_seconds",
        "Mean handle time (AHT) of contacts handled in the current window.",
    ),
    _queue("average_wait_seconds", "average_wait_seconds", "Mean time that contacts of the current window waited."),
    _score("zscore", "z", "Deviations of the window's value from the queue's own baseline."),
    _score("anomaly", "anomaly", "1 where the score is beyond the threshold, else 0."),
    Family(
        "genesys_queue_anomaly_fdr",
        "gauge",
        "1 where the score stands among all of the poll's (Benjamini-Hochberg at 5 %), else 0.",
        (*ROW_LABELS, "metric"),
        Source.DISCOVERY,
    ),
    _score("baseline_mean_ratio", "mean", "Expected value by the baseline: a ratio, or contacts for offered_contacts."),
    _score("baseline_stddev_ratio", "stddev", "Standard deviation that the score is counted in, in the mean's unit."),
    _score("baseline_samples", "samples", "Weight of the baseline; for the classic score the buckets with volume."),
    _counter("offered_contacts_total", "offered_total", "Contacts offered in closed buckets."),
    _counter("abandoned_contacts_total", "abandoned_total", "Contacts abandoned in closed buckets."),
    _counter(
        "sla_breached_contacts_total", "sla_breached_total", "Contacts that missed the service level, closed buckets."
    ),
    _queue("waiting_contacts", "waiting", "Contacts waiting in the queue now.", OBSERVATIONS),
    _queue("interacting_contacts", "interacting", "Contacts with an agent now.", OBSERVATIONS),
    _queue("alerting_contacts", "alerting", "Contacts ringing at an agent now.", OBSERVATIONS),
    _queue(
        "oldest_waiting_timestamp_seconds",
        "oldest_waiting_timestamp_seconds",
        "Since when the longest waiting contact waits, in seconds since the epoch.",
        OBSERVATIONS,
    ),
    Family(
        "genesys_queue_agents",
        "gauge",
        "Agents joined to the queue, by routing status.",
        AGENT_LABELS,
        Source.AGENTS,
        dataset=OBSERVATIONS,
    ),
    Family(
        "genesys_queue_info",
        "info",
        "The queue directory: name and division of a queue.",
        INFO_LABELS,
        Source.INFO,
        dataset=QUEUES,
    ),
    Family(
        "genesys_org_offered_contacts",
        "gauge",
        "Contacts offered in the current window, all queues together.",
        ORG_LABELS,
        Source.ORG,
    ),
    _org_score("zscore", "z", "Deviations of the organisation's value from its own baseline."),
    _org_score("anomaly", "anomaly", "1 where the organisation's score is beyond the threshold, else 0."),
    _org_score(
        "baseline_mean_ratio", "mean", "Expected value of the organisation, in the unit of the queues' baselines."
    ),
    _org_score(
        "baseline_stddev_ratio", "stddev", "Standard deviation of the organisation's value, in the mean's unit."
    ),
    _org_score("baseline_samples", "samples", "Weight of the organisation's baseline."),
)


@dataclass(frozen=True, slots=True)
class SelfFamily:
    """One of the exporter's own metrics; `optional`: no sample until there is a value."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()
    optional: bool = False


_DATASET = ("dataset",)

SELF_FAMILIES: tuple[SelfFamily, ...] = (
    SelfFamily("genesys_up", "gauge", "1 if the dataset's last poll succeeded; no sample before the first.", _DATASET),
    SelfFamily(
        "genesys_exporter_last_success_timestamp_seconds", "gauge", "When the dataset was last fetched whole.", _DATASET
    ),
    SelfFamily(
        "genesys_exporter_data_end_timestamp_seconds", "gauge", "End of the time that the dataset covers.", _DATASET
    ),
    SelfFamily("genesys_exporter_polls_total", "counter", "Polls that ended, good or bad."),
    SelfFamily(
        "genesys_exporter_poll_failures_total", "counter", "Polls in which a dataset failed, by reason.", ("reason",)
    ),
    SelfFamily("genesys_exporter_polls_skipped_total", "counter", "Poll deadlines missed and not replayed."),
    SelfFamily("genesys_exporter_poll_duration_seconds", "histogram", "How long polls took."),
    SelfFamily(
        "genesys_exporter_api_requests_total", "counter", "Calls of the Genesys Cloud API.", ("endpoint", "code")
    ),
    SelfFamily("genesys_exporter_api_retries_total", "counter", "Calls tried again.", ("endpoint", "reason")),
    SelfFamily(
        "genesys_exporter_api_throttled_seconds_total", "counter", "Time that calls waited for the call budget."
    ),
    SelfFamily(
        "genesys_exporter_api_rate_limit_allowed", "gauge", "Calls that the API allows per minute.", optional=True
    ),
    SelfFamily(
        "genesys_exporter_api_rate_limit_remaining", "gauge", "Calls that are left in this minute.", optional=True
    ),
    SelfFamily("genesys_exporter_rejected_entities_total", "counter", "Rows refused as senseless.", ("reason",)),
    SelfFamily("genesys_exporter_dropped_series_total", "counter", "Series left out for the series ceiling, summed."),
    SelfFamily("genesys_exporter_series", "gauge", "Samples of queues and organisation on the latest /metrics."),
    SelfFamily("genesys_exporter_history_buckets", "gauge", "Closed buckets of time in the baseline.", optional=True),
    SelfFamily(
        "genesys_exporter_history_missing_buckets",
        "gauge",
        "Closed buckets of the baseline that history still lacks.",
        optional=True,
    ),
    SelfFamily(
        "genesys_exporter_history_stored",
        "gauge",
        "1 while closed buckets are written to the history file, 0 while they wait in memory.",
        optional=True,
    ),
    SelfFamily(
        "genesys_exporter_anomaly_threshold",
        "gauge",
        "Standard deviations beyond which a score is an anomaly.",
        optional=True,
    ),
    SelfFamily(
        "genesys_exporter_config_last_reload_successful",
        "gauge",
        "1 if the settings were taken when last read, else 0.",
    ),
    SelfFamily(
        "genesys_exporter_config_last_reload_success_timestamp_seconds", "gauge", "When settings were last taken."
    ),
    SelfFamily(
        "genesys_exporter_file_last_reload_successful",
        "gauge",
        "1 if the file that this setting names is used as it is now, else 0.",
        ("setting",),
    ),
    SelfFamily(
        "genesys_exporter_leader", "gauge", "1 if this replica polls, 0 if it serves another's polls.", optional=True
    ),
    SelfFamily(
        "genesys_exporter_redis_up", "gauge", "1 if Redis answers, through which replicas agree.", optional=True
    ),
    SelfFamily("genesys_exporter_build_info", "info", "Versions and contract.", ("version", "python", "contract")),
)

#: What prometheus_client's process, platform and GC collectors add on Linux.
STANDARD_FAMILIES: tuple[str, ...] = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "python_gc_objects_collected_total",
    "python_gc_objects_uncollectable_total",
    "python_gc_collections_total",
    "python_info",
)
