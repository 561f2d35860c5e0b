"""What a setting is when it is left out, where that hangs on other settings or on the machine.

In: the settings before it, by attribute. Out: the value, as the operator could have written it.
"""

from __future__ import annotations

import sys
from typing import Any

from exporter.settings.addresses import service_url
from exporter.settings.sources import state_folder

#: The method when none is named, and the deviations that each method flags from.
SCORE_METHOD = "seasonal"
THRESHOLDS = {"seasonal": 3.0, "robust": 3.0, "zscore": 2.0}


def login_url(given: dict[str, Any]) -> str:
    return service_url("login", given["environment"], given["contract"])


def api_url(given: dict[str, Any]) -> str:
    return service_url("api", given["environment"], given["contract"])


def threshold(given: dict[str, Any]) -> float:
    return THRESHOLDS[given["score_method"]]


def stale_after_seconds(given: dict[str, Any]) -> float:
    return 3 * float(given["poll_interval_seconds"])


def retention_days(given: dict[str, Any]) -> int:
    return max(35, int(given["baseline_days"]))


def history() -> str:
    return str(state_folder() / "history.sqlite3")


def log_format() -> str:
    return "text" if sys.stderr.isatty() else "json"
