"""Snapshots, readings and closed buckets as frames: which field stands where.

Comes in: the frozen values of `models`. Goes out: bytes, and from bytes equal values, to the last bit. FrameError where
bytes are not what these functions wrote. Functions may take tens of milliseconds at many queues: call them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from exporter.models import (
    BucketBatch,
    DatasetState,
    Directory,
    FloatColumn,
    Lost,
    ObservationTable,
    Queue,
    QueueTable,
    Rows,
    ScoreColumns,
    Scores,
    SeriesKey,
    Snapshot,
    Window,
)
from exporter.replicas.frames import Arrays, FrameError, pack, unpack

P = ParamSpec("P")
T = TypeVar("T")

_SCORE_FIELDS = tuple(each.name for each in fields(ScoreColumns))


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What a poll was made of, for whoever polls next; None for what was never read."""

    window: QueueTable | None
    observations: ObservationTable | None


def _checked(decode: Callable[P, T]) -> Callable[P, T]:
    """FrameError for whatever is wrong with a frame's content."""

    @wraps(decode)
    def checked(*args: P.args, **named: P.kwargs) -> T:
        try:
            return decode(*args, **named)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise FrameError(f"a frame lacks what it should hold: {error!r}") from error

    return checked


def snapshot_bytes(snapshot: Snapshot) -> bytes:
    head = {
        "id": snapshot.id,
        "created": snapshot.created.isoformat(),
        "contract": snapshot.contract,
        "bucket": snapshot.bucket,
        "window": _window_head(snapshot.window),
        "keys": snapshot.rows.keys,
        "names": snapshot.rows.names,
        "scores": _scores_head(snapshot.scores),
        "agent_keys": snapshot.agent_keys,
        "queues": [_queue_head(queue) for queue in snapshot.queues],
        "org_media": snapshot.org_media,
        "org_scores": _scores_head(snapshot.org_scores),
        "datasets": {name: _state_head(state) for name, state in snapshot.datasets.items()},
        "history_buckets": snapshot.history_buckets,
        "dropped_series": snapshot.dropped_series,
    }
    arrays: Arrays = {f"column {name}": column for name, column in snapshot.columns.items()}
    arrays |= _scores_arrays("scores", snapshot.scores) | _scores_arrays("org", snapshot.org_scores)
    return pack("snapshot", head, arrays | {"agents": snapshot.agents, "org_offered": snapshot.org_offered})


@_checked
def snapshot_of(data: bytes, like: Snapshot | None = None) -> Snapshot:
    """The snapshot; its rows and queues are the very objects of `like` where they are equal, so that text made of
    them can be kept."""
    head, arrays = unpack("snapshot", data)
    rows = Rows(_keys(head["keys"]), tuple(head["names"]))
    queues = tuple(_queue(each) for each in head["queues"])
    if like is not None and (like.rows.keys, like.rows.names) == (rows.keys, rows.names):
        rows = like.rows
    if like is not None and like.queues == queues:
        queues = like.queues
    return Snapshot(
        id=int(head["id"]),
        created=datetime.fromisoformat(head["created"]),
        contract=head["contract"],
        bucket=head["bucket"],
        window=_window(head["window"]),
        rows=rows,
        columns=_of_length(len(rows.keys), _under("column", arrays)),
        scores=_scores("scores", head["scores"], arrays, len(rows.keys)),
        agent_keys=tuple((queue, name, status) for queue, name, status in head["agent_keys"]),
        agents=_of_length(len(head["agent_keys"]), {"agents": arrays["agents"]})["agents"],
        queues=queues,
        org_media=tuple(head["org_media"]),
        org_offered=arrays["org_offered"],
        org_scores=_scores("org", head["org_scores"], arrays, len(head["org_media"])),
        datasets={name: _state(state) for name, state in head["datasets"].items()},
        history_buckets=int(head["history_buckets"]),
        dropped_series=int(head["dropped_series"]),
    )


def readings_bytes(readings: Readings) -> bytes:
    window, observations = readings.window, readings.observations
    head: dict[str, Any] = {"window": None, "observations": None}
    arrays: Arrays = {}
    if window is not None:
        head["window"] = [_window_head(window.window), window.keys, dict(window.names), _lost_head(window.lost)]
        arrays |= {f"window {name}": column for name, column in window.columns.items()}
    if observations is not None:
        head["observations"] = [observations.at.isoformat(), observations.keys, observations.agent_keys]
        arrays |= {f"observation {name}": column for name, column in observations.columns.items()}
        arrays["agents"] = observations.agents
    return pack("readings", head, arrays)


@_checked
def readings_of(data: bytes) -> Readings:
    head, arrays = unpack("readings", data)
    window = observations = None
    if head["window"] is not None:
        span, keys, names, lost = head["window"]
        columns = _of_length(len(keys), _under("window", arrays))
        window = QueueTable(_some_window(span), _keys(keys), columns, names, _lost(lost))
    if head["observations"] is not None:
        at, keys, agent_keys = head["observations"]
        columns = _of_length(len(keys), _under("observation", arrays))
        agents = _of_length(len(agent_keys), {"agents": arrays["agents"]})["agents"]
        pairs = tuple((queue, status) for queue, status in agent_keys)
        observations = ObservationTable(datetime.fromisoformat(at), _keys(keys), columns, pairs, agents)
    return Readings(window, observations)


