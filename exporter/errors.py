"""Every error that the exporter raises on purpose.

    ExporterError
    ├── SettingsError        bad settings: a list of faults, one line each
    ├── HistoryError         the history file cannot be used
    └── GenesysError         the API could not give what was asked (`reason`, `transient`)
        ├── AuthError        client credentials or token refused
        ├── ScopeError       a permission is missing (`permission`)
        ├── QueryError       the service calls the request wrong
        ├── RateLimited      too many requests (`retry_after_seconds`)
        ├── Unavailable      no usable answer: network, timeout, 5xx
        └── PayloadError     an answer that is not what the contract promises
            └── PagingError  a run of pages that cannot end, or not where it promised

`reason` is a short fixed word: it becomes the `reason` label of the exporter's own counters. Messages are for
people and never hold a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ExporterError(Exception):
    """The root: anything below is expected, and its text may be shown to the operator."""


class SettingsError(ExporterError):
    """Settings that cannot work; `faults` holds one line each: the variable, what is wrong, what to write."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults: tuple[str, ...] = tuple(faults)
        super().__init__("\n".join(self.faults))


class HistoryError(ExporterError):
    """The history file cannot be opened, read or written."""


class GenesysError(ExporterError):
    """A call that did not give what was asked; `transient` tells whether the same call may succeed later."""

    reason: ClassVar[str] = "error"
    transient: bool = False


class AuthError(GenesysError):
    """The client credentials, or a fresh token, were refused: trying again will not help."""

    reason = "auth"


class ScopeError(GenesysError):
    """The client's roles lack a permission; `permission` names it where the service or the reference does."""

    reason = "permission"

    def __init__(self, message: str, permission: str | None = None) -> None:
        self.permission = permission
        super().__init__(message)


class QueryError(GenesysError):
    """The service refuses the request itself (400, 404, 413, 415 …): a defect of ours or of the settings."""

    reason = "query"


class RateLimited(GenesysError):
    """429; `retry_after_seconds` is what the service asked for, None where it did not say."""

    reason = "rate_limited"
    transient = True

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Unavailable(GenesysError):
    """No usable answer: refused or broken connections, timeouts, 408 and 5xx."""

    reason = "unavailable"
    transient = True

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Standby(GenesysError):
    """The call is another replica's to make: this one does not lead, or not any more."""

    reason = "standby"


class PayloadError(GenesysError):
    """An answer that cannot be read: not JSON, cut off, too large, or not of the promised shape."""

    reason = "payload"


class PagingError(PayloadError):
    """A page token that comes back, or more pages than the service said there are."""

    reason = "paging"
