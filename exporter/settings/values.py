"""Text to value: one function for each kind of setting.

In: the text of one variable, stripped and not blank. Out: its value, or a ValueError whose message goes on from the
quoted text ("is not a time zone"). The message never repeats the text: only the caller knows whether it may be shown.
Nothing here reads the environment. `addresses` and `files` do the same for what these name. Media types: Genesys
Cloud's own SDKs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
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
    """The side of each metric, from one word for all or from `metric=side` entries; what is not named keeps its
    own. None may have two."""
    entries = words(re.sub(r"\s*=\s*", "=", text.lower()))
    if len(entries) == 1 and "=" not in text:
        entries = tuple(f"{metric}={entries[0]}" for metric, _ in DIRECTIONS)
    sides, named = dict(DIRECTIONS), dict[str, str]()
    for entry in entries:
        name, _, side = entry.partition("=")
        metric = next((known for known in sides if name in (known, known.rpartition("_")[0])), None)
        if metric is None:
            raise ValueError(f"names a metric that is not scored{nearest(name, sides)}")
        if side not in SIDES:
            raise ValueError(f"gives {metric} a side that is none of {', '.join(SIDES)}")
        if named.setdefault(metric, side) != side:
            raise ValueError(f"gives {metric} two sides")
    return tuple((sides | named).items())


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


def nearest(text: str, known: Iterable[str]) -> str:
    """`, did you mean …?` where a known word looks like the text; else nothing."""
    by_fold = {word.casefold(): word for word in known}
    found = difflib.get_close_matches(text.casefold(), by_fold, n=1, cutoff=0.75)
    return f", did you mean {by_fold[found[0]]}?" if found else ""
