"""The aggregates contract: `POST /api/v2/analytics/conversations/aggregates/query`.

Two report definitions, each built once per configuration: the current window (no granularity: one bucket) and
closed buckets. From the reference: `mediaType` is in every group whether asked for or not; nothing is zero-filled,
so that an absent metric is 0 contacts and no ratio; counts of answers, abandons and flow-outs are the `count` of
their timers; times are milliseconds; `oServiceLevel` comes as numerator and denominator, whose formula the org
configures, and is never recomputed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from exporter.genesys.cells import Layout, read_cells
from exporter.genesys.decode import Rejects, decode, fault_of, good_rows, is_count, is_sum, uncollected
from exporter.genesys.intervals import granularity, interval, parse_interval
from exporter.genesys.selection import Selection, aggregate_filter
from exporter.models import BUCKET_COUNTS, WINDOW_COLUMNS, BucketBatch, IntColumn, QueueTable, SeriesKey, Window

BUCKET_METRICS = ("nOffered", "oServiceLevel", "tAbandon", "tAnswered", "tFlowOut")
WINDOW_METRICS = (*BUCKET_METRICS, "oServiceTarget", "tHandle", "tWait")

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
#: Intervals are compared with the tolerance of their milliseconds: some clients end a day at 23:59:59.999.
_TOLERANCE_SECONDS = 0.002


class Stats(msgspec.Struct):
    count: float | None = None
    sum: float | None = None
    numerator: float | None = None
    denominator: float | None = None
    target: float | None = None
    current: float | None = None


class Metric(msgspec.Struct):
    metric: str
    stats: Stats
    qualifier: str | None = None


class Cell(msgspec.Struct):
    interval: str
    metrics: list[Metric]


class Row(msgspec.Struct):
    group: dict[str, str]
    data: list[Cell]


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
def parse_window(bodies: Sequence[bytes], window: Window, selection: Selection, rejects: Rejects) -> QueueTable:
    """The answers to one window, one body per batch of queues, as columns."""
    fits = _Intervals(window, window.end_seconds - window.start_seconds)
    found = _found(bodies, fits, selection, rejects)
    table, readable = _read([cell.metrics for _, _, cell in found])
    rows: dict[SeriesKey, int] = {}
    for place, (key, _, cell) in enumerate(found):
        if key in rows:
            rejects.add("duplicate", lost=False)
        elif readable[place] or _read_alone(table, place, cell, rejects):
            rows[key] = place
    whole = table[list(rows.values())]
    columns = {name: np.ascontiguousarray(whole[:, position]) for name, position in _COLUMN.items()}
    return QueueTable(window, tuple(rows), columns)


@uncollected
def parse_buckets(
    bodies: Sequence[bytes], span: Window, bucket_seconds: int, selection: Selection, rejects: Rejects
) -> BucketBatch:
    """The answers to a span of closed buckets as counts of shape (buckets, series)."""
    starts = np.arange(span.start_seconds, span.end_seconds, bucket_seconds, dtype=np.int64)
    found = _found(bodies, _Intervals(span, bucket_seconds), selection, rejects)
    table, readable = _read([cell.metrics for _, _, cell in found])
    series: dict[SeriesKey, int] = {}
    seen: dict[tuple[int, int], int] = {}
    for place, (key, position, cell) in enumerate(found):
        column = series.get(key, len(series))
        if (position, column) in seen:
            rejects.add("duplicate", lost=False)
        elif readable[place] or _read_alone(table, place, cell, rejects):
            series[key] = column
            seen[position, column] = place
    return BucketBatch(bucket_seconds, starts, tuple(series), _dense(seen, table, len(starts), len(series)))


def _found(
    bodies: Sequence[bytes], fits: _Intervals, selection: Selection, rejects: Rejects
) -> list[tuple[SeriesKey, int, Cell]]:
    """The cells that belong here: whose they are, and which bucket's."""
    found = []
    for row in _rows(bodies, rejects):
        key = _key(row, selection, rejects)
        for cell in row.data if key is not None else ():
            position = fits.position(cell.interval)
            if key is None or position is None:
                rejects.add("outside_window", lost=False)
            else:
                found.append((key, position, cell))
    return found


def _read(cells: Sequence[list[Metric]]) -> tuple[NDArray[np.float64], list[bool]]:
    table, plain = read_cells(cells, _LAYOUT, _EMPTY_ROW)
    return table, plain.tolist()


def _read_alone(table: NDArray[np.float64], place: int, cell: Cell, rejects: Rejects) -> bool:
    """Reads a cell that is not like the others; whether it makes sense."""
    values = _values(cell.metrics, rejects)
    if values is not None:
        table[place] = values
    return values is not None


def _dense(
    cells: dict[tuple[int, int], int], table: NDArray[np.float64], buckets: int, series: int
) -> dict[str, IntColumn]:
    places = np.array(list(cells), dtype=np.int64).reshape(len(cells), 2)
    values = table[list(cells.values())]
    counts = {}
    for name in BUCKET_COUNTS:
        counts[name] = np.zeros((buckets, series), dtype=np.int64)
        counts[name][places[:, 0], places[:, 1]] = values[:, _COLUMN[name]].astype(np.int64)
    return counts


class _Intervals:
    """Which bucket of the span an interval text means; texts repeat in every row, so each is parsed once."""

    def __init__(self, span: Window, bucket_seconds: int) -> None:
        self._start, self._end = span.start_seconds, span.end_seconds
        self._bucket_seconds = bucket_seconds
        self._known: dict[str, int | None] = {}

    def position(self, text: str) -> int | None:
        if text not in self._known:
            self._known[text] = self._parse(text)
        return self._known[text]

    def _parse(self, text: str) -> int | None:
        parsed = parse_interval(text)
        if parsed is None:
            return None
        start, end = parsed
        position = round((start - self._start) / self._bucket_seconds)
        begins = self._start + position * self._bucket_seconds
        aligned = abs(start - begins) <= _TOLERANCE_SECONDS
        whole = abs(end - begins - self._bucket_seconds) <= _TOLERANCE_SECONDS
        return position if aligned and whole and self._start <= begins < self._end else None


def _rows(bodies: Sequence[bytes], rejects: Rejects) -> Iterator[Row]:
    for body in bodies:
        yield from good_rows(decode(body, Answer, "aggregates").results, Row, rejects)


def _key(row: Row, selection: Selection, rejects: Rejects) -> SeriesKey | None:
    queue_id, media_type = row.group.get("queueId"), row.group.get("mediaType", "")
    if not queue_id:
        rejects.add("missing_id")
        return None
    return SeriesKey(queue_id, media_type) if selection.takes_media(media_type) else None


def _values(metrics: list[Metric], rejects: Rejects) -> list[float] | None:
    """One row of WINDOW_COLUMNS; None, and counted, where a number cannot be."""
    values = _EMPTY_ROW.copy()
    seen = set()
    for metric in metrics:
        name = metric.metric
        if metric.qualifier is not None:
            continue
        fault = "duplicate" if name in seen else _place(values, name, metric.stats)
        if fault:
            rejects.add(fault)
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
