"""What the exporter's routes say, as values that tests can compare.

Bytes of /metrics, /dashboard and /export.csv come in, read by parsers that are not the exporter's own: those of
prometheus_client, json and csv. Counts, ratios and scores go out under (queue id, media type).
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict_openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_004

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
QUARTER = timedelta(minutes=15)

#: `genesys_up` while all is well.
ALL_UP = dict.fromkeys(("queues", "window", "history", "observations"), 1.0)

Labels = frozenset[tuple[str, str]]
Series = tuple[str, str]  # queue id, media type


@dataclass(frozen=True)
class Samples:
    """One answer of /metrics, parsed when somebody looks into it."""

    text: str
    openmetrics: bool = False

    @cached_property
    def values(self) -> Mapping[tuple[str, Labels], float]:
        """Every sample; one that stands twice is an error."""
        parse = strict_openmetrics if self.openmetrics else text_004
        found: dict[tuple[str, Labels], float] = {}
        for family in parse(self.text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in found, f"{key} twice"
                found[key] = sample.value
        return found

    @property
    def up(self) -> dict[str, float]:
        """`genesys_up` by dataset."""
        return {
            dataset: self.total("genesys_up", dataset=dataset) for dataset in self.label_values("genesys_up", "dataset")
        }

    @property
    def failures(self) -> dict[str, float]:
        """Failed polls by reason, less the reasons that never came up."""
        name = "genesys_exporter_poll_failures_total"
        counts = {reason: self.total(name, reason=reason) for reason in self.label_values(name, "reason")}
        return {reason: count for reason, count in counts.items() if count}

    def names(self) -> set[str]:
        return {name for name, _ in self.values}

    def get(self, name: str, **labels: str) -> float | None:
        """The one sample of this name and these labels, which may be a part of its labels; None if there is none."""
        wanted = labels.items()
        found = [value for (other, own), value in self.values.items() if other == name and wanted <= own]
        assert len(found) <= 1, f"{name} {labels} is no single sample"
        return found[0] if found else None

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples that match; 0 where there are none."""
        wanted = labels.items()
        return sum(value for (other, own), value in self.values.items() if other == name and wanted <= own)

    def by_series(self, name: str, **labels: str) -> dict[Series, float]:
        """Values by queue id and media type."""
        wanted, found = labels.items(), {}
        for (other, own), value in self.values.items():
            if other == name and wanted <= own:
                own_labels = dict(own)
                found[own_labels["queue_id"], own_labels.get("media_type", "")] = value
        return found

    def label_values(self, name: str, label: str) -> set[str]:
        return {dict(own)[label] for other, own in self.values if other == name}


@dataclass(frozen=True)
class Row:
    """One line of /export.csv."""

    series: Series
    name: str
    start: datetime
    bucket: str
    cells: Mapping[str, str]

    def count(self, column: str) -> int:
        return int(self.cells[column])

    def number(self, column: str) -> float | None:
        return float(self.cells[column]) if self.cells[column] else None


def csv_rows(body: bytes) -> list[Row]:
    """The lines of an export; a queue and interval that stand twice are an error."""
    rows = list(_rows(body.decode("utf-8")))
    keys = [(row.series, row.start) for row in rows]
    assert len(set(keys)) == len(keys), "a bucket of a queue stands twice"
    return rows


def _rows(text: str) -> Iterator[Row]:
    for cells in csv.DictReader(io.StringIO(text, newline=""), strict=True):
        start, _, bucket = cells["timeInterval"].partition("/")
        series = (cells["queueId"], cells["mediaType"])
        yield Row(series, cells["queueName"], datetime.fromisoformat(start).astimezone(UTC), bucket, cells)


Cells = dict[tuple[str, str, datetime], tuple[int, int, int]]


def history_counts(rows: list[Row]) -> Cells:
    """(offered, abandoned, breached) of every bucket with a contact, by queue, media type and start."""
    found = {}
    for row in rows:
        counts = (row.count("totalContacts"), row.count("abandonedContacts"), row.count("slaBreaches"))
        if any(counts):
            found[*row.series, row.start] = counts
    return found


def by_series(rows: list[dict[str, Any]]) -> dict[Series, dict[str, Any]]:
    """Rows of metrics[] by queue id and media type."""
    found = {(row["queueId"], row["mediaType"]): row for row in rows}
    assert len(found) == len(rows), "a queue and media type stand twice"
    return found


@dataclass(frozen=True)
class Answer:
    """One answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """The routes of an exporter at `url`."""

    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> Answer:
        async with self.http.get(self.url + path, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def metrics(self) -> Samples:
        return Samples((await self.get("/metrics")).text)

    async def until(self, met: Callable[[Samples], bool], within_seconds: float = 60.0) -> Samples:
        """Ask for /metrics until it meets a condition; the samples that do."""
        deadline = time.monotonic() + within_seconds
        while not met(samples := await self.metrics()):
            assert time.monotonic() < deadline, f"not within {within_seconds:g} s"
            await asyncio.sleep(0.05)
        return samples

    async def filled(self) -> Samples:
        """Until the back-fill is complete: from then on there are counters."""
        return await self.until(lambda samples: "\ngenesys_queue_offered_contacts_total{" in samples.text)

    async def openmetrics(self) -> Samples:
        return Samples((await self.get("/metrics", Accept=OPENMETRICS)).text, openmetrics=True)

    async def dashboard(self) -> Any:
        return (await self.get("/dashboard")).json

    async def history(self) -> list[Row]:
        """All closed buckets that the exporter holds."""
        return csv_rows((await self.get("/export.csv?from=-30d")).body)

    async def of_one_snapshot(self, *paths: str) -> list[Answer]:
        """Answers of several routes under one snapshot id: asked again when a poll came in between."""
        for _ in range(5):
            answers = [await self.get(path) for path in paths]
            if len({answer.headers["X-Snapshot-Id"] for answer in answers}) == 1:
                return answers
        raise AssertionError("no two routes answer from one snapshot")
