"""The other replicas, asked over HTTP when Redis is silent: is it gone for them, too, or only for me?

Comes in: what replicas told of themselves in Redis while it worked. Goes out: a `Verdict`. What a replica last heard of
Redis before it fell silent here proves nothing: only what it heard since. Certificates are not verified: an answer only
ever decides who polls, and holds nothing secret.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

import aiohttp

PATH = "/-/replica"
EPOCH_HEADER, FENCE_HEADER = "X-Replica-Epoch", "X-Replica-Fence"
MOST_ANSWER_BYTES, MOST_FENCE_DIGITS = 10_000, 16
LONGEST_ANSWER_SECONDS = 2.0
#: Who told of itself within this time, or a lease, before Redis fell silent is there, whether it answers or not.
RECENT_SECONDS = 30.0

#: Hosts that stand for all addresses, and of which family (asyncio's IPv6 sockets serve no IPv4).
_ALL_ADDRESSES = {"0.0.0.0": socket.AF_INET, "": socket.AF_INET, "::": socket.AF_INET6}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Peer:
    """Another replica, as it last told of itself through Redis."""

    url: str  # "" where it cannot say
    age_seconds: float  # since it did, when Redis last answered here
    failing: bool  # Genesys Cloud does not answer it


class Verdict(Enum):
    """Redis does not answer here; what the others say, in words for the log."""

    SEEN = "another replica reaches Redis"
    UNSURE = "no other replica has looked since"
    GONE = "no other replica reaches Redis either"
    SILENT = "no other replica answers"
    NOBODY = "there is no other replica"


#: Of several answers the first of these counts.
_WEIGHT = tuple(Verdict)


class Others:
    """Asks and tells, each at most for a moment: whoever is there answers at once."""

    async def ask(self, peers: Mapping[str, Peer], *, silent_seconds: float, lease_seconds: float) -> Verdict:
        """What the replicas (by owner) say of a Redis that has been silent here for so long."""
        asked = (_asked(owner, peer, silent_seconds, lease_seconds) for owner, peer in peers.items())
        return min(await asyncio.gather(*asked), key=_WEIGHT.index, default=Verdict.NOBODY)

    async def tell(self, peers: Mapping[str, Peer], epoch: str, fence: int, lease_seconds: float) -> None:
        """Another leads now, with this fence; the epoch, which stands in Redis alone, proves it."""
        headers = {EPOCH_HEADER: epoch, FENCE_HEADER: str(fence)}
        told = (_told(peer.url, _patience_seconds(lease_seconds), headers) for peer in peers.values() if peer.url)
        await asyncio.gather(*told, return_exceptions=True)


def replaced_by(headers: Mapping[str, str], epoch: str) -> int:
    """The fence that another replica says it leads with; 0 where none does who knows the epoch."""
    fence = headers.get(FENCE_HEADER, "")
    known = hmac.compare_digest(headers.get(EPOCH_HEADER, "").encode(), epoch.encode())
    return int(fence) if epoch and known and fence.isdecimal() and len(fence) < MOST_FENCE_DIGITS else 0


async def _asked(owner: str, peer: Peer, silent_seconds: float, lease_seconds: float) -> Verdict:
    try:
        told = await _told(peer.url, _patience_seconds(lease_seconds), {}) if peer.url else None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, ConnectionRefusedError):  # the machine is there, and no replica on it
            return Verdict.NOBODY
        told = None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        told = None
    if told is None or told.get("replica") != owner:
        return Verdict.SILENT if peer.age_seconds < max(lease_seconds, RECENT_SECONDS) else Verdict.NOBODY
    return _verdict(told, silent_seconds)


def _patience_seconds(lease_seconds: float) -> float:
    return min(lease_seconds / 4, LONGEST_ANSWER_SECONDS)


async def _told(url: str, timeout_seconds: float, headers: Mapping[str, str]) -> dict[str, object] | None:
    """None where nobody answers as a replica does."""
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url + PATH, headers=headers, ssl=False, allow_redirects=False) as answer,
    ):
        told = json.loads(await answer.content.read(MOST_ANSWER_BYTES))
        return told if answer.status == 200 and isinstance(told, dict) else None


def _verdict(told: Mapping[str, object], silent_seconds: float) -> Verdict:
    heard = told.get("redis_seconds")
    if told.get("leader") is True:
        return Verdict.SEEN
    if told.get("redis") is not True or not isinstance(heard, int | float):
        return Verdict.GONE
    return Verdict.SEEN if heard < silent_seconds else Verdict.UNSURE


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
