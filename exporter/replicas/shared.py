"""What the replicas of one org share in Redis (or Valkey): a lease, the calls of the last minute, and the data.

Comes in: bytes and numbers. Goes out: the same, or LinkDown where the server does not answer in time. The lease is a
key that expires; its value holds a fence, a number that grows with every new leader, also over a server that forgot
everything. Whatever a leader writes, and each call that it makes, is let through only while the lease holds its fence:
a leader that was asleep cannot overwrite its successor. Time is the server's. What stands there and is not of our kind,
whoever wrote it, is written over or left out.

    {prefix}lease · fence    who leads                    {prefix}calls     calls of the last minute
    {prefix}released         fence that was given back    {prefix}buckets   closed buckets by start
    {prefix}head             what there is, small         {prefix}versions  a word for each writing, by start
    {prefix}snapshot · readings · directory               {prefix}replicas  when, how and where each was, by owner
    {prefix}epoch            random, new where all was forgotten; nobody knows it who cannot read here
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from exporter.replicas.peers import Peer

#: How long data outlives the last leader; what is stale by then says so itself.
DATA_SECONDS = 86_400
#: Calls of a minute, and a second more since the service's clock and Redis' may not run alike.
PERIOD_MILLISECONDS = 61_000
#: A replica that has not told of itself for so long is forgotten.
PEER_SECONDS = 600

#: Keys of another kind than ours give way.
_FIT = """
local function fit(key, kind)
  local found = redis.call('type', key).ok
  if found ~= kind and found ~= 'none' then redis.call('del', key) end
end
"""
_NOW = """
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
#: ARGV: lease or nothing, its milliseconds, owner, what it tells, a fresh epoch, milliseconds to keep a replica,
#: seconds.
_BEAT = f"""{_FIT}{_NOW}
fit(KEYS[1], 'string') fit(KEYS[2], 'hash') fit(KEYS[3], 'string')
redis.call('hset', KEYS[2], ARGV[3], string.format('%.0f ', now) .. ARGV[4])
redis.call('set', KEYS[3], ARGV[5], 'NX', 'EX', ARGV[7])
redis.call('expire', KEYS[2], ARGV[7])
redis.call('expire', KEYS[3], ARGV[7])
local everybody = redis.call('hgetall', KEYS[2])
for place = 1, #everybody, 2 do
  local told = tonumber(string.match(everybody[place + 1], '^(%d+) ') or '0')
  if now - told > tonumber(ARGV[6]) then redis.call('hdel', KEYS[2], everybody[place]) end
end
local held = 0
if redis.call('get', KEYS[1]) == ARGV[1] then held = redis.call('pexpire', KEYS[1], ARGV[2]) end
return {{held, redis.call('get', KEYS[3]), string.format('%.0f', now), redis.call('hgetall', KEYS[2])}}
"""
#: A lease without an end is nobody's. Answers with the fence and whether the last leader gave the lease back.
_ACQUIRE = f"""{_FIT}
for place = 1, 3 do fit(KEYS[place], 'string') end
if redis.call('pttl', KEYS[1]) > 0 then return {{}} end
local last = redis.call('get', KEYS[2])
local number = last and string.match(last, '^%d+$') and #last < 16 and tonumber(last) or 0
local fence = string.format('%.0f', math.max(number, tonumber(ARGV[2])) + 1)
local clean = 0
if not last or redis.call('get', KEYS[3]) == last then clean = 1 end
redis.call('set', KEYS[2], fence)
redis.call('set', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[3])
return {{fence, clean}}
"""
_RELEASE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[2], 'EX', ARGV[3])
return redis.call('del', KEYS[1])
"""
#: -1: not the leader any more; 0: go; else milliseconds until a place comes free.
_CALL = f"""{_FIT}{_NOW}
if redis.call('get', KEYS[1]) ~= ARGV[1] then return -1 end
fit(KEYS[2], 'zset')
redis.call('zremrangebyscore', KEYS[2], '-inf', string.format('%.0f', now - ARGV[4]))
local surplus = redis.call('zcard', KEYS[2]) - ARGV[3]
if surplus >= 0 then
  local oldest = redis.call('zrange', KEYS[2], surplus, surplus, 'withscores')
  return math.max(1, math.floor(oldest[2] + ARGV[4] - now))
