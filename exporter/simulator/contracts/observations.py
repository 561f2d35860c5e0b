"""POST /api/v2/analytics/queues/observations/query: what is happening at this moment.

In: a decoded request, the contacts, the queues, now. Out: the body of a QueueObservationQueryResponse. Two kinds of
rows as in the real service: one per queue with its people (presences by the organisation's own ids), and one per queue
and media type with explicit zeros, whether or not the queue serves it. `oLongestWaiting` is the epoch millisecond at
which the longest wait began, not a duration. `detailMetrics` is accepted and adds nothing: observations hold personal
data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from exporter.simulator.api_errors import ApiError, bad_request
from exporter.simulator.contacts import ANSWERED, Contacts, Flags
from exporter.simulator.contracts.people import Staff, presence_ids
from exporter.simulator.contracts.requests import Filter, names_of, read_filter
from exporter.simulator.contracts.selection import Selector
from exporter.simulator.contracts.vocabulary import (
    OBSERVATION_DETAIL_METRICS,
    OBSERVATION_DIMENSIONS,
    OBSERVATION_METRICS,
)
from exporter.simulator.directory import Queue
from exporter.simulator.profiles import CALLBACK, CHAT, EMAIL, MESSAGE, VOICE
from exporter.simulator.streams import Ints
from exporter.simulator.tally import ContactSource, streams_of

#: Found by others at the real service: more predicates than this are refused.
MOST_PREDICATES = 200
#: The media types that every queue shows, in the order of real answers. Others show only who talks.
_MEDIA_TYPES = (CHAT, MESSAGE, EMAIL, CALLBACK, VOICE)


@dataclass(frozen=True, slots=True)
class ObservationQuery:
    """A validated request."""

    metrics: tuple[str, ...]
    filter: Filter


def read_query(body: dict[str, Any]) -> ObservationQuery:
    """The typed query, or the 400 that the service would give."""
    metrics = names_of(body, "metrics", "QueueObservationMetric", OBSERVATION_METRICS)
    names_of(body, "detailMetrics", "QueueObservationMetric", OBSERVATION_DETAIL_METRICS)
    query = read_filter(body.get("filter") or {}, OBSERVATION_DIMENSIONS)
    if not metrics:
        raise bad_request("metrics is required")
    if query.predicate_count() == 0:
        raise bad_request("filter must hold at least one predicate")
    if query.predicate_count() > MOST_PREDICATES:
        raise ApiError(400, "bad.request", f"Too many predicates: at most {MOST_PREDICATES} are allowed")
    return ObservationQuery(tuple(metrics), query)


@dataclass(slots=True)
class _Now:
    """Contacts of one queue and media type at this moment."""

    waiting: int = 0
    alerting: int = 0
    interacting: int = 0
    longest_waiting_ms: int = 0
    longest_interacting_ms: int = 0


def answer(
    query: ObservationQuery,
    source: ContactSource,
    queues: Sequence[Queue],
    seed: int,
    selector: Selector,
    visible: Flags,
    now: datetime,
) -> bytes:
    """The response body. `queues` are in the order that the source's table knows them by."""
    wanted = selector.select(query.filter) & visible
    now_ms = round(now.timestamp() * 1000)
    present = _present(source, wanted, now_ms)
    indexes = sorted({int(source.table.queues[stream]) for stream in np.flatnonzero(wanted)})
    rows = [row for index in indexes for row in _rows(query, queues[index], index, present, seed, now_ms)]
    return orjson.dumps({"systemToOrganizationMappings": presence_ids(seed), "results": rows})


def _rows(
    query: ObservationQuery,
    queue: Queue,
    index: int,
    present: dict[tuple[int, str], _Now],
    seed: int,
    now_ms: int,
) -> Iterator[dict[str, Any]]:
    busy = sum(found.interacting for (owner, _), found in present.items() if owner == index)
    people = list(Staff.of(queue, seed, busy, now_ms).data(query.metrics, seed))
    if people:
        yield {"group": {"queueId": queue.id}, "data": people}
    for media in (*_MEDIA_TYPES, *set(queue.media_types).difference(_MEDIA_TYPES)):
        metrics = query.metrics if media in _MEDIA_TYPES else [name for name in query.metrics if name == "oInteracting"]
        data = list(_contact_data(metrics, present.get((index, media), _Now())))
        if data:
            yield {"group": {"mediaType": media, "queueId": queue.id}, "data": data}


def _contact_data(metrics: Sequence[str], now: _Now) -> Iterator[dict[str, Any]]:
    counts = {"oInteracting": now.interacting, "oWaiting": now.waiting, "oAlerting": now.alerting}
    longest = {"oLongestWaiting": now.longest_waiting_ms, "oLongestInteracting": now.longest_interacting_ms}
    for metric, count in counts.items():
        if metric in metrics:
            yield {"metric": metric, "stats": {"count": count}}
    for metric, since in longest.items():
        if metric in metrics and since:
            yield {"metric": metric, "stats": {"calculatedMetricValue": since}}


def _present(source: ContactSource, wanted: Flags, now_ms: int) -> dict[tuple[int, str], _Now]:
    """By (queue index, media type): who waits and who talks."""
    found: dict[tuple[int, str], _Now] = {}
    for chunk, _ in streams_of(source, wanted):
        for contacts in source.in_progress(chunk, now_ms):
            still_here = np.maximum(contacts.left_at, contacts.ended_at) > now_ms
            here = (contacts.offered_at <= now_ms) & still_here & wanted[contacts.stream]
            _add(found, source, contacts.where(np.flatnonzero(here)), now_ms)
    return found


def _add(found: dict[tuple[int, str], _Now], source: ContactSource, contacts: Contacts, now_ms: int) -> None:
    waits = contacts.left_at > now_ms
    alerts = waits & (contacts.outcome == ANSWERED) & (contacts.left_at - contacts.alert <= now_ms)
    columns: tuple[Ints, ...] = (contacts.stream.astype(np.int64), contacts.offered_at, contacts.left_at)
    rows = zip(*(column.tolist() for column in columns), waits.tolist(), alerts.tolist(), strict=True)
    for stream, offered_at, left_at, is_waiting, is_alerting in rows:
        now = found.setdefault((int(source.table.queues[stream]), source.table.media_types[stream]), _Now())
        if is_alerting:
            now.alerting += 1
        elif is_waiting:
            now.waiting += 1
            now.longest_waiting_ms = min(now.longest_waiting_ms or offered_at, offered_at)
        else:
            now.interacting += 1
            now.longest_interacting_ms = min(now.longest_interacting_ms or left_at, left_at)
