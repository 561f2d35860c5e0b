"""What makes settings wrong or doubtful together, although each is right by itself.

In: a validated `Settings`. Out: faults by variable and warnings, one line each: the variable, what is wrong, what to
write instead. A secret is never shown, nor an address that holds a password.
"""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from exporter.settings import values
from exporter.settings.addresses import is_loopback
from exporter.settings.model import Settings

#: Calls a minute that Genesys Cloud grants one client-credentials token.
_GENESYS_CALLS_PER_MINUTE = 300

#: What binds the flags of `seasonal` and `robust`.
_GUARDS = ("EXPORTER_ANOMALY_MIN_EVENTS", "EXPORTER_ANOMALY_MIN_DIFFERENCE", "EXPORTER_ANOMALY_DIRECTION")

# Names that Kubernetes injects for a Service called `exporter…` or `genesys…`: nobody wrote them.
_SERVICE_LINK = re.compile(r"(EXPORTER|GENESYS)\w*_(SERVICE_(HOST|PORT\w*)|PORT|PORT_\d+_(TCP|UDP|SCTP)\w*)")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def cross_faults(settings: Settings, bad: Collection[str], require_credentials: bool) -> dict[str, list[str]]:
    """What is wrong although each value is right by itself; rules that touch a `bad` variable are left out."""
    found: dict[str, list[str]] = {}
    for variables, problem in (*_credential_faults(settings, require_credentials), *_range_faults(settings)):
        if not set(variables) & set(bad):
            found.setdefault(variables[0], []).append(f"{variables[0]}: {problem}")
    return found


def _credential_faults(settings: Settings, required: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    for variable, secret, path in (
        ("GENESYS_CLIENT_ID", settings.client_id, settings.client_id_file),
        ("GENESYS_CLIENT_SECRET", settings.client_secret, settings.client_secret_file),
    ):
        pair = (variable, f"{variable}_FILE")
        if secret is not None and path is not None:
            yield pair, f"is set, and {variable}_FILE too; write one of the two"
        elif required and secret is None and path is None:
            what = type(settings).model_fields[variable.removeprefix("GENESYS_").lower()].description
            yield pair, f"is not set; write {what}, or its file's path in {variable}_FILE"
    if settings.redis_url is not None and settings.redis_url_file is not None:
        pair = ("EXPORTER_REDIS_URL", "EXPORTER_REDIS_URL_FILE")
        yield pair, "is set, and EXPORTER_REDIS_URL_FILE too; write one of the two"


def _range_faults(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    interval, baseline = settings.poll_interval_seconds, settings.baseline_days
    if settings.contract == "summary" and settings.bucket == "PT30M":
        problem = "PT30M is not known to the summary contract; write PT15M, PT1H, PT4H or PT1D"
        yield ("EXPORTER_BUCKET", "GENESYS_CONTRACT"), problem
    if settings.stale_after_seconds < interval:
        problem = f"{settings.stale_after_seconds:g} is less than EXPORTER_POLL_INTERVAL; write {interval:g} or more"
        yield ("EXPORTER_STALE_AFTER", "EXPORTER_POLL_INTERVAL"), problem
    if settings.retention_days < baseline:
        problem = f"{settings.retention_days} is less than EXPORTER_BASELINE_DAYS; write {baseline} or more"
        yield ("EXPORTER_RETENTION_DAYS", "EXPORTER_BASELINE_DAYS"), problem
    if settings.history_path is not None and (unusable := _history_problem(settings.history_path)):
        write = type(settings).model_fields["history"].description
        yield ("EXPORTER_HISTORY",), f'"{settings.history_path}" {unusable}; write {write}'


def _history_problem(path: Path) -> str | None:
    """Why no file can be kept there. A disk that is full or read-only now is no fault: history goes on in memory."""
    folder = path.absolute().parent
    try:
        if path.is_dir():
            return "is a folder"
        nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".genesys-cloud-exporter-"):
            return None
    except OSError as error:
        if folder.is_dir() and error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            return None
        return f"cannot be kept ({(error.strerror or type(error).__name__).lower()})"


def unknown_variables(names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """A warning for every name that looks like ours and is not, as a misspelt one would."""
    for name in sorted(set(names) - set(known)):
        if name.upper().startswith(("GENESYS_", "EXPORTER_")) and not _SERVICE_LINK.fullmatch(name):
            yield f"{name}: no such setting{values.nearest(name, known)}"


def doubts(settings: Settings) -> Iterator[str]:
    """Warnings about values that work and are seldom meant."""
    for variable, url in (("GENESYS_LOGIN_URL", settings.login_url), ("GENESYS_API_URL", settings.api_url)):
        if url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
            yield f"{variable}: {url} is not encrypted; the client secret and the data can be read on the way"
    if settings.contract == "aggregates" and (odd := [i for i in settings.queue_ids if not _UUID.fullmatch(i)]):
        yield f"GENESYS_QUEUE_IDS: {odd[0]} does not look like a Genesys Cloud queue id, a UUID in small letters"
    for media_type in settings.media_types:
        if media_type not in values.MEDIA_TYPES:
            guess = values.nearest(media_type, values.MEDIA_TYPES)
            yield f"GENESYS_MEDIA_TYPES: {media_type} is no known media type{guess}"
    if settings.contract == "summary" and settings.media_types:
        yield "GENESYS_MEDIA_TYPES: has no effect, since the summary contract knows no media types"
    if not 7 <= settings.baseline_days <= 35:
        yield "EXPORTER_BASELINE_DAYS: scores are made for 7 to 35 days"
    if (most := settings.baseline_days * 86_400 // settings.bucket_seconds) < settings.baseline_min_samples:
        yield (
            f"EXPORTER_BASELINE_MIN_SAMPLES: nothing will be scored, since EXPORTER_BASELINE_DAYS hold {most} buckets"
            f" and {settings.baseline_min_samples} are asked for"
        )
    if settings.history_path is not None and "$" in settings.history:
        yield f'EXPORTER_HISTORY: the $ in "{settings.history}" is taken as it stands'
    if settings.score_method == "zscore":
        for variable in filter(settings.is_set, _GUARDS):
            yield f"{variable}: has no effect, since the classic score knows |z| and its threshold alone"
    if settings.requests_per_minute > _GENESYS_CALLS_PER_MINUTE:
        yield f"GENESYS_REQUESTS_PER_MINUTE: Genesys Cloud grants a client {_GENESYS_CALLS_PER_MINUTE} calls a minute"
