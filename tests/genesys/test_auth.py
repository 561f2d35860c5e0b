"""OAuth client credentials: one token for everybody, refused tokens and credentials, rotation without a restart."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.errors import AuthError, GenesysError, PayloadError, RateLimited, Unavailable
from exporter.genesys.auth import Credentials, TokenSource
from exporter.genesys.circuit import PROBE_SECONDS
from exporter.genesys.client import AGGREGATES as AGGREGATES_ENDPOINT
from tests.genesys.conftest import AGGREGATES, TOKEN, Answer, Client, Reply, Seen
from tests.genesys.strategies import any_json, odd_values

UNKNOWN = {"error": "invalid_client", "description": "client not found", "error_description": "client not found"}
UNAUTHORIZED = Reply({"message": "Invalid login credentials.", "code": "bad.credentials"}, 401)


def fresh_tokens(seconds: float = 86400) -> Answer:
    """token-1, token-2, …"""
    numbers = itertools.count(1)
    return lambda seen: Reply({"access_token": f"token-{next(numbers)}", "expires_in": seconds, "token_type": "bearer"})


def only(*good: str) -> Answer:
    """An API that takes these tokens alone."""
    return lambda seen: Reply({"ok": True}) if bearer(seen) in good else UNAUTHORIZED


def bearer(seen: Seen) -> str:
    return seen.headers["Authorization"].removeprefix("Bearer ")


async def call_api(client: Client, seconds: float = 60.0) -> bytes:
    return await client.api.send(AGGREGATES_ENDPOINT, client.deadline(seconds), body=b"{}")


async def token(client: Client) -> str:
    return await client.tokens.get(client.deadline())


# The request, and the life of a token


async def test_the_token_is_asked_for_with_basic_authorization_and_the_grant_as_a_form(client: Client) -> None:
    client.credentials = Credentials("id-1", "s+e/c:r=t~ü")
    assert await token(client) == "token-1"
    (seen,) = client.service.calls(TOKEN)
    assert seen.method == "POST"
    assert seen.body == b"grant_type=client_credentials"
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    scheme, _, pair = seen.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(pair).decode() == "id-1:s+e/c:r=t~ü"


async def test_a_token_serves_until_a_minute_before_it_expires(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens(1800))
    assert await token(client) == "token-1"
    client.clock.advance(1739.9)
    assert await token(client) == "token-1"
    client.clock.advance(0.2)
    assert await token(client) == "token-2"
    assert len(client.service.calls(TOKEN)) == 2


async def test_other_credentials_end_a_token_and_the_same_do_not(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    assert await token(client) == "token-1"
    client.tokens.renew(client.credentials)
    assert await token(client) == "token-1"
    client.credentials = Credentials("id-1", "another-secret")
    client.tokens.renew(client.credentials)
    assert await token(client) == "token-2"


async def test_a_token_that_lives_for_less_than_two_minutes_serves_for_half_its_life(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens(30))
    await token(client)
    client.clock.advance(14)
    assert await token(client) == "token-1"
    client.clock.advance(2)
    assert await token(client) == "token-2"


async def test_the_life_of_a_token_counts_from_the_moment_it_was_asked_for(client: Client) -> None:
    def slow(seen: Seen) -> Reply:
        client.clock.advance(50)
        return Reply({"access_token": "token-1", "expires_in": 120})

    client.service.script(TOKEN, slow, fresh_tokens())
    await token(client)
    client.clock.advance(11)
    await token(client)
    assert len(client.service.calls(TOKEN)) == 2


async def test_twenty_callers_that_come_together_share_one_fetch(client: Client) -> None:
    client.service.script(TOKEN, Reply({"access_token": "token-1", "expires_in": 1800}, slow_seconds=0.05))
    assert set(await asyncio.gather(*(token(client) for _ in range(20)))) == {"token-1"}
    assert len(client.service.calls(TOKEN)) == 1


async def test_twenty_callers_that_come_together_share_one_failure(client: Client) -> None:
    client.service.script(TOKEN, Reply(status=503, slow_seconds=0.01))
    failures = await asyncio.gather(*(token(client) for _ in range(20)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {Unavailable}
    assert len(client.service.calls(TOKEN)) == 4


async def test_who_comes_after_a_failure_tries_anew(client: Client) -> None:
    client.service.script(TOKEN, *[Reply(status=503)] * 4, fresh_tokens())
    with pytest.raises(Unavailable):
        await token(client)
    assert await token(client) == "token-1"


async def test_a_caller_waits_for_anothers_fetch_no_longer_than_its_own_deadline(client: Client) -> None:
    """The back-fill has minutes; a poll that needs the same token has seconds."""
    client.service.script(TOKEN, Reply({"access_token": "token-1"}, slow_seconds=0.5))
    patient = asyncio.create_task(client.tokens.get(client.deadline(170)))
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable, match="token"):
        async with asyncio.timeout(0.3):
            await client.tokens.get(client.deadline(0.05))
    assert await patient == "token-1"


async def test_a_caller_that_is_cancelled_leaves_the_fetch_to_the_next(client: Client) -> None:
    client.service.script(TOKEN, Reply({"access_token": "lost"}, slow_seconds=5), fresh_tokens())
    first = asyncio.create_task(token(client))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(token(client))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "token-1"


# Refusals by the token service


@pytest.mark.parametrize("status", [400, 401])
async def test_refused_credentials_are_told_in_plain_words_and_not_tried_again(client: Client, status: int) -> None:
    client.service.script(TOKEN, Reply(UNKNOWN, status))
    with pytest.raises(AuthError) as caught:
        await token(client)
    assert str(caught.value) == (
        f"token: HTTP {status} invalid_client: client not found"
        " - check the client id and secret, and that the client is active"
    )
    assert len(client.service.calls(TOKEN)) == 1


async def test_a_busy_token_service_is_asked_four_times_at_most(client: Client) -> None:
    client.service.script(TOKEN, Reply(status=429))
    with pytest.raises(RateLimited):
        await token(client)
    assert len(client.service.calls(TOKEN)) == 4


async def test_a_token_service_that_asks_for_a_pause_beyond_the_deadline_is_asked_once(client: Client) -> None:
    client.service.script(TOKEN, Reply(status=429, headers={"Retry-After": "100"}))
    with pytest.raises(RateLimited):
        await token(client)
    assert len(client.service.calls(TOKEN)) == 1


async def polls(client: Client, count: int, every: float = 60.0) -> None:
    """So many polls of three calls each, all of which must fail by their credentials."""
    for _ in range(count):
        for _ in range(3):
            with pytest.raises(AuthError):
                await call_api(client)
        client.clock.advance(every)


async def test_refused_credentials_are_tried_by_three_polls_and_then_only_now_and_then(client: Client) -> None:
    client.service.script(TOKEN, Reply(UNKNOWN, 400))
    await polls(client, 3)
    assert len(client.service.calls(TOKEN)) == 3
    await polls(client, 60)
    gaps = [b.at - a.at for a, b in itertools.pairwise(client.service.calls(TOKEN)[2:])]
    assert gaps == [PROBE_SECONDS] * 12


async def test_changed_credentials_are_tried_at_once(client: Client) -> None:
    client.service.script(TOKEN, Reply(UNKNOWN, 400))
    client.service.script(AGGREGATES, only("token-1"))
    await polls(client, 4)
    client.service.script(TOKEN, fresh_tokens())
    with pytest.raises(AuthError):
        await call_api(client)
    client.credentials = Credentials("client-1", "secret-2")
    await call_api(client)


async def test_the_slow_probe_finds_credentials_that_were_mended_at_the_service(client: Client) -> None:
    client.service.script(TOKEN, Reply(UNKNOWN, 400))
    client.service.script(AGGREGATES, only("token-1"))
    await polls(client, 5)
    client.service.script(TOKEN, fresh_tokens())
    client.clock.advance(PROBE_SECONDS)
    await call_api(client)


async def test_credentials_that_cannot_be_read_are_an_error_like_any_other(client: Client) -> None:
    def read() -> Credentials:
        raise AuthError('GENESYS_CLIENT_SECRET_FILE: "/secret" cannot be read')

    tokens = TokenSource(client.transport, client.service.url, read, client.clock)
    with pytest.raises(AuthError, match="cannot be read"):
        await tokens.get(client.deadline())
    assert client.service.seen == []


# Refusals by the API


async def test_an_expired_token_costs_one_new_token_and_one_more_try(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    client.service.script(AGGREGATES, only("token-2"))
    assert await call_api(client) == b'{"ok": true}'
    assert [bearer(seen) for seen in client.service.calls(AGGREGATES)] == ["token-1", "token-2"]
    await call_api(client)
    assert len(client.service.calls(TOKEN)) == 2


async def test_calls_that_meet_the_same_expired_token_share_the_new_one(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    client.service.script(AGGREGATES, only("token-2"))
    await asyncio.gather(*(call_api(client) for _ in range(8)))
    assert len(client.service.calls(TOKEN)) == 2
    assert {bearer(seen) for seen in client.service.calls(AGGREGATES)[8:]} == {"token-2"}


async def test_a_fresh_token_that_is_refused_too_is_no_reason_for_a_third(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    client.service.script(AGGREGATES, UNAUTHORIZED)
    with pytest.raises(AuthError, match=r"bad\.credentials: Invalid login credentials\."):
        await call_api(client)
    assert [bearer(seen) for seen in client.service.calls(AGGREGATES)] == ["token-1", "token-2"]


async def test_a_refused_token_is_never_handed_out_again(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    assert await token(client) == "token-1"
    client.tokens.refuse("token-1")
    assert [await token(client) for _ in range(3)] == ["token-2"] * 3


async def test_a_late_refusal_of_an_old_token_does_not_cost_the_new_one(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    await token(client)
    client.tokens.refuse("token-1")
    await token(client)
    client.tokens.refuse("token-1")
    assert await token(client) == "token-2"


async def test_a_login_service_that_keeps_its_token_after_a_single_refusal_is_believed(client: Client) -> None:
    """The refusal may have been a gateway's mistake: what the login service hands out anew is tried once."""
    client.service.script(AGGREGATES, UNAUTHORIZED, Reply({"ok": True}))
    assert await call_api(client) == b'{"ok": true}'
    assert len(client.service.calls(TOKEN)) == 2


