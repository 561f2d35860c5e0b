"""The exporter's own metrics: what they tell, when they begin to exist, and how often they are rendered."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter.models import (
    ApiCalled,
    ApiRetried,
    ApiThrottled,
    DatasetState,
    EntitiesRejected,
    RateLimitSeen,
)
from exporter.publish.self_metrics import KEEP_SECONDS, SelfMetrics
from tests.conftest import FakeClock
from tests.publish.samples import NOW, report, snapshot


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def metrics(clock: FakeClock) -> SelfMetrics:
    return SelfMetrics(clock, version="0.1.0", contract="aggregates", reject_reasons=["negative", "duplicate"])


def read(metrics: SelfMetrics, *, openmetrics: bool = False) -> dict[tuple[Any, ...], float]:
    text = metrics.exposition(openmetrics=openmetrics).decode()
    parse = openmetrics_families if openmetrics else text_families
    return {
        (s.name, *(s.labels[name] for name in sorted(s.labels))): s.value
        for family in parse(text)
        for s in family.samples
    }


def test_counters_with_known_labels_exist_from_the_start(metrics: SelfMetrics) -> None:
    found = read(metrics)
    for reason in ("auth", "permission", "query", "rate_limited", "unavailable", "payload", "error"):
        assert found["genesys_exporter_poll_failures_total", reason] == 0
    for reason in ("negative", "duplicate"):
        assert found["genesys_exporter_rejected_entities_total", reason] == 0
    for name in ("polls", "polls_skipped", "dropped_series", "api_throttled_seconds"):
        assert found[f"genesys_exporter_{name}_total",] == 0
    assert found["genesys_exporter_poll_duration_seconds_bucket", "+Inf"] == 0


def test_a_history_that_was_only_just_read_is_not_an_empty_one(metrics: SelfMetrics) -> None:
    assert ("genesys_exporter_history_buckets",) not in read(metrics)
    metrics.on_snapshot(snapshot(history_buckets=0))
    assert read(metrics)["genesys_exporter_history_buckets",] == 0


def test_what_nobody_has_told_has_no_sample(metrics: SelfMetrics) -> None:
    metrics.on_snapshot(snapshot(datasets={"window": DatasetState(), "queues": DatasetState(up=False)}))
    found = read(metrics)
    names = {name for name, *_ in found}
    assert found["genesys_up", "queues"] == 0
    assert ("genesys_up", "window") not in found
    assert not names & {
        "genesys_exporter_last_success_timestamp_seconds",
        "genesys_exporter_data_end_timestamp_seconds",
        "genesys_exporter_api_rate_limit_allowed",
        "genesys_exporter_api_rate_limit_remaining",
    }
    assert not {name for name in names if name.endswith("_created")}


def test_api_events_are_counted(metrics: SelfMetrics) -> None:
    for event in (
        ApiCalled("aggregates", "200", 0.2),
        ApiCalled("aggregates", "200", 0.2),
        ApiCalled("aggregates", "error", 0.2),
        ApiRetried("aggregates", "unavailable", 1.5),
        ApiThrottled(0.25),
        ApiThrottled(1.0),
        RateLimitSeen(300.0, 17.0),
        EntitiesRejected("negative", 3),
    ):
        metrics.on_api_event(event)
    found = read(metrics)
    assert found["genesys_exporter_api_requests_total", "200", "aggregates"] == 2
    assert found["genesys_exporter_api_requests_total", "error", "aggregates"] == 1
    assert found["genesys_exporter_api_retries_total", "aggregates", "unavailable"] == 1
    assert found["genesys_exporter_api_throttled_seconds_total",] == 1.25
    assert found["genesys_exporter_api_rate_limit_allowed",] == 300
    assert found["genesys_exporter_api_rate_limit_remaining",] == 17
    assert found["genesys_exporter_rejected_entities_total", "negative"] == 3


def test_a_reason_counts_once_a_poll(metrics: SelfMetrics) -> None:
    metrics.on_report(report())
    metrics.on_report(report(failures={"window": "unavailable", "queues": "unavailable", "history": "payload"}))
    metrics.on_polls_skipped(2)
    found = read(metrics)
    assert found["genesys_exporter_polls_total",] == 2
    assert found["genesys_exporter_polls_skipped_total",] == 2
    assert found["genesys_exporter_poll_failures_total", "unavailable"] == 1
    assert found["genesys_exporter_poll_failures_total", "payload"] == 1
    assert found["genesys_exporter_poll_duration_seconds_sum",] == 1.5


def test_a_snapshot_tells_the_state_of_its_datasets(metrics: SelfMetrics) -> None:
    state = DatasetState(up=True, last_success=NOW, data_end=NOW - timedelta(seconds=60))
    metrics.on_snapshot(snapshot(datasets={"window": state}, history_buckets=672, dropped_series=5))
    metrics.on_snapshot(snapshot(datasets={"window": replace(state, up=False)}, history_buckets=673, dropped_series=7))
    metrics.on_series(79)
    found = read(metrics)
    assert found["genesys_up", "window"] == 0
    assert found["genesys_exporter_last_success_timestamp_seconds", "window"] == NOW.timestamp()
    assert found["genesys_exporter_data_end_timestamp_seconds", "window"] == NOW.timestamp() - 60
    assert found["genesys_exporter_history_buckets",] == 673
    assert found["genesys_exporter_dropped_series_total",] == 12
    assert found["genesys_exporter_series",] == 79


def test_build_info_tells_what_runs(metrics: SelfMetrics) -> None:
    (info,) = (f for f in text_families(metrics.exposition(openmetrics=False).decode()) if "build_info" in f.name)
    assert info.samples[0].labels.keys() == {"version", "python", "contract"}
    assert info.samples[0].labels["contract"] == "aggregates"


def test_both_formats_hold_the_same_samples(metrics: SelfMetrics) -> None:
    metrics.on_snapshot(snapshot())
    metrics.on_report(report())
    text, openmetrics = read(metrics), read(metrics, openmetrics=True)
    assert text.keys() == openmetrics.keys()
    stable = {key for key in text if key[0].startswith("genesys")}
    assert {key: text[key] for key in stable} == {key: openmetrics[key] for key in stable}
    assert metrics.exposition(openmetrics=True).endswith(b"# EOF\n")


@pytest.mark.parametrize("openmetrics", [False, True])
def test_rendering_is_kept_for_two_seconds_unless_something_happens(
    metrics: SelfMetrics, clock: FakeClock, openmetrics: bool
) -> None:
    first = metrics.exposition(openmetrics=openmetrics)
    clock.advance(KEEP_SECONDS)
    assert metrics.exposition(openmetrics=openmetrics) is first
    clock.advance(0.001)
    second = metrics.exposition(openmetrics=openmetrics)
    assert second is not first
    metrics.on_report(report())
    assert b"genesys_exporter_polls_total 1.0" in metrics.exposition(openmetrics=openmetrics)
