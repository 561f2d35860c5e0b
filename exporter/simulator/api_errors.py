"""Refusals of the simulated API, with the codes and bodies of the real one.

A handler raises `ApiError`; the server turns it into the documented ErrorBody with the request's correlation id as
`contextId`. Texts follow the reference; where no full body was ever seen, they follow its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

#: The default code of a status, for faults and for what aiohttp itself refuses.
CODES: dict[int, tuple[str, str]] = {
    400: ("bad.request", "The request could not be understood by the server due to malformed syntax."),
    401: ("bad.credentials", "Invalid login credentials."),
    403: ("not.authorized", "You are not authorized to perform the requested action."),
    404: ("not.found", "The requested resource was not found."),
    405: ("method.not.allowed", "The requested method is not allowed for this resource."),
    408: ("client.timeout", "The client did not produce a request within the server timeout limit."),
    409: ("general.conflict", "The request conflicts with the current state of the target resource."),
    413: ("request.entity.too.large", "The request is over the size limit. Maximum bytes: 512000"),
    415: ("unsupported.media.type", "Unsupported Media Type - Unsupported or incorrect media type."),
    429: ("too.many.requests.retry.after", "Rate limit exceeded the maximum. Retry the request in [{}] seconds"),
    500: ("internal.server.error", "The server encountered an unexpected condition."),
    502: ("bad.gateway", "Bad Gateway"),
    503: ("service.unavailable", "Service Unavailable - The server is currently unavailable."),
    504: ("request.timeout", "The request timed out."),
}  # fmt: skip


class ApiError(Exception):
    """An answer other than success; `headers` go out with it."""

    def __init__(
        self, status: int, code: str | None = None, message: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        default_code, default_message = CODES.get(status, ("general.error", "The request failed."))
        self.status = status
        self.code = code or default_code
        self.message = message or default_message
        self.headers = dict(headers or {})
        super().__init__(f"{status} {self.code}: {self.message}")


def error_body(error: ApiError, context_id: str) -> bytes:
    return orjson.dumps(
        {
            "message": error.message,
            "code": error.code,
            "status": error.status,
            "contextId": context_id,
            "details": [],
            "errors": [],
        }
    )


def bad_request(message: str) -> ApiError:
    return ApiError(400, "bad.request", message)


def invalid_value(value: object, field_type: str, allowed: Sequence[str]) -> ApiError:
    """An enum that does not know the value; the wording was seen at the real service."""
    text = f"Value [{value}] is not valid for field type [{field_type}]. Allowable values are: {', '.join(allowed)}"
    return ApiError(400, "invalid.value", text)


def missing_permission(permission: str) -> ApiError:
    return ApiError(
        403,
        "missing.any.permissions",
        "Unable to perform the requested action. You must have at least one of the following permissions assigned: "
        f"[{permission}]",
    )


def too_many_requests(retry_after_seconds: int) -> ApiError:
    message = CODES[429][1].format(retry_after_seconds)
    return ApiError(429, None, message, {"Retry-After": str(retry_after_seconds)})
