"""What each role may read: a short list of routes for each, and nothing that is not in it.

Roles add up: whoever has two may read what either may. A route that stands in no list is the `admin`'s alone, so that a
new one is closed until somebody decides who may read it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aiohttp import web

ADMIN = "admin"
#: Role → its routes; one that ends with a slash stands for all that begin so.
ROUTES: Mapping[str, tuple[str, ...]] = {
    "scraper": ("/metrics",),
    "viewer": ("/", "/static/", "/api/live/", "/dashboard", "/api/dashboard/metrics"),
    "exporter": ("/export.csv",),
    ADMIN: (),
}
ROLES = tuple(ROUTES)
EVERY_ROLE = frozenset(ROLES)

#: For probes and load balancers, which have no password. They tell a word and no data.
OPEN_ROUTES = frozenset({"/-/healthy", "/-/ready", "/-/replica"})


def is_open(request: web.Request) -> bool:
    """By the route that will answer, not by the path, of which there may be several readings."""
    return _route(request) in OPEN_ROUTES


def may(roles: Collection[str], request: web.Request) -> bool:
    """Whether one of the roles lets the request pass; where there is no such route, whether there is any role."""
    route = _route(request)
    if route is None or ADMIN in roles:
        return bool(roles)
    return any(_covers(each, route) for role in roles for each in ROUTES[role])


def _covers(listed: str, route: str) -> bool:
    return route == listed or (len(listed) > 1 and listed.endswith("/") and route.startswith(listed))


def _route(request: web.Request) -> str | None:
    """The route as it is written in the table of routes; None where none of them will answer."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical
