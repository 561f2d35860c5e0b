"""The web configuration: TLS, client certificates, users and headers, in the format of Prometheus' exporter-toolkit.

A YAML file comes in, a `WebConfig` goes out, or a SettingsError with every fault at once. Paths in it are relative to
the file. What the format knows and Python's TLS cannot do is refused, never ignored: a guard that is not there must
not look as if it were. Format: github.com/prometheus/exporter-toolkit, docs/web-configuration.md.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from exporter.errors import SettingsError

#: The headers that the format lets an operator set.
HEADERS = (
    "Content-Security-Policy",
    "Referrer-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_AUTH = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
#: Go's names of the TLS 1.2 suites, which the format uses, and OpenSSL's.
_CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_allowed_sans: tuple[str, ...] = ()
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.cert_file, self.key_file, self.client_ca_file) if path is not None)

    def context(self) -> ssl.SSLContext:
        """A server context. Raises OSError (ssl.SSLError among them) where a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.minimum, self.maximum
        context.load_cert_chain(self.cert_file, self.key_file)
        if self.ciphers:
            context.set_ciphers(":".join(self.ciphers))
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
        context.verify_mode = self.client_auth
        return context


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Who may come in, and how. `users` maps names to bcrypt hashes, and stays out of the repr."""

    tls: TlsConfig | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def load_web_config(path: Path) -> WebConfig:
    """The configuration in `path`; raises SettingsError with a line for every fault."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"EXPORTER_WEB_CONFIG: {path} cannot be read: {error}"]) from error
    except yaml.YAMLError as error:
        raise SettingsError([f"EXPORTER_WEB_CONFIG: {path} is not YAML{_place(error)}"]) from error
    reader = _Reader(path)
    config = reader.read(content)
    if reader.faults:
        raise SettingsError(reader.faults)
    return config


def _place(error: yaml.YAMLError) -> str:
    """Where the fault is; never what stands there, which may be a secret."""
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


