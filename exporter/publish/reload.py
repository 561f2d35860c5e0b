"""`POST /-/reload`: whoever may reach it may have the settings read again.

In: a request without a body. Out: a line, or an error as JSON; why settings were refused stands in the log alone, since
faults quote what is written there. A browser never has a reason to ask, but a page of another site may make it do so: a
request that a browser sent is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from exporter.publish.responses import error, plain

#: Every browser sends one of them with a POST, whatever page it is on; no page can take them off.
BROWSER_HEADERS = ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode")


class Reload:
    """The route; without `reload` it is closed."""

    def __init__(self, reload: Callable[[], Awaitable[bool]] | None) -> None:
        self._reload = reload

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self._reload is None:
            return error(403, "reloading over HTTP is off; EXPORTER_ENABLE_RELOAD=true allows it after a restart")
        if any(name in request.headers for name in BROWSER_HEADERS):
            return error(403, "a browser may not ask for a reload")
        if request.can_read_body or request.query_string:
            return error(400, "a reload takes neither a body nor parameters")
        if not await self._reload():
            return error(422, "the new settings were refused, and the old ones hold; the log says why")
        return plain(200, "reloaded")
