"""From an HTTP status and body to an error with a plain message: one table, one function.

Error bodies of the API are `{message, code, status, contextId, …}`; those of `/oauth/token` are
`{error, description, error_description}`; a proxy's are whatever it likes. Messages are cut, made printable and
carry the service's `code` and `contextId`, which its support asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from exporter.errors import AuthError, GenesysError, QueryError, RateLimited, ScopeError, Unavailable

#: Worth another try: the official resiliency example retries 429, 502, 503 and 504; 408 and 500 say the same thing.
TRANSIENT_STATUSES = frozenset({408, 500, 502, 503, 504})

#: Letters first, so that a time of day is none.
_PERMISSION = re.compile(r"\b[A-Za-z]\w*:[A-Za-z]\w*:[A-Za-z]\w*\b")
#: Half surrogate pairs cannot be written as UTF-8; separators of lines and changes of direction would deceive a reader.
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\uffff]+")
_MESSAGE_LENGTH = 300
#: A year: whoever asks for more says no more by it.
_LONGEST_SECONDS = 31_536_000.0


def error_of(
    endpoint: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    permission: str | None,
    now: datetime,
    scrub: Callable[[str], str] = str,
) -> GenesysError:
    """The error that an answer other than 2xx stands for.

    `permission` is the one the endpoint is known to need; `scrub` takes secrets out of what the service said.
    """
    text = f"{endpoint}: {_explain(status, headers, body, scrub)}"
    if status == 401 or (status == 400 and endpoint == "token"):
        return AuthError(text)
    if status == 403:
        named = _PERMISSION.search(text)
        needed = named.group() if named else permission
        hint = f" - the client's roles need the permission {needed}" if needed else ""
        return ScopeError(text + hint, needed)
    if status == 429:
        return RateLimited(text, retry_after_seconds(headers.get("Retry-After"), now))
    if status in TRANSIENT_STATUSES:
        return Unavailable(text, retry_after_seconds(headers.get("Retry-After"), now))
    if 300 <= status < 400:
        return QueryError(text + " - a redirect is not followed; check GENESYS_API_URL and GENESYS_LOGIN_URL")
    if status >= 500:
        return Unavailable(text)
    return QueryError(text)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds from a `Retry-After` header, a number or an HTTP date; None where it is absent or unreadable."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", value):
        return min(float(value), _LONGEST_SECONDS)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def printable(text: str) -> str:
    """One line of a stranger's text, cut to a length that fits a log."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line if len(line) <= _MESSAGE_LENGTH else line[:_MESSAGE_LENGTH] + "…"


def _explain(status: int, headers: Mapping[str, str], body: bytes, scrub: Callable[[str], str]) -> str:
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = {}
    code, words, handle = (
        printable(scrub(text))
        for text in (
            _first(told, "code", "error"),
            _first(told, "message", "error_description", "description"),
            _first(told, "contextId") or headers.get("ININ-Correlation-Id", ""),
        )
    )
    parts = (f" {code}" if code else "", f": {words}" if words else "", f" (contextId {handle})" if handle else "")
    return f"HTTP {status}{''.join(parts)}"


def _first(told: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that says something; gateways also write numbers as codes."""
    values = (told.get(name) for name in names)
    return next((str(value) for value in values if value and isinstance(value, str | int)), "")
