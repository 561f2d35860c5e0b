"""The aggregates contract: `POST /api/v2/analytics/conversations/aggregates/query`.

Two report definitions, each built once per configuration: the current window (no granularity: one bucket) and
closed buckets. From the reference: `mediaType` is in every group whether asked for or not; nothing is zero-filled,
so that an absent metric is 0 contacts and no ratio; counts of answers, abandons and flow-outs are the `count` of
their timers; times are milliseconds; `oServiceLevel` comes as numerator and denominator, whose formula the org
configures, and is never recomputed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import orjson

from exporter.errors import PayloadError
from exporter.genesys.cell_table import CellTable, Told
from exporter.genesys.cells import Metric
from exporter.genesys.decode import LostCell, Rejects, decode, good_rows, part_of, rows_or_none, uncollected
from exporter.genesys.intervals import Intervals, granularity, interval
from exporter.genesys.selection import Selection, aggregate_filter
from exporter.models import BUCKET_COUNTS, WINDOW_COLUMNS, BucketBatch, QueueTable, SeriesKey, Window

BUCKET_METRICS = ("nOffered", "oServiceLevel", "tAbandon", "tAnswered", "tFlowOut")
WINDOW_METRICS = (*BUCKET_METRICS, "oServiceTarget", "tHandle", "tWait")
#: What only a queue has.
QUEUE_METRICS = frozenset({"nOffered", "oServiceLevel", "oServiceTarget", "tFlowOut"})

#: The queues that each body was asked about; empty where every body is about all queues.
Asked = Sequence[Collection[str]]
EVERYTHING: Asked = ()


class Cell(msgspec.Struct, gc=False):
    interval: str
    metrics: list[Metric]


class Row(msgspec.Struct, gc=False):
    group: dict[str, str]
    data: list[Cell]


class Named(msgspec.Struct):
    """What a broken row still tells: whose it is."""

    group: dict[str, str]


class Answer(msgspec.Struct):
    results: list[msgspec.Raw] | None = None  # of Row


class Report:
    """One report definition, built and checked once; only the times are new at every poll."""

    def __init__(self, metrics: Sequence[str], *, bucket: str | None, media_types: Sequence[str]) -> None:
        self._bucket = bucket
        self._media_types = tuple(media_types)
        self._definition: dict[str, Any] = {"groupBy": ["queueId"], "metrics": sorted(metrics)}
        if bucket is not None:
            self._definition["granularity"] = granularity(bucket)

    def body(self, window: Window, queue_ids: Sequence[str]) -> bytes:
        """The request for `window`; no ids = every queue that the client may see."""
        query = {"interval": interval(window), **self._definition}
        chosen = aggregate_filter(queue_ids, self._media_types)
        return orjson.dumps(query if chosen is None else {**query, "filter": chosen})


@uncollected
def parse_window(
    bodies: Sequence[bytes], window: Window, selection: Selection, rejects: Rejects, asked: Asked = EVERYTHING
) -> QueueTable:
    """The answers to one window as columns; one body per batch of queues, whose ids are `asked`."""
    cells = CellTable(WINDOW_COLUMNS, rejects)
    fits = Intervals(window, window.end_seconds - window.start_seconds)
    told = _read(cells, bodies, fits, selection, rejects, asked)
    columns = {name: np.empty(len(told.keys)) for name in WINDOW_COLUMNS}
    for name, column in columns.items():
        column[told.series] = told.columns[name]
    return QueueTable(window, told.keys, columns, lost=rejects.what_is_lost())


@uncollected
def parse_buckets(
    bodies: Sequence[bytes],
    span: Window,
    bucket_seconds: int,
    selection: Selection,
    rejects: Rejects,
    asked: Asked = EVERYTHING,
) -> BucketBatch:
    """The answers to a span of closed buckets as counts of shape (buckets, series)."""
    starts = np.arange(span.start_seconds, span.end_seconds, bucket_seconds, dtype=np.int64)
    cells = CellTable(BUCKET_COUNTS, rejects)
    told = _read(cells, bodies, Intervals(span, bucket_seconds), selection, rejects, asked)
    counts = {name: np.zeros((len(starts), len(told.keys)), np.int64) for name in BUCKET_COUNTS}
    for name, column in counts.items():
        column[told.positions, told.series] = told.columns[name]
    return BucketBatch(bucket_seconds, starts, told.keys, counts, lost=rejects.what_is_lost())


def _read(
    cells: CellTable,
    bodies: Sequence[bytes],
    fits: Intervals,
    selection: Selection,
    rejects: Rejects,
    asked: Asked,
) -> Told:
    """The cells that belong here and make sense."""
    for body, ids in zip(bodies, asked or repeat(None), strict=False):
        _read_body(cells, body, fits, selection, rejects, ids)
    return cells.told()


def _read_body(
    cells: CellTable,
    body: bytes,
    fits: Intervals,
    selection: Selection,
    rejects: Rejects,
    ids: Collection[str] | None,
) -> None:
    """Adds the cells of one body. PayloadError where all of them are about other times or other queues: a cache, or
    somebody who mixes connections up, has given us the answer to another question."""
    before, elsewhere, strangers = len(cells), set(), 0

    def about(raw: msgspec.Raw) -> Iterator[LostCell] | None:
        """Every bucket of the series that a broken row names."""
        row = part_of(raw, Named)
        key = row and _key(row.group)
        if not key:
            return None
        return fits.all_of(key) if selection.takes_media(key.media_type) else iter(())

    for row in good_rows(_results(body), Row, rejects, about):
        key = _key(row.group)
        if key is None:
            rejects.add("missing_id", None if _is_about_a_queue(row) else ())
        elif ids is not None and key.queue_id not in ids:
            strangers += 1
        elif selection.takes_media(key.media_type):
            number = cells.number(key)
            for cell in row.data:
                position = fits.position(cell.interval)
                if position is None:
                    elsewhere.add(key)
                    rejects.add("outside_window", fits.all_of(key))
                else:
                    cells.add(number, position, cell.metrics)
    if len(cells) == before and (elsewhere or strangers):
        raise PayloadError("aggregates: the answer is about other times or queues than were asked for")
    if elsewhere and len(cells.positions(before)) < fits.buckets:
        rejects.doubt("outside_window")  # it may be the answer about an earlier span, which lacks the newest buckets


def _results(body: bytes) -> list[msgspec.Raw]:
    return rows_or_none(body, decode(body, Answer, "aggregates").results, "aggregates", "results")


def _key(group: Mapping[str, str]) -> SeriesKey | None:
    queue_id = group.get("queueId")
    return SeriesKey.of(queue_id, group.get("mediaType", "")) if queue_id else None


def _is_about_a_queue(row: Row) -> bool:
    """Whether a row that names no queue has lost the name: contacts that never met a queue, such as direct calls, come
    without one, and with times of talk and handling alone."""
    return any(metric.metric in QUEUE_METRICS for cell in row.data for metric in cell.metrics)
