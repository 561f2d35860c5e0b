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
from typing import Any, TypeVar

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from exporter.errors import PayloadError
from exporter.genesys.cells import Layout, read_cells
from exporter.genesys.decode import (
    LostCell,
    Rejects,
    decode,
    fault_of,
    good_rows,
    is_count,
    is_sum,
    part_of,
    rows_or_none,
    uncollected,
)
from exporter.genesys.intervals import Intervals, granularity, interval
from exporter.genesys.selection import Selection, aggregate_filter
from exporter.models import BUCKET_COUNTS, WINDOW_COLUMNS, BucketBatch, IntColumn, QueueTable, SeriesKey, Window

BUCKET_METRICS = ("nOffered", "oServiceLevel", "tAbandon", "tAnswered", "tFlowOut")
WINDOW_METRICS = (*BUCKET_METRICS, "oServiceTarget", "tHandle", "tWait")
#: What only a queue has.
QUEUE_METRICS = frozenset({"nOffered", "oServiceLevel", "oServiceTarget", "tFlowOut"})

#: Counts by the metric whose `stats.count` they are; times by the metric whose `stats.sum` they are.
_COUNTS = {
    "nOffered": "offered",
    "tAnswered": "answered",
    "tAbandon": "abandoned",
    "tFlowOut": "flow_out",
    "tHandle": "handled",
    "tWait": "waited",
}
_SUMS = {"tAnswered": "answered_seconds", "tHandle": "handled_seconds", "tWait": "waited_seconds"}
_COLUMN = {name: position for position, name in enumerate(WINDOW_COLUMNS)}
_COUNT_COLUMN = {metric: _COLUMN[name] for metric, name in _COUNTS.items()}
_SUM_COLUMN = {metric: _COLUMN[name] for metric, name in _SUMS.items()}
_TARGET, _BREACHED, _SLA_CONTACTS = (
    _COLUMN["service_level_target"],
    _COLUMN["sla_breached"],
    _COLUMN["sla_contacts"],
)
_LAYOUT = Layout(_COUNT_COLUMN, _SUM_COLUMN, _BREACHED, _SLA_CONTACTS, _TARGET)
_NO_VALUE = float("nan")
_EMPTY_ROW = [0.0] * len(WINDOW_COLUMNS)
_EMPTY_ROW[_TARGET] = _NO_VALUE
#: Cells that are objects at a time: few enough to stay in the processor's cache, enough to be worth arrays.
PORTION_CELLS = 2000
#: In place of a row of the table: two rows of the answer contradict each other.
_DOUBTED = -1

K = TypeVar("K")
#: The queues that each body was asked about; empty where every body is about all queues.
Asked = Sequence[Collection[str]]
EVERYTHING: Asked = ()


class Stats(msgspec.Struct, gc=False):
    count: float | None = None
    sum: float | None = None
    numerator: float | None = None
    denominator: float | None = None
    target: float | None = None
    current: float | None = None


class Metric(msgspec.Struct, gc=False):
    metric: str
    stats: Stats
    qualifier: str | None = None


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
    fits = Intervals(window, window.end_seconds - window.start_seconds)
    found, table = _read(bodies, fits, selection, rejects, asked)
    rows: dict[SeriesKey, int] = {}
    for place, (key, _) in found:
        _take(rows, key, (0, key), place, table, rejects)
    told = _believed(rows)
    rejects.found((0, key) for key in told)
    whole = table[list(told.values())]
    columns = {name: np.ascontiguousarray(whole[:, position]) for name, position in _COLUMN.items()}
    return QueueTable(window, tuple(told), columns, lost=rejects.what_is_lost())


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
    found, table = _read(bodies, Intervals(span, bucket_seconds), selection, rejects, asked)
    series: dict[SeriesKey, int] = {}
    cells = [(place, position, series.setdefault(key, len(series))) for place, (key, position) in found]
    keys = tuple(series)
    told = _told_once(np.array(cells, np.int64).reshape(-1, 3), keys, table, rejects)
    rejects.found((position, keys[column]) for _, position, column in told)
    counts = _dense(told, table, len(starts), len(series))
    return BucketBatch(bucket_seconds, starts, keys, counts, lost=rejects.what_is_lost())


def _told_once(cells: IntColumn, keys: Sequence[SeriesKey], table: NDArray[np.float64], rejects: Rejects) -> IntColumn:
    """Rows of (place in the table, bucket, series) without those of cells that are told twice."""
    flat = cells[:, 1] * len(keys) + cells[:, 2]
    if not len(flat) or np.bincount(flat).max() == 1:
        return cells
    seen: dict[tuple[int, int], int] = {}
    for place, position, column in cells.tolist():
        _take(seen, (position, column), (position, keys[column]), place, table, rejects)
    told = [(place, *where) for where, place in _believed(seen).items()]
    return np.array(told, np.int64).reshape(-1, 3)


