"""Answers that a browser need not fetch twice: an ETag, 304 while nothing has changed, gzip where it is accepted.

In come a request, the tag of what is answered and its bytes, made once in both forms; out goes the response. Shared by
the live page's files and its documents.
"""

from __future__ import annotations

from aiohttp import web

from exporter.publish.negotiate import wants_gzip
from exporter.publish.once import Document
from exporter.publish.responses import send


async def tagged(
    request: web.Request, tag: str, document: Document, content_type: str, **more_headers: str
) -> web.StreamResponse:
    """200 with the document, or 304 to whoever holds it already, in either form."""
    gzip = wants_gzip(",".join(request.headers.getall("Accept-Encoding", [])))
    headers = {
        "Content-Type": content_type,
        "ETag": f'"{tag}-gzip"' if gzip else f'"{tag}"',
        "Vary": "Accept-Encoding",
        "Cache-Control": "no-cache",
        **more_headers,
    }
    if any(known.value in ("*", tag, f"{tag}-gzip") for known in request.if_none_match or ()):
        del headers["Content-Type"]
        return web.Response(status=304, headers=headers)
    if gzip:
        headers["Content-Encoding"] = "gzip"
    return await send(request, [await document.get(gzip=gzip)], headers)
