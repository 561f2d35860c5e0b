"""One poll asks thousands of questions at once: which of the answers still stand?

Comes in: the z of all series of one metric and one poll. Goes out: flags chosen so that, of all that are raised, at
most a share q is false in the long run (Benjamini and Hochberg 1995). A threshold of 3 rings once in 740 calm scores:
now and then with ten queues, every poll with thousands. This bound follows the number of queues by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from exporter.analysis.scoring.base import METRIC_COUNTS, Direction, ScoreOptions, matters
from exporter.models import FloatColumn, IntColumn, Scores

#: The share of false flags that is borne.
FALSE_SHARE = 0.05
#: Below it no tail is under a share that anybody would bear.
_LEAST = 0.5


def all_discoveries(scores: Scores, counts: Mapping[str, FloatColumn], options: ScoreOptions) -> dict[str, FloatColumn]:
    """By metric, the `discoveries` of one poll on the sides that count, and great enough to matter in practice."""
    found = {}
    for metric, score in scores.metrics.items():
        stands = discoveries(score.z, options.directions.get(metric, "both"))
        felt = matters(score.value - score.mean, counts[METRIC_COUNTS[metric][1]], metric, options)
        found[metric] = np.where(felt | np.isnan(stands), stands, 0.0)
    return found


def discoveries(z: FloatColumn, direction: Direction = "high", q: float = FALSE_SHARE) -> FloatColumn:
    """1.0 for each z that stands, 0.0 for the others, NaN where there is no z."""
    side: FloatColumn = {"high": z, "low": -z, "both": np.abs(z)}[direction]
    asked = max(1, int(np.count_nonzero(~np.isnan(z))))
    rows = np.flatnonzero(side > _LEAST)  # a tail above q never stands
    tails = np.array([math.erfc(each / math.sqrt(2)) for each in side[rows].tolist()])
    if direction != "both":
        tails /= 2
    order: IntColumn = np.argsort(tails)
    stands = tails[order] <= q * np.arange(1, len(order) + 1) / asked
    count = int(np.flatnonzero(stands)[-1]) + 1 if stands.any() else 0
    flags = np.where(np.isnan(z), np.nan, 0.0)
    flags[rows[order[:count]]] = 1.0
    return flags
