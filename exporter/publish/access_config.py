"""The access configuration: which user, bearer token or client certificate has which role.

A YAML file comes in, an `AccessConfig` goes out, or a SettingsError with every fault at once, by line. Whoever is not
named in it has no role. Tokens stand in it as SHA-256 digests: they are long and random, so that a slow hash would slow
nobody but the exporter. What the file says about users and certificates hangs on the web configuration, which knows
their passwords and their CA; `faults_together` holds the two against each other.

    users:
      anna: [viewer, exporter]          # a name of basic_auth_users
    tokens:
      prometheus:
        sha256: 9f86d08188…             # of the token, 64 hex digits
        roles: [scraper]
        expires: 2027-06-30             # may be left out
    certificates:
      scraper.example.org: [scraper]    # a name (SAN) that the certificate bears
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from exporter.publish.roles import ROLES
from exporter.publish.strict_yaml import Reader, Section
from exporter.publish.web_config import WebConfig

SETTING = "EXPORTER_ACCESS_CONFIG"

#: 128 bits in base64. A shorter token is refused even if it is the right one: its digest could be guessed at.
SHORTEST_TOKEN = 22

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
#: What comes out where the variable with the token was not set.
_OF_NOTHING = hashlib.sha256(b"").digest(), hashlib.sha256(b"\n").digest()

Roles = frozenset[str]


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, by its digest; from `expires` on it is as good as unknown."""

    name: str
    digest: bytes = field(repr=False)
    roles: Roles
    expires: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        return self.expires is None or now < self.expires


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who has which roles."""

    users: Mapping[str, Roles] = field(default_factory=dict)
    tokens: tuple[Token, ...] = ()
    certificates: Mapping[str, Roles] = field(default_factory=dict)

    def token(self, digest: bytes) -> Token | None:
        """The token with this digest; looked for in the same time whichever it is, and if it is none."""
        found = None
        for each in self.tokens:
            if hmac.compare_digest(each.digest, digest):
                found = each
        return found


def digest_of(token: str) -> bytes | None:
    """The SHA-256 of a token as it came; None for one that is too short to be safe."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest() if len(token) >= SHORTEST_TOKEN else None


def parsed(path: Path) -> tuple[AccessConfig, tuple[Path, ...]]:
    """The configuration, and the files it names: none. Raises SettingsError with a line for every fault."""
    reader = _Reader(SETTING, path)
    config = reader.read(reader.content())
    return config, reader.end()


def faults_together(path: Path, access: AccessConfig, web: WebConfig | None) -> Iterator[str]:
    """Names that can never come in, since the web configuration does not know them: misspelt, most likely."""
    users = web.users if web else {}
    for name in access.users:
        if name not in users:
            yield f"{SETTING}: {path}: users: {name!r} is not in basic_auth_users of EXPORTER_WEB_CONFIG; add it there"
    if access.certificates and not (web and web.tls and web.tls.client_ca_file):
        yield f"{SETTING}: {path}: certificates: EXPORTER_WEB_CONFIG asks for none; write client_ca_file there"


class _Reader(Reader):
    def read(self, content: Any) -> AccessConfig:
        top = self.checked("the file", content)
        self.known("the file", top, ("users", "tokens", "certificates"))
        if not any(isinstance(top.get(key), Section) and top[key] for key in top):
            self.fault("the file", "names nobody, so that nobody could come in; write users, tokens or certificates")
        return AccessConfig(
            users=self._named(top, "users"),
            tokens=self._tokens(self.section(top, "tokens")),
            certificates=self._named(top, "certificates"),
        )

    def _named(self, top: Section, key: str) -> dict[str, Roles]:
        names = self.section(top, key)
        return {name: self._roles(key, value, names.lines[name]) for name, value in names.items()}

    def _tokens(self, tokens: Section) -> tuple[Token, ...]:
        read = [self._token(self.checked("tokens", tokens[name], tokens.lines[name]), name, tokens) for name in tokens]
        seen: set[bytes] = set()
        for token in read:
            if token.digest in seen:
                self.fault("tokens", "two of them have the same digest", tokens.lines[token.name])
            seen |= {token.digest} - {b""}
        return tuple(read)

    def _token(self, section: Section, name: str, tokens: Section) -> Token:
        self.known("tokens", section, ("sha256", "roles", "expires"))
        line = tokens.lines[name]
        roles = self._roles("tokens", section.get("roles"), section.lines.get("roles", line))
        digest = self._digest(section.get("sha256"), section.lines.get("sha256", line))
        return Token(name, digest, roles, self._expires(section))

    def _digest(self, value: Any, line: int) -> bytes:
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            self.fault("sha256", 'write the 64 hex digits that `printf %s "$TOKEN" | sha256sum` shows', line)
            return b""
        if (digest := bytes.fromhex(value)) in _OF_NOTHING:
            self.fault("sha256", "this is the digest of an empty token", line)
        return digest

    def _expires(self, section: Section) -> datetime | None:
        value = section.get("expires")
        if value is None:
            return None
        moment = _moment(value)
        if moment is None:
            text = "write a day such as 2027-06-30, its last one, or a time with its offset: 2027-06-30T18:00:00Z"
            self.fault("expires", text, section.lines["expires"])
        return moment

    def _roles(self, key: str, value: Any, line: int) -> Roles:
        if isinstance(value, list) and value and all(isinstance(each, str) and each in ROLES for each in value):
            return frozenset(value)
        self.fault(key, f"write a list of roles, some of {', '.join(ROLES)}", line)
        return frozenset()


def _moment(value: Any) -> datetime | None:
    """The first moment in which a token is no longer good; None for what is no time."""
    if not isinstance(value, str):
        return None
    try:
        if len(value) == len("2027-06-30"):
            return datetime.combine(date.fromisoformat(value) + timedelta(days=1), time(), UTC)
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None
