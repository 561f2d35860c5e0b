"""Requests whose bytes are known: answered as the ordinary way would answer them, and only where it may be so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta

import numpy as np
import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.models import WINDOW, DatasetState, Rows, SeriesKey
from exporter.publish import connection, repeats, scrapes
from exporter.publish.connection import Connection
from exporter.publish.repeats import MOST_BYTES, MOST_KNOWN, REPEATS
from exporter.publish.runner import Runner
from tests.publish.conftest import Exporter, app_of
from tests.publish.samples import NOW, datasets, report

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
PACKED = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Peer:
    """One connection to a server of the exporter's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        """The answer, head and body, without its date."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> bytes:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found is not None, head
        return _undated(head) + await asyncio.wait_for(self.reader.readexactly(int(found[1])), 5)


def _undated(text: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*\r\n", b"", text)


class Wire(asyncio.Transport):
    """A peer that takes all at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self._closing = bytearray(), False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self.written += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self._closing = True

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        raise NotImplementedError

    resume_reading = pause_reading


class Served:
    """A server, and how many requests came the ordinary way to the scrapes."""

    def __init__(self, runner: Runner, port: int, read: list[object]) -> None:
        self.runner, self.port, self._read = runner, port, read

    @property
    def read(self) -> int:
        return len(self._read)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    def connections(self) -> list[Connection]:
        assert self.runner.server is not None
        return [each for each in self.runner.server.connections if isinstance(each, Connection)]


@asynccontextmanager
async def served(app: web.Application, read: list[object]) -> AsyncIterator[Served]:
    runner = Runner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Served(runner, int(runner.addresses[0][1]), read)
    finally:
        await runner.cleanup()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every request that was read for its form."""
    seen: list[object] = []
    form_of = scrapes.Form.of

    def note(request: web.Request) -> scrapes.Form:
        seen.append(request)
        return form_of(request)

    monkeypatch.setattr(scrapes.Form, "of", note)
    return seen


@pytest.fixture
async def server(exporter: Exporter, read: list[object]) -> AsyncIterator[Served]:
    await exporter.publish()
    async with served(app_of(exporter), read) as server:
        yield server


async def warm(peer: Peer) -> bytes:
    """Plain text is kept for whoever has asked for it twice: then it is known. The answer."""
    await peer.ask(SCRAPE)
    return await peer.ask(SCRAPE)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 (a socket cannot tell)
            await asyncio.sleep(0.005)


# As the ordinary way


@pytest.mark.parametrize("request_bytes", [SCRAPE, PACKED])
async def test_the_same_bytes_are_read_once_and_answered_alike_on_every_connection(
    server: Served, request_bytes: bytes
) -> None:
    async with server.peer() as first, server.peer() as second:
        await warm(first)
        read = server.read
        answers = [await peer.ask(request_bytes) for peer in (first, first, second, first)]
    assert len(set(answers)) == 1
    assert answers[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.read == read + (request_bytes == PACKED)


async def test_each_form_has_its_own_answer(server: Served) -> None:
    async with server.peer() as peer:
        plain, packed = await warm(peer), await peer.ask(PACKED)
        assert [await peer.ask(each) for each in (SCRAPE, PACKED, SCRAPE)] == [plain, packed, plain]
    assert b"Content-Encoding: gzip" in packed
    assert b"Content-Encoding" not in plain
    assert server.read == 3


async def test_a_new_snapshot_is_what_the_next_one_gets(server: Served, exporter: Exporter) -> None:
    async with server.peer() as peer:
        old = await peer.ask(SCRAPE)
        await exporter.publish(id=1772356625250)
        new = [await peer.ask(SCRAPE) for _ in range(3)]
    assert b"X-Snapshot-Id: 1772356565250" in old
    assert {b"X-Snapshot-Id: 1772356625250" in answer for answer in new} == {True}
    assert new[1:] == new[:1] * 2


async def test_what_has_grown_stale_is_withdrawn(exporter: Exporter, read: list[object]) -> None:
    states = datasets() | {WINDOW: DatasetState(True, NOW, NOW, NOW + timedelta(seconds=60))}
    await exporter.publish(datasets=states)
    async with served(app_of(exporter), read) as server, server.peer() as peer:
        fresh = [await peer.ask(SCRAPE) for _ in range(2)][-1]
        exporter.clock.advance(61)
        stale = [await peer.ask(SCRAPE) for _ in range(2)]
    assert b"\ngenesys_queue_offered_contacts{" in fresh
    assert not any(b"\ngenesys_queue_offered_contacts{" in answer for answer in stale)


async def test_own_metrics_are_those_of_now(server: Served, exporter: Exporter) -> None:
    async with server.peer() as peer:
        before = [await peer.ask(SCRAPE) for _ in range(2)][-1]
        exporter.metrics.on_report(report())
        after = [await peer.ask(SCRAPE) for _ in range(2)]
    assert b"\ngenesys_exporter_polls_total 0.0\n" in before
    assert {b"\ngenesys_exporter_polls_total 1.0\n" in answer for answer in after} == {True}


async def test_whoever_asks_keeps_the_answer_ready(server: Served, exporter: Exporter) -> None:
    """Also by repeats alone, for longer than an answer is kept that nobody wants."""
    made = server.runner.app[REPEATS]._again.__self__
    async with server.peer() as peer:
        await peer.ask(PACKED)
        for _ in range(4):
            exporter.clock.advance(scrapes.WANTED_SECONDS / 2)
            await made.make_ready()
            await peer.ask(PACKED)
    assert server.read == 1


async def test_a_fault_in_it_costs_nothing_but_time(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with server.peer() as peer:
        usual = await warm(peer)
        server.runner.app[REPEATS]._again = None
        assert await peer.ask(SCRAPE) == usual
    assert "read anew" in caplog.text
    assert server.read == 3


SEGMENTS = {
    "scrape": SCRAPE,
    "packed": PACKED,
    "two": SCRAPE + SCRAPE,
    "one and a half": SCRAPE + SCRAPE[:20],
    "other first": HEALTHY + SCRAPE,
    "other": HEALTHY,
    "head of one": SCRAPE[:20],
    "rest of one": SCRAPE[20:],
    "hidden": b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SCRAPE) + SCRAPE,
    "hides the next": b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SCRAPE),
    "a body later": b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(PACKED),
    "in chunks": b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    "last chunk": b"0\r\n\r\n",
    "blank": b"\r\n\r\n",
    "upgrade": b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "old": b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n",
    "expecting": b"GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
    "head": b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
}


@example(["two", "two"], False)
@example(["one and a half", "scrape"], False)
@example(["hides the next", "scrape"], False)
@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(sorted(SEGMENTS)), min_size=1, max_size=6), st.booleans())
def test_whatever_is_sent_the_answers_are_those_of_a_server_that_reads_everything(
    names: list[str], together: bool
) -> None:
    sent = [SCRAPE, SCRAPE, PACKED, *(SEGMENTS[name] for name in names), LAST]
    repeating, reading = asyncio.run(_both(sent, together))
    assert repeating == reading


