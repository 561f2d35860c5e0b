"""The account that is polled: whose credentials, which queues, and the API client that asks for them.

In: settings. Out: the client's parts, joined, which call nothing by themselves; and what makes one client's history not
another's. Credentials are read where they stand whenever a token is fetched, so that a rotated secret needs nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from exporter.clock import Clock
from exporter.errors import AuthError, SettingsError
from exporter.genesys.auth import Credentials, TokenSource
from exporter.genesys.client import ApiClient
from exporter.genesys.pacing import PacingGate
from exporter.genesys.selection import Selection
from exporter.genesys.source import AggregatesSource, Source, SummarySource
from exporter.genesys.transport import Transport
from exporter.models import ApiHook
from exporter.reloading import Judge
from exporter.settings import Settings


class CredentialsReader:
    """Reads client id and secret as `settings` say where they are, whenever it is called."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self) -> Credentials:
        try:
            return Credentials(*self.settings.read_credentials())
        except SettingsError as error:  # a secret file that has gone is a refusal, not the end
            raise AuthError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Client:
    """The API client's parts that others need to see."""

    api: ApiClient
    source: Source
    gate: PacingGate
    tokens: TokenSource
    credentials: CredentialsReader

    def follow(self, settings: Settings) -> None:
        """Calls, paces and proves who it is by other settings from now on."""
        self.credentials.settings = settings
        self.gate.per_minute = settings.requests_per_minute
        self.source.settle(settings.settle_seconds)

    async def renew_token(self) -> None:
        """Give up a token that other credentials than the present ones fetched."""
        self.tokens.renew(await asyncio.to_thread(self.credentials))


@asynccontextmanager
async def open_client(settings: Settings, clock: Clock, hook: ApiHook) -> AsyncIterator[Client]:
    """The API client of `settings`; calls nothing by itself."""
    connector = aiohttp.TCPConnector(limit=8, ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(
        connector=connector, trust_env=True, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        gate = PacingGate(settings.requests_per_minute, clock, hook)
        transport = Transport(session, gate, clock, hook)
        credentials = CredentialsReader(settings)
        tokens = TokenSource(transport, settings.login_url, credentials, clock)
        api = ApiClient(transport, tokens, settings.api_url, hook)
        kind = SummarySource if settings.contract == "summary" else AggregatesSource
        source = kind(api, selection_of(settings), settings.bucket, settings.settle_seconds, clock)
        yield Client(api, source, gate, tokens, credentials)


def selection_of(settings: Settings) -> Selection:
    return Selection(settings.queue_ids, settings.queue_include, settings.queue_exclude, settings.media_types)


def same_client(settings: Settings) -> Judge:
    """Refuses settings that name another client than `settings` do, or whose files of secrets cannot be read."""
    key = client_key(settings)

    def judge(new: Settings) -> None:
        new.read_credentials()
        if client_key(new) != key:
            raise SettingsError(["GENESYS_CLIENT_ID cannot change without a restart, since history is kept by client"])

    return judge


def client_key(settings: Settings) -> str:
    """Tells one org's client from another's in the history file; client ids are unique over all orgs."""
    try:
        client_id, _ = settings.read_credentials()
    except SettingsError:
        return ""
    return hashlib.sha256(client_id.encode()).hexdigest()[:16]
