"""Hand-made snapshots for the tests of the publishing side: two queues, three rows, every dataset filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.models import (
    ABANDONMENT,
    DATASETS,
    OFFERED,
    SLA_BREACH,
    DatasetState,
    HistoryBucket,
    PollReport,
    Queue,
    Rows,
    ScoreColumns,
    Scores,
    SeriesKey,
    Snapshot,
    Window,
)

NOW = datetime(2026, 3, 1, 9, 16, 5, 250_000, tzinfo=UTC)
NAN = float("nan")


def col(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


ROWS = Rows(
    keys=(SeriesKey("q1", "voice"), SeriesKey("q1", "chat"), SeriesKey("q2", "voice")),
    names=("Sales", "Sales", "Help & more"),
)


def score(value: Any, z: Any, anomaly: Any, mean: Any, stddev: Any, samples: Any) -> ScoreColumns:
    return ScoreColumns(col(*value), col(*z), col(*anomaly), col(*mean), col(*stddev), col(*samples))


def scores(method: str = "zscore", threshold: float = 2.0) -> Scores:
    return Scores(
        method,
        threshold,
        {
            ABANDONMENT: score(
                [0.25, NAN, 0.1], [4.5, NAN, -0.5], [1, NAN, 0], [0.07, 0.1, 0.12], [0.04, 0.1, 0.04], [600, 3, 10]
            ),
            SLA_BREACH: score(
                [0.5, NAN, 0.2], [1.25, NAN, 0.1], [0, NAN, 0], [0.4, 0.1, 0.19], [0.08, 0.1, 0.1], [600, 3, 10]
            ),
        },
        {ABANDONMENT: col(1, NAN, 0)},
    )


def columns() -> dict[str, NDArray[np.float64]]:
    return {
        "offered": col(12, 0, 10),
        "answered": col(9, 0, 9),
        "abandoned": col(3, 0, 1),
        "flow_out": col(0, 0, 0),
        "sla_breached": col(6, 0, 2),
        "sla_contacts": col(12, 0, 10),
        "abandonment_ratio": col(0.25, NAN, 0.1),
        "sla_breach_ratio": col(0.5, NAN, 0.2),
        "service_level_target_ratio": col(0.8, NAN, 0.8),
        "average_speed_of_answer_seconds": col(17.125, NAN, 20),
        "average_handle_time_seconds": col(240.5, NAN, 300),
        "average_wait_seconds": col(18.25, NAN, 21),
        "waiting": col(2, 0, 0),
        "interacting": col(4, 1, 3),
        "alerting": col(1, 0, 0),
        "oldest_waiting_timestamp_seconds": col(1772356500.125, NAN, NAN),
        "offered_total": col(6_720, 10, 900),
        "abandoned_total": col(470, 1, 100),
        "sla_breached_total": col(2_688, 1, 170),
    }


def datasets(age_seconds: float = 5.0) -> dict[str, DatasetState]:
    fetched = NOW - timedelta(seconds=age_seconds)
    return {
        name: DatasetState(up=True, last_success=fetched, data_end=fetched, stale_at=fetched + timedelta(seconds=180))
        for name in DATASETS
    }


def snapshot(**changes: Any) -> Snapshot:
    whole = Snapshot(
        id=1772356565250,
        created=NOW,
        contract="aggregates",
        bucket="PT15M",
        window=Window(datetime(2026, 3, 1, 9, 0, tzinfo=UTC), datetime(2026, 3, 1, 9, 15, tzinfo=UTC)),
        rows=ROWS,
        columns=columns(),
        scores=scores(),
        agent_keys=(("q1", "Sales", "IDLE"), ("q1", "Sales", "INTERACTING"), ("q2", "Help & more", "IDLE")),
        agents=col(3, 4, 0),
        queues=(Queue("q1", "Sales", "Home"), Queue("q2", "Help & more", "Branch")),
        org_media=("chat", "voice"),
        org_offered=col(0, 22),
        org_scores=None,
        datasets=datasets(),
        history_buckets=672,
    )
    return replace(whole, **changes)


def history_bucket(start_seconds: int, rows: Rows = ROWS, **changes: Any) -> HistoryBucket:
    whole = HistoryBucket(
        start_seconds=start_seconds,
        bucket_seconds=900,
        rows=rows,
        counts={
            name: np.array(values, dtype=np.int64)
            for name, values in {
                "offered": (12, 0, 10),
                "answered": (9, 0, 9),
                "abandoned": (3, 0, 1),
                "flow_out": (0, 0, 0),
                "sla_breached": (6, 0, 2),
                "sla_contacts": (12, 0, 9),
            }.items()
        },
        z={ABANDONMENT: col(4.5, NAN, -0.5), SLA_BREACH: col(1.25, NAN, 0.1)},
        anomaly={ABANDONMENT: col(1, NAN, 0), SLA_BREACH: col(0, NAN, 0)},
    )
    return replace(whole, **changes)


def org_scores() -> Scores:
    """The organisation's scores by media type: chat has none, voice has lost its contacts."""
    return Scores("seasonal", 3.0, {OFFERED: score([0, 22], [NAN, -6.5], [NAN, 1], [NAN, 80], [NAN, 9], [NAN, 4.5])})


def report(**changes: Any) -> PollReport:
    whole = PollReport(started=NOW, duration_seconds=0.75, outcome="ok", rows=3, failures={}, messages={})
    return replace(whole, **changes)