async def _both(sent: list[bytes], together: bool) -> tuple[bytes, bytes]:
    """What a server that repeats and one that does not write to the same segments, one by one or all at once."""
    exporter = Exporter()
    await exporter.publish()
    view = await exporter.publisher.view()
    assert view is not None
    await view.metrics(b"", openmetrics=False, gzip=False)  # in a thread, which nothing below waits for
    plain = app_of(exporter)
    del plain._state[REPEATS]
    written = []
    for app in (app_of(exporter), plain):
        runner = Runner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        handler, wire = runner.server(), Wire()
        handler.connection_made(wire)
        for number, segment in enumerate(sent):
            if not wire.is_closing():
                handler.data_received(segment)
            if number < 3 or not together:
                await _quiet(wire)
        await _quiet(wire)
        handler.connection_lost(None)
        written.append(_undated(bytes(wire.written)))
        await runner.cleanup()
    return written[0], written[1]


async def _quiet(wire: Wire) -> None:
    """Until nothing more is written by itself."""
    before = -1
    while before != len(wire.written) or not before:
        before = len(wire.written)
        for _ in range(30):
            await asyncio.sleep(0)


# Who is read


@pytest.mark.parametrize(
    "line",
    [
        "Connection: close",
        "Expect: 100-continue",
        "Authorization: Basic c2VjcmV0",
        "Cookie: a=b",
        f"X: {'x' * MOST_BYTES}",
    ],
)
async def test_what_is_unusual_or_secret_is_not_kept(server: Served, line: str) -> None:
    request = f"GET /metrics HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode()
    for _ in range(2):
        async with server.peer() as peer:
            peer.writer.write(request)
            assert b"200 OK" in await peer.reader.readuntil(b"genesys_exporter_build_info")
    assert server.read == 2
    assert server.runner.app[REPEATS]._known == {}


async def test_of_too_many_known_requests_the_oldest_goes(server: Served) -> None:
    async with server.peer() as peer:
        requests = [SCRAPE, *(SCRAPE.replace(b"x", b"x%d" % n) for n in range(MOST_KNOWN))]
        for request in requests:
            await peer.ask(request)
        assert list(server.runner.app[REPEATS]._known) == requests[1:]
        await peer.ask(SCRAPE)
    assert server.read == MOST_KNOWN + 2


