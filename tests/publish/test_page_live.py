"""The live page's routes: documents, the event stream, the last hours of single rows."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from exporter.errors import HistoryError
from exporter.models import (
    ABANDONMENT,
    HISTORY,
    OBSERVATIONS,
    WINDOW,
    ApiCalled,
    ApiThrottled,
    DatasetState,
    HistoryBucket,
    RateLimitSeen,
    Rows,
    SeriesKey,
)
from exporter.publish import live
from exporter.publish.publisher import Publisher
from exporter.publish.self_metrics import SelfMetrics
from exporter.publish.server import make_app
from tests.conftest import FakeClock
from tests.publish.samples import NAN, NOW, ROWS, columns, datasets, history_bucket, report, snapshot

Client = TestClient[web.Request, web.Application]

CLOSED = int(NOW.timestamp()) // 900 * 900


class History:
    """Buckets in a list; counts its readings."""

    def __init__(self, *buckets: HistoryBucket) -> None:
        self.buckets = list(buckets)
        self.readings = 0
        self.broken = False

    def read(self, from_seconds: int, to_seconds: int) -> Iterator[HistoryBucket]:
        self.readings += 1
        if self.broken:
            raise HistoryError("the disk is gone")
        yield from (bucket for bucket in self.buckets if from_seconds <= bucket.start_seconds < to_seconds)


class Exporter:
    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.metrics = SelfMetrics(
            self.clock, version="0", contract="aggregates", poll_interval_seconds=60, calls_per_minute=100
        )
        self.publisher = Publisher(self.clock, self.metrics.on_series)
        self.history = History(history_bucket(CLOSED - 900), history_bucket(CLOSED - 1800))

    async def publish(self, **changes: Any) -> None:
        closed = {HISTORY: DatasetState(True, NOW, NOW.replace(minute=15, second=0, microsecond=0), None)}
        await self.publisher.publish(snapshot(**({"datasets": datasets() | closed} | changes)))

    def app(self) -> web.Application:
        return make_app(publisher=self.publisher, self_metrics=self.metrics, clock=self.clock, history=self.history)


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


@pytest.fixture
async def client(exporter: Exporter) -> AsyncIterator[Client]:
    server = TestServer(exporter.app())
    async with TestClient(server, auto_decompress=False, headers={"Accept-Encoding": "identity"}) as client:
        yield client


async def got(client: Client, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


# Documents


async def test_numbers_and_names_belong_together(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    numbers, queues = await got(client, "/api/live/numbers"), await got(client, "/api/live/queues")
    assert numbers["rows"] == queues["rows"]
    assert queues["names"] == ["Sales", "Sales", "Help & more"]
    assert queues["media"] == ["voice", "chat", "voice"]
    assert queues["divisions"] == ["Home", "Home", "Branch"]
    assert numbers["snapshot"] == "1772356565250"
    assert numbers["columns"]["offered"] == [12, 0, 10]
    assert numbers["columns"]["abandonedPercent"] == [25, None, 10]
    assert numbers["columns"]["waitingSince"] == [1772356500125, None, None]
    assert (numbers["columns"]["agentsFree"], numbers["columns"]["agentsOnQueue"]) == ([3, 3, 0], [7, 7, 0])
    assert numbers["scores"][ABANDONMENT] == {
        "z": [4.5, None, -0.5],
        "mean": [7, 10, 12],
        "stddev": [4, 10, 4],
        "samples": [600, 3, 10],
        "grade": [1, 0, 0],
    }
    assert [numbers[key] for key in ("order", "grade", "worst")] == [[0, 2, 1], [1, 0, 0], [0, -1, 1]]
    assert numbers["window"] == [1772355600000, 1772356500000]


@pytest.mark.parametrize("path", ["/api/live/numbers", "/api/live/queues"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_documents_are_not_sent_twice(client: Client, exporter: Exporter, path: str, encoding: str) -> None:
    await exporter.publish()
    async with client.get(path, headers={"Accept-Encoding": encoding}) as answer:
        body = await answer.read()
        tag = answer.headers["ETag"]
        assert answer.headers.get("Content-Encoding", "identity") == encoding
        json.loads(gzip.decompress(body) if encoding == "gzip" else body)
    async with client.get(path, headers={"Accept-Encoding": encoding, "If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_names_keep_their_tag_while_numbers_change(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    before = await got(client, "/api/live/numbers")
    await exporter.publish(id=1772356565251)
    after = await got(client, "/api/live/numbers")
    assert (before["rows"], before["tag"] != after["tag"]) == (after["rows"], True)
    await exporter.publish(id=1772356565252, rows=Rows(ROWS.keys, ("Sales", "Sales", "Renamed")))
    assert (await got(client, "/api/live/numbers"))["rows"] != before["rows"]
    assert (await got(client, "/api/live/queues"))["names"][2] == "Renamed"


async def test_names_are_in_the_order_in_which_people_look_them_up(client: Client, exporter: Exporter) -> None:
    names = ("zoo", "Queue 10", "queue 9", "Über", "Unter", "", "7th", "1²")
    keys = tuple(SeriesKey(f"q{place}", "voice") for place in range(len(names)))
    flat = {name: np.ones(len(names)) for name in columns()}
    await exporter.publish(rows=Rows(keys, names), columns=flat, scores=None)
    queues = await got(client, "/api/live/queues")
    ordered = [names[row] for row in queues["byName"]]
    assert ordered == ["", "7th", "1²", "queue 9", "Queue 10", "Über", "Unter", "zoo"]


async def test_what_is_withdrawn_has_no_value(client: Client, exporter: Exporter) -> None:
    gone = DatasetState(False, NOW, NOW, NOW, "permission", "a permission is missing")
    await exporter.publish(datasets=datasets() | {OBSERVATIONS: gone})
    made = (await got(client, "/api/live/numbers"))["columns"]
    assert (made["offered"], made["waiting"], made["agentsFree"]) == ([12, 0, 10], [None] * 3, [None] * 3)
    await exporter.publish(id=1772356565251, datasets=datasets() | {WINDOW: gone})
    numbers = await got(client, "/api/live/numbers")
    assert (numbers["status"], numbers["columns"]["offered"], numbers["scores"]) == ("stale", [None] * 3, {})
    assert numbers["findings"] == []


async def test_before_the_first_snapshot_the_state_says_so(client: Client) -> None:
    state = await got(client, "/api/live/state")
    assert (state["tag"], state["status"], state["datasets"]) == (None, "error", [])
    assert "first poll" in state["message"]
    for path in ("/api/live/numbers", "/api/live/queues", "/api/live/trends?queues=x&rows=0"):
        async with client.get(path) as answer:
            assert answer.status == 503


async def test_the_state_tells_what_the_exporter_is_doing(client: Client, exporter: Exporter) -> None:
    exporter.metrics.on_api_event(ApiCalled("/token", "200", 0.1))
    exporter.clock.advance(30)
    for _ in range(3):
        exporter.metrics.on_api_event(ApiCalled("/query", "200", 0.1))
    exporter.metrics.on_api_event(ApiThrottled(2.0))
    exporter.metrics.on_api_event(RateLimitSeen(300, 295))
    exporter.metrics.on_report(report(duration_seconds=70.5, outcome="partial"))
    exporter.metrics.on_polls_skipped(1)
    refused = DatasetState(up=False, last_success=None, reason="permission", message="a permission is missing")
    await exporter.publish(datasets=datasets() | {OBSERVATIONS: refused})
    state = await got(client, "/api/live/state")
    began = int(NOW.timestamp() * 1000)
    assert state["now"] == began + 30_000
    assert state["activity"] == {
        "pollSeconds": 60,
        "nextPoll": began + 120_000,
        "lastPoll": {"at": began, "seconds": 70.5, "outcome": "partial"},
        "pollsSkipped": 1,
        "calls": {"lastMinute": 4, "allowed": 100},
        "service": {"allowed": 300, "remaining": 295},
        "historyStored": None,
    }
    (observations,) = [each for each in state["datasets"] if each["name"] == OBSERVATIONS]
    assert (observations["up"], observations["standing"]) == (False, "failing: a permission is missing")
    assert observations["title"] == "Waiting contacts and agents"
    assert state["failures"] == ["Waiting contacts and agents: a permission is missing."]
    exporter.clock.advance(30)
    assert (await got(client, "/api/live/state"))["activity"]["calls"]["lastMinute"] == 3


async def test_the_state_tells_whether_the_disk_takes_the_history(client: Client, exporter: Exporter) -> None:
    for stored in (True, False, True):
        exporter.metrics.on_history(stored=stored)
        assert (await got(client, "/api/live/state"))["activity"]["historyStored"] is stored


# Trends


async def trends(client: Client, rows: str) -> Any:
    queues = (await got(client, "/api/live/queues"))["rows"]
    return await got(client, f"/api/live/trends?queues={queues}&rows={rows}")


async def test_trends_hold_the_last_buckets_of_the_rows_that_were_asked_for(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    made = await trends(client, "2,0")
    assert (made["first"], made["step"]) == ((CLOSED - 48 * 900) * 1000, 900_000)
    assert made["rows"].keys() == {"0", "2"}
    assert made["rows"]["2"]["offered"] == [None] * 46 + [10, 10]
    assert made["rows"]["2"]["slaContacts"][-1] == 9
    assert made["rows"]["0"]["abandoned"][-2:] == [3, 3]


async def test_trends_follow_the_snapshots_rows_not_the_historys(client: Client, exporter: Exporter) -> None:
    other = Rows((SeriesKey("q9", "voice"), SeriesKey("q2", "voice")), ("Old", "Help"))
    counts = {"offered": np.array([7, 5])}
    exporter.history.buckets = [history_bucket(CLOSED - 900, other, counts=counts)]
    await exporter.publish()
    made = await trends(client, "0,2")
    assert (made["rows"]["0"]["offered"][-1], made["rows"]["2"]["offered"][-1]) == (0, 5)
    assert made["rows"]["2"]["abandoned"][-1] is None


async def test_history_is_read_once_per_closed_bucket(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    await asyncio.gather(*(trends(client, "0") for _ in range(5)))
    await exporter.publish(id=1772356565251)
    await trends(client, "1")
    assert exporter.history.readings == 1
    await exporter.publish(id=1772356565252, history_buckets=673)
    await trends(client, "1")
    assert exporter.history.readings == 2


async def test_other_queues_than_the_page_knows_are_no_error(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    assert await got(client, "/api/live/trends?queues=old&rows=0") == {"changed": True}
    assert await trends(client, "3") == {"changed": True}


@pytest.mark.parametrize("rows", ["", "x", "-1", "0,,1", ",".join("0" * 201), "99999999"])
async def test_senseless_rows_are_refused(client: Client, exporter: Exporter, rows: str) -> None:
    await exporter.publish()
    async with client.get(f"/api/live/trends?queues=x&rows={rows}") as answer:
        assert answer.status == 400


async def test_a_history_that_fails_is_asked_again_later(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    exporter.history.broken = True
    queues = (await got(client, "/api/live/queues"))["rows"]
    async with client.get(f"/api/live/trends?queues={queues}&rows=0") as answer:
        assert answer.status == 503
        assert "disk" not in await answer.text()
    exporter.history.broken = False
    assert (await trends(client, "0"))["rows"]


# The stream


async def event(stream: ClientResponse) -> Any:
    """The next state of a stream."""
    async with asyncio.timeout(5):
        while not (line := await stream.content.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
    return json.loads(line[6:])


async def test_a_stream_tells_of_every_new_snapshot_at_once(client: Client, exporter: Exporter) -> None:
    async with client.get("/api/live/events") as stream:
        assert stream.content_type == "text/event-stream"
        assert (await event(stream))["tag"] is None
        for number in (1, 2):
            await exporter.publish(id=number)
            assert (await event(stream))["tag"] == f"{number}-qwho"


async def test_a_heartbeat_tells_that_data_have_grown_stale(client: Client, exporter: Exporter) -> None:
    app = web.Application()
    page = live.Live(
        publisher=exporter.publisher, activity=exporter.metrics.activity, clock=exporter.clock, heartbeat_seconds=0.05
    )
    page.add_routes(app)
    async with TestClient(TestServer(app)) as beating:
        await exporter.publish()
        async with beating.get("/api/live/events") as stream:
            assert (await event(stream))["status"] == "success"
            exporter.clock.advance(3600)
            while (state := await event(stream))["status"] == "success":
                pass
            assert state["status"] == "stale"


async def test_streams_are_bounded_and_places_come_back(
    client: Client, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 2)
    first, second = [await client.get("/api/live/events") for _ in range(2)]
    async with client.get("/api/live/events") as third:
        assert (third.status, third.headers["Retry-After"]) == (503, "60")
    first.close()
    async with asyncio.timeout(5):
        while True:
            await exporter.publish()  # a write finds out that the peer has gone
            async with client.get("/api/live/events") as again:
                if again.status == 200:
                    break
    second.close()


async def test_head_of_a_stream_ends(client: Client) -> None:
    async with asyncio.timeout(5), client.head("/api/live/events") as answer:
        assert answer.status == 200


async def test_open_streams_do_not_hold_up_the_end(exporter: Exporter) -> None:
    async with TestClient(TestServer(exporter.app())) as client:
        streams = [await client.get("/api/live/events") for _ in range(10)]
        for stream in streams:
            await event(stream)
        began = asyncio.get_running_loop().time()
        await client.server.close()
        assert asyncio.get_running_loop().time() - began < 1.0


async def test_the_guard_stands_before_every_route(exporter: Exporter) -> None:
    @web.middleware
    async def nobody(request: web.Request, handler: Any) -> web.StreamResponse:
        raise web.HTTPUnauthorized

    app = make_app(
        publisher=exporter.publisher, self_metrics=exporter.metrics, clock=exporter.clock, middlewares=[nobody]
    )
    await exporter.publish()
    async with TestClient(TestServer(app)) as client:
        for path in ("state", "events", "queues", "numbers", "trends?queues=x&rows=0"):
            async with client.get(f"/api/live/{path}") as answer:
                assert answer.status == 401


async def test_a_snapshot_without_agents_or_window_is_no_trouble(client: Client, exporter: Exporter) -> None:
    empty = {"agent_keys": (), "agents": np.empty(0), "window": None, "scores": None}
    await exporter.publish(columns={"offered": columns()["offered"] * NAN}, **empty)
    numbers = await got(client, "/api/live/numbers")
    assert (numbers["window"], numbers["columns"]["agentsFree"]) == (None, [None] * 3)
    assert (await trends(client, "0"))["step"] == 900_000


async def test_next_poll_is_unknown_without_the_settings() -> None:
    metrics = SelfMetrics(FakeClock(NOW), version="0", contract="aggregates")
    metrics.on_report(report(started=NOW - timedelta(seconds=5)))
    told = metrics.activity.document()
    assert (told["nextPoll"], told["calls"]["allowed"]) == (None, None)
