"""The exporter itself: is it up, how old is what it shows, and what does it cost the API's budget."""

from __future__ import annotations

from grafana.source import exporter_work as work
from grafana.source.dashboard import EXPORTER_PAGE, dashboard
from grafana.source.panels import BAD, GOOD, WARN, Json, Query, field, stat, timeseries
from grafana.source.promql import of_exporters, own, per_minute, window_age

LAST_SUCCESS = own("genesys_exporter_last_success_timestamp_seconds")

#: Titles that alerts link to.
DATASETS_PANEL = "Datasets"
AGE_PANEL = "Age of the data"
FAILURES_PANEL = "Failed polls by reason"
HISTORY_PANEL = "History"
SERIES_PANEL = "Series"
REJECTED_PANEL = "Rows refused by reason"
SETTINGS_PANEL = "Settings"
REPLICAS_PANEL = "Who polls, and Redis"


def build() -> Json:
    return dashboard(
        EXPORTER_PAGE,
        "Genesys Cloud: exporter",
        "Whether the numbers on the other dashboards can be trusted, and what they cost.",
        [
            (
                4,
                [
                    (5, _datasets()),
                    (4, _age_now()),
                    (3, _budget_now()),
                    (3, _snapshot()),
                    (3, _buckets()),
                    (3, _settings()),
                    (3, _build()),
                ],
            ),
            (8, [(12, _age()), (12, _failures())]),
            (8, [(8, work.polls()), (8, work.durations()), (8, work.throttling())]),
            (8, [(12, work.calls()), (12, work.answers())]),
            (8, [(8, _history()), (8, _series()), (8, _rejected())]),
            (8, [(6, _replicas()), (6, _memory()), (6, _cpu()), (6, _files())]),
        ],
    )


def _datasets() -> Json:
    made = stat(
        DATASETS_PANEL,
        "Whether the last poll of each dataset succeeded. One can fail without the others.",
        [Query(f"max by (dataset) ({own('genesys_up')})", "{{dataset}}")],
        unit="none",
        steps=((None, BAD), (1, GOOD)),
        graph=False,
    )
    states = {"0": {"text": "failing"}, "1": {"text": "OK"}}
    made["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": states}]
    return made


def _age_now() -> Json:
    return stat(
        "Window's age",
        "Time since the current window was last fetched; queue values are withdrawn after three poll intervals.",
        window_age(),
        unit="s",
        steps=((None, GOOD), (180, WARN), (300, BAD)),
        decimals=0,
        graph=False,
    )


def _budget_now() -> Json:
    return stat(
        "Budget in use",
        "Share of the API calls allowed per minute that is used up, by whomever shares the OAuth client.",
        f"1 - {work.REMAINING} / {work.ALLOWED}",
        unit="percentunit",
        steps=((None, GOOD), (0.6, WARN), (0.8, BAD)),
        decimals=0,
    )


def _snapshot() -> Json:
    return stat(
        "Snapshot",
        "When the snapshot that all routes answer from was built.",
        f"1000 * max({own('genesys_exporter_snapshot_timestamp_seconds')})",
        unit="dateTimeFromNow",
        graph=False,
    )


def _buckets() -> Json:
    return stat(
        "Baseline",
        "Closed buckets of time in the baseline; a week of quarter hours is 672.",
        f"max({own('genesys_exporter_history_buckets')})",
        unit="none",
    )


def _settings() -> Json:
    made = stat(
        SETTINGS_PANEL,
        "Whether the settings were taken when they were last read, at the start or by a reload.",
        f"min({own('genesys_exporter_config_last_reload_successful')})",
        unit="none",
        steps=((None, BAD), (1, GOOD)),
        graph=False,
    )
    states = {"0": {"text": "refused"}, "1": {"text": "taken"}}
    made["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": states}]
    return made


def _replicas() -> Json:
    return timeseries(
        REPLICAS_PANEL,
        "With EXPORTER_REDIS_URL: 1 for the replica that polls, and for each that reaches Redis. Nothing without it.",
        [
            Query(f"max by (instance) ({own('genesys_exporter_leader')})", "{{instance}} polls"),
            Query(f"max by (instance) ({own('genesys_exporter_redis_up')})", "{{instance}} reaches Redis"),
        ],
        unit="none",
    )


def _build() -> Json:
    made = stat(
        "Version",
        "Version of the exporter and the contract that it speaks, for each replica.",
        [Query(f"max by (version, contract) ({own('genesys_exporter_build_info')})", "{{version}} {{contract}}")],
        unit="none",
        graph=False,
    )
    made["options"]["textMode"] = "name"
    return made


def _age() -> Json:
    end = f"time() - max by (dataset) ({own('genesys_exporter_data_end_timestamp_seconds')})"
    return timeseries(
        AGE_PANEL,
        "Time since each dataset was last fetched whole, and since the end of the time that it covers.",
        [Query(f"time() - max by (dataset) ({LAST_SUCCESS})", "{{dataset}}"), Query(end, "{{dataset}}: end of data")],
        unit="s",
    )


def _failures() -> Json:
    return timeseries(
        FAILURES_PANEL,
        "Polls per minute in which a dataset failed. Each reason has its own heading in docs/runbook.md.",
        [Query(per_minute("genesys_exporter_poll_failures_total", by="reason"), "{{reason}}")],
        unit="cpm",
        counts_faults=True,
        stacked=True,
    )


def _history() -> Json:
    made = timeseries(
        HISTORY_PANEL,
        "Closed buckets in the baseline, those that the back-fill has still to fetch, and whether the disk takes them.",
        [
            Query(f"max({own('genesys_exporter_history_buckets')})", "in the baseline"),
            Query(f"max({own('genesys_exporter_history_missing_buckets')})", "missing"),
            Query(f"1 - min({own('genesys_exporter_history_stored')})", "not written to disk"),
        ],
        unit="short",
    )
    return field(made, "not written to disk", unit="none", custom_axisPlacement="hidden", min=0, max=1)


def _series() -> Json:
    dropped = f"sum(increase({own('genesys_exporter_dropped_series_total')}[$__rate_interval]))"
    return timeseries(
        SERIES_PANEL,
        "Samples of queues and organisation on the latest /metrics, and series left out for the ceiling.",
        [Query(f"max({own('genesys_exporter_series')})", "series"), Query(dropped, "left out")],
        unit="short",
    )


def _rejected() -> Json:
    return timeseries(
        REJECTED_PANEL,
        "Rows of the API's answers per minute that make no sense and were refused one by one.",
        [Query(per_minute("genesys_exporter_rejected_entities_total", by="reason"), "{{reason}}")],
        unit="cpm",
        counts_faults=True,
        stacked=True,
    )


def _memory() -> Json:
    return timeseries(
        "Memory",
        "Resident memory of each exporter.",
        [Query(of_exporters(own("process_resident_memory_bytes")), "{{instance}}")],
        unit="bytes",
    )


def _cpu() -> Json:
    busy = f"rate({own('process_cpu_seconds_total')}[$__rate_interval])"
    return timeseries(
        "CPU",
        "Share of one CPU that each exporter uses.",
        [Query(of_exporters(busy), "{{instance}}")],
        unit="percentunit",
    )


def _files() -> Json:
    used = f"{own('process_open_fds')} / {own('process_max_fds')}"
    return timeseries(
        "Open files",
        "File descriptors in use by each exporter, as a share of those that it may have.",
        [Query(of_exporters(used), "{{instance}}")],
        unit="percentunit",
    )
