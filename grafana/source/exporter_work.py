"""Panels about what the exporter does: its polls, and the calls that they cost."""

from __future__ import annotations

from grafana.source.panels import BAD, CALM, Json, Query, field, line, timeseries
from grafana.source.promql import own, per_minute

ALLOWED = f"max({own('genesys_exporter_api_rate_limit_allowed')})"
REMAINING = f"min({own('genesys_exporter_api_rate_limit_remaining')})"

#: Titles that alerts link to.
CALLS_PANEL = "API calls and what is allowed"
POLLS_PANEL = "Polls"


def polls() -> Json:
    return timeseries(
        POLLS_PANEL,
        "Polls ended per minute, and deadlines skipped because a poll took longer than its interval.",
        [
            Query(per_minute("genesys_exporter_polls_total"), "polls"),
            Query(per_minute("genesys_exporter_polls_skipped_total"), "skipped"),
        ],
        unit="cpm",
    )


def durations() -> Json:
    buckets = f"rate({own('genesys_exporter_poll_duration_seconds_bucket')}[$__rate_interval])"
    taken, ended = (
        f"sum(rate({own(f'genesys_exporter_poll_duration_seconds_{part}')}[$__rate_interval]))"
        for part in ("sum", "count")
    )
    return timeseries(
        "Poll duration",
        "How long polls take; the budget is nine tenths of the poll interval.",
        [
            Query(f"histogram_quantile(0.95, sum by (le) ({buckets}))", "95 %"),
            Query(f"histogram_quantile(0.5, sum by (le) ({buckets}))", "median"),
            Query(f"{taken} / {ended}", "mean"),
        ],
        unit="s",
    )


def throttling() -> Json:
    waited = f"sum(rate({own('genesys_exporter_api_throttled_seconds_total')}[$__rate_interval]))"
    retries = f"{per_minute('genesys_exporter_api_retries_total')} or vector(0)"
    made = timeseries(
        "Waiting and trying again",
        "Seconds that calls waited for the call budget, per second, and calls tried again per minute.",
        [Query(waited, "waited"), Query(retries, "retries")],
        unit="s",
        counts_faults=True,
    )
    return field(made, "retries", unit="cpm", custom_axisPlacement="right")


def calls() -> Json:
    made = timeseries(
        CALLS_PANEL,
        "Calls per minute by endpoint, against what the API allows the OAuth client per minute.",
        [
            Query(per_minute("genesys_exporter_api_requests_total", by="endpoint"), "{{endpoint}}"),
            Query(ALLOWED, "allowed"),
            Query(REMAINING, "left in the minute"),
        ],
        unit="opm",
    )
    return line(line(made, "allowed", BAD, dashed=True), "left in the minute", CALM)


def answers() -> Json:
    return timeseries(
        "Answers by status",
        "Calls per minute by HTTP status; `error` where no answer came.",
        [Query(per_minute("genesys_exporter_api_requests_total", by="code"), "{{code}}")],
        unit="opm",
        stacked=True,
    )