async def test_calls_refused_together_are_one_refusal(client: Client) -> None:
    """Three datasets that fail in one poll must not use up the patience that is meant for three polls."""
    client.service.script(TOKEN, fresh_tokens())
    client.service.script(AGGREGATES, UNAUTHORIZED)
    await asyncio.gather(*(call_api(client) for _ in range(6)), return_exceptions=True)
    client.clock.advance(60)
    client.service.script(AGGREGATES, Reply({}))
    await call_api(client)


async def test_an_api_that_refuses_every_token_is_asked_only_now_and_then(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    client.service.script(AGGREGATES, UNAUTHORIZED)
    for _ in range(60):
        await asyncio.gather(*(call_api(client) for _ in range(3)), return_exceptions=True)
        client.clock.advance(60)
    late = [seen.at for seen in client.service.calls(AGGREGATES) if seen.at > 600]
    assert len(set(late)) <= 3000 / PROBE_SECONDS + 1


async def test_a_success_between_refusals_makes_patience_new(client: Client) -> None:
    client.service.script(TOKEN, fresh_tokens())
    for good in (False, False, True, False, False, True):
        client.service.script(AGGREGATES, Reply({}) if good else UNAUTHORIZED)
        calls = len(client.service.calls(AGGREGATES))
        await asyncio.gather(call_api(client), return_exceptions=True)
        assert len(client.service.calls(AGGREGATES)) > calls
        client.clock.advance(60)


async def test_a_secret_rotated_in_its_file_is_used_without_a_restart(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")

    def office(seen: Seen) -> Reply:
        pair = base64.b64decode(seen.headers["Authorization"].removeprefix("Basic ")).decode()
        return Reply({"access_token": f"for-{pair}", "expires_in": 1800})

    client.service.script(TOKEN, office)
    client.service.script(AGGREGATES, only("for-id:new"))
    tokens = TokenSource(
        client.transport, client.service.url, lambda: Credentials("id", file.read_text()), client.clock
    )
    client.api._tokens = tokens
    assert await tokens.get(client.deadline()) == "for-id:old"
    file.write_text("new")
    await call_api(client)
    assert [bearer(seen) for seen in client.service.calls(AGGREGATES)] == ["for-id:old", "for-id:new"]


# Answers that are none


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        {},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 5},
        {"access_token": "two\r\nlines"},
        {"access_token": "ümlaut"},
        {"access_token": "t", "expires_in": 0},
        {"access_token": "t", "expires_in": -5},
        {"access_token": "t", "expires_in": "soon"},
        {"access_token": "t", "expires_in": None},
        b'{"access_token": "t", "expires_in": 1e400}',
        b'{"access_token": "t", "expires_in": NaN}',
        {"access_token": "t", "token_type": "mac"},
        {"error": "invalid_client"},
    ],
)
async def test_a_token_answer_that_makes_no_sense_is_a_payload_error(client: Client, body: Any) -> None:
    client.service.script(TOKEN, Reply(body), fresh_tokens())
    with pytest.raises(PayloadError, match=r"^token: "):
        await token(client)
    assert await token(client) == "token-1"


