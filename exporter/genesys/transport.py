"""One HTTP call to the service: paced, bounded, tried again where that can help.

A `Call` and a deadline come in, the body of a 2xx answer goes out; everything else is an error of
`exporter.errors`. The transport knows nothing of tokens or of what the bodies mean.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import backoff

from exporter import __version__
from exporter.clock import Clock
from exporter.errors import GenesysError, PayloadError, RateLimited, Unavailable
from exporter.genesys.answers import error_of, printable
from exporter.genesys.pacing import PacingGate
from exporter.models import ApiCalled, ApiHook, ApiRetried, ApiThrottled, RateLimitSeen

log = logging.getLogger(__name__)

#: The summary contract's rule (3 retries, exponential from 1 s with jitter) serves both contracts.
MAX_TRIES = 4
FIRST_WAIT_SECONDS = 1.0
#: The official .NET SDK gives up above this: a longer Retry-After means that a daily limit is spent.
RETRY_AFTER_CAP_SECONDS = 180.0
#: One answer must not eat the whole poll.
CALL_TIMEOUT_SECONDS = 30.0
#: A day of quarter hours for a thousand queues is some 50 MB; beyond this something is wrong.
MAX_BODY_BYTES = 128 * 1024 * 1024
#: No error of the service is that long; a page of a proxy may be, and says nothing.
MAX_REFUSAL_BYTES = 256 * 1024
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """What to send. `endpoint` is the short name in metrics and messages; secrets stay out of the repr."""

    endpoint: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    permission: str | None = None
    background: bool = False
    #: What must not come back in a message, should a gateway echo what it was sent.
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def authorised(self, value: str, *secrets: str) -> Call:
        return replace(self, headers={**self.headers, "Authorization": value}, secrets=secrets)

    def scrub(self, text: str) -> str:
        for secret in filter(None, self.secrets):
            text = text.replace(secret, "***")
        return text


class Transport:
    """Sends calls over one aiohttp session; all of them pass one pacing gate."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        gate: PacingGate,
        clock: Clock,
        hook: ApiHook,
        *,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
    ) -> None:
        self._session = session
        self._gate = gate
        self._clock = clock
        self._hook = hook
        self._first_wait_seconds = first_wait_seconds

    async def send(self, call: Call, deadline: float) -> bytes:
        """The body of the answer, at the latest at `deadline` (monotonic seconds).

        Transient failures are tried again with full jitter, `Retry-After` first. Raises a GenesysError: the
        last one met.
        """

        def hopeless(error: Exception) -> bool:
            asked = getattr(error, "retry_after_seconds", None) or 0.0
            return not getattr(error, "transient", False) or asked > RETRY_AFTER_CAP_SECONDS

        async def pause(details: Mapping[str, Any]) -> None:
            error: GenesysError = details["exception"]
            wait = self._wait_seconds(error, details["tries"])
            if self._clock.monotonic() + wait >= deadline:
                raise error
            self._hook(ApiRetried(call.endpoint, error.reason, wait))
            log.debug("%s; next try in %.1f s", error, wait)
            await self._clock.sleep(wait)
            if isinstance(error, RateLimited):
                self._hook(ApiThrottled(wait))

        attempt = backoff.on_exception(
            backoff.constant,
            GenesysError,
            interval=0,  # the library would wait by the machine's clock: `pause` waits by ours
            max_tries=MAX_TRIES,
            jitter=None,
            giveup=hopeless,
            on_backoff=pause,
            logger=None,
        )(self._attempt)
        return await attempt(call, deadline)

    def _wait_seconds(self, error: GenesysError, tries: int) -> float:
        """Seconds before the next try: what the service asks for, else full jitter over an exponential."""
        asked: float | None = getattr(error, "retry_after_seconds", None)
        return asked or backoff.full_jitter(self._first_wait_seconds * 2 ** (tries - 1))

    async def _attempt(self, call: Call, deadline: float) -> bytes:
        if self._clock.monotonic() >= deadline:
            raise Unavailable(f"{call.endpoint}: no time is left for it")
        async with self._gate.passage(deadline, background=call.background):
            return await self._exchange(call, deadline)

    async def _exchange(self, call: Call, deadline: float) -> bytes:
        started = self._clock.monotonic()
        code = "error"
        try:
            async with self._session.request(
                call.method,
                call.url,
                data=call.body,
                headers={"Accept": "application/json", "User-Agent": f"genesys-cloud-exporter/{__version__}"},
                timeout=aiohttp.ClientTimeout(total=max(0.05, min(CALL_TIMEOUT_SECONDS, deadline - started))),
                allow_redirects=False,
                middlewares=(_as_it_is(call.headers),),
            ) as answer:
                body = await _read(call.endpoint, answer)
                code = str(answer.status)
                self._note_limits(answer.headers)
                self._accept(call, answer, body)
                return body
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _network_error(call.endpoint, error, self._clock.monotonic() - started) from error
        finally:
            self._hook(ApiCalled(call.endpoint, code, self._clock.monotonic() - started))

    def _accept(self, call: Call, answer: aiohttp.ClientResponse, body: bytes) -> None:
        correlation = printable(call.scrub(answer.headers.get("ININ-Correlation-Id", "-")))
        log.debug("%s %s %s, correlation id %s", call.method, call.endpoint, answer.status, correlation)
        if 200 <= answer.status < 300:
            return
        error = error_of(
            call.endpoint,
            answer.status,
            answer.headers,
            body,
            permission=call.permission,
            now=self._clock.now(),
            scrub=call.scrub,
        )
        if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
            self._gate.close_for(min(error.retry_after_seconds, RETRY_AFTER_CAP_SECONDS))
        raise error

    def _note_limits(self, headers: Mapping[str, str]) -> None:
        """Publish the service's own count; when the minute is used up, wait for the next one."""
        try:
            allowed = float(headers["inin-ratelimit-allowed"])
            used = float(headers["inin-ratelimit-count"])
            reset_seconds = float(headers.get("inin-ratelimit-reset", "60"))
        except (KeyError, ValueError):
            return
        if not (1 <= allowed < 1e9 and 0 <= used < 1e9):
            return
        remaining = max(0.0, allowed - used)
        self._hook(RateLimitSeen(allowed, remaining))
        if remaining <= 0 and 0 < reset_seconds <= 60:
            self._gate.close_for(reset_seconds)


