"""What is asked of the other replicas when Redis is silent here, and what follows from their answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from exporter.replicas.peers import EPOCH_HEADER, FENCE_HEADER, Others, Peer, Verdict, replaced_by

Answering = Callable[[object], Awaitable[str]]

#: Redis has been silent here for two seconds of a lease of four.
SILENT, LEASE = 2.0, 4.0
FOLLOWER = {"replica": "b", "leader": False, "redis": True, "redis_seconds": 0.5}
CASES = {
    "heard from Redis since": (FOLLOWER, Verdict.SEEN),
    "heard from Redis before it fell silent here": (FOLLOWER | {"redis_seconds": 2.5}, Verdict.UNSURE),
    "Redis is silent there, too": (FOLLOWER | {"redis": False}, Verdict.GONE),
    "never heard from Redis": (FOLLOWER | {"redis": False, "redis_seconds": None}, Verdict.GONE),
    "polls": (FOLLOWER | {"redis": False, "leader": True}, Verdict.SEEN),
    "another replica than that of the address, or this one itself": (FOLLOWER | {"replica": "a"}, Verdict.SILENT),
    "no replica": ({"hello": "world"}, Verdict.SILENT),
    "nothing that can be read": ("<html>", Verdict.SILENT),
}


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    """Starts a server that answers with a body; its address."""
    async with AsyncExitStack() as stack:

        async def start(body: object) -> str:
            return await stack.enter_async_context(_serving(lambda request: web.json_response(body)))

        yield start


@asynccontextmanager
async def _serving(answer: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    app = web.Application()
    app.router.add_get("/-/replica", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(*urls: str, age_seconds: float = 0.0) -> Verdict:
    peers = {"bcdef"[place]: Peer(url, age_seconds, False) for place, url in enumerate(urls)}
    return await Others().ask(peers, silent_seconds=SILENT, lease_seconds=LEASE)


@pytest.mark.parametrize("case", CASES)
async def test_what_one_replica_says_decides(answering: Answering, case: str) -> None:
    body, verdict = CASES[case]
    assert await asked(await answering(body)) is verdict


async def test_who_reaches_redis_counts_more_than_who_does_not(answering: Answering) -> None:
    gone = await answering(FOLLOWER | {"redis": False})
    assert await asked(gone, await answering(FOLLOWER | {"replica": "c"})) is Verdict.SEEN
    assert await asked(gone, "") is Verdict.GONE
    unsure = await answering(FOLLOWER | {"replica": "c", "redis_seconds": 9})
    assert await asked(gone, unsure) is Verdict.UNSURE


async def test_a_refused_connection_is_no_replica_and_no_answer_is_one_that_may_poll(answering: Answering) -> None:
    with socket.socket() as bound:  # not listening: refused
        bound.bind(("127.0.0.1", 0))
        assert await asked(f"http://127.0.0.1:{bound.getsockname()[1]}") is Verdict.NOBODY
    with socket.socket() as deaf:  # listening, and nobody accepts
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert await asked(url) is Verdict.SILENT
        assert await asked(url, age_seconds=31.0) is Verdict.NOBODY
    assert await asked() is Verdict.NOBODY


async def test_the_last_leader_is_told_of_the_next_and_believes_who_knows_the_epoch() -> None:
    heard: list[int] = []

    def answer(request: web.Request) -> web.Response:
        heard.append(replaced_by(request.headers, "the epoch"))
        return web.json_response({})

    async with _serving(answer) as url, asyncio.timeout(30):
        peers = {"b": Peer(url, 0.0, False), "c": Peer("", 0.0, False), "d": Peer("http://127.0.0.1:1", 0.0, False)}
        await Others().tell(peers, "the epoch", 42, LEASE)
        await Others().tell(peers, "another", 43, LEASE)
    assert heard == [42, 0]


@pytest.mark.parametrize("fence", ["", "-1", "1.5", "abc", "9" * 16, "٣"])
def test_a_fence_that_is_none_replaces_nobody(fence: str) -> None:
    assert replaced_by({EPOCH_HEADER: "the epoch", FENCE_HEADER: fence}, "the epoch") in (0, 3)


def test_who_has_no_epoch_yet_believes_nobody() -> None:
    assert replaced_by({EPOCH_HEADER: "", FENCE_HEADER: "5"}, "") == 0
    assert replaced_by({FENCE_HEADER: "5"}, "the epoch") == 0
