"""The publishing side put together as app.py does it, and served on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from exporter.models import HistoryBucket
from exporter.publish.publisher import Publisher
from exporter.publish.self_metrics import SelfMetrics
from exporter.publish.server import make_app
from tests.conftest import FakeClock
from tests.publish.samples import NOW, history_bucket, snapshot

Client = TestClient[web.Request, web.Application]


class History:
    """Whatever buckets it is given."""

    def __init__(self, buckets: Iterable[HistoryBucket]) -> None:
        self.buckets = buckets
        self.closed = False

    def read(self, from_seconds: int, to_seconds: int) -> Iterator[HistoryBucket]:
        try:
            yield from (bucket for bucket in self.buckets if from_seconds <= bucket.start_seconds < to_seconds)
        finally:
            self.closed = True


class Exporter:
    """A publisher, the exporter's own metrics, and a history of the last three buckets."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.metrics = SelfMetrics(self.clock, version="0.1.0", contract="aggregates")
        self.publisher = Publisher(self.clock, self.metrics.on_series)
        self.history = History([history_bucket(int(NOW.timestamp()) // 900 * 900 - 900 * n) for n in (3, 2, 1)])
        self.alive = True

    async def publish(self, **changes: Any) -> None:
        new = snapshot(**changes)
        await self.publisher.publish(new)
        self.metrics.on_snapshot(new)


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


def app_of(exporter: Exporter, **arguments: Any) -> web.Application:
    return make_app(
        publisher=exporter.publisher,
        self_metrics=exporter.metrics,
        clock=exporter.clock,
        history=exporter.history,
        alive=lambda: exporter.alive,
        **arguments,
    )


@pytest.fixture
async def client(exporter: Exporter) -> AsyncIterator[Client]:
    server = TestServer(app_of(exporter))
    async with TestClient(server, auto_decompress=False, headers={"Accept-Encoding": "identity"}) as client:
        yield client
