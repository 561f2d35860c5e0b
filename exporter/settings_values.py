"""Text to value: one function for each kind of setting.

In: the text of one variable, stripped and not blank. Out: its value, or a ValueError whose message goes on from the
quoted text ("is not a time zone"). The message never repeats the text: only the caller knows whether it may be shown.
Nothing here reads the environment. Region domains, media types and the rate limit: Genesys Cloud's own SDKs and
developer pages.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

BUCKET_SECONDS = {"PT15M": 900, "PT30M": 1_800, "PT1H": 3_600, "PT4H": 14_400, "PT1D": 86_400}

#: Media types known when this was written; others are accepted, since Genesys adds to them.
MEDIA_TYPES = (
    "callback",
    "chat",
    "cobrowse",
    "email",
    "internalmessage",
    "message",
    "screenmonitoring",
    "screenshare",
    "unknown",
    "video",
    "voice",
)

#: Metric and the side of its baseline that raises a flag.
Directions = tuple[tuple[str, str], ...]
SIDES = ("high", "low", "both")
DIRECTIONS: Directions = (("abandonment_ratio", "high"), ("sla_breach_ratio", "high"), ("offered_contacts", "both"))

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
_LARGEST_SECRET_BYTES = 4_096  # a secret has some 50: anything larger is another file


def lower(text: str) -> str:
    return text.lower()


def log_level(text: str) -> str:
    level = text.lower()
    return "warning" if level == "warn" else level


def bucket(text: str) -> str:
    """The bucket's name as the settings spell it; `P1D`, which is how the API spells a day, means `PT1D`."""
    name = "PT1D" if text.upper() == "P1D" else text.upper()
    if name not in BUCKET_SECONDS:
        raise ValueError("is not a bucket")
    return name


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
    if path.endswith(("/api/v2", "/oauth/token")) or not re.fullmatch(r"[\w/.~%:+-]*", path, re.ASCII):
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


def words(text: str) -> tuple[str, ...]:
    """A comma list as a tuple, in the order given, each entry once."""
    if text[0] in "[{\"'":
        raise ValueError("has brackets or quotation marks around its entries")
    entries = tuple(dict.fromkeys(entry for part in text.split(",") if (entry := part.strip())))
    if not entries:
        raise ValueError("holds no entry")
    if any(re.search(r"[\s;]", entry) for entry in entries):
        raise ValueError("has entries that are not split by commas")
    return entries


def media_types(text: str) -> tuple[str, ...]:
    """Media types as the API spells them; unknown ones too, but nothing that cannot be one."""
    found = words(text.lower())
    if not all(re.fullmatch(r"[a-z][a-z0-9_-]*", word) for word in found):
        raise ValueError("has entries that are no words")
    return found


def directions(text: str) -> Directions:
    """The side of each metric, from one word for all or from `metric=side` entries; what is not named keeps its own."""
    entries = words(re.sub(r"\s*=\s*", "=", text.lower()))
    if len(entries) == 1 and "=" not in text:
        entries = tuple(f"{metric}={entries[0]}" for metric, _ in DIRECTIONS)
    sides = dict(DIRECTIONS)
    for entry in entries:
        name, _, side = entry.partition("=")
        metric = next((known for known in sides if name in (known, known.rpartition("_")[0])), None)
        if metric is None:
            raise ValueError(f"names a metric that is not scored{nearest(name, sides)}")
        if side not in SIDES:
            raise ValueError(f"gives {metric} a side that is none of {', '.join(SIDES)}")
        sides[metric] = side
    return tuple(sides.items())


def pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression ({error})") from error


def time_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, KeyError) as error:  # KeyError: ZoneInfoNotFoundError
        raise ValueError(f"is not a time zone{nearest(text, available_timezones())}") from error


def path(text: str) -> Path:
    """A path, with `~` expanded."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("names a user without a home folder") from error


def readable_file(text: str) -> Path:
    file_path = path(text)
    try:
        with file_path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"cannot be read ({_reason(error)})") from error
    return file_path


def folder(text: str) -> Path:
    folder_path = path(text)
    try:
        next(folder_path.iterdir(), None)
    except OSError as error:
        raise ValueError(f"is not a folder that can be read ({_reason(error)})") from error
    return folder_path


def secret_file(text: str) -> Path:
    """The path of a file that holds one secret now; what it holds is not kept, since it may be rotated."""
    file_path = path(text)
    read_secret(file_path)
    return file_path


def read_secret(file_path: Path) -> str:
    """What a secret's file holds, without the white space around it (an editor's newline)."""
    try:
        with file_path.open("rb") as file:
            content = file.read(_LARGEST_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({_reason(error)})") from error
    if len(content) > _LARGEST_SECRET_BYTES:
        raise ValueError("is too large for a file that holds one secret")
    try:
        secret = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("does not hold text") from None  # the cause would hold what the file holds
    if not secret:
        raise ValueError("is empty")
    return credential(secret)


def credential(text: str) -> str:
    """A client id or secret; neither ever holds white space or control characters."""
    if not text.isprintable() or " " in text:
        raise ValueError("holds white space or control characters")
    return text


def redis_url(text: str) -> str:
    """The URL of a Redis or Valkey server; it may hold a password."""
    try:
        parts = urlsplit(text)
        complete = bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        complete, parts = False, urlsplit("")
    if parts.scheme not in ("redis", "rediss", "unix") or not complete or not text.isprintable() or " " in text:
        raise ValueError("is no URL of a Redis server")
    return text


def redis_url_file(text: str) -> Path:
    """The path of a file that holds such a URL now."""
    file_path = secret_file(text)
    try:
        redis_url(read_secret(file_path))
    except ValueError:
        raise ValueError("holds no URL of a Redis server") from None  # the cause would hold what the file holds
    return file_path


def nearest(text: str, known: Iterable[str]) -> str:
    """`, did you mean …?` where a known word looks like the text; else nothing."""
    by_fold = {word.casefold(): word for word in known}
    found = difflib.get_close_matches(text.casefold(), by_fold, n=1, cutoff=0.75)
    return f", did you mean {by_fold[found[0]]}?" if found else ""


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
