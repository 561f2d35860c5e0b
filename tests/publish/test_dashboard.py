"""The JSON documents: their shape, and that they tell what /metrics tells."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.models import (
    ABANDONMENT,
    OBSERVATIONS,
    OFFERED,
    QUEUES,
    SLA_BREACH,
    WINDOW,
    DatasetState,
    Queue,
    Rows,
    Scores,
    SeriesKey,
    Snapshot,
)
from exporter.publish.csv_export import CsvWriter
from exporter.publish.dashboard import JsonWriter
from exporter.publish.exposition import Renderer
from exporter.publish.filters import ALL, RowFilter
from exporter.publish.shown import Shown
from tests.publish.samples import NAN, NOW, ROWS, col, datasets, org_scores, score, scores, snapshot


def dashboard(snapshot: Snapshot, rows: RowFilter = ALL, **arguments: Any) -> dict[str, Any]:
    text = JsonWriter().dashboard(Shown(snapshot, snapshot.fresh(NOW)), rows, **arguments)
    return dict(json.loads(text))


def envelope(snapshot: Snapshot, rows: RowFilter = ALL) -> dict[str, Any]:
    shown = Shown(snapshot, snapshot.fresh(NOW))
    return dict(json.loads(JsonWriter().envelope(shown, CsvWriter().window(shown, rows), rows)))


def test_a_row_holds_the_seeds_keys_first_and_everything_else_after() -> None:
    document = dashboard(snapshot())
    assert document["metrics"][0] == {
        "queueId": "q1",
        "queueName": "Sales",
        "mediaType": "voice",
        "timeInterval": "2026-03-01T09:00:00.000Z/PT15M",
        "totalContacts": 12,
        "abandonmentRate": 25.0,
        "slaBreachRate": 50.0,
        "answeredContacts": 9,
        "abandonedContacts": 3,
        "flowOutContacts": 0,
        "slaBreaches": 6,
        "serviceLevelContacts": 12,
        "serviceLevelTarget": 80.0,
        "averageSpeedOfAnswerSeconds": 17.125,
        "averageHandleTimeSeconds": 240.5,
        "averageWaitSeconds": 18.25,
        "waitingContacts": 2,
        "interactingContacts": 4,
        "alertingContacts": 1,
        "oldestWaitingTimestamp": "2026-03-01T09:15:00.125Z",
        "division": "Home",
    }
    seed = ["queueId", "queueName", "mediaType", "timeInterval", "totalContacts", "abandonmentRate", "slaBreachRate"]
    assert [list(row)[:7] for row in document["metrics"]] == [seed] * 3


def test_no_value_is_null() -> None:
    row = dashboard(snapshot(queues=()))["metrics"][1]
    assert row["totalContacts"] == 0
    for key in ("abandonmentRate", "slaBreachRate", "averageWaitSeconds", "oldestWaitingTimestamp", "division"):
        assert row[key] is None


def test_an_alert_stands_for_every_score_flagged_or_not() -> None:
    assert dashboard(snapshot())["alerts"] == [
        alert("q1", "Sales", "abandonmentRate", 25.0, 7.0, 4.0, True, 4.5, 600, True),
        alert("q2", "Help & more", "abandonmentRate", 10.0, 12.0, 4.0, False, -0.5, 10, False),
        alert("q1", "Sales", "slaBreachRate", 50.0, 40.0, 8.0, False, 1.25, 600, None),
        alert("q2", "Help & more", "slaBreachRate", 20.0, 19.0, 10.0, False, 0.1, 10, None),
    ]


def alert(*values: Any) -> dict[str, Any]:
    keys = ("queueId", "queueName", "metric", "currentValue", "baselineMean", "baselineStdDev", "isAnomaly", "zScore")
    return {"mediaType": "voice", "method": "zscore"} | dict(
        zip((*keys, "samples", "isAnomalyFdr"), values, strict=True)
    )


def test_offered_contacts_are_scored_in_contacts_and_the_organisation_stands_apart() -> None:
    volume = score([12, 0, 10], [1.5, NAN, 0.25], [0, NAN, 0], [8.123456, 1, 9], [2.5, 1, 4], [7.25, 1, 9])
    document = dashboard(snapshot(scores=Scores("seasonal", 3.0, {OFFERED: volume}), org_scores=org_scores()))
    assert document["alerts"][0] == {
        **alert("q1", "Sales", "offeredContacts", 12, 8.1235, 2.5, False, 1.5, 7.25, None),
        "method": "seasonal",
    }
    assert document["org"] == [
        {"mediaType": "chat", "offeredContacts": 0, "scores": []},
        {
            "mediaType": "voice",
            "offeredContacts": 22,
            "scores": [
                {
                    "metric": "offeredContacts",
                    "currentValue": 22,
                    "baselineMean": 80,
                    "baselineStdDev": 9,
                    "isAnomaly": True,
                    "zScore": -6.5,
                    "samples": 4.5,
                    "method": "seasonal",
                }
            ],
        },
    ]


def test_rates_of_the_organisation_are_in_percent() -> None:
    rate = score([NAN, 0.25], [NAN, 3.5], [NAN, 1], [NAN, 0.0712345], [NAN, 0.04], [NAN, 9])
    told = dashboard(snapshot(org_scores=Scores("seasonal", 3.0, {ABANDONMENT: rate})))["org"][1]["scores"][0]
    assert told == {
        "metric": "abandonmentRate",
        "currentValue": 25,
        "baselineMean": 7.1235,
        "baselineStdDev": 4,
        "isAnomaly": True,
        "zScore": 3.5,
        "samples": 9,
        "method": "seasonal",
    }


def test_the_head_names_the_snapshot_and_the_foot_the_datasets_and_links() -> None:
    document = dashboard(snapshot(), csv_link="/export.csv?queue=x")
    assert {key: document[key] for key in ("status", "timestamp", "snapshotId", "windowStart", "windowEnd")} == {
        "status": "success",
        "timestamp": "2026-03-01T09:16:05.250Z",
        "snapshotId": "1772356565250",
        "windowStart": "2026-03-01T09:00:00.000Z",
        "windowEnd": "2026-03-01T09:15:00.000Z",
    }
    assert (document["scoreMethod"], document["anomalyThreshold"], document["bucket"]) == ("zscore", 2.0, "PT15M")
    assert document["links"]["csv"] == "/export.csv?queue=x"
    assert document["datasets"]["window"] == {
        "up": True,
        "stale": False,
        "lastSuccess": "2026-03-01T09:16:00.250Z",
        "dataEnd": "2026-03-01T09:16:00.250Z",
        "reason": None,
        "message": None,
    }
    assert "message" not in document


def test_a_stale_window_shows_no_withdrawn_value() -> None:
    state = DatasetState(up=False, last_success=NOW - timedelta(hours=1), stale_at=NOW, reason="auth", message=None)
    document = dashboard(snapshot(datasets=datasets() | {WINDOW: state}, org_scores=org_scores()))
    assert (document["status"], document["metrics"], document["alerts"], document["org"]) == ("stale", [], [], [])
    assert document["message"] == "the window's data are stale: auth"
    assert document["datasets"]["window"]["stale"] is True
    assert document["anomalyThreshold"] is None


@pytest.mark.parametrize(("dataset", "keys"), [(OBSERVATIONS, ("waitingContacts", "oldestWaitingTimestamp"))])
def test_a_stale_dataset_leaves_nulls(dataset: str, keys: tuple[str, ...]) -> None:
    state = DatasetState(up=True, last_success=NOW, stale_at=NOW)
    row = dashboard(snapshot(datasets=datasets() | {dataset: state}))["metrics"][0]
    assert [row[key] for key in keys] == [None] * len(keys)
    assert row["totalContacts"] == 12


@pytest.mark.parametrize(
    ("rows", "metrics", "alerts"),
    [
        (RowFilter(queues=("sal*",)), ["q1 voice", "q1 chat"], ["q1 abandonmentRate", "q1 slaBreachRate"]),
        (RowFilter(media_types=("chat",)), ["q1 chat"], []),
        (RowFilter(anomalous=True), ["q1 voice"], ["q1 abandonmentRate"]),
        (RowFilter(queues=("q2",), anomalous=True), [], []),
    ],
)
def test_filters_hold_for_rows_and_alerts(rows: RowFilter, metrics: list[str], alerts: list[str]) -> None:
    for document in (dashboard(snapshot(), rows), envelope(snapshot(), rows)):
        assert [f"{row['queueId']} {row['mediaType']}" for row in document["metrics"]] == metrics
        assert [f"{row['queueId']} {row['metric']}" for row in document["alerts"]] == alerts


def test_the_envelope_is_the_seeds_with_0_for_no_rate() -> None:
    document = envelope(snapshot())
    assert list(document) == ["status", "timestamp", "metrics", "alerts", "csvExportBase64"]
    assert document["metrics"][1] == {
        "queueId": "q1",
        "queueName": "Sales",
        "mediaType": "chat",
        "timeInterval": "2026-03-01T09:00:00.000Z/PT15M",
        "totalContacts": 0,
        "abandonmentRate": 0,
        "slaBreachRate": 0,
    }
    assert document["alerts"][0].keys() == alert(*[0] * 10).keys() - {"samples", "method", "isAnomalyFdr"}
    shown = Shown(snapshot(), snapshot().fresh(NOW))
    assert base64.b64decode(document["csvExportBase64"]) == CsvWriter().window(shown)


def test_the_envelope_leaves_out_what_is_counted_in_contacts() -> None:
    """Its readers know rates alone, and would take contacts for percent."""
    told = score([1, NAN, 1], [5, NAN, 1], [1, NAN, 0], [0, 0, 0], [1, 1, 1], [9, 9, 9])
    made = snapshot(scores=Scores("seasonal", 3.0, dict.fromkeys((OFFERED, SLA_BREACH, ABANDONMENT), told)))
    both = ["abandonmentRate", "slaBreachRate"]
    for rows, found in ((ALL, 2), (RowFilter(anomalous=True), 1)):
        assert list(dict.fromkeys(row["metric"] for row in envelope(made, rows)["alerts"])) == both
        assert len(envelope(made, rows)["alerts"]) == 2 * found
        assert len(dashboard(made, rows)["alerts"]) == 3 * found


def test_json_and_metrics_tell_the_same_values() -> None:
    random = np.random.default_rng(7)
    rows = 60

    def ratios() -> Any:
        return np.where(random.random(rows) < 0.2, np.nan, random.random(rows))

    keys = tuple(SeriesKey(f"q{n // 2}", ("voice", "chat")[n % 2]) for n in range(rows))
    whole = snapshot(
        rows=Rows(keys, tuple(f"Queue {key.queue_id}" for key in keys)),
        columns={"offered": random.integers(0, 99, rows).astype(float), "abandonment_ratio": ratios()},
        scores=Scores("zscore", 2.0, {ABANDONMENT: score(ratios(), ratios(), ratios() > 0.5, *[ratios()] * 3)}),
    )
    told = {}
    for family in text_string_to_metric_families(Renderer().render(whole, whole.fresh(NOW)).text.plain().decode()):
        told.update({(s.name, s.labels.get("queue_id"), s.labels.get("media_type")): s.value for s in family.samples})
    document = dashboard(whole)
    for row in document["metrics"]:
        where = (row["queueId"], row["mediaType"])
        assert row["totalContacts"] == told["genesys_queue_offered_contacts", *where]
        rate = told.get(("genesys_queue_abandonment_ratio", *where))
        assert row["abandonmentRate"] == (None if rate is None else round(rate * 100, 4))
    scored = {(row["queueId"], row["mediaType"]): row for row in document["alerts"]}
    z_scores = {key[1:]: value for key, value in told.items() if key[0] == "genesys_queue_zscore"}
    assert {where: row["zScore"] for where, row in scored.items()} == z_scores
    for where, row in scored.items():
        assert row["isAnomaly"] == bool(told["genesys_queue_anomaly", *where])


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=4))
def test_hostile_names_come_back_as_they_were(rows: list[tuple[str, str, str]]) -> None:
    keys = tuple(SeriesKey(queue, media) for queue, _, media in rows)
    ones = np.ones(len(rows))
    hostile = snapshot(
        rows=Rows(keys, tuple(name for _, name, _ in rows)),
        columns={"offered": ones},
        scores=Scores("%b", 2.0, {ABANDONMENT: score(*[ones] * 6)}),
        queues=tuple(Queue(queue, name, media) for queue, name, media in rows),
    )
    document = dashboard(hostile)
    for part in ("metrics", "alerts"):
        assert [(row["queueId"], row["queueName"], row["mediaType"]) for row in document[part]] == rows
    assert {row["method"] for row in document["alerts"]} == {"%b"}


def test_half_a_surrogate_pair_is_replaced_rather_than_fatal() -> None:
    odd = snapshot(rows=Rows(ROWS.keys, ("a\ud800b", "", "")), queues=(Queue("q1", "", "\udfff"),))
    row = dashboard(odd)["metrics"][0]
    assert (row["queueName"], row["division"]) == ("a?b", "?")


def test_text_keys_follow_rows_and_directory() -> None:
    writer, fresh = JsonWriter(), frozenset({WINDOW, QUEUES})
    before = json.loads(writer.dashboard(Shown(snapshot(), fresh)))
    moved = json.loads(writer.dashboard(Shown(snapshot(queues=(Queue("q1", "Sales", "Elsewhere"),)), fresh)))
    renamed = json.loads(writer.dashboard(Shown(snapshot(rows=Rows(ROWS.keys, ("New", "New", "Help"))), fresh)))
    assert [row["division"] for row in before["metrics"]] == ["Home", "Home", "Branch"]
    assert [row["division"] for row in moved["metrics"]] == ["Elsewhere", "Elsewhere", None]
    assert [row["queueName"] for row in renamed["metrics"]] == ["New", "New", "Help"]


def test_more_rows_than_a_slice_are_one_valid_list() -> None:
    count = 5000
    rows = Rows(tuple(SeriesKey(f"q{n}", "") for n in range(count)), ("x",) * count)
    columns = {"offered": np.arange(float(count)), "waiting": col(*[NAN] * count)}
    document = dashboard(snapshot(rows=rows, columns=columns, scores=None))
    assert [row["totalContacts"] for row in document["metrics"]] == list(range(count))


def test_scores_without_any_z_leave_no_alert() -> None:
    nothing = {metric: score(*[[NAN] * 3] * 6) for metric in scores().metrics}
    assert dashboard(snapshot(scores=Scores("zscore", 2.0, nothing)))["alerts"] == []
