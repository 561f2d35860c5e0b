"""Who may come in: users by password, tokens by digest, client certificates by name; and what each may read.

In: a request. Out: its answer, or 401 for a stranger and 403 for somebody known who has no role for it. Without an
access configuration every user may read everything, and without users everybody who can connect. What a request was
let in by is looked at again every second while it is answered: a stream of events, or an export, ends when the user,
the token, the role or the authority that it hangs on is taken away.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.errors import SettingsError
from exporter.publish.access_config import AccessConfig, digest_of, faults_together
from exporter.publish.credentials import Basic, Bearer, certificate_names, given, plain_name
from exporter.publish.passwords import Passwords, TooMany
from exporter.publish.responses import error
from exporter.publish.roles import EVERY_ROLE, is_open, may
from exporter.publish.watched_config import WatchedAccess, WatchedConfig
from exporter.publish.web_config import WebConfig

logger = logging.getLogger(__name__)

#: How often files are looked at while nobody asks, and open streams held against them.
WATCH_SECONDS = 1.0
REALM = 'realm="genesys-cloud-exporter"'

GOOD, UNKNOWN, FORBIDDEN = 200, 401, 403

_Watched = TypeVar("_Watched", WatchedConfig, WatchedAccess)


@dataclass(frozen=True, slots=True)
class Caller:
    """A user who has proved the password of this hash, the bearer of a token of this digest, or neither."""

    user: str | None = None
    hashed: bytes = field(default=b"", repr=False)
    digest: bytes = field(default=b"", repr=False)


@dataclass(eq=False, slots=True)
class _Open:
    """A request that is being answered, and who was let in with it."""

    request: web.Request
    caller: Caller


class Access:
    """The guard in front of all routes; made of the web configuration, the access configuration, or both."""

    def __init__(
        self,
        web_config: WatchedConfig | None,
        access_config: WatchedAccess | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._web = web_config
        self._access = access_config
        self._now = now
        self._passwords = Passwords()
        self._open: set[_Open] = set()

    @classmethod
    def open(
        cls,
        web_path: Path | None,
        access_path: Path | None,
        *,
        now: Callable[[], datetime],
        complain: Callable[[str], None],
        tell: Callable[[str, bool], None],
    ) -> Access | None:
        """The guard of the files; None without any. Raises SettingsError with the faults of both.

        `tell` hears the variable of a file, and whether it is used as it is now.
        """
        faults: list[str] = []
        read = partial(_read, faults, complain, tell)
        made = cls(read(WatchedConfig, web_path), read(WatchedAccess, access_path), now)
        if faults:
            raise SettingsError(faults)
        made.check()
        return made if web_path or access_path else None

    @property
    def web_config(self) -> WebConfig | None:
        return self._web.current if self._web else None

    @property
    def access_config(self) -> AccessConfig | None:
        return self._access.current if self._access else None

    def check(self) -> None:
        """Raises SettingsError where the files, as they are now, would not be taken; changes nothing."""
        web_config = self._web.check() if self._web else None
        if self._access and (faults := [*faults_together(self._access.path, self._access.check(), web_config)]):
            raise SettingsError(faults)

    def ssl_context(self) -> ssl.SSLContext | None:
        """For the listener; None where TLS is not configured."""
        return self._web.ssl_context() if self._web else None

    def install(self, app: web.Application) -> None:
        """The configured headers win over the exporter's own; a connection of an earlier configuration is the last."""

        async def prepare(request: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(self.web_config.headers if self.web_config else {})
            tls = _tls(request)
            if tls is not None and self._web and not self._web.is_of_now(tls):
                response.force_close()

        async def watched(app: web.Application) -> AsyncIterator[None]:
            task = asyncio.create_task(self._watch())
            yield
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        app.on_response_prepare.append(prepare)
        app.cleanup_ctx.append(watched)

    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._refresh()
            if is_open(request):
                return await handler(request)
            try:
                caller = await self._caller(request)
            except TooMany:
                return error(429, "too many passwords are being tried; try again later", {"Retry-After": "10"})
            verdict = self._verdict(request, caller)
            if verdict != GOOD:
                return self._refusal(verdict)
            with self._at_work(request, caller):
                return await handler(request)

        return guard

    def _refresh(self) -> None:
        for each in (self._web, self._access):
            if each is not None:
                each.refresh()

    async def _caller(self, request: web.Request) -> Caller:
        """Whoever proves to be somebody; a request that tries and fails is nobody's, whatever its certificate."""
        match given(request):
            case Basic(name, password) if self.web_config and self.web_config.users:
                users = self.web_config.users
                peer, gone = request.remote or "", lambda: request.transport is None
                if await self._passwords.right(name, password, users, peer=peer, gone=gone):
                    return Caller(user=name, hashed=users[name])
            case Bearer(token) if (
                self.access_config and (digest := digest_of(token)) and self.access_config.token(digest)
            ):
                return Caller(digest=digest)
        return Caller()

    def _verdict(self, request: web.Request, caller: Caller) -> int:
        """What the configuration in force says of the request."""
        if not _known_certificate(self.web_config, request):
            return FORBIDDEN
        if self.access_config is None and not (self.web_config and self.web_config.users):
            return GOOD
        roles = self._roles(request, caller)
        if roles is None:
            return UNKNOWN
        return GOOD if may(roles, request) else FORBIDDEN

    def _roles(self, request: web.Request, caller: Caller) -> frozenset[str] | None:
        """What somebody has for roles; None for nobody."""
        if caller.user is not None:
            hashed = self.web_config.users.get(caller.user, b"") if self.web_config else b""
            if not hmac.compare_digest(hashed, caller.hashed):
                return None
            return self.access_config.users.get(caller.user, frozenset()) if self.access_config else EVERY_ROLE
        if self.access_config is None:
            return None
        if caller.digest:
            token = self.access_config.token(caller.digest)
            return token.roles if token and token.is_good(self._now()) else None
        if "Authorization" in request.headers:
            return None
        names = certificate_names(request)
        found = [roles for name, roles in self.access_config.certificates.items() if plain_name(name) in names]
        return frozenset().union(*found) if found else None

    def _refusal(self, verdict: int) -> web.Response:
        challenges = []
        if self.web_config and self.web_config.users:
            challenges.append(f'Basic {REALM}, charset="UTF-8"')
        if self.access_config and self.access_config.tokens:
            challenges.append(f"Bearer {REALM}")
        if verdict == FORBIDDEN or not challenges:
            return error(FORBIDDEN, "whoever asks so may not read this")
        refusal = error(UNKNOWN, "a user's name and password, or a token, is needed")
        for challenge in challenges:
            refusal.headers.add("WWW-Authenticate", challenge)
        return refusal

    @contextmanager
    def _at_work(self, request: web.Request, caller: Caller) -> Iterator[None]:
        entry = _Open(request, caller)
        self._open.add(entry)
        try:
            yield
        finally:
            self._open.discard(entry)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._refresh()
            for each in tuple(self._open):
                if each.request.transport is not None and not self._may_stay(each):
                    each.request.transport.abort()

    def _may_stay(self, entry: _Open) -> bool:
        tls = _tls(entry.request)
        if tls is not None and self._web and not self._web.still_trusts(tls):
            return False
        return self._verdict(entry.request, entry.caller) == GOOD


def _read(
    faults: list[str],
    complain: Callable[[str], None],
    tell: Callable[[str, bool], None],
    kind: Callable[..., _Watched],
    path: Path | None,
) -> _Watched | None:
    """The file as it is watched from now on; its faults go to the others."""
    try:
        return kind(path, complain, tell) if path else None
    except SettingsError as error:
        faults.extend(error.faults)
        return None


def _tls(request: web.Request) -> ssl.SSLContext | None:
    """The context that the request's connection was made with."""
    tls = request.transport.get_extra_info("ssl_object") if request.transport else None
    return tls.context if tls is not None else None


def _known_certificate(config: WebConfig | None, request: web.Request) -> bool:
    """With a list of names, a certificate must bear one of them."""
    allowed = config.tls.client_allowed_sans if config and config.tls else ()
    if not allowed or request.transport is None:
        return not allowed
    return not certificate_names(request).isdisjoint(map(plain_name, allowed))