async def test_behind_a_guard_everything_is_read(exporter: Exporter, read: list[object]) -> None:
    allowed = [True, True, False]

    @web.middleware
    async def guard(request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        if not allowed.pop(0):
            raise web.HTTPForbidden
        return await handler(request)  # type: ignore[misc, no-any-return]

    await exporter.publish()
    async with served(app_of(exporter, middlewares=[guard]), read) as server, server.peer() as peer:
        answers = [await peer.ask(SCRAPE) for _ in range(3)]
    assert [answer.split(b" ")[1] for answer in answers] == [b"200", b"200", b"403"]


# Those that read slowly

QUEUES = 8_000
MANY = Rows(tuple(SeriesKey(f"{n:036}", "voice") for n in range(QUEUES)), ("x" * 60,) * QUEUES)


@pytest.fixture
async def large(exporter: Exporter, read: list[object]) -> AsyncIterator[Served]:
    """A server whose answer to a plain scrape is more than a socket holds."""
    names = ("offered", "average_wait_seconds", "waiting", "abandoned", "answered", "sla_contacts")
    await exporter.publish(
        rows=MANY, columns=dict.fromkeys(names, np.random.default_rng(1).random(QUEUES)), scores=None
    )
    async with served(app_of(exporter), read) as server:
        yield server


@asynccontextmanager
async def asleep(server: Served) -> AsyncIterator[tuple[Peer, Connection]]:
    """A peer that has asked by known bytes and does not read, and the server's end of it."""
    others = set(server.connections())
    async with server.peer() as peer:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.writer.write(SCRAPE)
        await until(lambda: any(each._rest is not None for each in set(server.connections()) - others))
        await until(lambda: any(each.stuck for each in set(server.connections()) - others))
        yield peer, next(each for each in server.connections() if each not in others)


async def test_a_slow_reader_holds_one_write_in_memory_and_nobody_up_and_has_all_in_the_end(
    large: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STUCK_SECONDS", 0.0)
    async with large.peer() as quick:
        usual = await warm(quick)
        assert len(usual) > 7_000_000
        async with asleep(large) as (slow, its_end):
            assert its_end.transport is not None
            assert its_end.transport.get_write_buffer_size() < 1_000_000
            assert not its_end.waits
            assert await quick.ask(SCRAPE) == usual
            slow.writer.write(HEALTHY)  # which waits for its turn
            slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert await slow.answer() == usual
            assert (await slow.answer()).endswith(b"healthy\n")
            assert await slow.ask(SCRAPE) == usual
    assert large.read == 2


async def test_a_reader_that_sleeps_for_ever_is_shown_out(large: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STUCK_SECONDS", 0.0)
    async with large.peer() as quick:
        await warm(quick)
        monkeypatch.setattr(connection, "SLOW_CLIENT_SECONDS", 0.3)
        async with asleep(large):
            await until(lambda: len(large.connections()) == 1)


async def test_a_stop_waits_for_an_answer_under_way(large: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STUCK_SECONDS", 0.0)
    async with large.peer() as quick:
        usual = await warm(quick)
    async with asleep(large) as (slow, _):
        stopping = asyncio.create_task(large.runner.cleanup())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert await slow.answer() == usual
        await asyncio.wait_for(stopping, 2)


async def test_a_peer_that_goes_away_half_way_leaves_nothing_behind(
    large: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "STUCK_SECONDS", 0.0)
    async with large.peer() as quick:
        await warm(quick)
    async with asleep(large) as (slow, its_end):
        slow.writer.transport.abort()
        await until(lambda: not large.connections())
    assert (its_end._rest, its_end._request_in_progress) == (None, False)
    assert caplog.text == ""


async def test_others_have_their_turn_after_each_megabyte(large: Served) -> None:
    async with large.peer() as quick:
        await warm(quick)
    assert large.runner.server is not None
    wire, handler, sizes = Wire(), large.runner.server(), [0]
    handler.connection_made(wire)
    handler.data_received(SCRAPE)
    while len(wire.written) > sizes[-1]:
        sizes.append(len(wire.written))
        await asyncio.sleep(0)
    handler.connection_lost(None)
    assert sizes[-1] > 7_000_000
    assert max(np.diff(sizes)) < 2_000_000


async def test_a_connection_that_is_to_end_answers_no_more(server: Served) -> None:
    async with server.peer() as peer:
        await warm(peer)
    assert server.runner.server is not None
    wire, handler = Wire(), server.runner.server()
    handler.connection_made(wire)
    handler.close()
    handler.data_received(SCRAPE)
    handler.connection_lost(None)
    assert wire.written == b""


async def test_a_peer_that_only_ever_repeats_may_stay_and_one_that_falls_silent_goes(
    exporter: Exporter, read: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    await exporter.publish()
    runner = Runner(app_of(exporter), access_log=None, keepalive_timeout=0.4)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = Served(runner, int(runner.addresses[0][1]), read)
    async with server.peer() as first:
        usual = await first.ask(PACKED)
    async with server.peer() as peer:
        for _ in range(4):
            assert await peer.ask(PACKED) == usual
            await asyncio.sleep(0.2)
        assert await asyncio.wait_for(peer.reader.read(), 5) == b""
    assert server.read == 1
    await runner.cleanup()


def test_the_bounds_are_what_the_module_says() -> None:
    assert repeats.MOST_KNOWN * repeats.MOST_BYTES <= 65_536
