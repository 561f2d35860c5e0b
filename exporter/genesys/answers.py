"""From an HTTP status and body to an error with a plain message: one table, one function.

Error bodies of the API are `{message, code, status, contextId, …}`; those of `/oauth/token` are
`{error, description, error_description}`; a proxy's are whatever it likes. Messages are cut, made printable and
carry the service's `code` and `contextId`, which its support asks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from exporter.errors import AuthError, GenesysError, QueryError, RateLimited, ScopeError, Unavailable

#: Worth another try: the official resiliency example retries 429, 502, 503 and 504; 408 and 500 say the same thing.
TRANSIENT_STATUSES = frozenset({408, 500, 502, 503, 504})

_PERMISSION = re.compile(r"\b\w+:\w+:\w+\b")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\uffff]+")
_MESSAGE_LENGTH = 300


class ErrorBody(msgspec.Struct):
    """What either kind of error body may hold."""

    message: str | None = None
    code: str | None = None
    contextId: str | None = None  # noqa: N815 - the vendor's name
    error: str | None = None
    description: str | None = None
    error_description: str | None = None


def error_of(
    endpoint: str, status: int, headers: Mapping[str, str], body: bytes, *, permission: str | None, now: datetime
) -> GenesysError:
    """The error that an answer other than 2xx stands for; `permission` is the one the endpoint is known to need."""
    text = f"{endpoint}: {_explain(status, headers, body)}"
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
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def printable(text: str) -> str:
    """One line of a stranger's text, cut to a length that fits a log."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line if len(line) <= _MESSAGE_LENGTH else line[:_MESSAGE_LENGTH] + "…"


def _explain(status: int, headers: Mapping[str, str], body: bytes) -> str:
    try:
        told = msgspec.json.decode(body, type=ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return f"HTTP {status}{_correlation(headers, None)}"
    words = told.message or told.error_description or told.description or ""
    code = told.code or told.error
    named = f" {printable(code)}" if code else ""
    said = f": {printable(words)}" if words else ""
    return f"HTTP {status}{named}{said}{_correlation(headers, told.contextId)}"


def _correlation(headers: Mapping[str, str], context_id: str | None) -> str:
    handle = context_id or headers.get("ININ-Correlation-Id")
    return f" (contextId {printable(handle)})" if handle else ""
