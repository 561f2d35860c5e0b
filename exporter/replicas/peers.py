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
    """`url` as others can reach it: where `host` stands for all addresses, the one that faces Redis."""
    if host not in ("0.0.0.0", "::", ""):  # noqa: S104
        return url
    parts = urlsplit(url)
    address = _facing(redis_url)
    shown = f"[{address}]" if ":" in address else address
    return f"{parts.scheme}://{shown}:{parts.port}"


def _facing(redis_url: str) -> str:
    """This machine's address on the way to Redis; sends nothing."""
    parts = urlsplit(redis_url)
    try:
        (family, kind, _, _, target), *_ = socket.getaddrinfo(
            parts.hostname or "127.0.0.1", parts.port or 6379, type=socket.SOCK_DGRAM
        )
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return "127.0.0.1"
