"""Which representation a request asks for: Accept and Accept-Encoding with their q-values (RFC 9110, 12.4 and 12.5).

In come header values, out goes a choice between the two things that exist. Nobody is ever refused: who accepts
neither gets plain text 0.0.4 without compression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

from aiohttp import web

#: A scraper sends the same headers every time.
_KEPT_HEADERS = 64

_TEXT = ("text/plain", ("0.0.4",))
_OPENMETRICS = ("application/openmetrics-text", ("1.0.0", "0.0.1"))


@dataclass(frozen=True, slots=True)
class _Choice:
    """One element of an Accept header: `text/plain;version=0.0.4;q=0.5`."""

    value: str
    params: dict[str, str]
    q: float
    position: int


def header(request: web.Request, name: str) -> str:
    """A header that may come in several lines, as one list."""
    return ",".join(request.headers.getall(name, []))


@lru_cache(_KEPT_HEADERS)
def wants_openmetrics(accept: str) -> bool:
    """True if OpenMetrics is wanted more than text: by q, then by how exactly it is named, then by order."""
    choices = list(_choices(accept))
    wanted = _preference(choices, *_OPENMETRICS)
    return wanted[0] > 0 and wanted > _preference(choices, *_TEXT)


@lru_cache(_KEPT_HEADERS)
def wants_gzip(accept_encoding: str) -> bool:
    """True if gzip is accepted, and not less than identity where that is named too."""
    quality: dict[str, float] = {}
    for choice in _choices(accept_encoding):
        name = "gzip" if choice.value == "x-gzip" else choice.value
        quality[name] = max(choice.q, quality.get(name, 0.0))
    gzip = quality.get("gzip", quality.get("*", 0.0))
    return gzip > 0 and gzip >= quality.get("identity", 0.0)


def _preference(choices: list[_Choice], media_type: str, versions: tuple[str, ...]) -> tuple[float, int, int]:
    """(q, how exactly, how early) of the most exact element that covers the media type; (0, 0, 0) if none does."""
    best = (0, 0.0, 0)
    for choice in choices:
        exactness = _exactness(choice, media_type, versions)
        best = max(best, (exactness, choice.q, -choice.position)) if exactness else best
    exactness, q, order = best
    return q, exactness, order


def _exactness(choice: _Choice, media_type: str, versions: tuple[str, ...]) -> int:
    """4 for type and version, 3 for the type, 2 for `type/*`, 1 for `*/*`, 0 where it does not match."""
    if choice.value == media_type:
        if "version" not in choice.params:
            return 3
        return 4 if choice.params["version"] in versions else 0
    if choice.value == media_type.partition("/")[0] + "/*":
        return 2
    return 1 if choice.value == "*/*" else 0


def _choices(header: str) -> Iterator[_Choice]:
    """The elements of a header; one whose q is not a number is left out."""
    for position, element in enumerate(header.split(",")):
        value, *raw_params = (part.strip() for part in element.split(";"))
        params = {}
        for raw in raw_params:
            name, _, text = raw.partition("=")
            params[name.strip().lower()] = text.strip().strip('"')
        q = _quality(params.pop("q", "1"))
        if value and q is not None:
            yield _Choice(value.lower(), params, q, position)


def _quality(text: str) -> float | None:
    try:
        q = float(text)
    except ValueError:
        return None
    return min(q, 1.0) if isfinite(q) and q >= 0 else None
