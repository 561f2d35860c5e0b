"""From status and body to an error in plain words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.errors import AuthError, GenesysError, QueryError, RateLimited, ScopeError, Unavailable
from exporter.genesys.answers import error_of, printable, retry_after_seconds
from tests.genesys.conftest import REFERENCE
from tests.genesys.strategies import unhurried

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SEEN = REFERENCE / "samples" / "error_bodies.json"


def error(
    status: int, body: Any = b"", headers: dict[str, str] | None = None, endpoint: str = "aggregates"
) -> GenesysError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_of(endpoint, status, headers or {}, raw, permission="analytics:known:view", now=NOW)


@pytest.mark.parametrize(
    ("status", "kind", "reason", "transient"),
    [
        (301, QueryError, "query", False),
        (307, QueryError, "query", False),
        (400, QueryError, "query", False),
        (401, AuthError, "auth", False),
        (403, ScopeError, "permission", False),
        (404, QueryError, "query", False),
        (408, Unavailable, "unavailable", True),
        (409, QueryError, "query", False),
        (413, QueryError, "query", False),
        (415, QueryError, "query", False),
        (429, RateLimited, "rate_limited", True),
        (500, Unavailable, "unavailable", True),
        (502, Unavailable, "unavailable", True),
        (503, Unavailable, "unavailable", True),
        (504, Unavailable, "unavailable", True),
        (520, Unavailable, "unavailable", True),
    ],
)
def test_every_status_has_its_error(status: int, kind: type[GenesysError], reason: str, transient: bool) -> None:
    made = error(status)
    assert (type(made), made.reason, made.transient) == (kind, reason, transient)
    assert str(made).startswith(f"aggregates: HTTP {status}")


def test_the_token_service_says_400_when_it_refuses_credentials() -> None:
    body = {"error": "invalid_client", "description": "client not found", "error_description": "client not found"}
    made = error(400, body, endpoint="token")
    assert type(made) is AuthError
    assert str(made) == "token: HTTP 400 invalid_client: client not found"


def test_the_permission_that_the_service_names_is_the_one_that_is_told() -> None:
    words = "You must have at least one of the following permissions assigned: [analytics:conversationAggregate:view]"
    made = error(403, {"message": words, "code": "missing.any.permissions", "contextId": "c-1"})
    assert isinstance(made, ScopeError)
    assert made.permission == "analytics:conversationAggregate:view"
    assert "missing.any.permissions" in str(made)
    assert "(contextId c-1)" in str(made)
    assert str(made).endswith("the client's roles need the permission analytics:conversationAggregate:view")


@pytest.mark.parametrize("body", [b"", {"message": "no"}, {"message": "refused at 10:20:30"}, {"contextId": "1:2:3"}])
def test_where_the_service_names_no_permission_the_reference_does(body: Any) -> None:
    made = error(403, body)
    assert isinstance(made, ScopeError)
    assert made.permission == "analytics:known:view"


def test_a_gateway_that_writes_numbers_as_codes_is_still_quoted() -> None:
    body = {"code": 4031, "message": "not on this route", "error": {"nested": True}}
    assert str(error(404, body)) == "aggregates: HTTP 404 4031: not on this route"


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"\xff\xfe", b"[]", b"null", b'"x"', b"[" * 5000, {"message": None}]
)
def test_a_body_that_says_nothing_leaves_the_status_and_the_correlation_id(body: Any) -> None:
    assert str(error(502, body, {"ININ-Correlation-Id": "corr-1"})) == "aggregates: HTTP 502 (contextId corr-1)"


def test_a_redirect_says_which_settings_to_check() -> None:
    assert "check GENESYS_API_URL and GENESYS_LOGIN_URL" in str(error(302))


@pytest.mark.skipif(
    not SEEN.exists(), reason=f"the vendor's error bodies, not ours to copy: {SEEN.name} is not beside the project"
)
def test_every_error_body_of_the_reference_is_quoted_in_full() -> None:
    for name, body in json.loads(SEEN.read_text()).items():
        if name.startswith("_"):
            continue
        text = str(error(body["status"], body))
        assert f"HTTP {body['status']} {body['code']}: {body['message']}" in text
        assert text.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["message", "code", "contextId", "error", "description", "error_description", "status"])


@unhurried
@given(
    st.integers(300, 599),
    st.dictionaries(FIELDS, JSON).map(json.dumps).map(str.encode) | st.binary(),
    st.dictionaries(st.sampled_from(["Retry-After", "ININ-Correlation-Id"]), st.text(max_size=400)),
)
@example(503, b"", {"Retry-After": "Mon, 1 Jan 2024 00:00:00 +99999999999999999999"})
@example(503, b"", {"ININ-Correlation-Id": "\udcff"})
@example(400, b'{"message": "one\\u2028two\\u202ethree"}', {})
def test_whatever_a_stranger_answers_becomes_one_short_printable_line(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    made = error(status, body, headers)
    assert isinstance(made, GenesysError)
    text = str(made)
    orjson.dumps(text)  # it is published as JSON
    assert len(text) < 1500
    assert len(text.splitlines()) == 1
    assert not set(text) & set("\r\n\u2028\u2029\u202e\u2066\x1b\x00")
    asked = getattr(made, "retry_after_seconds", None)
    assert asked is None or 0 <= asked < float("inf")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("42", 42.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("86400", 86400.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0),
        ("Mon, 02 Mar 2026 10:01:00 +0100", 60.0),
        ("Mon, 02 Mar 2026 09:01:00 -0000", 60.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("", None),
        ("Mon, 1 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Mon, 1 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_a_number_or_an_http_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


def test_a_long_text_is_cut_to_fit_a_log() -> None:
    assert printable("x" * 1000) == "x" * 300 + "…"
