"""OAuth client credentials: clients, tokens and who may do what.

In: the Authorization header and form of POST /oauth/token, or the bearer token of an API call. Out: a token answer,
or the client that a token belongs to. Token errors have a shape of their own; the service answers 400, not 401, to an
unknown client and to a wrong secret. Time comes from the org's clock.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from exporter.simulator.api_errors import ApiError, missing_permission

CONVERSATIONS, QUEUE_OBSERVATIONS, QUEUE_VIEW, REPORTS = (
    "analytics:conversationAggregate:view",
    "analytics:queueObservation:view",
    "routing:queue:view",
    "analytics:report:read",
)
ALL_PERMISSIONS = frozenset({CONVERSATIONS, QUEUE_OBSERVATIONS, QUEUE_VIEW, REPORTS})


@dataclass(slots=True)
class Client:
    """An OAuth client; `divisions` (ids) None means all."""

    id: str
    secret: str
    permissions: frozenset[str] = ALL_PERMISSIONS
    divisions: frozenset[str] | None = None

    def require(self, permission: str) -> None:
        """403 where the client lacks it."""
        if permission not in self.permissions:
            raise missing_permission(permission)


class TokenError(Exception):
    """A refusal of POST /oauth/token."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        self.status = status
        self.body = {"error": error, "description": description, "error_description": description}
        super().__init__(f"{status} {error}: {description}")


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    client: Client
    expires: datetime


class TokenOffice:
    """Hands out tokens and knows them again."""

    def __init__(self, clients: Iterable[Client], expires_in_seconds: int) -> None:
        self.clients = {client.id: client for client in clients}
        self.expires_in_seconds = expires_in_seconds
        self._tokens: dict[str, Token] = {}
        self._ended: set[str] = set()

    def grant(self, authorization: str | None, form: str, now: datetime) -> dict[str, object]:
        """The token answer, or `TokenError`."""
        client = self._client(authorization)
        if parse_qs(form).get("grant_type") != ["client_credentials"]:
            raise TokenError("unsupported_grant_type", "grant_type must be client_credentials")
        token = Token(secrets.token_urlsafe(32), client, now + timedelta(seconds=self.expires_in_seconds))
        self._tokens[token.text] = token
        return {"access_token": token.text, "token_type": "bearer", "expires_in": self.expires_in_seconds}

    def _client(self, authorization: str | None) -> Client:
        client_id, secret = _basic(authorization)
        client = self.clients.get(client_id)
        if client is None:
            raise TokenError("invalid_client", "client not found")
        if not secrets.compare_digest(secret.encode(), client.secret.encode()):
            raise TokenError("invalid_client", "authentication failed")
        return client

    def token(self, authorization: str | None, now: datetime) -> Token:
        """The token that an API call bears, or the 401 that fits."""
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            message = "No authentication bearer token specified in authorization header."
            raise ApiError(401, "authentication.required", message)
        token = self._tokens.get(text)
        if text in self._ended or (token is not None and token.expires <= now):
            raise ApiError(401, "credentials.expired", "The supplied credentials have expired.")
        if token is None:
            raise ApiError(401)
        return token

    def revoke(self, token: Token) -> None:
        del self._tokens[token.text]

    def expire_all(self) -> None:
        """Every token handed out so far has expired from now on."""
        self._ended |= self._tokens.keys()

    def rotate_secret(self, client_id: str, secret: str) -> None:
        """A new secret; the client's tokens end with the old one."""
        self.clients[client_id].secret = secret
        for text in [text for text, token in self._tokens.items() if token.client.id == client_id]:
            del self._tokens[text]


def _basic(authorization: str | None) -> tuple[str, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise TokenError("invalid_request", "client credentials are missing")
    return client_id, secret
