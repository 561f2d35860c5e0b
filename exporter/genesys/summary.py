"""The summary-query contract: `POST /api/v2/analytics/conversations/summary/query`.

Buckets of whole queues, without media types, in pages that are read one after the other until the continuation
token is null. Genesys Cloud's public API does not serve it; a gateway in front of it may. A token that comes
back, or more pages than `totalCount` allows, is a fault of the server: PagingError, and nothing of the run is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
import orjson

from exporter.errors import PagingError
from exporter.genesys.client import SUMMARY, ApiClient, in_thread
from exporter.genesys.decode import Rejects, decode, good_rows, is_count
from exporter.genesys.intervals import BUCKET_SECONDS, epoch_seconds, instant
from exporter.genesys.selection import Selection
from exporter.models import WINDOW_COLUMNS, BucketBatch, IntColumn, QueueTable, SeriesKey, Window

PAGE_SIZE = 2000
#: Where the service does not say how many entities there are.
MAX_PAGES = 10_000
#: The buckets that the contract knows; it has no half hour.
BUCKETS = ("PT15M", "PT1H", "PT4H", "PT1D")
SELECT = ("totalContacts", "abandonedContacts", "slaBreaches")
#: This contract tells neither answers nor flow-outs; its service level counts all contacts.
_COUNTS = ("offered", "abandoned", "sla_breached", "sla_contacts")


class Entity(msgspec.Struct):
    id: str
    totalContacts: float  # noqa: N815 - the contract's names
    abandonedContacts: float  # noqa: N815
    slaBreaches: float  # noqa: N815
    timeInterval: str  # noqa: N815
    name: str | None = None


class Paging(msgspec.Struct):
    nextPageToken: str | None = None  # noqa: N815
    pageSize: int | None = None  # noqa: N815
    totalCount: int | None = None  # noqa: N815


class Page(msgspec.Struct):
    entities: list[msgspec.Raw] | None = None  # of Entity
    paging: Paging | None = None


class Report:
    """The report definition, built once; the times and the page token are new in every request."""

    def __init__(self, bucket: str, queue_ids: Sequence[str]) -> None:
        filters: dict[str, Any] = {"conversationStates": ["inbound"]}
        if queue_ids:
            filters["queues"] = {"ids": list(queue_ids)}
        self._definition = {
            "timeGroup": "auto",
            "groupBy": ["queueId"],
            "filters": filters,
            "interval": bucket,
            "select": list(SELECT),
        }

    def body(self, window: Window, token: str | None) -> bytes:
        paging: dict[str, Any] = {"pageSize": PAGE_SIZE}
        if token is not None:
            paging["nextPageToken"] = token
        times = {"dateFrom": instant(window.start), "dateTo": instant(window.end)}
        return orjson.dumps({**self._definition, **times, "paging": paging})


async def fetch_entities(
    client: ApiClient, report: Report, window: Window, deadline: float, rejects: Rejects, *, background: bool = False
) -> list[Entity]:
    """All pages of one query, serially. Raises a GenesysError; half a run is never returned."""
    entities: list[Entity] = []
    tokens: set[str] = set()
    token: str | None = None
    allowed = MAX_PAGES
    for number in range(1, MAX_PAGES + 1):
        body = await client.send(SUMMARY, deadline, body=report.body(window, token), background=background)
        found, paging = await in_thread(len(body), partial(parse_page, body, rejects))
        entities += found
        if number == 1:
            allowed = _pages_allowed(paging)
        token = paging.nextPageToken
        if token is None:
            return entities
        if token in tokens:
            raise PagingError(f"summary: page {number} names a page token that was already used")
        if number >= allowed:
            raise PagingError(f"summary: page {number} names another page, but totalCount allows {allowed}")
        tokens.add(token)
    raise PagingError(f"summary: still no last page after {MAX_PAGES} pages")


def parse_page(body: bytes, rejects: Rejects) -> tuple[list[Entity], Paging]:
    page = decode(body, Page, "summary")
    return list(good_rows(page.entities, Entity, rejects)), page.paging or Paging()


def _pages_allowed(paging: Paging) -> int:
    """How many pages `totalCount` entities can fill, at the page size that the service really uses."""
    if paging.totalCount is None or paging.totalCount < 0:
        return MAX_PAGES
    size = paging.pageSize if paging.pageSize and 0 < paging.pageSize < PAGE_SIZE else PAGE_SIZE
    return max(1, math.ceil(paging.totalCount / size))


def to_buckets(
    entities: Sequence[Entity], span: Window, bucket: str, selection: Selection, rejects: Rejects
) -> BucketBatch:
    """Entities as counts of shape (buckets, queues); the media type of this contract is ""."""
    seconds = BUCKET_SECONDS[bucket]
    starts = np.arange(span.start_seconds, span.end_seconds, seconds, dtype=np.int64)
    position_of = _positions(starts, bucket)
    series: dict[SeriesKey, int] = {}
    names: dict[str, str] = {}
    cells: dict[tuple[int, int], Entity] = {}
    for entity in entities:
        if not _makes_sense(entity, rejects) or not selection.takes(entity.id, entity.name or entity.id):
            continue
        position = position_of(entity.timeInterval)
        key = SeriesKey(entity.id, "")
        column = series.get(key, len(series))
        if position is None:
            rejects.add("outside_window", lost=False)
        elif (position, column) in cells:
            rejects.add("duplicate", lost=False)
        else:
            series[key] = column
            cells[position, column] = entity
            names[entity.id] = entity.name or entity.id
    return BucketBatch(seconds, starts, tuple(series), _dense(cells, len(starts), len(series)), names)


def to_window(batch: BucketBatch) -> QueueTable:
    """A batch of one bucket as the current window; what the contract does not tell is NaN."""
    rows = len(batch.keys)
    columns = {name: np.full(rows, np.nan) for name in WINDOW_COLUMNS}
    for name, counts in batch.counts.items():
        columns[name] = counts[0].astype(np.float64)
    start = int(batch.starts[0])
    return QueueTable(Window.of_epoch(start, start + batch.bucket_seconds), batch.keys, columns, batch.names)


def _makes_sense(entity: Entity, rejects: Rejects) -> bool:
    counts = (entity.totalContacts, entity.abandonedContacts, entity.slaBreaches)
    if not entity.id:
        rejects.add("missing_id")
    elif min(counts) < 0:
        rejects.add("negative")
    elif not all(map(is_count, counts)):
        rejects.add("range")
    else:
        return True
    return False


def _positions(starts: IntColumn, bucket: str) -> Any:
    """From `<start>/<bucket>` to the bucket's position, None for another bucket; each text is parsed once."""
    known: dict[str, int | None] = {}
    place = {float(start): position for position, start in enumerate(starts)}
    spellings = {bucket, "P1D"} if bucket == "PT1D" else {bucket}

    def position(text: str) -> int | None:
        if text not in known:
            start_text, _, length = text.partition("/")
            start = epoch_seconds(start_text)
            known[text] = place.get(start) if start is not None and length in spellings else None
        return known[text]

    return position


def _dense(cells: dict[tuple[int, int], Entity], buckets: int, series: int) -> dict[str, IntColumn]:
    places = np.array(list(cells), dtype=np.int64).reshape(len(cells), 2)
    values = np.array(
        [(cell.totalContacts, cell.abandonedContacts, cell.slaBreaches, cell.totalContacts) for cell in cells.values()],
        dtype=np.float64,
    ).reshape(len(cells), len(_COUNTS))
    counts = {}
    for position, name in enumerate(_COUNTS):
        counts[name] = np.zeros((buckets, series), dtype=np.int64)
        counts[name][places[:, 0], places[:, 1]] = values[:, position].astype(np.int64)
    return counts