@pytest.mark.parametrize("body", [{"access_token": "t"}, {"access_token": "t", "token_type": "Bearer", "scope": "x"}])
async def test_a_token_answer_may_leave_out_all_but_the_token(client: Client, body: Any) -> None:
    client.service.script(TOKEN, Reply(body))
    assert await token(client) == "t"


# Secrets


async def test_no_secret_is_in_a_repr_a_message_or_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    credentials = client.credentials = Credentials("client-1", "hush/hush+")
    basic = credentials.basic.removeprefix("Basic ")

    def echo(seen: Seen) -> Reply:
        return Reply({"error": f"{seen.headers['Authorization']}", "description": "hush/hush+ is wrong"}, 400)

    client.service.script(TOKEN, echo)
    with caplog.at_level(logging.DEBUG), pytest.raises(GenesysError) as caught:
        await token(client)
    texts = (repr(credentials), str(credentials), str(caught.value), repr(caught.value.__cause__), caplog.text)
    for text in texts:
        assert "hush" not in text
        assert basic not in text
    assert "client-1" not in repr(credentials)


token_answers = (
    st.binary(max_size=40)
    | any_json.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"access_token": odd_values | st.text(max_size=8)},
        optional={
            "expires_in": odd_values,
            "token_type": st.sampled_from(["bearer", "Bearer", "mac", ""]) | odd_values,
        },
    ).map(lambda value: json.dumps(value).encode())
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=token_answers)
async def test_no_token_answer_gets_anything_into_a_header_that_is_no_token(client: Client, body: bytes) -> None:
    client.service.script(TOKEN, Reply(body))
    client.tokens.refuse(client.tokens._token or "")
    try:
        found = await token(client)
    except PayloadError:
        return
    assert found == json.loads(body)["access_token"]
    assert found.isascii()
    assert found.isprintable()
    assert client.clock.monotonic() < client.tokens._refresh_at < float("inf")
