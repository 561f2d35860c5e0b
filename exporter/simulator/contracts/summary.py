"""POST /api/v2/analytics/conversations/summary/query: the contract that the project was first described with.

In: a decoded request, the contacts, now. Out: a page of entities, one per queue and bucket in the order of the
directory, media types summed, buckets without contacts as zeros. Buckets start at `dateFrom`. Continuation tokens are
opaque; the pages of one query all show the state of its first page. Genesys Cloud itself does not serve this path.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from exporter.simulator.api_errors import bad_request, invalid_value
from exporter.simulator.contacts import Flags
from exporter.simulator.contracts.requests import names_of, required_text
from exporter.simulator.directory import Queue
from exporter.simulator.measures import LEFT_AT, MEASURES, Measure
from exporter.simulator.periods import Buckets, cut, iso_texts, parse_instant, parse_period
from exporter.simulator.streams import Ints
from exporter.simulator.tally import ContactSource, Tally, streams_of

MOST_PAGE_SIZE = 2000
#: Queries whose pages are remembered; a token of an older one is answered by counting again.
REMEMBERED_QUERIES = 8
#: The bucket's names in this contract, and their ISO 8601 periods.
_BUCKETS = {"PT15M": "PT15M", "PT1H": "PT1H", "PT4H": "PT4H", "PT1D": "P1D"}
_COUNTS = {
    "totalContacts": MEASURES["nOffered"],
    "abandonedContacts": MEASURES["tAbandon"],
    "slaBreaches": Measure(LEFT_AT, lambda contacts: contacts.breached),
}


@dataclass(frozen=True, slots=True)
class SummaryQuery:
    """A validated request; `digest` names the query without its page."""

    bucket: str
    start: datetime
    end: datetime
    select: tuple[str, ...]
    queue_ids: frozenset[str] | None
    page_size: int
    offset: int
    digest: str


def read_query(body: dict[str, Any]) -> SummaryQuery:
    """The typed query, or a 400."""
    bucket = required_text(body, "interval")
    if bucket not in _BUCKETS:
        raise invalid_value(bucket, "SummaryInterval", list(_BUCKETS))
    if body.get("timeGroup") != "auto" or body.get("groupBy") != ["queueId"]:
        raise bad_request('timeGroup must be "auto" and groupBy ["queueId"]')
    start, end = _instant(body, "dateFrom"), _instant(body, "dateTo")
    if start > end:
        raise bad_request("dateFrom must not be after dateTo")
    select = names_of(body, "select", "SummaryMeasure", list(_COUNTS))
    if not select:
        raise bad_request("select is required")
    queue_ids = _queue_ids(body)
    page_size, token = _paging(body)
    wanted = (bucket, start.isoformat(), end.isoformat(), select, sorted(queue_ids or ()))
    digest = hashlib.blake2b(repr(wanted).encode(), digest_size=12).hexdigest()
    return SummaryQuery(bucket, start, end, tuple(select), queue_ids, page_size, _offset(token, digest), digest)


def _instant(body: dict[str, Any], name: str) -> datetime:
    text = required_text(body, name)
    try:
        return parse_instant(text)
    except ValueError as error:
        raise bad_request(f"{name} [{text}] is not an ISO-8601 time") from error


def _queue_ids(body: dict[str, Any]) -> frozenset[str] | None:
    filters = body.get("filters") or {}
    try:
        ids = (filters.get("queues") or {}).get("ids")
        return None if not ids else frozenset(map(str, ids))
    except (AttributeError, TypeError) as error:
        raise bad_request("filters.queues.ids must be an array of ids") from error


def _paging(body: dict[str, Any]) -> tuple[int, str | None]:
    paging = body.get("paging") or {}
    if not isinstance(paging, dict):
        raise bad_request("paging must be an object")
    size, token = paging.get("pageSize", MOST_PAGE_SIZE), paging.get("nextPageToken")
    if not isinstance(size, int) or not 1 <= size <= MOST_PAGE_SIZE:
        raise bad_request(f"paging.pageSize must be a whole number from 1 to {MOST_PAGE_SIZE}")
    return size, token


def _offset(token: str | None, digest: str) -> int:
    if token is None:
        return 0
    owner, _, offset = str(token).rpartition(".")
    if owner != digest or not offset.isdecimal():
        raise bad_request("paging.nextPageToken does not belong to this query")
    return int(offset)


@dataclass(frozen=True, slots=True)
class _Result:
    """All rows of one query: queues × buckets."""

    queues: Sequence[Queue]
    starts: list[str]
    counts: dict[str, Ints]

    def __len__(self) -> int:
        return len(self.queues) * len(self.starts)


class SummaryPages:
    """Answers queries page by page; remembers the last few results. Safe to call from several threads."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, _Result] = OrderedDict()
        self._lock = threading.Lock()

    def answer(
        self, query: SummaryQuery, source: ContactSource, queues: Sequence[Queue], visible: Flags, now: datetime
    ) -> bytes:
        """The body of one page. `queues` are in the order that the source's table knows them by."""
        with self._lock:
            result = self._results.get(query.digest) if query.offset else None
        if result is None:
            result = _count(query, source, queues, visible, now)
            with self._lock:
                self._results[query.digest] = result
                while len(self._results) > REMEMBERED_QUERIES:
                    self._results.popitem(last=False)
        return _page(query, result)


def _count(
    query: SummaryQuery, source: ContactSource, queues: Sequence[Queue], visible: Flags, now: datetime
) -> _Result:
    end = min(query.end, now)
    shown = sorted({int(source.table.queues[stream]) for stream in np.flatnonzero(visible)})
    if query.queue_ids is not None:
        shown = [index for index in shown if queues[index].id in query.queue_ids]
    if end <= query.start:
        return _Result([queues[index] for index in shown], [], {})
    buckets = cut(query.start, end, parse_period(_BUCKETS[query.bucket]))
    tally = _tally(source, buckets, shown, visible, round(now.timestamp() * 1000))
    starts = [f"{start}/{query.bucket}" for start in iso_texts(buckets.edges[:-1])]
    counts = {name: tally.cells[name].count.ravel() for name in query.select}
    return _Result([queues[index] for index in shown], starts, counts)


def _tally(source: ContactSource, buckets: Buckets, shown: list[int], visible: Flags, now_ms: int) -> Tally:
    row_of_queue = np.full(int(source.table.queues.max(initial=-1)) + 1, -1, dtype=np.int64)
    row_of_queue[shown] = np.arange(len(shown))
    row_of_stream = np.where(visible, row_of_queue[source.table.queues], -1)
    tally = Tally(len(shown), buckets, _COUNTS, now_ms)
    for chunk, _ in streams_of(source, row_of_stream >= 0):
        for contacts in source.contacts(chunk, buckets.start_ms, buckets.end_ms):
            tally.add(contacts, row_of_stream)
    return tally


def _page(query: SummaryQuery, result: _Result) -> bytes:
    end = min(query.offset + query.page_size, len(result))
    token = f"{query.digest}.{end}" if end < len(result) else None
    return orjson.dumps(
        {
            "entities": [_entity(query, result, row) for row in range(query.offset, end)],
            "paging": {"nextPageToken": token, "pageSize": query.page_size, "totalCount": len(result)},
            "status": "success",
        }
    )


def _entity(query: SummaryQuery, result: _Result, row: int) -> dict[str, Any]:
    queue_row, bucket = divmod(row, len(result.starts))
    queue = result.queues[queue_row]
    counts = {name: int(result.counts[name][row]) for name in query.select}
    return {"id": queue.id, "name": queue.name, **counts, "timeInterval": result.starts[bucket]}