def directory_bytes(directory: Directory) -> bytes:
    return pack("directory", {"queues": [_queue_head(queue) for queue in directory.queues.values()]}, {})


@_checked
def directory_of(data: bytes) -> Directory:
    head, _ = unpack("directory", data)
    queues = [_queue(each) for each in head["queues"]]
    return Directory({queue.id: queue for queue in queues})


def bucket_bytes(batch: BucketBatch, row: int) -> bytes:
    """One bucket of a batch, without the series that are silent in it."""
    counts = {name: column[row] for name, column in batch.counts.items()}
    heard = np.flatnonzero(np.any([column != 0 for column in counts.values()], axis=0)) if counts else np.zeros(0, int)
    keys = [batch.keys[place] for place in heard.tolist()]
    ids = {key.queue_id for key in keys}
    names = {queue: name for queue, name in batch.names.items() if queue in ids}
    cells = frozenset((0, key) for place, key in batch.lost.cells if place == row)
    head = {
        "start": int(batch.starts[row]),
        "bucket_seconds": batch.bucket_seconds,
        "keys": keys,
        "names": names,
        "lost": _lost_head(Lost(cells, batch.lost.others)),
        "about": None if batch.about is None else sorted(batch.about),
    }
    return pack("bucket", head, {name: _narrow(column[heard]) for name, column in counts.items()})


@_checked
def bucket_of(data: bytes) -> BucketBatch:
    """A batch of one bucket."""
    head, arrays = unpack("bucket", data)
    counts = {name: column.astype(np.int64)[None, :] for name, column in arrays.items()}
    _of_length(len(head["keys"]), arrays)
    return BucketBatch(
        int(head["bucket_seconds"]),
        np.array([head["start"]], np.int64),
        _keys(head["keys"]),
        counts,
        head["names"],
        _lost(head["lost"]),
        None if head["about"] is None else frozenset(head["about"]),
    )


def _narrow(column: Any) -> Any:
    most = int(column.max()) if column.size else 0
    return column.astype(np.min_scalar_type(most)) if not column.size or column.min() >= 0 else column


def _keys(pairs: Iterable[Any]) -> tuple[SeriesKey, ...]:
    return tuple(SeriesKey.of(queue, media) for queue, media in pairs)


def _lost_head(lost: Lost) -> list[Any]:
    """Of one interval: which series lost something."""
    return [sorted(lost.series()), lost.others]


def _lost(head: list[Any]) -> Lost:
    keys, others = head
    return Lost(frozenset((0, key) for key in _keys(keys)), bool(others))


def _under(prefix: str, arrays: Arrays) -> Arrays:
    begin = f"{prefix} "
    return {name.removeprefix(begin): column for name, column in arrays.items() if name.startswith(begin)}


def _of_length(length: int, arrays: Arrays) -> Arrays:
    for name, column in arrays.items():
        if column.shape != (length,):
            raise ValueError(f"{name} has {column.shape} values for {length} rows")
    return arrays


def _queue_head(queue: Queue) -> list[Any]:
    return [queue.id, queue.name, queue.division, dict(queue.service_level_targets)]


def _queue(head: list[Any]) -> Queue:
    return Queue(*head)


def _window_head(window: Window | None) -> list[str] | None:
    return None if window is None else [window.start.isoformat(), window.end.isoformat()]


def _window(head: list[str] | None) -> Window | None:
    return None if head is None else _some_window(head)


def _some_window(head: list[str]) -> Window:
    start, end = map(datetime.fromisoformat, head)
    return Window(start, end)


def _state_head(state: DatasetState) -> list[Any]:
    moments = [_iso(state.last_success), _iso(state.data_end), _iso(state.stale_at)]
    return [state.up, *moments, state.reason, state.message]


def _state(head: list[Any]) -> DatasetState:
    up, last_success, data_end, stale_at, reason, message = head
    return DatasetState(up, _moment(last_success), _moment(data_end), _moment(stale_at), reason, message)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _scores_head(scores: Scores | None) -> list[Any] | None:
    if scores is None:
        return None
    return [scores.method, scores.threshold, list(scores.metrics), list(scores.discoveries)]


def _scores_arrays(prefix: str, scores: Scores | None) -> Arrays:
    if scores is None:
        return {}
    found: Arrays = {f"{prefix} fdr {metric}": column for metric, column in scores.discoveries.items()}
    for metric, columns in scores.metrics.items():
        found |= {f"{prefix} {metric} {name}": getattr(columns, name) for name in _SCORE_FIELDS}
    return found


def _scores(prefix: str, head: list[Any] | None, arrays: Mapping[str, FloatColumn], length: int) -> Scores | None:
    if head is None:
        return None
    name, threshold, metrics, discoveries = head
    _of_length(length, _under(prefix, dict(arrays)))
    columns = {
        metric: ScoreColumns(*(arrays[f"{prefix} {metric} {each}"] for each in _SCORE_FIELDS)) for metric in metrics
    }
    return Scores(name, threshold, columns, {metric: arrays[f"{prefix} fdr {metric}"] for metric in discoveries})
