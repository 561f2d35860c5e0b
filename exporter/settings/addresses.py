"""Addresses: text to value, and where Genesys Cloud's services are.

In: the text of one variable, stripped and not blank. Out: its value, or a ValueError as in `values`. No name is looked
up and nothing is reached. Region domains: Genesys Cloud's own developer pages.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

REGIONS = {
    "us-east-1": "mypurecloud.com",
    "us-east-2": "use2.us-gov-pure.cloud",
    "us-west-2": "usw2.pure.cloud",
    "ca-central-1": "cac1.pure.cloud",
    "sa-east-1": "sae1.pure.cloud",
    "mx-central-1": "mxc1.pure.cloud",
    "eu-west-1": "mypurecloud.ie",
    "eu-west-2": "euw2.pure.cloud",
    "eu-central-1": "mypurecloud.de",
    "eu-central-2": "euc2.pure.cloud",
    "eusc-de-east-1": "edee1.eusc-pure.cloud",
    "me-central-1": "mec1.pure.cloud",
    "ap-southeast-1": "apse1.pure.cloud",
    "ap-southeast-2": "mypurecloud.com.au",
    "ap-northeast-1": "mypurecloud.jp",
    "ap-northeast-2": "apne2.pure.cloud",
    "ap-northeast-3": "apne3.pure.cloud",
    "ap-south-1": "aps1.pure.cloud",
}

_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_WRITTEN = " (in a password : / ? # @ are written %3A %2F %3F %23 %40)"


def service_url(service: str, environment: str, contract: str) -> str:
    """Where Genesys Cloud serves `login` or `api`; a gateway with the summary contract has one host for both."""
    return f"https://{environment}" if contract == "summary" else f"https://{service}.{environment}"


def domain(text: str) -> str:
    """The region's domain, without scheme, port or the host names that go before it."""
    name = text.lower().rstrip(".")
    if "://" in name or "/" in name or ":" in name:
        raise ValueError("is an address, not a domain")
    if name in REGIONS:
        raise ValueError(f"is the name of an AWS region, whose domain is {REGIONS[name]}")
    if "." not in name and name != "localhost":
        raise ValueError("is not a domain")
    if name.split(".")[0] in ("login", "api", "apps", "www"):
        raise ValueError("names a host of the region")
    if not _is_host(name):
        raise ValueError("is not a domain")
    return name


def base_url(text: str) -> str:
    """An http(s) address that paths are appended to; without the slash at its end."""
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise ValueError("is not an address") from error
    if url.scheme not in ("http", "https"):
        raise ValueError("does not begin with https:// or http://")
    if "@" in url.netloc:
        raise ValueError("holds a user name or a password")
    _check_authority(url.hostname, url.netloc)
    if url.query or url.fragment:
        raise ValueError("holds a query or a fragment")
    path = url.path.rstrip("/")
    if path.lower().endswith(("/api/v2", "/oauth/token")) or not re.fullmatch(r"[\w/.~%:+-]*", path, re.ASCII):
        raise ValueError("holds a path that the exporter adds by itself, or that no address can have")
    return f"{url.scheme}://{url.netloc.lower()}{path}"


def _check_authority(host: str | None, netloc: str) -> None:
    if not host or not _is_host(host):
        raise ValueError("has no valid host name")
    try:
        port = urlsplit(f"//{netloc}").port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("has no valid port")


def listen_host(text: str) -> str:
    """An IP address or a host name to listen on; brackets around an IPv6 address are taken off."""
    host = text.removeprefix("[").removesuffix("]")
    if not _is_host(host):
        raise ValueError("is neither an IP address nor a host name")
    return host


def listen_port(text: str) -> str:
    """The text itself, unless Kubernetes wrote it: a Service named `exporter` injects EXPORTER_PORT=tcp://…"""
    if re.match(r"(tcp|udp|sctp)://", text):
        raise ValueError(
            'was injected by Kubernetes for a Service named "exporter": set enableServiceLinks: false in the pod spec'
        )
    return text


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        labels = name.split(".")
        return len(name) < 254 and not labels[-1].isdigit() and all(_HOST_LABEL.fullmatch(label) for label in labels)
    return True


def redis_url(text: str) -> str:
    """The URL of a Redis or Valkey server; it may hold a password."""
    try:
        parts = urlsplit(text)
        complete = bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        complete, parts = False, urlsplit("")
    if parts.scheme not in ("redis", "rediss", "unix") or not complete or not text.isprintable() or " " in text:
        raise ValueError(f"is no URL of a Redis server{_WRITTEN}")
    if "#" in text:
        raise ValueError(f"holds a #, which ends a URL{_WRITTEN}")
    if parts.scheme == "unix":
        if parts.hostname:
            raise ValueError("names no path after unix://, which takes three slashes: unix:///run/redis.sock")
    elif not _is_host((parts.hostname or "").removesuffix(".")):
        raise ValueError(f"has no valid host name{_WRITTEN}")
    elif not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        raise ValueError("names no database: what follows the host's / is its number, 0 or more")
    _check_redis_options(parts)
    return text


def _check_redis_options(parts: SplitResult) -> None:
    """Refuses what the client of Redis would pass over in silence; it knows which others there are."""
    given = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(given)
    if len(options) < len(given) or not all(options.values()):
        raise ValueError("holds an option after the ? that has no value, or two")
    if options.keys() & {"host", "port", "path", "decode_responses"}:
        raise ValueError("holds host, port, path or decode_responses after the ?, where the exporter takes none")
    elsewhere = {"username": parts.username, "password": parts.password}
    if parts.scheme != "unix":
        elsewhere["db"] = parts.path.strip("/")
    if any(elsewhere.get(name) for name in options):
        raise ValueError("says user, password or database twice, before the ? and after it")
    if not re.fullmatch(r"[0-9]{1,9}", options.get("db", "0")):
        raise ValueError("names no database: db is its number, 0 or more")
