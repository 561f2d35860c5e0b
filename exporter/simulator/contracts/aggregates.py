"""POST /api/v2/analytics/conversations/aggregates/query.

In: a decoded request, the contacts, the visible streams, now. Out: the bytes of a ConversationAggregateQueryResponse.
As in the real service: mediaType is always in the group, nothing is zero-filled (no event, no metric; no metric, no
bucket; no bucket, no row), stored metrics come by alphabet and derived ones last. Not offered: views and topN queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from exporter.simulator.api_errors import ApiError, bad_request, invalid_value
from exporter.simulator.contacts import Flags
from exporter.simulator.contracts.metric_json import Fragments, metric_order
from exporter.simulator.contracts.requests import Filter, names_of, read_filter, required_text
from exporter.simulator.contracts.selection import Selector
from exporter.simulator.contracts.vocabulary import (
    CONVERSATION_DIMENSIONS,
    CONVERSATION_GROUPS,
    CONVERSATION_METRICS,
)
from exporter.simulator.periods import Buckets, Period, cut, iso_texts, parse_interval, parse_period
from exporter.simulator.streams import Ints, StreamTable
from exporter.simulator.tally import ContactSource, Tally, streams_of

#: What a row can be about here; the service knows more dimensions, the simulated contacts do not carry them.
_GROUPS = ("queueId", "mediaType", "divisionId", "direction")
_QUERY_TYPES = ("groupBy", "topN", "bottomN")
#: Rows × buckets counted at once: bounds the memory of one answer.
_CELLS_AT_ONCE = 150_000


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """A validated request."""

    buckets: Buckets
    metrics: tuple[str, ...]
    groups: tuple[str, ...]
    filter: Filter | None


def read_query(body: dict[str, Any]) -> AggregateQuery:
    """The typed query, or the 400 that the service would give."""
    start, end = parse_interval(required_text(body, "interval"))
    metrics = names_of(body, "metrics", "ConversationMetric", CONVERSATION_METRICS)
    if not metrics:
        raise bad_request("metrics is required")
    groups = names_of(body, "groupBy", "ConversationDimension", CONVERSATION_GROUPS)
    _refuse_what_is_not_offered(body, groups)
    return AggregateQuery(
        buckets=cut(start, end, _granularity(body), _zone(body)),
        metrics=metric_order(metrics),
        groups=tuple(dict.fromkeys([*groups, "mediaType"])),
        filter=None if body.get("filter") is None else read_filter(body["filter"], CONVERSATION_DIMENSIONS),
    )


def _refuse_what_is_not_offered(body: dict[str, Any], groups: Sequence[str]) -> None:
    query_type = body.get("queryType") or "groupBy"
    if query_type not in _QUERY_TYPES:
        raise invalid_value(query_type, "QueryType", _QUERY_TYPES)
    if query_type != "groupBy" or body.get("views"):
        raise bad_request("The simulated org answers neither views nor topN queries")
    unknown = [group for group in groups if group not in _GROUPS]
    if unknown:
        raise bad_request(f"Requested groupBy dimensions are not supported in the simulated org: {', '.join(unknown)}")


def _granularity(body: dict[str, Any]) -> Period | None:
    text = body.get("granularity")
    if text is None:
        return None
    try:
        return parse_period(text)
    except (TypeError, ValueError) as error:
        raise bad_request(f"Invalid granularity [{text}]: expected an ISO-8601 period") from error


def _zone(body: dict[str, Any]) -> tzinfo:
    name = body.get("timeZone") or "UTC"
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (TypeError, ValueError, OSError, KeyError) as error:
        raise ApiError(400, "invalid.value", f"Unknown time zone [{name}]") from error


def answer(query: AggregateQuery, source: ContactSource, selector: Selector, visible: Flags, now: datetime) -> bytes:
    """The response body. Takes long for large orgs: call it off the event loop."""
    wanted = selector.select(query.filter) & visible
    now_ms = round(now.timestamp() * 1000)
    parts = [
        part
        for rows in _row_groups(source, wanted, query.groups, len(query.buckets))
        for part in _answer_rows(query, source, rows, now_ms)
    ]
    return b'{"results":[' + b",".join(parts) + b"]}"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that are counted together: their groups, and which streams of which chunks feed them."""

    groups: list[dict[str, str]]
    streams: list[tuple[int, Ints]]
    row_of_stream: Ints


def _row_groups(source: ContactSource, wanted: Flags, dimensions: Sequence[str], bucket_count: int) -> Iterator[_Rows]:
    by_chunk = list(streams_of(source, wanted))
    if "queueId" not in dimensions:
        yield _rows_of(source.table, by_chunk, dimensions)
        return
    most_rows = max(1, _CELLS_AT_ONCE // bucket_count)
    for chunk, streams in by_chunk:
        for start in range(0, len(streams), most_rows):
            yield _rows_of(source.table, [(chunk, streams[start : start + most_rows])], dimensions)


def _rows_of(table: StreamTable, by_chunk: list[tuple[int, Ints]], dimensions: Sequence[str]) -> _Rows:
    known: dict[tuple[str, ...], int] = {}
    row_of_stream = np.full(len(table), -1, dtype=np.int64)
    for _, streams in by_chunk:
        for stream in streams.tolist():
            key = tuple(_value(table, stream, dimension) for dimension in dimensions)
            row_of_stream[stream] = known.setdefault(key, len(known))
    groups = [dict(sorted(zip(dimensions, key, strict=True))) for key in known]
    return _Rows(groups, by_chunk, row_of_stream)


def _value(table: StreamTable, stream: int, dimension: str) -> str:
    if dimension == "queueId":
        return table.queue_ids[stream]
    if dimension == "divisionId":
        return table.division_ids[stream]
    return table.media_types[stream] if dimension == "mediaType" else "inbound"


def _answer_rows(query: AggregateQuery, source: ContactSource, rows: _Rows, now_ms: int) -> Iterator[bytes]:
    fragments = Fragments(query.metrics)
    tally = Tally(len(rows.groups), query.buckets, fragments.measures, now_ms)
    for chunk, _ in rows.streams:
        for contacts in source.contacts(chunk, query.buckets.start_ms, query.buckets.end_ms):
            tally.add(contacts, rows.row_of_stream)
    targets = _targets(source.table, rows)
    intervals = _interval_texts(query.buckets)
    for row, metrics_by_bucket in fragments.render(tally, targets):
        data = b",".join(
            b'{"interval":"%b","metrics":[%b]}' % (intervals[bucket], metrics) for bucket, metrics in metrics_by_bucket
        )
        yield b'{"group":%b,"data":[%b]}' % (orjson.dumps(rows.groups[row]), data)


def _targets(table: StreamTable, rows: _Rows) -> list[float]:
    """The service-level target of each row; where queues of different targets share a row, the highest."""
    targets = np.zeros(len(rows.groups))
    for _, streams in rows.streams:
        np.maximum.at(targets, rows.row_of_stream[streams], table.sla_targets[streams])
    return [float(target) for target in targets]


def _interval_texts(buckets: Buckets) -> list[bytes]:
    edges = iso_texts(buckets.edges)
    return [f"{start}/{end}".encode() for start, end in pairwise(edges)]