def _as_it_is(headers: Mapping[str, str]) -> aiohttp.ClientMiddlewareType:
    """Keeps aiohttp from two favours: repeating a GET on a broken kept connection by itself, past the pacing gate,
    and refusing our Authorization because a ~/.netrc knows the host too.
    """
    sent = False

    async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal sent
        if sent:
            raise aiohttp.ServerDisconnectedError
        sent = True
        request.headers.update(headers)
        return await handler(request)

    return send


async def _read(endpoint: str, answer: aiohttp.ClientResponse) -> bytes:
    """The whole body, or PayloadError as soon as it proves too large; of a refusal, what its words may need."""
    good, body = 200 <= answer.status < 300, bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > (MAX_BODY_BYTES if good else MAX_REFUSAL_BYTES):
            answer.close()
            if good:
                raise PayloadError(f"{endpoint}: the answer is larger than {MAX_BODY_BYTES >> 20} MiB")
            break
    return bytes(body)


def _network_error(endpoint: str, error: Exception, seconds: float) -> GenesysError:
    """What a failure below HTTP means; the words name the cause without addresses of ours or headers."""
    if isinstance(error, TimeoutError):
        return Unavailable(f"{endpoint}: no answer within {seconds:.0f} s")
    if isinstance(error, aiohttp.ClientPayloadError):
        cut = PayloadError(f"{endpoint}: the answer was cut off or cannot be decompressed")
        cut.transient = True
        return cut
    if isinstance(error, aiohttp.InvalidURL):
        return Unavailable(f"{endpoint}: not a usable address; check GENESYS_API_URL and GENESYS_LOGIN_URL")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError | aiohttp.ClientSSLError):
        return Unavailable(f"{endpoint}: no trusted TLS connection: {printable(str(error))}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unavailable(f"{endpoint}: the host name cannot be resolved; check GENESYS_ENVIRONMENT")
    if isinstance(error, asyncio.IncompleteReadError | ConnectionResetError | aiohttp.ServerDisconnectedError):
        return Unavailable(f"{endpoint}: the connection was closed before an answer came")
    return Unavailable(f"{endpoint}: {type(error).__name__}: {printable(str(error))}")