end
redis.call('zadd', KEYS[2], string.format('%.0f', now), ARGV[2])
redis.call('pexpire', KEYS[2], ARGV[4] * 2)
return 0
"""
_CALLED = f"""{_NOW}
redis.call('zadd', KEYS[1], 'XX', string.format('%.0f', now), ARGV[1])
return 0
"""
_SHARE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
for place = 2, #KEYS do redis.call('set', KEYS[place], ARGV[place + 1], 'EX', ARGV[2]) end
return 1
"""
#: ARGV: lease, seconds, version, number of buckets to write, then start and bytes of each, then starts to drop.
_SHARE_BUCKETS = f"""{_FIT}
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
fit(KEYS[2], 'hash') fit(KEYS[3], 'hash')
local last = 4 + 2 * ARGV[4]
for place = 5, last, 2 do
  redis.call('hset', KEYS[2], ARGV[place], ARGV[place + 1])
  redis.call('hset', KEYS[3], ARGV[place], ARGV[3])
end
for place = last + 1, #ARGV do
  redis.call('hdel', KEYS[2], ARGV[place])
  redis.call('hdel', KEYS[3], ARGV[place])
end
redis.call('expire', KEYS[2], ARGV[2])
redis.call('expire', KEYS[3], ARGV[2])
return 1
"""


