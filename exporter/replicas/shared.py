"""What the replicas of one org share in Redis (or Valkey): a lease, the calls of the last minute, and the data.

Comes in: bytes and numbers. Goes out: the same, or LinkDown where the server does not answer in time. The lease is a
key that expires; its value holds a fence, a number that grows with every new leader, also over a server that forgot
everything. Whatever a leader writes, and each call that it makes, is let through only while the lease holds its fence:
a leader that was asleep cannot overwrite its successor. Time is the server's.

    {prefix}lease · fence    who leads                    {prefix}calls     calls of the last minute
    {prefix}head             what there is, small         {prefix}buckets   closed buckets by start
    {prefix}snapshot · readings · directory               {prefix}versions  when each was written, by start
    {prefix}replicas         addresses by owner
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

#: How long data outlives the last leader; what is stale by then says so itself.
DATA_SECONDS = 86_400
#: Calls of a minute, and a second more since the service's clock and Redis' may not run alike.
PERIOD_MILLISECONDS = 61_000

_ACQUIRE = """
if redis.call('exists', KEYS[1]) == 1 then return '' end
local fence = string.format('%.0f', math.max(tonumber(redis.call('get', KEYS[2]) or '0'), tonumber(ARGV[2])) + 1)
redis.call('set', KEYS[2], fence)
redis.call('set', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[3])
return fence
"""
_RENEW = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('pexpire', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end
return 0
"""
#: -1: not the leader any more; 0: go; else milliseconds until a place comes free.
_CALL = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return -1 end
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
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
_CALLED = """
local time = redis.call('time')
redis.call('zadd', KEYS[1], 'XX', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[1])
return 0
"""
_SHARE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
for place = 2, #KEYS do redis.call('set', KEYS[place], ARGV[place + 1], 'EX', ARGV[2]) end
return 1
"""
#: ARGV: lease, seconds, version, number of buckets to write, then start and bytes of each, then starts to drop.
_SHARE_BUCKETS = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
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


class Shared:
    """One scope's keys in one Redis; `url` may hold a password and never appears in a message."""

    def __init__(self, url: str, scope: str, owner: str, *, timeout_seconds: float, data_seconds: int) -> None:
        # Imported here: who has no Redis does not pay for its client.
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self.owner = owner
        self._prefix = f"genesys-exporter:{{{scope}}}:"
        self._timeout = timeout_seconds
        self._data_seconds = str(max(data_seconds, DATA_SECONDS))
        self._errors = (RedisError, OSError, TimeoutError)
        self._client: Any = Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            health_check_interval=0,
            retry_on_timeout=False,
            retry=None,
        )

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._client.aclose(), self._timeout)
        except self._errors:
            return

    async def ping(self) -> None:
        await self._ask(self._client.ping())

    async def acquire(self, floor: int, seconds: float) -> int | None:
        """The fence of the new leader, above `floor`; None where another holds the lease."""
        fence = await self._eval(_ACQUIRE, ("lease", "fence"), self.owner, floor, _milliseconds(seconds))
        return int(fence) if fence else None

    async def renew(self, fence: int, seconds: float) -> bool:
        """False where the lease is not this fence's any more."""
        return bool(await self._eval(_RENEW, ("lease",), self._lease(fence), _milliseconds(seconds)))

    async def release(self, fence: int) -> None:
        await self._eval(_RELEASE, ("lease",), self._lease(fence))

    async def call(self, fence: int, ticket: str, per_minute: int) -> float | None:
        """0.0: the call may leave and is counted; else seconds until it may. None for who leads no more."""
        found = await self._eval(_CALL, ("lease", "calls"), self._lease(fence), ticket, per_minute, PERIOD_MILLISECONDS)
        return None if found < 0 else found / 1000

    async def called(self, ticket: str) -> None:
        """The answer has come: the call holds its place for a minute from now."""
        await self._eval(_CALLED, ("calls",), ticket)

    async def head(self) -> dict[str, Any] | None:
        """What the leader last said there is; None where nobody has said anything."""
        found = await self._ask(self._client.get(self._prefix + "head"))
        try:
            head = json.loads(found) if found else None
        except ValueError as error:
            raise LinkDown(f"what stands in {self._prefix}head is not JSON") from error
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
        """When each bucket was written, by its start."""
        found = await self._ask(self._client.hgetall(self._prefix + "versions"))
        return {int(start): version.decode() for start, version in found.items()}

    async def buckets(self, starts: Sequence[int]) -> list[bytes]:
        """Those of the buckets that are there."""
        found = await self._ask(self._client.hmget(self._prefix + "buckets", [str(each) for each in starts]))
        return [each for each in found if each is not None]

    async def share_buckets(
        self, fence: int, version: str, buckets: Mapping[int, bytes], dropped: Sequence[int] = ()
    ) -> bool:
        """Write some buckets and drop others; False for who leads no more."""
        pairs = [part for start, data in buckets.items() for part in (start, data)]
        given = (self._lease(fence), self._data_seconds, version, len(buckets), *pairs, *dropped)
        return bool(await self._eval(_SHARE_BUCKETS, ("lease", "buckets", "versions"), *given))

    async def join(self, url: str, now: float) -> dict[str, tuple[str, float]]:
        """Tell this replica's address; the addresses of all, and when each was told, by owner."""
        key = self._prefix + "replicas"
        await self._ask(self._client.hset(key, self.owner, json.dumps([url, now])))
        await self._ask(self._client.expire(key, DATA_SECONDS))
        found = await self._ask(self._client.hgetall(key))
        return {owner.decode(): tuple(json.loads(text)) for owner, text in found.items()}

    async def leave(self, owner: str) -> None:
        await self._ask(self._client.hdel(self._prefix + "replicas", owner))

    def _lease(self, fence: int) -> str:
        return f"{fence} {self.owner}"

    async def _eval(self, script: str, keys: Sequence[str], *args: object) -> Any:
        given: list[Any] = [self._prefix + key for key in keys]
        given += [each if isinstance(each, bytes) else str(each) for each in args]
        return await self._ask(self._client.eval(script, len(keys), *given))

    async def _ask(self, call: Awaitable[Any]) -> Any:
        try:
            return await asyncio.wait_for(call, self._timeout)
        except self._errors as error:
            raise LinkDown(f"{type(error).__name__}: {_plain(error)}") from None


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _plain(error: Exception) -> str:
    """The reason in words; a server's own error answers only, since others may hold the URL."""
    return (
        str(error)[:200]
        if type(error).__name__ in ("ResponseError", "NoPermissionError", "AuthenticationError")
        else "no answer"
    )
