"""OAuth client credentials: one bearer token, fetched once, shared by all calls.

Request and answer as in the vendor's own SDKs: `POST {login}/oauth/token`, Basic authentication, form
`grant_type=client_credentials`; `expires_in` counts, 24 h by default and 30 min in the summary contract. 400 and
401 both mean that the credentials are refused.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from exporter.clock import Clock
from exporter.errors import AuthError, GenesysError, PayloadError, Unavailable
from exporter.genesys.circuit import Circuit
from exporter.genesys.decode import decode
from exporter.genesys.transport import Call, Transport

REFRESH_EARLY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client id and its secret; neither shows in the repr."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The Basic authorization value. Reserved characters are left as they are, as the vendor's SDKs do."""
        pair = f"{self.client_id}:{self.client_secret}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """Tells one pair from another without holding either."""
        return hashlib.sha256(self.basic.encode()).hexdigest()


class TokenAnswer(msgspec.Struct):
    """The part of the token answer that matters."""

    access_token: str
    expires_in: float = 86400.0
    token_type: str = "bearer"  # noqa: S105 - a scheme, not a secret


class TokenSource:
    """Hands out the current token; fetches a new one when it is about to expire or was refused."""

    def __init__(
        self, transport: Transport, login_url: str, read_credentials: Callable[[], Credentials], clock: Clock
    ) -> None:
        self._transport = transport
        self._url = f"{login_url}/oauth/token"
        #: Called for every token: a secret file that was rotated is read again without a restart.
        self._read_credentials = read_credentials
        self._clock = clock
        self._turn = asyncio.Lock()
        self._circuit = Circuit(clock, AuthError)
        self._token: str | None = None
        self._key: str | None = None  # which credentials the token came from
        self._refresh_at = float("-inf")
        self._failures = 0
        self._failure: GenesysError | None = None

    async def get(self, deadline: float) -> str:
        """A token that nobody has refused, with a minute or more left to live.

        Concurrent callers share one fetch, and its failure. Raises AuthError when the credentials are refused, and
        the transport's errors.
        """
        failures = self._failures
        await self._take_turn(deadline)
        try:
            if self._token is not None and self._clock.monotonic() < self._refresh_at:
                return self._token
            if self._failure is not None and self._failures != failures:
                raise self._failure.with_traceback(None)
            self._token = None
            self._token = await self._fetch(deadline)
            return self._token
        except GenesysError as error:
            self._failures, self._failure = self._failures + 1, error
            raise
        finally:
            self._turn.release()

    async def _take_turn(self, deadline: float) -> None:
        """One caller at a time; nobody waits for another's fetch beyond his own deadline."""
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Unavailable("token: another call is still waiting for it") from error

    def refuse(self, token: str, error: AuthError | None = None) -> None:
        """The API said 401 to `token`: never hand it out again.

        `error` is given when the token was fresh, so that its credentials must be at fault; of many calls with one
        token only the first to be refused counts.
        """
        if token == self._token:
            self._token = None
            self._circuit.record(error, self._key)

    def renew(self, credentials: Credentials) -> None:
        """Give up the token if other credentials fetched it: whether the new ones are good shows at the next call."""
        if credentials.fingerprint != self._key:
            self._token = None

    def confirm(self) -> None:
        """The API took the token: its credentials are good."""
        self._circuit.reset()

    async def _fetch(self, deadline: float) -> str:
        credentials = await asyncio.to_thread(self._read_credentials)
        self._key = key = credentials.fingerprint
        self._circuit.check(key)
        asked_at = self._clock.monotonic()
        try:
            body = await self._transport.send(self._call(credentials), deadline)
        except AuthError as error:
            refused = AuthError(f"{error} - check the client id and secret, and that the client is active")
            self._circuit.record(refused, key)
            raise refused from error
        except GenesysError as error:
            self._circuit.record(error, key)
            raise
        answer = decode(body, TokenAnswer, "token")
        self._check(answer)
        early = min(REFRESH_EARLY_SECONDS, answer.expires_in / 2)
        self._refresh_at = asked_at + answer.expires_in - early
        return answer.access_token

    def _check(self, answer: TokenAnswer) -> None:
        usable = answer.access_token.isascii() and answer.access_token.isprintable() and answer.access_token
        if not usable or not 0 < answer.expires_in < float("inf") or answer.token_type.lower() != "bearer":
            raise PayloadError("token: the answer holds no usable bearer token; check GENESYS_LOGIN_URL")

    def _call(self, credentials: Credentials) -> Call:
        return Call(
            endpoint="token",
            method="POST",
            url=self._url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=b"grant_type=client_credentials",
        ).authorised(credentials.basic, credentials.client_secret, credentials.basic.removeprefix("Basic "))
