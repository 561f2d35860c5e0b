"""The exporter's own metrics: what polls, API calls and snapshots tell, kept in a prometheus_client registry.

In come the frozen records that the poller and the API client hand over; out goes their exposition, appended to
every scrape. Names, types and help stand in `families.SELF_FAMILIES`. Nothing here knows how a poll works.

Counters whose label values are known beforehand exist from the start, so that `rate()` sees their first increase;
a gauge that nothing has been told about has no sample, since 0 would be a statement.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from exporter.clock import Clock
from exporter.errors import GenesysError
from exporter.models import (
    ApiCalled,
    ApiEvent,
    ApiRetried,
    ApiThrottled,
    EntitiesRejected,
    PollReport,
    RateLimitSeen,
    Snapshot,
)
from exporter.publish.families import SELF_FAMILIES, SelfFamily
from exporter.publish.live_activity import Activity

#: Process figures change all the time and cost a walk through /proc: between events they are this old at most.
KEEP_SECONDS = 2.0

#: A poll is one quick request at a small org and a minute of pacing at a large one.
DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)

_FAMILIES = {family.name: family for family in SELF_FAMILIES}


class SelfMetrics:
    """Counts what it is told; `exposition` renders it, and `activity` tells people what goes on.

    `poll_interval_seconds` and `calls_per_minute` are settings that `activity` names.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        version: str,
        contract: str,
        reject_reasons: Iterable[str] = (),
        poll_interval_seconds: float | None = None,
        calls_per_minute: float | None = None,
    ) -> None:
        # `_created` samples double the counters and few read them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._clock = clock
        self.activity = Activity(clock, poll_interval_seconds=poll_interval_seconds, calls_per_minute=calls_per_minute)
        self.registry = CollectorRegistry()
        self._rendered: dict[bool, tuple[float, bytes]] = {}
        self._build_gauges()
        self._build_counters()
        self._optional = _OptionalGauges(self.registry)
        build = {"version": version, "python": platform.python_version(), "contract": contract}
        _BuildInfo(self.registry, build)
        for reason in sorted(failure_reasons()):
            self._failures.labels(reason)
        for reason in reject_reasons:
            self._rejected.labels(reason)
        self.on_reload(True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _build_gauges(self) -> None:
        self._up = self._gauge("genesys_up")
        self._last_success = self._gauge("genesys_exporter_last_success_timestamp_seconds")
        self._data_end = self._gauge("genesys_exporter_data_end_timestamp_seconds")
        self._series = self._gauge("genesys_exporter_series")
        self._reload_good = self._gauge("genesys_exporter_config_last_reload_successful")
        self._reloaded = self._gauge("genesys_exporter_config_last_reload_success_timestamp_seconds")
        self._file_good = self._gauge("genesys_exporter_file_last_reload_successful")

    def _build_counters(self) -> None:
        self._polls = self._counter("genesys_exporter_polls_total")
        self._failures = self._counter("genesys_exporter_poll_failures_total")
        self._skipped = self._counter("genesys_exporter_polls_skipped_total")
        duration = _FAMILIES["genesys_exporter_poll_duration_seconds"]
        self._duration = Histogram(duration.name, duration.help, registry=self.registry, buckets=DURATION_BUCKETS)
        self._requests = self._counter("genesys_exporter_api_requests_total")
        self._retries = self._counter("genesys_exporter_api_retries_total")
        self._throttled = self._counter("genesys_exporter_api_throttled_seconds_total")
        self._rejected = self._counter("genesys_exporter_rejected_entities_total")
        self._dropped = self._counter("genesys_exporter_dropped_series_total")

    def _gauge(self, name: str) -> Gauge:
        family = _FAMILIES[name]
        return Gauge(family.name, family.help, family.labels, registry=self.registry)

    def _counter(self, name: str) -> Counter:
        family = _FAMILIES[name]
        return Counter(family.name, family.help, family.labels, registry=self.registry)

    def on_api_event(self, event: ApiEvent) -> None:
        """One record from the API client."""
        self.activity.on_api_event(event)
        match event:
            case ApiCalled(endpoint, code):
                self._requests.labels(endpoint, code).inc()
            case ApiRetried(endpoint, reason):
                self._retries.labels(endpoint, reason).inc()
            case ApiThrottled(seconds):
                self._throttled.inc(seconds)
            case RateLimitSeen(allowed, remaining):
                self._optional.set("genesys_exporter_api_rate_limit_allowed", allowed)
                self._optional.set("genesys_exporter_api_rate_limit_remaining", remaining)
            case EntitiesRejected(reason, count):
                self._rejected.labels(reason).inc(count)
        self._rendered.clear()

    def on_report(self, report: PollReport) -> None:
        """One poll ended; each reason counts once, however many datasets it hit."""
        self.activity.on_report(report)
        self._polls.inc()
        self._duration.observe(report.duration_seconds)
        for reason in set(report.failures.values()):
            self._failures.labels(reason).inc()
        self._rendered.clear()

    def on_polls_skipped(self, polls: int = 1) -> None:
        """Deadlines passed while a poll was still under way."""
        self.activity.on_polls_skipped(polls)
        self._skipped.inc(polls)
        self._rendered.clear()

    def on_missing_buckets(self, buckets: int) -> None:
        """The back-fill looked at what history lacks."""
        self._optional.set("genesys_exporter_history_missing_buckets", buckets)
        self._rendered.clear()

    def on_history(self, *, stored: bool) -> None:
        """Closed buckets are written to the file, or wait in memory."""
        self.activity.on_history(stored=stored)
        self._optional.set("genesys_exporter_history_stored", float(stored))
        self._rendered.clear()

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """A snapshot was swapped in."""
        for name, state in snapshot.datasets.items():
            if state.up is not None:
                self._up.labels(name).set(float(state.up))
            _set_time(self._last_success, name, state.last_success)
            _set_time(self._data_end, name, state.data_end)
        self._optional.set("genesys_exporter_history_buckets", snapshot.history_buckets)
        if snapshot.scores is not None:
            self._optional.set("genesys_exporter_anomaly_threshold", snapshot.scores.threshold)
        self._dropped.inc(snapshot.dropped_series)
        self._rendered.clear()

    def on_role(self, leads: bool) -> None:
        """This replica polls, or serves what another one has polled."""
        self._optional.set("genesys_exporter_leader", float(leads))
        self._rendered.clear()

    def on_redis(self, up: bool) -> None:
        """Redis answers, or does not."""
        self._optional.set("genesys_exporter_redis_up", float(up))
        self._rendered.clear()

    def on_reload(self, good: bool) -> None:
        """Settings were read: at the start, or again, and taken or refused."""
        self._reload_good.set(float(good))
        if good:
            self._reloaded.set(self._clock.now().timestamp())
        self._rendered.clear()

    def on_file(self, setting: str, good: bool) -> None:
        """A configuration file was read: at the start, or since it has changed."""
        self._file_good.labels(setting).set(float(good))
        self._rendered.clear()

    def on_series(self, series: int) -> None:
        """The samples that /metrics shows changed in number."""
        self._series.set(series)
        self._rendered.clear()

    def exposition(self, *, openmetrics: bool, older_than: float = KEEP_SECONDS) -> bytes:
        """The text of one format, OpenMetrics with its closing `# EOF`; the same object until something changes, or it
        is older than so many seconds."""
        now = self._clock.monotonic()
        made, text = self._rendered.get(openmetrics, (float("-inf"), b""))
        if now - made > older_than:
            text = _openmetrics_of(self.registry) if openmetrics else text_of(self.registry)
            self._rendered[openmetrics] = (now, text)
        return text


class _OptionalGauges(Collector):
    """Gauges without labels that have no sample until they are set."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._values: dict[str, float] = {}
        registry.register(self)

    def set(self, name: str, value: float) -> None:
        self._values[name] = value

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(family.name, family.help) for family in SELF_FAMILIES if family.optional]

    def collect(self) -> Iterator[Metric]:
        for name, value in self._values.items():
            yield GaugeMetricFamily(name, _FAMILIES[name].help, value=value)


class _BuildInfo(Collector):
    """The constant 1 with what was built and how it runs as labels."""

    def __init__(self, registry: CollectorRegistry, labels: dict[str, str]) -> None:
        family: SelfFamily = _FAMILIES["genesys_exporter_build_info"]
        self._metric = InfoMetricFamily(family.name.removesuffix("_info"), family.help, value=labels)
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _openmetrics_of(registry: CollectorRegistry) -> bytes:
    text: bytes = openmetrics_of(registry)  # type: ignore[no-untyped-call]
    return text


def _set_time(gauge: Gauge, dataset: str, moment: datetime | None) -> None:
    if moment is not None:
        gauge.labels(dataset).set(moment.timestamp())


def failure_reasons(kind: type[GenesysError] = GenesysError) -> set[str]:
    """Every reason that the error tree knows."""
    return {kind.reason}.union(*(failure_reasons(each) for each in kind.__subclasses__()))
