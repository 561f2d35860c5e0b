"""Two or more exporters of one org, joined: what the settings say of Redis, made into one `Leadership`.

In: settings and the parts of one exporter. Out: the leadership that runs them, its keys named after the contract, the
bucket, the client and the selection of queues, so that several orgs can share a Redis; nothing without
EXPORTER_REDIS_URL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from uuid import uuid4

from exporter.account import client_key, selection_of
from exporter.analysis.analyst import Analyst
from exporter.clock import Clock
from exporter.errors import SettingsError
from exporter.leadership import BEATS_PER_LEASE, Leadership, lease_seconds
from exporter.models import Snapshot
from exporter.poller import Poller
from exporter.replicas.peers import Others, reachable_url
from exporter.replicas.shared import LinkDown, Shared
from exporter.settings import Settings
from exporter.sharing import Sharing

#: An answer of Redis takes a millisecond; while one is waited for, the lease runs.
SHORTEST_TIMEOUT_SECONDS, LONGEST_TIMEOUT_SECONDS = 0.5, 5.0


def open_shared(settings: Settings) -> Shared | None:
    """What the replicas share; None where the settings name no Redis. Connects to nothing yet.

    Raises SettingsError where the URL of Redis has options that mean nothing.
    """
    if settings.redis is None:
        return None
    selection = selection_of(settings).digest
    scope = f"{settings.contract}|{settings.bucket}|{client_key(settings)}|{selection}"
    beat = lease_seconds(settings.poll_interval_seconds) / BEATS_PER_LEASE
    try:
        return Shared(
            settings.redis,
            hashlib.sha256(scope.encode()).hexdigest()[:16],
            uuid4().hex[:12],
            timeout_seconds=min(max(beat, SHORTEST_TIMEOUT_SECONDS), LONGEST_TIMEOUT_SECONDS),
            data_seconds=settings.baseline_days * 86_400,
        )
    except ValueError as error:
        raise SettingsError([f"EXPORTER_REDIS_URL: {error}"]) from None


def leadership_of(
    settings: Settings,
    shared: Shared,
    analyst: Analyst,
    poller: Poller,
    publish: Callable[[Snapshot], Awaitable[None]],
    work: Callable[[], Awaitable[None]],
    clock: Clock,
    *,
    on_role: Callable[[bool], None],
    on_link: Callable[[bool], None],
) -> Leadership:
    """`publish` serves a snapshot here, whoever built it; `work` polls and back-fills until cancelled."""
    sharing = Sharing(shared, analyst, publish, lambda: poller.readings, clock=clock)
    return Leadership(
        shared,
        sharing,
        poller,
        work,
        clock=clock,
        poll_interval_seconds=settings.poll_interval_seconds,
        others=Others(),
        on_role=on_role,
        on_link=on_link,
    )


def address(settings: Settings, url: str) -> str:
    """Where other replicas reach the server at `url`; "" while that cannot be told. May wait for a name server."""
    return url if settings.redis is None else reachable_url(url, settings.host, settings.redis)


async def redis_answers(shared: Shared) -> str:
    """Empty, or why Redis cannot be used."""
    try:
        await shared.ping()
    except LinkDown as error:
        return str(error)
    finally:
        await shared.close()
    return ""
