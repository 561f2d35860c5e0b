"""PromQL of the dashboards: selectors with the dashboards' variables, and the few shapes that panels share.

Every selector has the matchers of the variables `job` and `instance`, as Grafana's dashboard linter demands; those of
queues have `queue` and `media` too. What comes out is text; nothing is evaluated here.
"""

from __future__ import annotations

TARGET = 'job=~"$job", instance=~"$instance"'
QUEUE = f'{TARGET}, queue_id=~"$queue"'
MEDIA = 'media_type=~"$media"'
SERIES = f"{QUEUE}, {MEDIA}"

#: What a queue series is about; `queue_id` alone would do, the name is for people.
ROW = "queue_id, queue_name, media_type"

#: Where the exporter does not say which threshold it flags from.
DEFAULT_THRESHOLD = 3


def own(name: str, *matchers: str) -> str:
    """One of the exporter's own metrics, or an org-wide one."""
    return f"{name}{{{', '.join((TARGET, *matchers))}}}"


def series(name: str, *matchers: str) -> str:
    """A metric of queues and media types, as it is scraped."""
    return f"{name}{{{', '.join((SERIES, *matchers))}}}"


def now(name: str, *matchers: str) -> str:
    """The same, one series for each queue and media type, however many replicas tell it."""
    return f"max by ({ROW}) ({series(name, *matchers)})"


def score(column: str, metric: str) -> str:
    """A column of the score of one metric: zscore, anomaly, baseline_mean_ratio …"""
    return now(f"genesys_queue_{column}", f'metric="{metric}"')


def agents(*statuses: str) -> str:
    """Agents of each queue in any of these routing statuses; they are not told apart by media type."""
    names = "|".join(statuses)
    counted = f'max by (queue_id, queue_name, status) (genesys_queue_agents{{{QUEUE}, status=~"{names}"}})'
    anybody = f"max by (queue_id, queue_name) (genesys_queue_agents{{{QUEUE}}})"
    return f"(sum by (queue_id, queue_name) ({counted}) or 0 * {anybody})"


def window_age() -> str:
    """Seconds since the current window was last fetched whole."""
    fetched = own("genesys_exporter_last_success_timestamp_seconds", 'dataset="window"')
    return f"time() - max({fetched})"


def threshold() -> str:
    """The deviations that the exporter flags from, as one series without labels."""
    return f"(max({own('genesys_exporter_anomaly_threshold')}) or vector({DEFAULT_THRESHOLD}))"


def band(metric: str, sign: str) -> str:
    """Baseline mean plus or minus as many deviations as the threshold says."""
    deviation = f"{score('baseline_stddev_ratio', metric)} * on () group_left () {threshold()}"
    return f"{score('baseline_mean_ratio', metric)} {sign} {deviation}"


def per_minute(name: str, *matchers: str, by: str = "") -> str:
    """A counter of the exporter's own as a rate per minute, over all replicas."""
    rate = f"rate({own(name, *matchers)}[$__rate_interval])"
    return f"60 * sum by ({by}) ({rate})" if by else f"60 * sum({rate})"


def of_exporters(expr: str) -> str:
    """What stands there for a process metric, of the exporters alone: `job` may match every job of Prometheus."""
    return f"{expr} and on (job, instance) {own('genesys_exporter_build_info')}"
