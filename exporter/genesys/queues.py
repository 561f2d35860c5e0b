"""The queue directory: `GET /api/v2/routing/queues`, classic pages.

Names, divisions and service-level targets exist nowhere else: analytics answers hold ids alone. The directory
lists only what the client's divisions grant, with status 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern

import msgspec

from exporter.errors import PagingError, PayloadError
from exporter.genesys.client import QUEUES, ApiClient
from exporter.genesys.decode import Rejects, decode, good_rows
from exporter.models import Queue

#: What the vendor's own Terraform provider asks for; the largest size is not documented.
PAGE_SIZE = 500
#: Two hundred thousand queues: far beyond any org, so that a chain of pages without end is cut.
MAX_PAGES = 400
#: Queues may be made while the pages are read, but hardly more than fill a page.
PAGES_MORE = 1

#: The directory's media names where analytics has another one.
ANALYTICS_MEDIA = {"call": "voice"}

#: Service-level targets by what is in them: most queues of an org have the same, and all of those share one mapping.
Targets = dict[tuple[tuple[str, float], ...], Mapping[str, float]]


class ServiceLevel(msgspec.Struct):
    percentage: float | None = None


class MediaSettings(msgspec.Struct):
    serviceLevel: ServiceLevel | None = None  # noqa: N815 - the vendor's name


class Division(msgspec.Struct):
    name: str | None = None


class QueueEntity(msgspec.Struct):
    id: str
    name: str | None = None
    division: Division | None = None
    mediaSettings: dict[str, MediaSettings | None] | None = None  # noqa: N815


class QueuePage(msgspec.Struct):
    entities: list[msgspec.Raw] | None = None  # of QueueEntity
    pageCount: int | None = None  # noqa: N815
    pageNumber: int | None = None  # noqa: N815
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Every queue that the client may see; `lost` of them could not be read, and the service counts `total`."""

    queues: list[Queue]
    lost: int
    total: int | None

    @property
    def is_short(self) -> bool:
        """Whether the service counts more queues than came."""
        return self.total is not None and len(self.queues) + self.lost < self.total


async def fetch_queues(client: ApiClient, deadline: float) -> Listing:
    """All pages of the directory. Raises a GenesysError; half a directory is never returned."""
    rejects = Rejects()
    queues: dict[str, Queue] = {}
    known: Targets = {}
    promised = 0
    for number in range(1, MAX_PAGES + 1):
        before = len(queues) + rejects.lost.total()
        page = await _page(client, number, deadline)
        _take(page, queues, rejects, known)
        last = _last(page, number)
        if number >= last:
            rejects.tell(client.hook)
            return Listing(list(queues.values()), rejects.lost.total(), page.total)
        if len(queues) + rejects.lost.total() == before:
            raise PagingError(f"queues: page {number} of {last} brings nothing new")
        promised = promised or page.pageCount or MAX_PAGES
        if last > promised + PAGES_MORE:
            raise PagingError(f"queues: page {number} names {last} pages after page 1 named {promised}")
    raise PagingError(f"queues: still no last page after {MAX_PAGES} pages")


async def _page(client: ApiClient, number: int, deadline: float) -> QueuePage:
    body = await client.send(QUEUES, deadline, query=f"?pageSize={PAGE_SIZE}&pageNumber={number}&sortOrder=asc")
    page = decode(body, QueuePage, "queues")
    if page.entities is None:
        raise PayloadError("queues: the answer is no listing")
    if page.pageNumber not in (None, number):
        raise PagingError(f"queues: page {page.pageNumber} came in place of page {number}")
    return page


def _last(page: QueuePage, number: int) -> int:
    """The number of the last page; where the service does not tell, a page that is not full is the last."""
    if page.pageCount is not None:
        return page.pageCount
    return number + (len(page.entities or ()) >= PAGE_SIZE)


def _take(page: QueuePage, queues: dict[str, Queue], rejects: Rejects, known: Targets) -> None:
    for entity in good_rows(page.entities, QueueEntity, rejects):
        if not entity.id:
            rejects.add("missing_id")
        elif entity.id in queues:
            rejects.add("duplicate", ())
        else:
            queues[entity.id] = _queue(entity, known)


def _queue(entity: QueueEntity, known: Targets) -> Queue:
    targets: dict[str, float] = {}
    for media, settings in (entity.mediaSettings or {}).items():
        target = settings.serviceLevel.percentage if settings and settings.serviceLevel else None
        if target is not None and 0 <= target <= 1:
            targets[ANALYTICS_MEDIA.get(media, media)] = target
    division = entity.division.name if entity.division else None
    name = entity.name or entity.id
    return Queue(intern(entity.id), intern(name), intern(division or ""), _kept_once(targets, known))


def _kept_once(targets: dict[str, float], known: Targets) -> Mapping[str, float]:
    return known.setdefault(tuple(targets.items()), targets)