class _Reader:
    """Checks a parsed file, gathering faults."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.faults: list[str] = []

    def fault(self, key: str, text: str) -> None:
        self.faults.append(f"EXPORTER_WEB_CONFIG: {self._path}: {key}: {text}")

    def read(self, content: Any) -> WebConfig:
        top = self._mapping("the file", {} if content is None else content)
        self._known("the file", top, ("tls_server_config", "http_server_config", "basic_auth_users"))
        return WebConfig(
            tls=self._tls(self._mapping("tls_server_config", top.get("tls_server_config") or {})),
            users=self._users(self._mapping("basic_auth_users", top.get("basic_auth_users") or {})),
            headers=self._headers(self._mapping("http_server_config", top.get("http_server_config") or {})),
        )

    def _mapping(self, key: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return value
        self.fault(key, "write a mapping of names to values")
        return {}

    def _known(self, key: str, value: Mapping[str, Any], names: tuple[str, ...]) -> None:
        for name in value:
            if name not in names:
                self.fault(key, f"{name!r} is not known here; known are {', '.join(names)}")

    def _users(self, users: Mapping[str, Any]) -> dict[str, bytes]:
        good = {}
        for name, hashed in users.items():
            found = _BCRYPT.fullmatch(hashed) if isinstance(hashed, str) else None
            if found is None or not 4 <= int(found[1]) <= 31:
                self.fault(
                    "basic_auth_users", f"the value of {name!r} is no bcrypt hash; make one with htpasswd -nBC 10 ''"
                )
            elif ":" in name or not name:
                self.fault("basic_auth_users", f"{name!r} cannot be a user name: it is empty or holds a colon")
            else:
                good[name] = hashed.encode()
        return good

    def _headers(self, server: Mapping[str, Any]) -> dict[str, str]:
        self._known("http_server_config", server, ("http2", "headers"))
        if not isinstance(server.get("http2", True), bool):
            self.fault("http_server_config.http2", "write true or false (HTTP/1.1 is spoken either way)")
        headers = self._mapping("http_server_config.headers", server.get("headers") or {})
        self._known("http_server_config.headers", headers, HEADERS)
        for name, value in headers.items():
            if not isinstance(value, str) or not value.isprintable():
                self.fault(f"http_server_config.headers.{name}", "write one line of text")
        return {name: str(value) for name, value in headers.items()}

    def _tls(self, tls: Mapping[str, Any]) -> TlsConfig | None:
        if not tls:
            return None
        self._known(
            "tls_server_config",
            tls,
            (
                "cert_file",
                "key_file",
                "client_ca_file",
                "client_auth_type",
                "client_allowed_sans",
                "min_version",
                "max_version",
                "cipher_suites",
                "prefer_server_cipher_suites",
            ),
        )
        before = len(self.faults)
        config = TlsConfig(
            cert_file=self._file(tls, "cert_file") or Path(),
            key_file=self._file(tls, "key_file") or Path(),
            client_ca_file=self._file(tls, "client_ca_file") if tls.get("client_ca_file") else None,
            client_auth=self._client_auth(tls),
            client_allowed_sans=tuple(self._texts(tls, "client_allowed_sans")),
            minimum=self._choice(tls, "min_version", _VERSIONS, "TLS12"),
            maximum=self._choice(tls, "max_version", _VERSIONS, "TLS13"),
            ciphers=self._ciphers(tls),
        )
        if len(self.faults) == before:
            self._try(config)
        return config

    def _try(self, config: TlsConfig) -> None:
        if config.minimum > config.maximum:
            self.fault("tls_server_config.min_version", "is above max_version")
            return
        try:
            config.context()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            self.fault("tls_server_config", f"certificate, key or client CA cannot be used: {reason}")

    def _file(self, tls: Mapping[str, Any], name: str) -> Path | None:
        value = tls.get(name)
        if not isinstance(value, str) or not value:
            self.fault(f"tls_server_config.{name}", "write the path of a PEM file")
            return None
        path = self._path.parent / value
        if not path.is_file():
            self.fault(f"tls_server_config.{name}", f"{path} is not a file")
        return path

    def _client_auth(self, tls: Mapping[str, Any]) -> ssl.VerifyMode:
        value = tls.get("client_auth_type") or ""
        if value in ("RequestClientCert", "RequireAnyClientCert"):
            self.fault(
                "tls_server_config.client_auth_type",
                f"{value} takes certificates without looking at them, which cannot be had here;"
                " write VerifyClientCertIfGiven or RequireAndVerifyClientCert",
            )
            return ssl.CERT_NONE
        mode: ssl.VerifyMode = self._choice(tls, "client_auth_type", _CLIENT_AUTH, "")
        verifies = mode is not ssl.CERT_NONE
        if verifies and not tls.get("client_ca_file"):
            self.fault("tls_server_config.client_ca_file", f"is needed with client_auth_type {value}")
        if not verifies and (tls.get("client_ca_file") or tls.get("client_allowed_sans")):
            self.fault("tls_server_config.client_auth_type", "write RequireAndVerifyClientCert, or no client CA at all")
        return mode

    def _choice(self, tls: Mapping[str, Any], name: str, choices: Mapping[str, Any], default: str) -> Any:
        value = tls.get(name) or default
        if value not in choices:
            self.fault(f"tls_server_config.{name}", f"write one of {', '.join(filter(None, choices))}")
            value = default
        return choices[value]

    def _texts(self, tls: Mapping[str, Any], name: str) -> list[str]:
        values = tls.get(name) or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self.fault(f"tls_server_config.{name}", "write a list of texts")
            return []
        return values

    def _ciphers(self, tls: Mapping[str, Any]) -> tuple[str, ...]:
        names = self._texts(tls, "cipher_suites")
        for name in names:
            if name not in _CIPHERS:
                self.fault("tls_server_config.cipher_suites", f"{name!r} is not one of {', '.join(_CIPHERS)}")
        return tuple(_CIPHERS[name] for name in names if name in _CIPHERS)


class WatchedConfig:
    """The configuration as the file has it now: read again when it, or a file that it names, has changed.

    A change that makes no sense is told once and changes nothing: whoever was kept out stays out.
    """

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        """Raises SettingsError when the file is no good at the start."""
        self._path = path
        self._complain = complain
        self.current = load_web_config(path)
        self._context = self.current.tls.context() if self.current.tls else None
        self._seen = self._stamps()

    def refresh(self) -> WebConfig:
        """The configuration in force, after a look at the files; blocks for some microseconds."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            self._reload()
        return self.current

    def ssl_context(self) -> ssl.SSLContext | None:
        """For the listener: every connection is met with the certificates, and the client CA, of its moment."""
        return _Fresh.of(self) if self._context is not None else None

    def context_now(self) -> ssl.SSLContext:
        self.refresh()
        if self._context is None:
            raise ssl.SSLError("TLS is not configured")
        return self._context

    def _reload(self) -> None:
        try:
            config = load_web_config(self._path)
            if (config.tls is None) != (self._context is None):
                raise SettingsError([f"EXPORTER_WEB_CONFIG: {self._path}: TLS cannot be switched without a restart"])
            self._context = config.tls.context() if config.tls else None
            self.current = config
        except (SettingsError, OSError) as error:
            self._complain(f"the changed web configuration is not used: {error}")

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        tls = self.current.tls
        return tuple(_stamp(path) for path in (self._path, *(tls.files if tls else ())))


class _Fresh(ssl.SSLContext):
    """A context that makes every connection from the watched configuration's present one.

    Certificates could be loaded into a living context, but a client CA could not be taken out of it again.
    """

    _watched: WatchedConfig

    @classmethod
    def of(cls, watched: WatchedConfig) -> _Fresh:
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._watched = watched
        return context

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        return self._watched.context_now().wrap_bio(*args, **named)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
