"""How unusual is each value of the window, measured against its own queue's past?

    baseline (closed buckets) ──fit──▶ model ──score(window)──▶ ScoreColumns

`base` holds what every method shares; `seasonal` is the default (`calendar`, `rates`, `volume` and `tails` are its
parts), `robust` and `zscore` (fitted by `growing`) stand beside it. `METHODS` is the list of methods by the name
that EXPORTER_SCORE_METHOD takes. Pure functions over columns: no clock, no input or output. docs/scoring.md derives
the methods. The import holds the process's linear algebra to one thread, see `linear_algebra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from exporter.analysis.scoring.base import (
    METRIC_COUNTS,
    NO_HISTORY,
    Direction,
    Method,
    Model,
    ScoreOptions,
    buckets_between,
    score_all,
)
from exporter.analysis.scoring.growing import GrowingZScore
from exporter.analysis.scoring.linear_algebra import one_thread
from exporter.analysis.scoring.robust import Robust
from exporter.analysis.scoring.seasonal import Seasonal
from exporter.analysis.scoring.zscore import ZScore

one_thread()

#: Every method by its name.
METHODS: Mapping[str, Method] = MappingProxyType({each.name: each for each in (Seasonal(), Robust(), ZScore())})


def method(name: str) -> Method:
    """The method called `name`; a KeyError that lists the names where there is none."""
    try:
        return METHODS[name]
    except KeyError:
        raise KeyError(f"unknown scoring method {name!r}: use one of {', '.join(METHODS)}") from None


def for_one_history(method: Method) -> Method:
    """The same method for one caller that fits to one history again and again, as it grows: the next fit may go on from
    the last one."""
    return GrowingZScore() if isinstance(method, ZScore) else method


__all__ = [
    "METHODS",
    "METRIC_COUNTS",
    "NO_HISTORY",
    "Direction",
    "Method",
    "Model",
    "ScoreOptions",
    "buckets_between",
    "for_one_history",
    "method",
    "score_all",
]
