"""What is happening now: `POST /api/v2/analytics/queues/observations/query`, 200 queues a request.

From the reference: rows with a media type count contacts, with explicit zeros; rows without one count people.
`oLongestWaiting` is the epoch millisecond at which the longest wait began, absent or 0 when nobody waits. The
answer bears no time: the moment of the poll is the moment of the sample. `detailMetrics` would bring personal
data and is never asked for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Sequence
from datetime import datetime
from itertools import repeat
from sys import intern
from typing import Any

import msgspec
import numpy as np
import orjson

from exporter.errors import PayloadError
from exporter.genesys.client import OBSERVATIONS, ApiClient, in_thread
from exporter.genesys.decode import Rejects, decode, fault_of, good_rows, is_count, rows_or_none
from exporter.genesys.selection import Selection, queue_predicates
from exporter.models import OBSERVATION_COLUMNS, ObservationTable, SeriesKey

#: The service's own limit on predicates.
QUEUES_PER_REQUEST = 200
#: Requests under way at once: a large org's hundred requests must fit into one poll without a stampede.
PARALLEL_REQUESTS = 4
METRICS = ("oAlerting", "oInteracting", "oLongestWaiting", "oUserRoutingStatuses", "oWaiting")

_COLUMN = {name: position for position, name in enumerate(OBSERVATION_COLUMNS)}
_COUNTS = {"oWaiting": "waiting", "oInteracting": "interacting", "oAlerting": "alerting"}
_NO_VALUE = float("nan")
#: The service's clock and ours may differ; a wait that began later than this from now is nonsense.
_CLOCK_SKEW_SECONDS = 300.0


class Stats(msgspec.Struct):
    count: float | None = None
    calculatedMetricValue: float | None = None  # noqa: N815 - the vendor's name


class Metric(msgspec.Struct):
    metric: str
    stats: Stats | None = None
    qualifier: str | None = None


class Row(msgspec.Struct):
    group: dict[str, str]
    data: list[Metric]


class Answer(msgspec.Struct):
    results: list[msgspec.Raw] | None = None  # of Row


async def fetch_observations(
    client: ApiClient, queue_ids: Sequence[str], selection: Selection, at: datetime, deadline: float
) -> ObservationTable:
    """Observations of all `queue_ids`; raises a GenesysError when any batch fails."""
    rejects = Rejects()
    slots = asyncio.Semaphore(PARALLEL_REQUESTS)

    async def batch(ids: Sequence[str]) -> bytes:
        async with slots:
            return await client.send(OBSERVATIONS, deadline, body=request_body(ids))

    batches = [queue_ids[i : i + QUEUES_PER_REQUEST] for i in range(0, len(queue_ids), QUEUES_PER_REQUEST)]
    bodies = await _all_or_first_error([batch(ids) for ids in batches])
    asked = [frozenset(ids) for ids in batches]
    table = await in_thread(sum(map(len, bodies)), lambda: parse_observations(bodies, selection, at, rejects, asked))
    rejects.tell(client.hook)
    return table


def request_body(queue_ids: Sequence[str]) -> bytes:
    return orjson.dumps({"filter": queue_predicates(queue_ids), "metrics": list(METRICS)})


def parse_observations(
    bodies: Sequence[bytes],
    selection: Selection,
    at: datetime,
    rejects: Rejects,
    asked: Sequence[frozenset[str]] = (),
) -> ObservationTable:
    """The answers of all batches as one table; one body per batch of queues, whose ids are `asked`."""
    contacts: dict[SeriesKey, list[float]] = {}
    agents: dict[tuple[str, str], float] = {}
    for body, ids in zip(bodies, asked or repeat(None), strict=False):
        for row in _of_asked(good_rows(_results(body), Row, rejects), ids):
            queue_id, media_type = row.group.get("queueId"), row.group.get("mediaType")
            if not queue_id:
                rejects.add("missing_id")
            elif media_type is None:
                _count_agents(agents, queue_id, row.data, rejects)
            elif selection.takes_media(media_type):
                _count_contacts(contacts, SeriesKey.of(queue_id, media_type), row.data, at, rejects)
    table = np.array(list(contacts.values()), dtype=np.float64).reshape(len(contacts), len(OBSERVATION_COLUMNS))
    columns = {name: np.ascontiguousarray(table[:, position]) for name, position in _COLUMN.items()}
    known = {key: count for key, count in agents.items() if not math.isnan(count)}
    return ObservationTable(at, tuple(contacts), columns, tuple(known), np.array(list(known.values()), np.float64))


def _of_asked(rows: Iterable[Row], ids: frozenset[str] | None) -> list[Row]:
    """The rows without those of strangers; PayloadError where there are only strangers."""
    every = list(rows)
    mine = [row for row in every if ids is None or not (named := row.group.get("queueId")) or named in ids]
    if every and not mine:
        raise PayloadError("observations: the answer is about other queues than were asked for")
    return mine


def _results(body: bytes) -> list[msgspec.Raw]:
    answer = decode(body, Answer, "observations")
    return rows_or_none(body, answer.results, "observations", "results", "systemToOrganizationMappings")


def _count_agents(
    agents: dict[tuple[str, str], float], queue_id: str, data: Sequence[Metric], rejects: Rejects
) -> None:
    for metric in data:
        if metric.metric != "oUserRoutingStatuses" or not metric.qualifier or metric.stats is None:
            continue
        count = metric.stats.count
        key = (intern(queue_id), intern(metric.qualifier))
        if count is None or not is_count(count):
            rejects.add(fault_of(count))
        elif agents.setdefault(key, count) != count:
            rejects.add("duplicate")
            agents[key] = _NO_VALUE  # of two that contradict each other none is believed


def _count_contacts(
    contacts: dict[SeriesKey, list[float]], key: SeriesKey, data: Sequence[Metric], at: datetime, rejects: Rejects
) -> None:
    values = [_NO_VALUE] * len(OBSERVATION_COLUMNS)
    for metric in data:
        if metric.stats is None:
            continue
        if fault := _place(values, metric.metric, metric.stats, at):
            rejects.add(fault)
            return
    if key not in contacts:
        contacts[key] = values
    elif not np.array_equal(contacts[key], values, equal_nan=True):
        rejects.add("duplicate")
        contacts[key] = [_NO_VALUE] * len(OBSERVATION_COLUMNS)
    else:
        rejects.add("duplicate", ())


def _place(values: list[float], name: str, stats: Stats, at: datetime) -> str | None:
    """Write one metric's number into the row; the reason where it cannot be, else None."""
    if name in _COUNTS:
        column, number = _COLUMN[_COUNTS[name]], stats.count
        if number is None or not is_count(number):
            return fault_of(number)
    elif name == "oLongestWaiting" and stats.calculatedMetricValue:
        column, number = _COLUMN["oldest_waiting"], stats.calculatedMetricValue / 1000
        if not 0 < number <= at.timestamp() + _CLOCK_SKEW_SECONDS:
            return "range"
    else:
        return None
    if not math.isnan(values[column]):
        return "duplicate"
    values[column] = number
    return None


async def _all_or_first_error(calls: Sequence[Coroutine[Any, Any, bytes]]) -> list[bytes]:
    """Results in order; the first error cancels the rest."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
