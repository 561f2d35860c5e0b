"""Who a request says it comes from: a user, a bearer token, or the bearer of a client certificate.

In: a request's head and its connection. Out: what it claims, unproven but for the certificate, which TLS has verified.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Basic:
    name: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    token: str = field(repr=False)


def given(request: web.Request) -> Basic | Bearer | None:
    """What the Authorization header claims; None for nothing that could be meant.

    Two headers are as good as none: which one counts is something that a proxy in front may see differently.
    """
    headers = request.headers.getall("Authorization", [])
    if len(headers) != 1:
        return None
    scheme, _, rest = headers[0].partition(" ")
    match scheme.lower():
        case "basic":
            return _basic(rest.strip())
        case "bearer":
            return Bearer(rest.strip())
    return None


def _basic(encoded: str) -> Basic | None:
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
        return Basic(name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def certificate_names(request: web.Request) -> frozenset[str]:
    """The names (SANs) of the client's certificate, which its CA vouches for; none without one."""
    if request.transport is None:
        return frozenset()
    certificate: dict[str, Any] = request.transport.get_extra_info("peercert") or {}
    names = certificate.get("subjectAltName", ())
    return frozenset(plain_name(value) for _, value in names if isinstance(value, str))


def plain_name(name: str) -> str:
    """Addresses in one spelling: Python writes ::1 as 0:0:0:0:0:0:0:1."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name
