"""Who may come in: Basic authentication against bcrypt hashes, and client certificates by name.

In: a request. Out: its answer, or 401 and 403 that take the same time whatever was wrong. bcrypt is slow by design: it
runs in a thread, one at a time, and what it once accepted is remembered by a keyed digest, so that a flood of wrong
passwords cannot delay a scraper that is known. `/-/healthy` and `/-/ready` are open to all.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from typing import Any

import bcrypt
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.publish.responses import error
from exporter.publish.web_config import WatchedConfig, WebConfig

OPEN_ROUTES = frozenset({"/-/healthy", "/-/ready"})
CHALLENGE = {"WWW-Authenticate": 'Basic realm="genesys-cloud-exporter", charset="UTF-8"'}
#: Accepted passwords remembered; a handful of scrapers and people.
REMEMBERED = 128
#: bcrypt looks at no more; longer passwords are cut, as every implementation has always done.
_BCRYPT_BYTES = 72


class Access:
    """The guard in front of all routes."""

    def __init__(self, config: WatchedConfig) -> None:
        self._config = config
        self._key = secrets.token_bytes(32)
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()
        self._decoys: dict[int, bytes] = {}
        self._decoy(config.current)  # made now: the first stranger must not wait longer than the second

    def install(self, app: web.Application) -> None:
        """The configured headers win over the exporter's own."""

        async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(self._config.current.headers)

        app.on_response_prepare.append(set_headers)

    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            config = self._config.refresh()
            if request.path not in OPEN_ROUTES:
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
        digest = hmac.digest(self._key, b"\0".join((name.encode(), hashed or b"", password)), "sha256")
        if digest in self._accepted:
            self._accepted.move_to_end(digest)
            return True
        async with self._one_at_a_time:
            right = await asyncio.to_thread(self._matches, password, hashed, config)
        if right:
            self._accepted[digest] = None
            while len(self._accepted) > REMEMBERED:
                self._accepted.popitem(last=False)
        return right

    def _matches(self, password: bytes, hashed: bytes | None, config: WebConfig) -> bool:
        """One bcrypt comparison, also for a name that nobody has."""
        try:
            same = bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed or self._decoy(config))
        except ValueError:  # a NUL byte
            return False
        return same and hashed is not None

    def _decoy(self, config: WebConfig) -> bytes:
        """A hash that costs as much as the users' own, so that the time does not tell who exists."""
        cost = max((int(each[4:6]) for each in config.users.values()), default=4)
        if cost not in self._decoys:
            self._decoys[cost] = bcrypt.hashpw(secrets.token_bytes(16).hex().encode(), bcrypt.gensalt(cost))
        return self._decoys[cost]


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
    names = {value for _, value in certificate.get("subjectAltName", ())}
    return not names.isdisjoint(allowed)
