"""Who may come in: Basic authentication against bcrypt hashes, and client certificates by name.

In: a request. Out: its answer, or 401 for a stranger and 403 for a certificate of another name. A wrong password costs
the same whoever's name came with it. bcrypt is slow by design: it runs in a thread, one at a time, and what it once
accepted is remembered by a keyed digest, so that a flood of wrong passwords cannot delay a scraper that is known.
`/-/healthy` and `/-/ready` are open to all.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import bcrypt
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.publish.responses import error
from exporter.publish.watched_config import WatchedConfig
from exporter.publish.web_config import WebConfig

OPEN_ROUTES = frozenset({"/-/healthy", "/-/ready"})
CHALLENGE = {"WWW-Authenticate": 'Basic realm="genesys-cloud-exporter", charset="UTF-8"'}
#: Accepted passwords remembered; a handful of scrapers and people.
REMEMBERED = 128
#: bcrypt looks at no more; longer passwords are cut, as Go does it.
_BCRYPT_BYTES = 72
_CHEAPEST = 4


class Access:
    """The guard in front of all routes."""

    def __init__(self, config: WatchedConfig) -> None:
        self._config = config
        self._key = secrets.token_bytes(32)
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    def install(self, app: web.Application) -> None:
        """The configured headers win over the exporter's own; a connection of an earlier configuration is the last."""

        async def prepare(request: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(self._config.current.headers)
            tls = request.transport.get_extra_info("ssl_object") if request.transport else None
            if tls is not None and not self._config.is_of_now(tls.context):
                response.force_close()

        app.on_response_prepare.append(prepare)

    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            config = self._config.refresh()
            if not _is_open(request):
                if not _known_certificate(config, request):
                    return error(403, "this client certificate is not allowed")
                if config.users and not await self._known_user(config, request):
                    return error(401, "a user name and password are needed", CHALLENGE)
            return await handler(request)

        return guard

    async def _known_user(self, config: WebConfig, request: web.Request) -> bool:
        given = _basic(request.headers.get("Authorization", ""))
        if given is None:
            return False
        name, password = given
        hashed = config.users.get(name)
        # A hash is of a fixed length and has a salt of its own: with the password it says who was accepted.
        digest = hmac.digest(self._key, (hashed or b"") + password, "sha256")
        if hashed is not None and digest in self._accepted:
            self._accepted.move_to_end(digest)
            return True
        right = await self._compared(request, password, hashed, config)
        if right:
            self._accepted[digest] = None
            while len(self._accepted) > REMEMBERED:
                self._accepted.popitem(last=False)
        return right

    async def _compared(self, request: web.Request, password: bytes, hashed: bytes | None, config: WebConfig) -> bool:
        async with self._one_at_a_time:
            if request.transport is None:  # who has gone costs nothing more
                return False
            return await asyncio.to_thread(matches, password, hashed, config.users.values())


def matches(password: bytes, hashed: bytes | None, everyone: Iterable[bytes]) -> bool:
    """Whether the password is right. A wrong one, and a name that nobody has, cost as much as the dearest hash.

    A cheaper hash is followed by decoys that make up the difference: each step of bcrypt's cost doubles the work.
    """
    dearest = max(map(_cost, everyone), default=_CHEAPEST)
    if bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed or _decoy(dearest)) and hashed is not None:
        return True
    for cost in range(_cost(hashed) if hashed else dearest, dearest):
        bcrypt.checkpw(password[:_BCRYPT_BYTES], _decoy(cost))
    return False


def _cost(hashed: bytes) -> int:
    return int(hashed[4:6])


def _decoy(cost: int) -> bytes:
    """A hash that no password is known to have."""
    return bcrypt.gensalt(cost) + b"." * 31


def _is_open(request: web.Request) -> bool:
    """By the route that will answer, not by the path, of which there may be several readings."""
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in OPEN_ROUTES


def _basic(header: str) -> tuple[str, bytes] | None:
    """Name and password of a Basic header."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _known_certificate(config: WebConfig, request: web.Request) -> bool:
    """With a list of names, a certificate must bear one of them."""
    allowed = config.tls.client_allowed_sans if config.tls else ()
    if not allowed or request.transport is None:
        return not allowed
    certificate: dict[str, Any] = request.transport.get_extra_info("peercert") or {}
    names = {_plain_name(value) for _, value in certificate.get("subjectAltName", ()) if isinstance(value, str)}
    return not names.isdisjoint(map(_plain_name, allowed))


def _plain_name(name: str) -> str:
    """Addresses in one spelling: Python writes ::1 as 0:0:0:0:0:0:0:1."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name
