"""Tokens: who gets one, how long it is good, and what is said when it is not."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from exporter.simulator import Client
from tests.simulator.client import QUEUES, SECRET, Clock, connected, small_org

BASIC = aiohttp.encode_basic_auth("simulated-client", SECRET)
FORM = {"grant_type": "client_credentials"}


async def test_a_client_gets_a_bearer_token_and_uses_it() -> None:
    async with connected(small_org(1, token_seconds=1800), signed_in=False) as api:
        grant = await api.sign_in()
        assert grant.status == 200
        assert (grant.body["token_type"], grant.body["expires_in"]) == ("bearer", 1800)
        assert (await api.get(QUEUES)).status == 200


@pytest.mark.parametrize(
    ("client_id", "secret", "description"),
    [("nobody", SECRET, "client not found"), ("simulated-client", "guess", "authentication failed")],
)
async def test_an_unknown_client_and_a_wrong_secret_are_400s_of_their_own_shape(
    client_id: str, secret: str, description: str
) -> None:
    async with connected(small_org(1), signed_in=False) as api:
        answer = await api.sign_in(client_id, secret)
    assert answer.status == 400
    assert answer.body == {"error": "invalid_client", "description": description, "error_description": description}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"data": FORM}, "invalid_request"),
        ({"data": FORM, "headers": {"Authorization": "Basic %%%"}}, "invalid_request"),
        ({"data": FORM, "headers": {"Authorization": "Bearer x"}}, "invalid_request"),
        ({"data": {"grant_type": "password"}, "headers": {"Authorization": BASIC}}, "unsupported_grant_type"),
        ({"json": FORM, "headers": {"Authorization": BASIC}}, "unsupported_grant_type"),
        ({"headers": {"Authorization": BASIC}}, "unsupported_grant_type"),
    ],
)
async def test_a_token_request_of_another_form_is_refused(options: dict[str, Any], error: str) -> None:
    async with connected(small_org(1), signed_in=False) as api:
        answer = await api.send("POST", "/oauth/token", **options)
    assert (answer.status, answer.body["error"]) == (400, error)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "authentication.required"),
        ({"Authorization": "Basic abc"}, "authentication.required"),
        ({"Authorization": "Bearer"}, "authentication.required"),
        ({"Authorization": "Bearer made-up"}, "bad.credentials"),
    ],
)
async def test_a_call_without_a_good_token_is_a_401(headers: dict[str, str], code: str) -> None:
    async with connected(small_org(1)) as api:
        answer = await api.send("GET", QUEUES, headers=headers)
    assert (answer.status, answer.body["code"]) == (401, code)


async def test_a_token_expires_by_the_clock_of_the_org() -> None:
    clock = Clock()
    async with connected(small_org(1, clock=clock, token_seconds=300)) as api:
        clock.advance(299)
        assert (await api.get(QUEUES)).status == 200
        clock.advance(1)
        answer = await api.get(QUEUES)
        assert (answer.status, answer.body["code"]) == (401, "credentials.expired")
        await api.sign_in()
        assert (await api.get(QUEUES)).status == 200


async def test_all_tokens_can_be_made_to_expire_and_new_ones_are_good() -> None:
    org = small_org(1)
    async with connected(org) as api:
        org.expire_tokens()
        answer = await api.get(QUEUES)
        assert (answer.status, answer.body["code"]) == (401, "credentials.expired")
        await api.sign_in()
        assert (await api.get(QUEUES)).status == 200


async def test_a_rotated_secret_ends_the_old_one_and_its_tokens() -> None:
    org = small_org(1)
    async with connected(org) as api:
        org.rotate_secret("new")
        assert (await api.get(QUEUES)).status == 401
        assert (await api.sign_in()).status == 400
        assert (await api.sign_in(secret="new")).status == 200
        assert (await api.get(QUEUES)).status == 200


async def test_a_token_can_be_checked_and_revoked() -> None:
    async with connected(small_org(1)) as api:
        headers = {"Authorization": f"Bearer {api.token}"}
        assert (await api.send("HEAD", "/api/v2/tokens/me", headers=headers)).status == 200
        assert (await api.send("DELETE", "/api/v2/tokens/me", headers=headers)).status == 200
        assert (await api.send("HEAD", "/api/v2/tokens/me", headers=headers)).status == 401


async def test_an_org_has_many_clients_each_with_its_own_permissions() -> None:
    org = small_org(1)
    org.add_client(Client("second", "other", permissions=frozenset()))
    async with connected(org) as api:
        assert (await api.get(QUEUES)).status == 200
        await api.sign_in("second", "other")
        assert (await api.get(QUEUES)).status == 403
    assert [request.client_id for request in org.calls("queues")] == ["simulated-client", "second"]
