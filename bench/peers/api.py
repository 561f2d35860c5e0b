"""A Genesys Cloud that answers at once: `python -m bench.peers.api PORT QUEUES`.

Bytes are prepared before it listens, so that what is measured is the exporter's time. It knows the four calls of the
aggregates contract, every queue of `bench.org`, and no refusals: `exporter.simulator` is the one to test against.
/bench/first tells when the first answer left, on the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from bench import org
from exporter.models import SeriesKey, Window

#: What a poll asks for when a bucket has closed, as `exporter.poller` and `exporter.genesys.source` have it.
CORRECTED_BUCKETS, MAX_CELLS, SETTLE_SECONDS = 8, 100_000, 60
AGENTS = ("AVAILABLE", "INTERACTING", "IDLE")


class Api:
    """Prepared answers."""

    def __init__(self, queues: int) -> None:
        self.first: float | None = None
        self._keys = org.keys(queues)
        self._bodies = {count: org.aggregates_body(queues, _span(0, count), count) for count in _counts(queues)}
        self._bodies[0] = org.aggregates_body(queues, _span(0, 1))
        self._observed = {key.queue_id: _observed(key, turn) for turn, key in enumerate(self._keys)}
        self._made: dict[tuple[int, int], bytes] = {}
        self._warm_up(_counts(queues))

    async def token(self, request: web.Request) -> web.Response:
        return self._answer(orjson.dumps({"access_token": "bench", "token_type": "bearer", "expires_in": 86_400}))

    async def queues(self, request: web.Request) -> web.Response:
        size, number = int(request.query["pageSize"]), int(request.query["pageNumber"])
        places = range(size * (number - 1), min(size * number, len(self._keys)))
        entities = [_queue(self._keys[place], place) for place in places]
        return self._answer(orjson.dumps({"entities": entities, "pageCount": -(-len(self._keys) // size)}))

    async def aggregates(self, request: web.Request) -> web.Response:
        query = await request.json(loads=orjson.loads)
        start, end = (int(datetime.fromisoformat(each).timestamp()) for each in query["interval"].split("/"))
        count = (end - start) // org.BUCKET_SECONDS if "granularity" in query else 0
        return self._answer(self._body(start, count))

    async def observations(self, request: web.Request) -> web.Response:
        asked = (await request.json(loads=orjson.loads))["filter"]["predicates"]
        return self._answer(b'{"results":[' + b",".join(self._observed[each["value"]] for each in asked) + b"]}")

    async def tell_first(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.first))

    def _answer(self, body: bytes) -> web.Response:
        self.first = self.first or time.monotonic()
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    def _body(self, start: int, count: int) -> bytes:
        """The answer whose first bucket begins at `start`; a count of 0 is a window."""
        if (start, count) not in self._made:
            body = self._bodies[count]
            for turn in range(max(1, count)):
                begins = turn * org.BUCKET_SECONDS
                body = body.replace(_text(begins), _text(start + begins))
            self._made = {known: each for known, each in self._made.items() if known[1]} | {(start, count): body}
        return self._made[start, count]

    def _warm_up(self, counts: tuple[int, ...]) -> None:
        """The buckets that the first poll will ask for."""
        end = int(time.time() - SETTLE_SECONDS) // org.BUCKET_SECONDS * org.BUCKET_SECONDS
        start = end - CORRECTED_BUCKETS * org.BUCKET_SECONDS
        while start < end:
            count = min(counts[0], (end - start) // org.BUCKET_SECONDS)
            self._body(start, count)
            start += count * org.BUCKET_SECONDS


def _counts(queues: int) -> tuple[int, ...]:
    """Into how many buckets the requests of a closed bucket are cut: the usual number, and the last one's."""
    usual = max(1, min(CORRECTED_BUCKETS, MAX_CELLS // queues))
    return tuple(dict.fromkeys((usual, CORRECTED_BUCKETS % usual or usual)))


def _span(start: int, buckets: int) -> Window:
    return Window.of_epoch(start, start + buckets * org.BUCKET_SECONDS)


def _text(start: int) -> bytes:
    return org.interval(start, org.BUCKET_SECONDS).encode()


def _queue(key: SeriesKey, place: int) -> dict[str, Any]:
    level = {"percentage": 0.8, "durationMs": 20_000}
    division = {"id": "1", "name": f"Division {place % 7}"}
    name = org.name(place)
    return {"id": key.queue_id, "name": name, "division": division, "mediaSettings": {"call": {"serviceLevel": level}}}


def _observed(key: SeriesKey, place: int) -> bytes:
    """One queue's rows: contacts, and agents by status."""
    contacts = [
        {"metric": name, "stats": {"count": (place * 7 + turn) % 9}}
        for turn, name in enumerate(("oAlerting", "oInteracting", "oWaiting"))
    ]
    people = [
        {"metric": "oUserRoutingStatuses", "qualifier": status, "stats": {"count": (place + turn) % 5}}
        for turn, status in enumerate(AGENTS)
    ]
    rows = [
        {"group": {"queueId": key.queue_id, "mediaType": "voice"}, "data": contacts},
        {"group": {"queueId": key.queue_id}, "data": people},
    ]
    return orjson.dumps(rows)[1:-1]


async def serve(port: int, queues: int) -> None:
    api, app = Api(queues), web.Application(client_max_size=1 << 20)
    app.router.add_post("/oauth/token", api.token)
    app.router.add_get("/api/v2/routing/queues", api.queues)
    app.router.add_post("/api/v2/analytics/conversations/aggregates/query", api.aggregates)
    app.router.add_post("/api/v2/analytics/queues/observations/query", api.observations)
    app.router.add_get("/bench/first", api.tell_first)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
