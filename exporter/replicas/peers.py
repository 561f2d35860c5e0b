"""The other replicas, asked over HTTP when Redis is silent: is it gone for them, too, or only for me?

Comes in: the addresses that replicas left in Redis while it worked. Goes out: a `Verdict`. Certificates are not
verified: an answer only ever decides who polls, and holds nothing secret.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from enum import Enum
from urllib.parse import urlsplit

import aiohttp

PATH = "/-/replica"
MOST_ANSWER_BYTES = 10_000

#: Hosts that stand for all addresses, and of which family (asyncio's IPv6 sockets serve no IPv4).
_ALL_ADDRESSES = {"0.0.0.0": socket.AF_INET, "": socket.AF_INET, "::": socket.AF_INET6}  # noqa: S104


class Verdict(Enum):
    SEEN = "another replica reaches Redis"
    GONE = "no other replica reaches Redis either"
    SILENT = "no other replica answers"


async def ask(urls: Iterable[str], timeout_seconds: float) -> Verdict:
    """What the replicas at `urls` say about Redis, within the time."""
    answers = await asyncio.gather(*(_sees_redis(url, timeout_seconds) for url in urls))
    if True in answers:
        return Verdict.SEEN
    return Verdict.GONE if False in answers else Verdict.SILENT


async def _sees_redis(url: str, timeout_seconds: float) -> bool | None:
    """None where nobody answers as a replica does."""
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url + PATH, ssl=False, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(MOST_ANSWER_BYTES)
            told = json.loads(body)
            return bool(told["redis"]) if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
        return None


def reachable_url(url: str, host: str, redis_url: str) -> str:
    """`url` as others can reach it: where `host` stands for all addresses, the one that faces Redis.

    Empty while Redis' name is not known: an address that leads every replica back to itself would be worse than none.
    """
    family = _ALL_ADDRESSES.get(host)
    redis = urlsplit(redis_url)
    if family is None or redis.scheme == "unix":
        return url
    parts, address = urlsplit(url), _facing(redis.hostname or "127.0.0.1", redis.port or 6379, family)
    shown = f"[{address}]" if ":" in address else address
    return f"{parts.scheme}://{shown}:{parts.port}" if address else ""


def _facing(host: str, port: int, family: socket.AddressFamily) -> str:
    """This machine's address on the way there, of the family that is listened on; sends nothing but a name's query."""
    try:
        (_, kind, _, _, target), *_ = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return ""
