"""A proxy between exporter and org that does what proxies, caches, firewalls and bad days do to answers.

Comes in: HTTP/1.1 requests over plain TCP. Goes out: the org's answers, most of them whole, the others as one of FAULTS
leaves them, chosen by a seeded chance. It is code of its own: it shares nothing with the org's fault script, writes the
bytes of its answers by hand, and counts the calls by itself. It never invents a number that could be true.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from exporter.clock import Clock

HTML = b"<!doctype html><html><body><h1>Please log in to the hotel's network</h1></body></html>"
RETRY_AFTER = ("0", "1", "5", "-5", "soon", "86400", "99999999999999999999", "nan", "Wed, 21 Oct 2015 07:28:00 GMT")
REMEMBERED = 40
IMPOSSIBLE = ("5", "", "NaN", float("nan"), float("inf"), -1, -3.5, 0.5, 1e308, 10**18, 10**400, None, [7])


@dataclass(frozen=True)
class Reply:
    """An answer on its way: what the head says, what is sent, and how it ends."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut_after: int | None = None  # bytes of the body, then the connection goes
    reset: bool = False
    delay_seconds: float = 0.0
    raw: bytes | None = None  # in place of all that

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Whatever", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True)
class Asked:
    """A request: its path, and what tells one question from another."""

    path: str
    body: bytes


class Chance(random.Random):
    """Choices that mutations have in common."""

    def number(self) -> Any:
        """What no count, sum or ratio can be."""
        return self.choice(
            ["5", "", "NaN", float("nan"), float("inf"), -1, -3.5, 0.5, 1e308, 10**18, 10**400, None, [7]]
        )

    def some(self, items: list[Any]) -> list[Any]:
        return self.sample(items, self.randint(1, len(items))) if items else []


Fault = Callable[[Reply, "Chaos", Asked], Reply]
FAULTS: dict[str, Fault] = {}


def fault(make: Fault) -> Fault:
    FAULTS[make.__name__] = make
    return make


# Below HTTP


