"""The simulated Genesys Cloud org: one object that holds everything a test or the demo may want to touch.

In: an `OrgConfig` and a clock (a callable that returns aware UTC). Out: an aiohttp application, the truth behind it,
and handles on queues, incidents, faults, clients and the request log. What the contracts read is one immutable `View`,
swapped whole when queues or incidents change, so that an answer under way never sees half a change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from exporter.simulator import truth
from exporter.simulator.contacts import Flags
from exporter.simulator.contracts.selection import Selector
from exporter.simulator.contracts.summary import SummaryPages
from exporter.simulator.directory import Division, Queue, divisions, queues, with_name
from exporter.simulator.faults import Faults
from exporter.simulator.incidents import Incident
from exporter.simulator.limits import RateLimit
from exporter.simulator.oauth import ALL_PERMISSIONS, Client, TokenOffice
from exporter.simulator.outcomes import ON_TIME, Lateness
from exporter.simulator.replay import AnchoredReplay, Replay, ReplayTraffic
from exporter.simulator.request_log import LoggedRequest, most_in_any_minute
from exporter.simulator.streams import table_of
from exporter.simulator.tally import ContactSource
from exporter.simulator.traffic import Traffic

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class OrgConfig:
    """Everything that is fixed for the life of an org."""

    queues: int = 40
    seed: int = 1
    client_id: str = "simulated-client"
    client_secret: str = "simulated-secret"  # noqa: S105 - opens nothing but the simulation
    permissions: frozenset[str] = ALL_PERMISSIONS
    token_seconds: int = 86_399
    requests_per_minute: int = 300
    incidents: tuple[Incident, ...] = ()
    remembered_requests: int = 10_000
    lateness: Lateness = ON_TIME
    replay: Replay | AnchoredReplay | None = None  # then queues, incidents and lateness play no part


def _anchored(replay: Replay | AnchoredReplay | None, clock: Clock) -> AnchoredReplay | None:
    return replay.anchored(clock()) if isinstance(replay, Replay) else replay


@dataclass(frozen=True)
class View:
    """What the contracts read: contacts, and the queues in the order that the stream table knows them by."""

    source: ContactSource
    queues: tuple[Queue, ...]
    removed: frozenset[str]
    selector: Selector
    _visible: dict[frozenset[str] | None, Flags] = field(default_factory=dict, init=False, compare=False)

    def visible(self, client: Client) -> Flags:
        """The streams that the client's divisions grant."""
        if client.divisions not in self._visible:
            owners = np.array([self.is_visible(queue, client) for queue in self.queues], dtype=np.bool_)
            self._visible[client.divisions] = owners[self.source.table.queues]
        return self._visible[client.divisions]

    def is_visible(self, queue: Queue, client: Client) -> bool:
        return queue.id not in self.removed and (client.divisions is None or queue.division.id in client.divisions)

    def listed(self, client: Client) -> list[Queue]:
        return [queue for queue in self.queues if self.is_visible(queue, client)]


class SimulatedOrg:
    """A Genesys Cloud org; `faults` and `requests` are open to everybody."""

    def __init__(self, config: OrgConfig | None = None, clock: Clock = system_clock) -> None:
        self.config = config or OrgConfig()
        self.clock = clock
        self.divisions: tuple[Division, ...] = divisions(self.config.seed)
        client = Client(self.config.client_id, self.config.client_secret, self.config.permissions)
        self.office = TokenOffice([client], self.config.token_seconds)
        self.rate_limit = RateLimit(self.config.requests_per_minute)
        self.summary_pages = SummaryPages()
        self.faults = Faults(self.config.seed)
        self.requests: list[LoggedRequest] = []
        self._incidents = self.config.incidents
        self.replay = _anchored(self.config.replay, clock)
        self.view = self._view(self._first_queues(), frozenset())

    def _first_queues(self) -> list[Queue]:
        if self.replay is not None:
            return self.replay.queues(self.divisions[0])
        return queues(self.config.queues, self.config.seed)

    def _view(self, known: Sequence[Queue], removed: frozenset[str]) -> View:
        table = table_of(known, self.config.seed)
        source: ContactSource
        if self.replay is not None:
            source = ReplayTraffic(table, self.replay)
        else:
            source = Traffic(table, self._incidents, self.config.lateness)
        return View(source, tuple(known), removed, Selector(table))

    # Queues

    @property
    def queues(self) -> list[Queue]:
        """The queues that exist now."""
        return [queue for queue in self.view.queues if queue.id not in self.view.removed]

    def queue(self, name_or_id: str) -> Queue:
        """The first queue of this name or id."""
        return next(queue for queue in self.queues if name_or_id in (queue.id, queue.name))

    def add_queue(self, queue: Queue) -> None:
        """A new queue, with the past that its seed gives it."""
        self.view = self._view((*self.view.queues, queue), self.view.removed)

    def remove_queue(self, queue_id: str) -> None:
        """The queue and its figures vanish from every answer."""
        self.view = replace(self.view, removed=self.view.removed | {queue_id})

    def rename_queue(self, queue_id: str, name: str) -> None:
        known = tuple(with_name(queue, name) if queue.id == queue_id else queue for queue in self.view.queues)
        self.view = replace(self.view, queues=known)

    # Trouble

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return self._incidents

    def add_incident(self, *incidents: Incident) -> None:
        """From now on these happen too, also in the past if they lie there."""
        self._incidents += incidents
        self.view = self._view(self.view.queues, self.view.removed)

    def expire_tokens(self) -> None:
        """Every token in use has expired."""
        self.office.expire_all()

    def rotate_secret(self, secret: str, client_id: str | None = None) -> None:
        """The client has a new secret; its tokens are void."""
        self.office.rotate_secret(client_id or self.config.client_id, secret)

    @property
    def client(self) -> Client:
        """The client that the config names."""
        return self.office.clients[self.config.client_id]

    def add_client(self, client: Client) -> None:
        self.office.clients[client.id] = client

    # What happened

    def truth(self, start: datetime, end: datetime, bucket_seconds: int) -> dict[truth.Cell, truth.Counts]:
        """Exact counts per (queue id, media type, bucket start) of the queues that exist now."""
        cells = truth.count(self.view.source, start, end, bucket_seconds)
        return {cell: counts for cell, counts in cells.items() if cell.queue_id not in self.view.removed}

    def log(self, request: LoggedRequest) -> None:
        """Remember a request, and forget the oldest beyond `remembered_requests`."""
        self.requests.append(request)
        del self.requests[: -self.config.remembered_requests]

    def calls(self, endpoint: str) -> list[LoggedRequest]:
        """The requests to one endpoint so far."""
        return [request for request in self.requests if request.endpoint == endpoint]

    def calls_in_any_minute(self) -> int:
        """The largest number of requests, token calls included, within any 60 seconds."""
        return most_in_any_minute(self.requests)
