"""The web configuration: TLS, client certificates, users and headers, in the format of Prometheus' exporter-toolkit.

A YAML file comes in, a `WebConfig` goes out, or a SettingsError with every fault at once, by line. A fault repeats
nothing of the file but a path: a slip of the pen can put a hash or a key anywhere. Paths are relative to the file. What
the format knows and Python's TLS cannot do is refused, never ignored: a guard that is not there must not look as if it
were. Format: github.com/prometheus/exporter-toolkit, docs/web-configuration.md.
"""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.publish.strict_yaml import Reader, Section, reason

SETTING = "EXPORTER_WEB_CONFIG"

#: The headers that the format lets an operator set, and the values that it lets some of them have.
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
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
#: Suites of TLS 1.3, which are always on, here as in Go.
_TLS13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_TLS_KEYS = (
    "cert_file",
    "key_file",
    "client_ca_file",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
)
#: The salt's last letter holds two bits; with any other one it could never be compared.
_BCRYPT = re.compile(r"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
#: htpasswd makes no dearer hash; one comparison takes some ten seconds by then, and four days at bcrypt's own limit.
_DEAREST_BCRYPT = 17
#: A certificate's or key's text put where its path belongs must not get into a log.
_LONGEST_SHOWN_PATH = 200


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

    def context(self) -> ssl.SSLContext:
        """A server context. Raises OSError (ssl.SSLError among them) where a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with warnings.catch_warnings():  # Python finds TLS 1.1 too old even as a lower bound
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = self.minimum, self.maximum
        context.load_cert_chain(self.cert_file, self.key_file, password="")  # or OpenSSL asks the terminal for it
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

    @property
    def guards(self) -> tuple[bool, bool, bool]:
        """Which locks there are: users, required certificates, names of certificates."""
        tls = self.tls
        return (
            bool(self.users),
            bool(tls and tls.client_auth is ssl.CERT_REQUIRED),
            bool(tls and tls.client_allowed_sans),
        )


def load_web_config(path: Path) -> WebConfig:
    """The configuration in `path`; raises SettingsError with a line for every fault."""
    return parsed(path)[0]


def parsed(path: Path) -> tuple[WebConfig, tuple[Path, ...]]:
    """The configuration, and the files it names; those are known to the SettingsError too, as its `files`."""
    reader = _Reader(SETTING, path)
    config = reader.read(reader.content())
    return config, reader.end()


class _Reader(Reader):
    def read(self, content: Any) -> WebConfig:
        top = self.checked("the file", content)
        self.known("the file", top, ("tls_server_config", "http_server_config", "basic_auth_users"))
        return WebConfig(
            tls=self._tls(self.section(top, "tls_server_config")),
            users=self._users(self.section(top, "basic_auth_users")),
            headers=self._headers(self.section(top, "http_server_config")),
        )

    def _users(self, users: Section) -> dict[str, bytes]:
        good = {}
        for name, hashed in users.items():
            line = users.lines[name]
            if not isinstance(hashed, str) or not _is_hash(hashed):
                self.fault("basic_auth_users", "this is no bcrypt hash; make one with htpasswd -nBC 10 ''", line)
            elif ":" in name or not name:
                self.fault("basic_auth_users", "this cannot be a user's name: it is empty or holds a colon", line)
            elif int(hashed[4:6]) > _DEAREST_BCRYPT:
                self.fault("basic_auth_users", f"this hash is too costly; the cost is {_DEAREST_BCRYPT} at most", line)
            else:
                good[name] = hashed.encode()
        return good

    def _headers(self, server: Section) -> dict[str, str]:
        self.known("http_server_config", server, ("http2", "headers"))
        if server.get("http2", "true") not in ("true", "false"):
            line = server.lines["http2"]
            self.fault("http_server_config.http2", "write true or false (HTTP/1.1 is spoken either way)", line)
        headers = self.section(server, "headers")
        self.known("http_server_config.headers", headers, HEADERS)
        for name, value in headers.items():
            choices = HEADERS.get(name, ())
            if not isinstance(value, str) or not value.isprintable():
                self.fault(f"http_server_config.headers, {name}", "write one line of text", headers.lines[name])
            elif choices and value.lower() not in choices:
                text = f"write {' or '.join(choices)}"
                self.fault(f"http_server_config.headers, {name}", text, headers.lines[name])
        return {name: str(value) for name, value in headers.items() if value}

    def _tls(self, tls: Section) -> TlsConfig | None:
        if not tls:
            return None
        self.known("tls_server_config", tls, _TLS_KEYS)
        before = len(self.faults)
        minimum = self._choice(tls, "min_version", _VERSIONS, "TLS12")
        config = TlsConfig(
            cert_file=self._file(tls, "cert_file"),
            key_file=self._file(tls, "key_file"),
            client_ca_file=self._file(tls, "client_ca_file") if tls.get("client_ca_file") else None,
            client_auth=self._client_auth(tls),
            client_allowed_sans=tuple(self._texts(tls, "client_allowed_sans")),
            minimum=minimum,
            maximum=self._choice(tls, "max_version", _VERSIONS, "TLS13"),
            ciphers=self._ciphers(tls, minimum),
        )
        if tls.get("prefer_server_cipher_suites", "true") not in ("true", "false"):
            self._tls_fault(tls, "prefer_server_cipher_suites", "write true or false")
        if len(self.faults) == before:
            self._try(tls, config)
        return config

    def _tls_fault(self, tls: Section, name: str, text: str) -> None:
        self.fault(f"tls_server_config.{name}", text, tls.lines.get(name))

    def _try(self, tls: Section, config: TlsConfig) -> None:
        if config.minimum > config.maximum:
            self._tls_fault(tls, "min_version", "is above max_version")
            return
        try:
            config.context()
        except (OSError, ValueError) as error:
            self.fault("tls_server_config", f"certificate, key or client CA cannot be used: {reason(error)}")

    def _file(self, tls: Section, name: str) -> Path:
        value = tls.get(name)
        if not isinstance(value, str) or not value:
            self._tls_fault(tls, name, "write the path of a PEM file")
            return Path()
        path = self._path.parent / value
        self.files.append(path)
        try:
            good = path.is_file()
        except OSError:
            good = False
        if not good:
            is_path = value.isprintable() and "-----" not in value and len(value) <= _LONGEST_SHOWN_PATH
            self._tls_fault(tls, name, f"{path if is_path else 'the value'} is not a file that can be read")
        return path

    def _client_auth(self, tls: Section) -> ssl.VerifyMode:
        value = tls.get("client_auth_type")
        if value in ("RequestClientCert", "RequireAnyClientCert"):
            text = (
                f"{value} takes certificates without looking at them, which cannot be had here;"
                " write VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            )
            self._tls_fault(tls, "client_auth_type", text)
            return ssl.CERT_NONE
        before = len(self.faults)
        mode: ssl.VerifyMode = self._choice(tls, "client_auth_type", _CLIENT_AUTH, "")
        if len(self.faults) == before:
            self._check_client_ca(tls, mode)
        return mode

    def _check_client_ca(self, tls: Section, mode: ssl.VerifyMode) -> None:
        if mode is not ssl.CERT_NONE and not tls.get("client_ca_file"):
            self._tls_fault(tls, "client_ca_file", "is needed to verify clients' certificates; write the CA's path")
        if mode is ssl.CERT_NONE and (tls.get("client_ca_file") or tls.get("client_allowed_sans")):
            self._tls_fault(
                tls, "client_auth_type", "write RequireAndVerifyClientCert, or nothing about clients at all"
            )

    def _choice(self, tls: Section, name: str, choices: Mapping[str, Any], default: str) -> Any:
        value = tls.get(name)
        if value is None:
            value = default
        if not isinstance(value, str) or value not in choices:
            self._tls_fault(tls, name, f"write one of {', '.join(filter(None, choices))}")
            value = default
        return choices[value]

    def _texts(self, tls: Section, name: str) -> list[str]:
        values = tls.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            self._tls_fault(tls, name, "write a list of texts")
            return []
        return values

    def _ciphers(self, tls: Section, minimum: ssl.TLSVersion) -> tuple[str, ...]:
        names = self._texts(tls, "cipher_suites")
        ciphers = tuple(_CIPHERS[name] for name in names if name in _CIPHERS)
        if any(name not in _CIPHERS and name not in _TLS13_CIPHERS for name in names):
            self._tls_fault(tls, "cipher_suites", f"write some of {', '.join((*_CIPHERS, *_TLS13_CIPHERS))}")
        elif names and not ciphers and minimum < ssl.TLSVersion.TLSv1_3:
            self._tls_fault(tls, "cipher_suites", "names nothing for TLS 1.2; write min_version: TLS13 too")
        return ciphers


def _is_hash(text: str) -> bool:
    found = _BCRYPT.fullmatch(text)
    return found is not None and 4 <= int(found[1]) <= 31
