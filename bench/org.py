"""A made-up org of any size: what the API would answer, the snapshot that is published, and a week of closed buckets.

Comes in: a number of queues and a seed. Goes out: the same bytes and arrays every time. Fifteen queue columns, as in
the targets, with the labels of the real metrics: an id of 36 characters, a name, a media type.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson

from exporter.models import BUCKET_COUNTS, DATASETS, BucketBatch, DatasetState, Rows, SeriesKey, Snapshot, Window

BUCKET_SECONDS = 900
WEEK_BUCKETS = 672
NOW = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)

#: Fifteen columns of the family table, one sample a queue each.
COLUMNS = (
    "offered",
    "answered",
    "abandoned",
    "flow_out",
    "sla_breached",
    "abandonment_ratio",
    "sla_breach_ratio",
    "service_level_target_ratio",
    "average_speed_of_answer_seconds",
    "average_handle_time_seconds",
    "average_wait_seconds",
    "oldest_waiting_timestamp_seconds",
    "waiting",
    "interacting",
    "alerting",
)


def keys(queues: int) -> tuple[SeriesKey, ...]:
    """One voice series per queue, sorted."""
    return tuple(SeriesKey(str(uuid.UUID(int=(number << 80) | 0x4000_8000)), "voice") for number in range(queues))


def name(number: int) -> str:
    """What the queue with this number is called."""
    return f"Queue {number:05d} Service"


def snapshot(queues: int, seed: int = 1) -> Snapshot:
    """A snapshot of fifteen samples a queue and nothing else."""
    rng, mine = np.random.default_rng(seed), keys(queues)
    columns = {each: _values(each, rng, queues) for each in COLUMNS}
    state = DatasetState(True, NOW, NOW, NOW + timedelta(days=3650))
    return Snapshot(
        id=int(NOW.timestamp() * 1000) + seed,
        created=NOW,
        contract="aggregates",
        bucket="PT15M",
        window=Window(NOW - timedelta(minutes=15), NOW),
        rows=Rows(mine, tuple(map(name, range(queues)))),
        columns=columns,
        scores=None,
        agent_keys=(),
        agents=np.zeros(0),
        queues=(),
        org_media=(),
        org_offered=np.zeros(0),
        org_scores=None,
        datasets=dict.fromkeys(DATASETS, state),
        history_buckets=WEEK_BUCKETS,
    )


def _values(name: str, rng: np.random.Generator, queues: int) -> np.ndarray:
    if name.endswith("_ratio"):
        return rng.integers(0, 20, queues) / rng.integers(20, 60, queues)
    if name.endswith("_seconds"):
        return rng.integers(1_000, 300_000, queues) / 1000
    return rng.integers(0, 60, queues).astype(np.float64)


def batch(queues: int, starts: Sequence[int], seed: int = 1) -> BucketBatch:
    """Closed buckets with contacts in every queue."""
    rng, shape = np.random.default_rng(seed), (len(starts), queues)
    offered = rng.poisson(12, shape)
    abandoned = rng.binomial(offered, 0.05)
    breached = rng.binomial(offered, 0.2)
    columns = (offered, offered - abandoned, abandoned, np.zeros(shape), breached, offered)
    counts = {count: each.astype(np.int64) for count, each in zip(BUCKET_COUNTS, columns, strict=True)}
    return BucketBatch(BUCKET_SECONDS, np.array(starts, np.int64), keys(queues), counts)


def week_starts(end: datetime = NOW) -> list[int]:
    """Starts of the buckets of the week before `end`, oldest first."""
    last = int(end.timestamp()) // BUCKET_SECONDS * BUCKET_SECONDS
    return list(range(last - WEEK_BUCKETS * BUCKET_SECONDS, last, BUCKET_SECONDS))


def aggregates_body(queues: int, window: Window, buckets: int = 1) -> bytes:
    """The API's answer to a window (`buckets` = 1) or to a span of buckets."""
    step = (window.end_seconds - window.start_seconds) // buckets
    spans = [interval(window.start_seconds + turn * step, step) for turn in range(buckets)]
    rng = np.random.default_rng(buckets)
    offered = rng.poisson(12, (queues, buckets)) + 1
    abandoned = rng.binomial(offered, 0.05)
    rows = [
        {
            "group": {"queueId": key.queue_id, "mediaType": key.media_type},
            "data": [
                {
                    "interval": span,
                    "metrics": _metrics(int(offered[row, turn]), int(abandoned[row, turn]), buckets == 1),
                }
                for turn, span in enumerate(spans)
            ],
        }
        for row, key in enumerate(keys(queues))
    ]
    return orjson.dumps({"results": rows})


def _metrics(offered: int, abandoned: int, window: bool) -> list[dict[str, object]]:
    breached, answered = offered // 5, offered - abandoned
    level = {"ratio": 1 - breached / offered, "numerator": offered - breached, "denominator": offered, "target": 0.8}
    found: list[dict[str, object]] = [
        {"metric": "nOffered", "stats": {"count": offered}},
        {"metric": "oServiceLevel", "stats": level},
    ]
    if abandoned:
        found.append({"metric": "tAbandon", "stats": _timer(abandoned, 20_000)})
    found.append({"metric": "tAnswered", "stats": _timer(answered, 17_000)})
    if window:
        found.append({"metric": "tHandle", "stats": _timer(answered, 240_000)})
        found.append({"metric": "tWait", "stats": _timer(offered, 18_000)})
    return found


def _timer(count: int, milliseconds: int) -> dict[str, float]:
    return {"max": 3.0 * milliseconds, "min": 10.0, "count": count, "sum": 1.0 * count * milliseconds}


def interval(start: int, seconds: int) -> str:
    """An interval as the API writes it."""
    times = (datetime.fromtimestamp(each, UTC) for each in (start, start + seconds))
    return "/".join(f"{each:%Y-%m-%dT%H:%M:%S}.000Z" for each in times)
