"""GET /api/v2/routing/queues and GET /api/v2/authorization/divisions: classic pages of the directory.

In: the query string and the entities that the client may see. Out: a QueueEntityListing or DivisionEntityListing as a
dict, with the links to its neighbours. Filters are those of the real listing: name with a leading or trailing `*`, id
and divisionId (each may stand several times).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from multidict import MultiMapping

from exporter.simulator.api_errors import bad_request, invalid_value
from exporter.simulator.directory import Division, Queue
from exporter.simulator.profiles import CALLBACK, CHAT, EMAIL, MESSAGE, VOICE, profile_of

#: What Genesys' own tools ask for at the most; the real limit is not documented.
MOST_PAGE_SIZE = 500
_SORT_ORDERS = ("asc", "desc", "score")
#: The listing's name for each media type of analytics.
_SETTINGS = {"call": VOICE, CALLBACK: CALLBACK, CHAT: CHAT, EMAIL: EMAIL, MESSAGE: MESSAGE}
Entity = TypeVar("Entity")
_CREATED = "2024-11-11T14:46:26.238Z"


def queue_page(path: str, parameters: MultiMapping[str], queues: Sequence[Queue]) -> dict[str, Any]:
    """One page of the queues, by name."""
    order = parameters.get("sortOrder", "asc")
    if order.lower() not in _SORT_ORDERS:
        raise invalid_value(order, "SortOrder", _SORT_ORDERS)
    wanted = [queue for queue in queues if _is_wanted(queue, parameters)]
    wanted.sort(key=lambda queue: (queue.name.casefold(), queue.id), reverse=order.lower() == "desc")
    return _page(path, parameters, wanted, queue_entity)


def division_page(path: str, parameters: MultiMapping[str], divisions: Sequence[Division]) -> dict[str, Any]:
    return _page(path, parameters, divisions, _division_entity)


def queue_entity(queue: Queue) -> dict[str, Any]:
    """The Queue of the API, as far as an exporter could care."""
    return {
        "id": queue.id,
        "name": queue.name,
        "division": _division_entity(queue.division),
        "dateCreated": _CREATED,
        "dateModified": _CREATED,
        "memberCount": queue.members,
        "userMemberCount": queue.members,
        "joinedMemberCount": queue.members,
        "mediaSettings": {setting: _media_setting(queue, media) for setting, media in _SETTINGS.items()},
        "scoringMethod": "TimestampAndPriority",
        "skillEvaluationMethod": "ALL",
        "selfUri": f"/api/v2/routing/queues/{queue.id}",
    }


def _media_setting(queue: Queue, media: str) -> dict[str, Any]:
    profile = profile_of(media)
    target, milliseconds = queue.service_levels.get(media, (profile.sla_target, profile.sla_ms))
    return {"alertingTimeoutSeconds": 8, "serviceLevel": {"percentage": target, "durationMs": milliseconds}}


def _division_entity(division: Division) -> dict[str, Any]:
    return {
        "id": division.id,
        "name": division.name,
        "selfUri": f"/api/v2/authorization/divisions/{division.id}",
    }


def _is_wanted(queue: Queue, parameters: MultiMapping[str]) -> bool:
    ids, division_ids = parameters.getall("id", []), parameters.getall("divisionId", [])
    name = parameters.get("name")
    return (
        (not ids or queue.id in ids)
        and (not division_ids or queue.division.id in division_ids)
        and (not name or _name_matches(queue.name.casefold(), name.casefold()))
    )


def _name_matches(name: str, pattern: str) -> bool:
    wanted = pattern.strip("*")
    if pattern.startswith("*"):
        return wanted in name if pattern.endswith("*") else name.endswith(wanted)
    return name.startswith(wanted) if pattern.endswith("*") else name == wanted


def _page(
    path: str, parameters: MultiMapping[str], wanted: Sequence[Entity], written: Callable[[Entity], dict[str, Any]]
) -> dict[str, Any]:
    size = _whole_number(parameters, "pageSize", 25, MOST_PAGE_SIZE)
    number = _whole_number(parameters, "pageNumber", 1, None)
    count = math.ceil(len(wanted) / size)
    links = {"selfUri": number, "firstUri": 1, "lastUri": max(1, count)}
    if number < count:
        links["nextUri"] = number + 1
    if 1 < number <= count + 1:
        links["previousUri"] = number - 1
    return {
        "entities": [written(each) for each in wanted[(number - 1) * size : number * size]],
        "pageSize": size,
        "pageNumber": number,
        "total": len(wanted),
        "pageCount": count,
        **{name: _link(path, parameters, size, page) for name, page in links.items()},
    }


def _link(path: str, parameters: MultiMapping[str], size: int, number: int) -> str:
    others = [(name, value) for name, value in parameters.items() if name not in ("pageSize", "pageNumber")]
    return f"{path}?{urlencode([('pageSize', size), ('pageNumber', number), *others])}"


def _whole_number(parameters: MultiMapping[str], name: str, default: int, most: int | None) -> int:
    text = parameters.get(name, str(default))
    if not text.isdecimal() or int(text) < 1 or (most is not None and int(text) > most):
        bound = "" if most is None else f" and at most {most}"
        raise bad_request(f"{name} [{text}] must be a whole number of at least 1{bound}")
    return int(text)
