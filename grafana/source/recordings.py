"""Recording rules: what people would otherwise write by hand. Nothing else in grafana/ depends on them.

Names are level:metric:operation. Totals come from the counters of closed buckets, so they do not depend on when
Prometheus looked; they move once a bucket. A queue's division comes from the queue directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from grafana.source.alerts import queue

COUNTED = ("offered", "abandoned", "sla_breached")
DIVISION = "topk by (job, queue_id) (1, max by (job, queue_id, division) (genesys_queue_info))"
LEVELS = ("division", "org")


@dataclass(frozen=True, slots=True)
class Recording:
    record: str
    expr: str


@dataclass(frozen=True, slots=True)
class RecordingGroup:
    name: str
    interval: str
    recordings: tuple[Recording, ...]


def total(level: str, expr: str) -> str:
    """The sum of an expression over queues: by division, or over the whole organisation; media types stay apart."""
    if level == "org":
        return f"sum by (job, media_type) ({expr})"
    joined = f"  {expr}\n  * on (job, queue_id) group_left (division)\n  {DIVISION}"
    return f"sum by (job, division, media_type) (\n{joined}\n)"


def _increase(level: str, name: str, span: str) -> str:
    counter = f"genesys_queue_{name}_contacts_total"
    return total(level, f"max by (job, queue_id, queue_name, media_type) (increase({counter}[{span}]))")


def _increases(span: str) -> Iterator[Recording]:
    for level in LEVELS:
        for name in COUNTED:
            yield Recording(f"{level}:genesys_queue_{name}_contacts:increase{span}", _increase(level, name, span))


def _abandonment(span: str) -> Iterator[Recording]:
    for level in LEVELS:
        abandoned, offered = (_increase(level, name, span) for name in ("abandoned", "offered"))
        yield Recording(f"{level}:genesys_queue_abandonment:ratio_increase{span}", f"{abandoned}\n/\n({offered} > 0)")


def _now() -> Iterator[Recording]:
    oldest = queue("genesys_queue_oldest_waiting_timestamp_seconds")
    yield Recording("queue:genesys_queue_oldest_wait_seconds:max", f"time() - {oldest}")
    yield Recording("queue:genesys_queue_service_level:ratio", f"1 - {queue('genesys_queue_sla_breach_ratio')}")
    for level in LEVELS:
        waiting = queue("genesys_queue_waiting_contacts")
        yield Recording(f"{level}:genesys_queue_waiting_contacts:sum", total(level, waiting))
        for flag in ("genesys_queue_anomaly", "genesys_queue_anomaly_fdr"):
            yield Recording(f"{level}:{flag}:sum", total(level, queue(flag)))


GROUPS = (
    RecordingGroup("genesys-now", "1m", tuple(_now())),
    RecordingGroup("genesys-hour", "1m", (*_increases("1h"), *_abandonment("1h"))),
    RecordingGroup("genesys-day", "10m", tuple(_increases("1d"))),
)