@fault
def reset(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return replace(reply, raw=b"", reset=True)


@fault
def closed(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return replace(reply, raw=b"")


@fault
def cut_off(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return replace(reply, cut_after=chaos.chance.randrange(len(reply.body) + 1), reset=chaos.chance.random() < 0.5)


@fault
def cut_in_the_head(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return replace(reply, raw=reply.head()[: chaos.chance.randrange(1, 40)])


@fault
def slow(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return replace(reply, delay_seconds=0.03)


@fault
def not_http(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return replace(reply, raw=chaos.chance.choice([b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n", b"HTTP/9.9 abc\r\n\r\n"]))


# The head


@fault
def shorter_than_told(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return replace(reply, headers=reply.headers | {"Content-Length": str(len(reply.body) + 100)}, cut_after=10**9)


@fault
def longer_than_told(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    told = max(0, len(reply.body) - chaos.chance.randint(1, 50))
    return replace(reply, headers=reply.headers | {"Content-Length": str(told)}, cut_after=10**9)


@fault
def garbage_as_gzip(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    packed = gzip.compress(reply.body)
    spoilt = chaos.chance.choice([reply.body, packed[: len(packed) // 2], packed[:20] + b"\0" * 20 + packed[40:]])
    return _with_body(replace(reply, headers=reply.headers | {"Content-Encoding": "gzip"}), spoilt)


@fault
def other_content_type(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    kinds = ["text/plain", "application/json; charset=utf-16", "image/png", "", "application/json; charset=nonsense"]
    return replace(reply, headers=reply.headers | {"Content-Type": chaos.chance.choice(kinds)})


# The status


def _status(*statuses: int) -> Fault:
    def answer(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
        body = chaos.chance.choice([b"", HTML, b"{}", b'{"message": "no", "code": "no", "status": 0}', reply.body])
        return _with_body(replace(reply, status=chaos.chance.choice(statuses)), body)

    return answer


FAULTS["server_error"] = _status(500, 502, 503, 504, 520, 599)
FAULTS["unauthorised"] = _status(401)
FAULTS["forbidden"] = _status(403)
FAULTS["not_understood"] = _status(400, 404, 405, 409, 413, 415, 418, 451)


@fault
def too_many(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    told = chaos.chance.choice([{}, {"Retry-After": chaos.chance.choice(RETRY_AFTER)}])
    return _with_body(replace(reply, status=429, headers=reply.headers | told), b'{"message": "slow down"}')


@fault
def redirect(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    where = chaos.chance.choice(["/", asked.path, "http://127.0.0.1:9/", "file:///etc/passwd", ""])
    moved = replace(reply, status=chaos.chance.choice([301, 302, 303, 307, 308]))
    return _with_body(replace(moved, headers=moved.headers | {"Location": where}), b"")


# The body


@fault
def login_page(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return _with_body(replace(reply, headers=reply.headers | {"Content-Type": "text/html"}), HTML)


@fault
def broken_json(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    cut = chaos.chance.randrange(len(reply.body) + 1)
    spoilt = [
        reply.body[:cut],
        reply.body[:cut] + b"\xff" + reply.body[cut:],
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"[" * 9999,
    ]
    return _with_body(reply, chaos.chance.choice(spoilt))


@fault
def empty(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return _of_json(
        reply, lambda payload: {name: [] if isinstance(each, list) else each for name, each in payload.items()}
    )


@fault
def nothing(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return _with_body(reply, b"{}")


@fault
def impossible_numbers(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    def spoil(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: spoil(each) for name, each in value.items()}
        if isinstance(value, list):
            return [spoil(each) for each in value]
        return chaos.chance.number() if isinstance(value, int | float) else value

    return _of_rows(reply, chaos, lambda row: [spoil(row)])


@fault
def rows_twice(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return _of_rows(reply, chaos, lambda row: [row, row])


@fault
def rows_that_contradict(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    text = str(chaos.chance.randint(2, 9))

    def other(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: other(each) for name, each in value.items()}
        if isinstance(value, list):
            return [other(each) for each in value]
        return int(f"{value}{text}") if type(value) is int else value

    return _of_rows(reply, chaos, lambda row: [row, other(row)])


@fault
def rows_of_nobody(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    def anonymous(row: Any) -> list[Any]:
        if not isinstance(row, dict):
            return [row]
        group = {name: each for name, each in row.get("group", {}).items() if name != "queueId"}
        rest = {name: each for name, each in row.items() if name not in ("id", "group")}
        return [rest | ({"group": group} if "group" in row else {})]

    return _of_rows(reply, chaos, anonymous)


@fault
def rows_of_another_shape(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    shapes = [None, 7, "row", [], {}, {"group": None, "data": 5}, {"id": 5}]
    return _of_rows(
        reply, chaos, lambda row: [chaos.chance.choice([*shapes, {**row, "data": None, "timeInterval": 3}])]
    )


@fault
def times_nobody_can_read(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    text = chaos.chance.choice(["", "now", "2026-99-99T00:00:00Z/2026-99-99T00:15:00Z", "/", "PT15M"])

    def spoil(row: Any) -> list[Any]:
        cells = [{**cell, "interval": text} if "interval" in cell else cell for cell in row.get("data", [])]
        return [
            row | ({"data": cells} if "data" in row else {}) | ({"timeInterval": text} if "timeInterval" in row else {})
        ]

    return _of_rows(reply, chaos, spoil)


# The answer to another question


@fault
def an_earlier_answer(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    """What a cache keeps that looks at the address alone. Observations bear no time: nobody could tell."""
    if "observations" in asked.path:
        return reply
    earlier = [body for other, body in chaos.seen[asked.path] if other.body != asked.body]
    return _with_body(reply, chaos.chance.choice(earlier)) if earlier else reply


@fault
def the_answer_of_another_route(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    others = [
        seen[-1][1] for path, seen in chaos.seen.items() if path.partition("?")[0] != asked.path.partition("?")[0]
    ]
    return _with_body(reply, chaos.chance.choice(others)) if others else reply


# Pages


@fault
def endless_pages(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    more = {"pageCount": 10**6, "nextUri": "/more", "total": 10**9}

    def chain(payload: dict[str, Any]) -> dict[str, Any]:
        if "paging" in payload:
            return payload | {"paging": payload["paging"] | {"nextPageToken": f"more-{chaos.calls}"}}
        return payload | more if "pageCount" in payload else payload

    return _of_json(reply, chain)


@fault
def repeated_token(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    return _of_json(
        reply,
        lambda payload: (
            payload | ({"paging": payload["paging"] | {"nextPageToken": "again"}} if "paging" in payload else {})
        ),
    )


@fault
def pages_end_early(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    """Half of the rows, and no further page; the totals are still those of all."""

    def half(payload: dict[str, Any]) -> dict[str, Any]:
        if "paging" not in payload and "pageCount" not in payload:
            return payload
        rows = payload.get("entities", [])
        last = {"paging": payload["paging"] | {"nextPageToken": None}} if "paging" in payload else {"nextUri": None}
        return payload | {"entities": rows[: len(rows) // 2]} | last

    return _of_json(reply, half)


@fault
def odd_paging(reply: Reply, chaos: Chaos, asked: Asked) -> Reply:
    def spoil(payload: dict[str, Any]) -> dict[str, Any]:
        paging = {name: chaos.chance.number() for name in payload.get("paging", {}) if name != "totalCount"}
        odd = {name: chaos.chance.number() for name in ("pageCount", "pageNumber", "expires_in") if name in payload}
        return payload | odd | ({"paging": payload["paging"] | paging} if "paging" in payload else {})

    return _of_json(reply, spoil)


def _with_body(reply: Reply, body: bytes) -> Reply:
    return replace(reply, body=body, headers=reply.headers | {"Content-Length": str(len(body))})


def _of_json(reply: Reply, change: Callable[[dict[str, Any]], Any]) -> Reply:
    payload = json.loads(reply.body)
    return _with_body(reply, json.dumps(change(payload)).encode()) if isinstance(payload, dict) else reply


def _of_rows(reply: Reply, chaos: Chaos, change: Callable[[Any], list[Any]]) -> Reply:
    def changed(payload: dict[str, Any]) -> dict[str, Any]:
        name = "results" if "results" in payload else "entities"
        rows = payload.get(name)
        if not isinstance(rows, list):
            return payload
        struck = {id(row) for row in chaos.chance.some(rows)}
        return payload | {name: [each for row in rows for each in (change(row) if id(row) in struck else [row])]}

    return _of_json(reply, changed)


@dataclass
class Chaos:
    """The proxy; `share` of the answers are struck, by faults of `names`."""

    upstream: str
    clock: Clock
    seed: int
    share: float = 0.0
    names: tuple[str, ...] = tuple(sorted(FAULTS))
    url: str = ""
    calls: int = 0
    under_way: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)  # when calls came
    seen: dict[str, list[tuple[Asked, bytes]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.chance = Chance(self.seed)

    def most_in_any_minute(self) -> int:
        """The largest number of calls within 60 seconds."""
        most = first = 0
        for last, at in enumerate(self.times):
            while at - self.times[first] >= 60:
                first += 1
            most = max(most, last + 1 - first)
        return most

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                while await self._exchange(session, reader, writer):
                    pass
        except (ConnectionError, asyncio.IncompleteReadError, aiohttp.ClientError):
            pass  # one of the two has gone, and so does the other
        finally:
            writer.close()

    async def _exchange(
        self, session: aiohttp.ClientSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request and its answer; whether the connection lives on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.under_way += 1
        try:
            request, *lines = head.strip().split("\r\n")
            method, path, _ = request.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.calls += 1
            self.times.append(self.clock.monotonic())
            reply = await self._asked_of_the_org(session, method, path, headers, body)
            return await self._send(self._struck(reply, Asked(path, body)), writer)
        finally:
            self.under_way -= 1

    async def _asked_of_the_org(
        self, session: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Reply:
        kept = {name: value for name, value in headers.items() if name in ("authorization", "content-type")}
        async with session.request(method, self.upstream + path, data=body, headers=kept) as answer:
            content = await answer.read()
            told = {"Content-Type": answer.headers["Content-Type"], "Content-Length": str(len(content))}
            return Reply(answer.status, told, content)

    def _struck(self, reply: Reply, asked: Asked) -> Reply:
        spoilt = reply
        if reply.status == 200 and self.chance.random() < self.share:
            name = self.chance.choice(self.names)
            spoilt = FAULTS[name](reply, self, asked)
            self.struck[name] += spoilt is not reply
        if reply.status == 200:
            self.seen[asked.path].append((asked, reply.body))
            del self.seen[asked.path][:-REMEMBERED]
        return spoilt

    async def _send(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(reply.delay_seconds)
        if reply.raw is None:
            writer.write(reply.head() + reply.body[: reply.cut_after])
        else:
            writer.write(reply.raw)
        ends = reply.raw is not None or reply.cut_after is not None
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            await writer.drain()
        return not ends


@asynccontextmanager
async def proxy(upstream: str, clock: Clock, seed: int) -> AsyncIterator[Chaos]:
    """The proxy on a free port."""
    chaos = Chaos(upstream, clock, seed)
    server = await asyncio.start_server(chaos.serve, "127.0.0.1", 0, limit=2**20)
    chaos.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield chaos
    finally:
        server.close()
