"""The lease, the calls and the data in a real Redis, whatever else stands there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from exporter.replicas.peers import Peer
from exporter.replicas.shared import LinkDown, Shared
from tests.end_to_end.redis_server import RedisServer

Open = Callable[..., Shared]
KEY = "genesys-exporter:{scope}:"
LEASE = 60.0
KEYS = ("lease", "fence", "released", "calls", "head", "snapshot", "buckets", "versions", "replicas", "epoch")


async def test_one_replica_holds_the_lease_until_it_gives_it_back(open_shared: Open) -> None:
    first, second = open_shared("first"), open_shared("second")
    taken = await first.acquire(7, LEASE)
    assert taken is not None
    assert (taken.fence, taken.clean) == (8, True)
    assert await second.acquire(0, LEASE) is None
    assert (await first.beat(8, LEASE, "", failing=False)).held
    assert not (await second.beat(8, LEASE, "", failing=False)).held
    await first.release(8)
    again = await second.acquire(0, LEASE)
    assert again is not None
    assert (again.fence, again.clean) == (9, True)


async def test_a_lease_that_was_not_given_back_was_lost(server: RedisServer, open_shared: Open) -> None:
    first, second = open_shared("first"), open_shared("second")
    assert await first.acquire(0, LEASE)
    server.ask("DEL", KEY + "lease")  # as if it had run out
    taken = await second.acquire(0, LEASE)
    assert taken is not None
    assert (taken.fence, taken.clean) == (2, False)
    assert await first.call(1, "ticket", 10) is None
    assert not await first.share(1, {"id": 1}, {})
    assert not await first.share_buckets(1, "1", {900: b"bucket"})
    assert not (await first.beat(1, LEASE, "", failing=False)).held
    await first.release(1)
    assert (await second.beat(2, LEASE, "", failing=False)).held


async def test_the_ceiling_holds_over_all_leaders(open_shared: Open) -> None:
    first, second = open_shared("first"), open_shared("second")
    assert await first.acquire(0, LEASE)
    assert [await first.call(1, f"a{n}", 3) for n in range(2)] == [0.0, 0.0]
    await first.release(1)
    assert await second.acquire(0, LEASE)
    assert await second.call(2, "b0", 3) == 0.0
    wait = await second.call(2, "b1", 3)
    assert wait is not None
    assert 60.0 < wait <= 61.0


async def test_replicas_know_each_other_and_whether_redis_has_forgotten(server: RedisServer, open_shared: Open) -> None:
    first, second = open_shared("first"), open_shared("second")
    alone = await first.beat(None, LEASE, "http://first", failing=True)
    assert alone.peers == {}
    met = await second.beat(None, LEASE, "", failing=False)
    assert met.peers.keys() == {"first"}
    assert met.peers["first"] == Peer("http://first", met.peers["first"].age_seconds, failing=True)
    assert met.peers["first"].age_seconds < 30
    assert met.epoch == alone.epoch
    await first.leave("first")
    assert (await second.beat(None, LEASE, "", failing=False)).peers == {}
    server.ask("FLUSHALL")
    assert (await second.beat(None, LEASE, "", failing=False)).epoch not in ("", alone.epoch)


async def test_a_replica_that_was_not_heard_of_for_long_is_forgotten(server: RedisServer, open_shared: Open) -> None:
    for value in ("1700000000000 0 http://old", "garbage", "", "9 x"):
        server.ask("HSET", KEY + "replicas", f"owner of {value}", value)
    assert (await open_shared("first").beat(None, LEASE, "", failing=False)).peers == {}
    assert server.ask("HLEN", KEY + "replicas") == b":1\r\n"


@pytest.mark.parametrize("kind", ["string", "list"])
async def test_garbage_in_every_key_gives_way(server: RedisServer, open_shared: Open, kind: str) -> None:
    for key in KEYS:
        server.ask(*(("SET", KEY + key, "garbage") if kind == "string" else ("RPUSH", KEY + key, "garbage")))
    shared = open_shared("first")
    assert await shared.call(41, "ticket", 10) is None
    assert await shared.head() is None
    assert await shared.versions() == {}
    assert await shared.buckets([900]) == []
    assert (await shared.beat(None, LEASE, "", failing=False)).peers == {}
    taken = await shared.acquire(41, LEASE)
    assert taken is not None
    assert taken.fence == 42
    assert await shared.call(42, "ticket", 10) == 0.0
    await shared.called("ticket")
    assert await shared.share(42, {"id": 1}, {"snapshot": b"bytes"})
    assert await shared.share_buckets(42, "1", {900: b"bucket"})
    assert (await shared.head(), await shared.data("snapshot")) == ({"id": 1}, b"bytes")
    assert (await shared.versions(), await shared.buckets([0, 900])) == ({900: "1"}, [b"bucket"])


async def test_other_words_among_versions_are_left_out(server: RedisServer, open_shared: Open) -> None:
    server.ask("HSET", KEY + "versions", "yesterday", "1", "900", "2")
    assert await open_shared("first").versions() == {900: "2"}


async def test_a_redis_that_cannot_be_written_to_is_down_at_the_first_look(
    server: RedisServer, open_shared: Open
) -> None:
    """Not only when a snapshot does not fit: a leader that could renew alone would look well."""
    shared = open_shared("first")
    assert await shared.acquire(0, LEASE)
    server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(LinkDown, match="OutOfMemory"):
        await shared.beat(1, LEASE, "", failing=False)


async def test_a_refusal_is_told_in_the_servers_words_without_the_password(open_shared: Open) -> None:
    with pytest.raises(LinkDown, match=r"AuthenticationError: (WRONGPASS|invalid username-password)"):
        await open_shared("first", password="wrong-s3cret").ping()


async def test_a_password_that_a_server_repeats_is_not_told(open_shared: Open) -> None:
    shared = open_shared("first")
    with pytest.raises(LinkDown) as refused:
        await shared._eval("return redis.error_reply('ERR unknown command, args: ' .. ARGV[1])", (), "s3cret-of-redis")
    assert "unknown command" in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://:a%2Fb@h/0", "unix:///run/r.sock?password=a%2Fb"])
def test_a_password_is_known_in_every_place_and_form(url: str) -> None:
    shared = Shared(url, "scope", "owner", timeout_seconds=1.0, data_seconds=1)
    told = shared._plain(ValueError("neither a%2Fb nor a/b"))
    assert "a/b" not in told


async def test_why_a_server_cannot_be_reached_is_told() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        shared = Shared(
            f"redis://:x@127.0.0.1:{nobody.getsockname()[1]}/0", "s", "o", timeout_seconds=5.0, data_seconds=1
        )
        with pytest.raises(LinkDown, match="ConnectionError: Error 111 connecting to"):
            await shared.ping()
        await shared.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/0?foo=s3cret",
        "redis://h/0?db=s3cret",
        "redis://h/0?ssl_ca_certs=s3cret",
        "rediss://h/0?ssl_cert_reqs=s3cret",
        "redis://h/0?protocol=9",
    ],
)
def test_an_option_that_means_nothing_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="option after the") as refused:
        Shared(url, "scope", "owner", timeout_seconds=1.0, data_seconds=1)
    assert "s3cret" not in str(refused.value)


async def test_who_is_cancelled_at_the_moment_of_an_answer_does_not_go_on(open_shared: Open) -> None:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    asking = asyncio.create_task(open_shared("first")._ask(asyncio.wait_for(answer, 5)))  # as the client waits
    for _ in range(3):
        await asyncio.sleep(0)
    answer.set_result(b"here")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