class LinkDown(Exception):
    """Redis does not answer, or not as it should; the text holds no password."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What one look at Redis brings."""

    held: bool  # the lease was still this replica's, and lasts longer now
    epoch: str  # another one than before: the server has forgotten what stood there
    peers: Mapping[str, Peer]  # the other replicas, by owner
    now_seconds: float  # by Redis' clock, since 1970


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease that was free; `clean`: nobody held it before, or who did gave it back."""

    fence: int
    clean: bool


class Shared:
    """One scope's keys in one Redis; `url` may hold a password and never appears in a message.

    Raises ValueError for options of a URL that mean nothing.
    """

    def __init__(self, url: str, scope: str, owner: str, *, timeout_seconds: float, data_seconds: int) -> None:
        # Imported here: who has no Redis does not pay for its client.
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self.owner = owner
        self._prefix = f"genesys-exporter:{{{scope}}}:"
        self._timeout = timeout_seconds
        self._data_seconds = str(max(data_seconds, DATA_SECONDS))
        self._errors = (RedisError, OSError, TimeoutError)
        self._secrets = _secrets_of(url)
        options: dict[str, Any] = {"health_check_interval": 0, "retry_on_timeout": False, "retry": None}
        options |= {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
        self._client: Any
        try:
            self._client = Redis.from_url(url, **options)
            self._client.connection_pool.make_connection()  # connects to nothing, and knows what it is asked for
        except (TypeError, ValueError, RedisError):
            raise ValueError("an option after the ? of the URL is unknown, or its value is wrong") from None

    async def close(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.aclose()
        except self._errors:
            return

    async def ping(self) -> None:
        await self._ask(self._client.ping())

    async def beat(self, fence: int | None, seconds: float, url: str, *, failing: bool) -> Beat:
        """Tell of this replica, prolong its lease, and look who else is there."""
        told = f"{int(failing)} {url}"
        lease = self._lease(fence) if fence is not None else ""
        keep = _milliseconds(max(PEER_SECONDS, 10 * seconds))
        given = (lease, _milliseconds(seconds), self.owner, told, uuid4().hex, keep, DATA_SECONDS)
        held, epoch, now, everybody = await self._eval(_BEAT, ("lease", "replicas", "epoch"), *given)
        peers = {}
        for owner, text in zip(everybody[::2], everybody[1::2], strict=True):
            peer, name = _peer(text, int(now)), owner.decode(errors="replace")
            if peer is not None and name != self.owner:
                peers[name] = peer
        return Beat(bool(held), epoch.decode(errors="replace"), peers, int(now) / 1000)

    async def acquire(self, floor: int, seconds: float) -> Taken | None:
        """The lease, with a fence above `floor`; None where another holds it."""
        given = (self.owner, floor, _milliseconds(seconds))
        found = await self._eval(_ACQUIRE, ("lease", "fence", "released"), *given)
        return Taken(int(found[0]), bool(found[1])) if found else None

    async def release(self, fence: int) -> None:
        await self._eval(_RELEASE, ("lease", "released"), self._lease(fence), fence, DATA_SECONDS)

    async def call(self, fence: int, ticket: str, per_minute: int) -> float | None:
        """0.0: the call may leave and is counted; else seconds until it may. None for who leads no more."""
        found = await self._eval(_CALL, ("lease", "calls"), self._lease(fence), ticket, per_minute, PERIOD_MILLISECONDS)
        return None if found is None or found < 0 else found / 1000

    async def called(self, ticket: str) -> None:
        """The answer has come: the call holds its place for a minute from now."""
        await self._eval(_CALLED, ("calls",), ticket)

    async def head(self) -> dict[str, Any] | None:
        """What the leader last said there is; None where nobody has said anything."""
        found = await self._ask(self._client.get(self._prefix + "head"))
        try:
            head = json.loads(found) if found else None
        except ValueError:
            return None
        return head if isinstance(head, dict) else None

    async def share(self, fence: int, head: Mapping[str, Any], data: Mapping[str, bytes]) -> bool:
        """Write data by name and the head that tells of it, all at once; False for who leads no more."""
        names = ("lease", *data, "head")
        texts = (*data.values(), json.dumps(head).encode())
        return bool(await self._eval(_SHARE, names, self._lease(fence), self._data_seconds, *texts))

    async def data(self, name: str) -> bytes | None:
        found: bytes | None = await self._ask(self._client.get(self._prefix + name))
        return found

    async def versions(self) -> dict[int, str]:
        """A word for each time a bucket was written, by its start."""
        found = await self._ask(self._client.hgetall(self._prefix + "versions")) or {}
        return {int(start): version.decode(errors="replace") for start, version in found.items() if start.isdigit()}

    async def buckets(self, starts: Sequence[int]) -> list[bytes]:
        """Those of the buckets that are there."""
        found = await self._ask(self._client.hmget(self._prefix + "buckets", [str(each) for each in starts])) or []
        return [each for each in found if each is not None]

    async def share_buckets(
        self, fence: int, version: str, buckets: Mapping[int, bytes], dropped: Sequence[int] = ()
    ) -> bool:
        """Write some buckets and drop others; False for who leads no more."""
        pairs = [part for start, data in buckets.items() for part in (start, data)]
        given = (self._lease(fence), self._data_seconds, version, len(buckets), *pairs, *dropped)
        return bool(await self._eval(_SHARE_BUCKETS, ("lease", "buckets", "versions"), *given))

    async def leave(self, owner: str) -> None:
        await self._ask(self._client.hdel(self._prefix + "replicas", owner))

    def _lease(self, fence: int) -> str:
        return f"{fence} {self.owner}"

    async def _eval(self, script: str, keys: Sequence[str], *args: object) -> Any:
        given: list[Any] = [self._prefix + key for key in keys]
        given += [each if isinstance(each, bytes) else str(each) for each in args]
        return await self._ask(self._client.eval(script, len(keys), *given))

    async def _ask(self, call: Awaitable[Any]) -> Any:
        """The answer; None where what stands there is of another kind than ours.

        The call is a task of its own: the client waits by `wait_for`, which before Python 3.12 forgets a cancellation
        that comes at the moment of an answer, and whoever was cancelled would go on.
        """
        asked = asyncio.ensure_future(call)
        asked.add_done_callback(_looked_at)
        try:
            await asyncio.wait([asked], timeout=self._timeout)
            if not asked.done():
                raise TimeoutError
            return asked.result()
        except self._errors as error:
            if str(error).startswith("WRONGTYPE"):
                return None
            raise LinkDown(f"{type(error).__name__}: {self._plain(error)}") from None
        finally:
            asked.cancel()

    def _plain(self, error: Exception) -> str:
        """The reason in words, without the password, which a server may repeat."""
        text = str(error) or "no answer"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:200]


def _looked_at(asked: asyncio.Future[Any]) -> None:
    """What comes of a call that nobody waits for any more is no news."""
    if not asked.cancelled():
        asked.exception()


def _secrets_of(url: str) -> frozenset[str]:
    """The password wherever a URL may have it, as it is written and as it is meant."""
    parts = urlsplit(url)
    written = [parts.password or "", *parse_qs(parts.query).get("password", [])]
    return frozenset(form for each in written for form in (each, unquote(each)) if form)


def _peer(told: bytes, now: int) -> Peer | None:
    """What a replica told of itself; None where these are not the words of one."""
    try:
        at, failing, url = told.decode().split(" ")
        return Peer(url, max(0.0, (now - int(at)) / 1000), failing == "1")
    except ValueError:
        return None


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