class _Cells:
    """Cells as rows of a table: read a portion at a time, so that an answer of 60 MB is never in memory as objects."""

    def __init__(self, rejects: Rejects) -> None:
        self._rejects = rejects
        self._where: list[tuple[SeriesKey, int]] = []
        self._waiting: list[list[Metric]] = []
        self._tables: list[NDArray[np.float64]] = [np.empty((0, len(WINDOW_COLUMNS)))]
        self._readable: list[bool] = []

    def __len__(self) -> int:
        return len(self._where)

    def add(self, key: SeriesKey, position: int, metrics: list[Metric]) -> None:
        """One cell: whose it is, which bucket's, and what it says."""
        self._where.append((key, position))
        self._waiting.append(metrics)
        if len(self._waiting) == PORTION_CELLS:
            self._read()

    def positions(self, since: int) -> set[int]:
        """The buckets of the cells after the first `since`."""
        return {position for _, position in self._where[since:]}

    def taken(self) -> tuple[Iterator[tuple[int, tuple[SeriesKey, int]]], NDArray[np.float64]]:
        """The cells that make sense, each with its row of the table."""
        self._read()
        cells = ((row, where) for row, where in enumerate(self._where) if self._readable[row])
        return cells, np.concatenate(self._tables)

    def _read(self) -> None:
        table, plain = read_cells(self._waiting, _LAYOUT, _EMPTY_ROW)
        first = len(self._readable)
        for row in np.flatnonzero(~plain).tolist():
            key, position = self._where[first + row]
            values = _values(self._waiting[row], (position, key), self._rejects)
            if values is not None:
                table[row], plain[row] = values, True
        self._tables.append(table)
        self._readable += plain.tolist()
        self._waiting = []


def _read(
    bodies: Sequence[bytes], fits: Intervals, selection: Selection, rejects: Rejects, asked: Asked
) -> tuple[Iterator[tuple[int, tuple[SeriesKey, int]]], NDArray[np.float64]]:
    """The cells that belong here and make sense, and the table of all."""
    cells = _Cells(rejects)
    for body, ids in zip(bodies, asked or repeat(None), strict=False):
        _read_body(cells, body, fits, selection, rejects, ids)
    return cells.taken()


def _read_body(
    cells: _Cells,
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
            for cell in row.data:
                position = fits.position(cell.interval)
                if position is None:
                    elsewhere.add(key)
                    rejects.add("outside_window", fits.all_of(key))
                else:
                    cells.add(key, position, cell.metrics)
    if len(cells) == before and (elsewhere or strangers):
        raise PayloadError("aggregates: the answer is about other times or queues than were asked for")
    if elsewhere and len(cells.positions(before)) < fits.buckets:
        rejects.doubt("outside_window")  # it may be the answer about an earlier span, which lacks the newest buckets


def _take(
    taken: dict[K, int], where: K, cell: LostCell, place: int, table: NDArray[np.float64], rejects: Rejects
) -> None:
    """Note the row of the table that tells of a cell; of two that say different things neither is believed."""
    first = taken.setdefault(where, place)
    if first == place:
        return
    if first != _DOUBTED and np.array_equal(table[first], table[place], equal_nan=True):
        rejects.add("duplicate", ())
    else:
        rejects.add("duplicate", (cell,))
        taken[where] = _DOUBTED


def _believed(taken: dict[K, int]) -> dict[K, int]:
    if _DOUBTED not in taken.values():
        return taken
    return {where: place for where, place in taken.items() if place != _DOUBTED}


def _dense(cells: IntColumn, table: NDArray[np.float64], buckets: int, series: int) -> dict[str, IntColumn]:
    places, positions, columns = cells.T
    counts = {}
    for name in BUCKET_COUNTS:
        counts[name] = np.zeros((buckets, series), dtype=np.int64)
        counts[name][positions, columns] = table[places, _COLUMN[name]].astype(np.int64)
    return counts


def _results(body: bytes) -> list[msgspec.Raw]:
    return rows_or_none(body, decode(body, Answer, "aggregates").results, "aggregates", "results")


def _key(group: Mapping[str, str]) -> SeriesKey | None:
    queue_id = group.get("queueId")
    return SeriesKey.of(queue_id, group.get("mediaType", "")) if queue_id else None


def _is_about_a_queue(row: Row) -> bool:
    """Whether a row that names no queue has lost the name: contacts that never met a queue, such as direct calls, come
    without one, and with times of talk and handling alone."""
    return any(metric.metric in QUEUE_METRICS for cell in row.data for metric in cell.metrics)


def _values(metrics: list[Metric], about: LostCell, rejects: Rejects) -> list[float] | None:
    """One row of WINDOW_COLUMNS; None, and counted, where a number cannot be."""
    values = _EMPTY_ROW.copy()
    seen = set()
    for metric in metrics:
        name = metric.metric
        if metric.qualifier is not None:
            continue
        fault = "duplicate" if name in seen else _place(values, name, metric.stats)
        if fault:
            rejects.add(fault, (about,))
            return None
        seen.add(name)
    return values


def _place(values: list[float], name: str, stats: Stats) -> str | None:
    """Write one metric's numbers into the row; the reason where they cannot be, else None."""
    if name == "oServiceLevel":
        return _place_service_level(values, stats)
    if name == "oServiceTarget":
        return _place_target(values, stats.current)
    if name in _COUNT_COLUMN:
        if stats.count is None or not is_count(stats.count):
            return fault_of(stats.count)
        values[_COUNT_COLUMN[name]] = stats.count
    if name in _SUM_COLUMN:
        if stats.sum is None or not is_sum(stats.sum):
            return fault_of(stats.sum)
        values[_SUM_COLUMN[name]] = stats.sum / 1000
    return None


def _place_service_level(values: list[float], stats: Stats) -> str | None:
    numerator, denominator = stats.numerator, stats.denominator
    if numerator is None and denominator is None:
        return _place_target(values, stats.target)
    if numerator is None or not is_count(numerator):
        return fault_of(numerator)
    if denominator is None or not is_count(denominator):
        return fault_of(denominator)
    if numerator > denominator:
        return "range"
    values[_SLA_CONTACTS], values[_BREACHED] = denominator, denominator - numerator
    return _place_target(values, stats.target)


def _place_target(values: list[float], target: float | None) -> str | None:
    if target is None:
        return None
    if not 0 <= target <= 1:
        return fault_of(target)
    values[_TARGET] = target
    return None
