"""Large snapshots for the live page: as many queues as wanted, ordinary all of them but one."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.models import ABANDONMENT, SLA_BREACH, Queue, Rows, ScoreColumns, Scores, SeriesKey, Snapshot
from tests.publish.samples import snapshot

INCIDENT = "Hotline in trouble"


def crowd(queues: int, seed: int = 1, incident: str = INCIDENT, **changes: Any) -> Snapshot:
    """A snapshot of so many voice queues; the one in the middle is called `incident` and abandons 60 %."""
    rng = np.random.default_rng(seed)
    names = [f"Queue {number:05d} Ünterwegs" for number in range(queues)]
    trouble = queues // 2
    names[trouble] = incident
    offered = rng.integers(10, 60, queues).astype(float)
    abandoned = np.minimum(offered, rng.integers(0, 3, queues)).astype(float)
    offered[trouble], abandoned[trouble] = 50, 30
    breached = np.floor(offered / 5)
    columns = {
        "offered": offered,
        "abandoned": abandoned,
        "abandonment_ratio": abandoned / offered,
        "sla_breached": breached,
        "sla_contacts": offered,
        "sla_breach_ratio": breached / offered,
        "waiting": rng.integers(0, 5, queues).astype(float),
    }
    keys = tuple(SeriesKey(f"id-{number:05d}", "voice") for number in range(queues))
    whole: dict[str, Any] = {
        "rows": Rows(keys, tuple(names)),
        "columns": columns,
        "scores": Scores(
            "zscore",
            3.0,
            {
                ABANDONMENT: _scored(columns["abandonment_ratio"], 0.04, 0.026),
                SLA_BREACH: _scored(columns["sla_breach_ratio"], 0.2, 0.1),
            },
        ),
        "agent_keys": tuple((key.queue_id, name, "IDLE") for key, name in zip(keys, names, strict=True)),
        "agents": np.ones(queues),
        "queues": tuple(Queue(key.queue_id, name, "Home") for key, name in zip(keys, names, strict=True)),
    }
    return snapshot(**(whole | changes))


def _scored(value: Any, mean: float, stddev: float) -> ScoreColumns:
    z = (value - mean) / stddev
    usual = np.full(len(z), 1.0)
    return ScoreColumns(value, z, (np.abs(z) > 3).astype(float), usual * mean, usual * stddev, usual * 600)
