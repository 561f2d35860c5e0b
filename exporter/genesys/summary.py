"""The summary-query contract: `POST /api/v2/analytics/conversations/summary/query`.

Buckets of whole queues, without media types, in pages that are read one after the other until the continuation
token is null. Genesys Cloud's public API does not serve it; a gateway in front of it may. A token that comes
back, or more pages than `totalCount` allows, is a fault of the server: PagingError, and nothing of the run is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import numpy as np
import orjson

from exporter.errors import PagingError, PayloadError
from exporter.genesys.client import SUMMARY, ApiClient, in_thread
from exporter.genesys.decode import Rejects, decode, is_count, part_of, rows_or_none
from exporter.genesys.intervals import BUCKET_SECONDS, epoch_seconds, instant
from exporter.genesys.selection import Selection
from exporter.models import WINDOW_COLUMNS, BucketBatch, IntColumn, QueueTable, SeriesKey, Window

PAGE_SIZE = 2000
#: Where the service does not say how many entities there are.
MAX_PAGES = 10_000
#: The buckets that the contract knows; it has no half hour.
BUCKETS = ("PT15M", "PT1H", "PT4H", "PT1D")
SUCCESS = "success"
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


class Named(msgspec.Struct):
    """What a broken entity still tells: whose it is, and when."""

    id: str
    timeInterval: str  # noqa: N815


class Paging(msgspec.Struct):
    nextPageToken: str | None = None  # noqa: N815
    pageSize: int | None = None  # noqa: N815
    totalCount: int | None = None  # noqa: N815


class Page(msgspec.Struct):
    entities: list[msgspec.Raw] | None = None  # of Entity
    paging: Paging | None = None
    status: Any = None


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


@dataclass(slots=True)
class Run:
    """The pages of one query as they come: entities that are whole, and what broken ones still tell."""

    entities: list[Entity] = field(default_factory=list)
    broken: list[Named | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entities) + len(self.broken)

    def take(self, body: bytes) -> Paging:
        """One page."""
        page = decode(body, Page, "summary")
        if isinstance(page.status, str) and page.status.lower() != SUCCESS:
            raise PayloadError('summary: the answer says by its "status" that it is none')
        for raw in rows_or_none(body, page.entities, "summary", "entities"):
            entity = part_of(raw, Entity)
            if entity is not None:
                self.entities.append(entity)
            else:
                self.broken.append(part_of(raw, Named))
        return page.paging or Paging()


async def fetch_entities(
    client: ApiClient, report: Report, window: Window, deadline: float, *, background: bool = False
) -> Run:
    """All pages of one query, serially. Raises a GenesysError; half a run is never returned."""
    run = Run()
    tokens: set[str] = set()
    token: str | None = None
    allowed = promised = MAX_PAGES
    for number in range(1, MAX_PAGES + 1):
        body = await client.send(SUMMARY, deadline, body=report.body(window, token), background=background)
        paging = await in_thread(len(body), partial(run.take, body))
        if number == 1:
            allowed, promised = _pages_allowed(paging), paging.totalCount or 0
        token = paging.nextPageToken or None  # a blank one leads nowhere
        if token is None:
            if len(run) < min(promised, paging.totalCount or 0):
                raise PagingError(f"summary: the last page ends after {len(run)} entities of {promised}")
            return run
        if token in tokens:
            raise PagingError(f"summary: page {number} names a page token that was already used")
        if number >= allowed:
            raise PagingError(f"summary: page {number} names another page, but totalCount allows {allowed}")
        tokens.add(token)
    raise PagingError(f"summary: still no last page after {MAX_PAGES} pages")


def _pages_allowed(paging: Paging) -> int:
    """How many pages `totalCount` entities can fill, at the page size that the service really uses."""
    if paging.totalCount is None or paging.totalCount < 0:
        return MAX_PAGES
    size = paging.pageSize if paging.pageSize and 0 < paging.pageSize < PAGE_SIZE else PAGE_SIZE
    return max(1, math.ceil(paging.totalCount / size))


def to_buckets(run: Run, span: Window, bucket: str, selection: Selection, rejects: Rejects) -> BucketBatch:
    """Entities as counts of shape (buckets, queues); the media type of this contract is "".

    PayloadError where all of them are about other times: somebody has given us the answer to another question.
    """
    seconds = BUCKET_SECONDS[bucket]
    starts = np.arange(span.start_seconds, span.end_seconds, seconds, dtype=np.int64)
    place_of = Places(starts, bucket)
    for named in run.broken:
        rejects.add("type", place_of.cells(named) if named is not None else None)
    series: dict[SeriesKey, int] = {}
    names: dict[str, str] = {}
    cells: dict[tuple[int, int], Entity] = {}
    doubted: set[tuple[int, int]] = set()
    told: set[int] = set()
    elsewhere = False
    for entity in run.entities:
        if entity.id and not selection.takes(entity.id, entity.name or entity.id):
            continue
        key, position = SeriesKey.of(entity.id, ""), place_of.position(entity.timeInterval)
        if fault := _fault_of(entity):
            rejects.add(fault, place_of.cells(entity) if entity.id else None)
        elif position is None:
            elsewhere = True
            rejects.add("outside_window", place_of.cells(entity))
        else:
            where = (position, series.setdefault(key, len(series)))
            told.add(position)
            if cells.setdefault(where, entity) is not entity:
                same = _same(entity, cells[where])
                rejects.add("duplicate", () if same else ((position, key),))
                doubted |= set() if same else {where}
            names[entity.id] = entity.name or entity.id
    if elsewhere and len(told) < len(starts):
        if not told:
            raise PayloadError("summary: the answer is about other times than were asked for")
        rejects.doubt("outside_window")  # it may be the answer about an earlier span, which lacks the newest buckets
    for where in doubted:
        del cells[where]
    keys = tuple(series)
    rejects.found((position, keys[column]) for position, column in cells)
    counts = _dense(cells, len(starts), len(series))
    return BucketBatch(seconds, starts, keys, counts, names, rejects.what_is_lost())


def to_window(batch: BucketBatch) -> QueueTable:
    """A batch of one bucket as the current window; what the contract does not tell is NaN."""
    rows = len(batch.keys)
    columns = {name: np.full(rows, np.nan) for name in WINDOW_COLUMNS}
    for name, counts in batch.counts.items():
        columns[name] = counts[0].astype(np.float64)
    start = int(batch.starts[0])
    keys = [row for row, key in enumerate(batch.keys) if (0, key) not in batch.lost.cells]
    window = Window.of_epoch(start, start + batch.bucket_seconds)
    told = {name: column[keys] for name, column in columns.items()}
    return QueueTable(window, tuple(batch.keys[row] for row in keys), told, batch.names, batch.lost)


def _fault_of(entity: Entity) -> str | None:
    counts = _counts_of(entity)
    if not entity.id:
        return "missing_id"
    if min(counts) < 0:
        return "negative"
    return None if all(map(is_count, counts)) else "range"


def _counts_of(entity: Entity) -> tuple[float, float, float]:
    return entity.totalContacts, entity.abandonedContacts, entity.slaBreaches


def _same(one: Entity, other: Entity) -> bool:
    return _counts_of(one) == _counts_of(other)


class Places:
    """From `<start>/<bucket>` to the bucket's place in a span; each text is parsed once."""

    def __init__(self, starts: IntColumn, bucket: str) -> None:
        self._known: dict[str, int | None] = {}
        self._place = {float(start): position for position, start in enumerate(starts)}
        self._spellings = {bucket, "P1D"} if bucket == "PT1D" else {bucket}

    def position(self, text: str) -> int | None:
        """The bucket's place, None for another bucket."""
        if text not in self._known:
            start_text, _, length = text.partition("/")
            start = epoch_seconds(start_text)
            known = start is not None and length in self._spellings
            self._known[text] = self._place.get(start) if start is not None and known else None
        return self._known[text]

    def cells(self, about: Entity | Named) -> list[tuple[int, SeriesKey]]:
        """What is lost with an entity: its bucket, or any where the text names none."""
        position = self.position(about.timeInterval)
        places = range(len(self._place)) if position is None else (position,)
        return [(place, SeriesKey(about.id, "")) for place in places]


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
