"""How many samples an org will put on /metrics, told from one look at it, before there is a snapshot.

Comes in: what the calls of one poll answered, as far as they did. Goes out: `Need`, two bounds that are counted as the
ceiling counts (`ceiling`). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from exporter.analysis import rates
from exporter.analysis.rows import speaking
from exporter.analysis.scoring import Method
from exporter.analysis.series import COUNTERS
from exporter.analysis.snapshot import NO_SAMPLE, OBSERVED, samples_by_row, window_columns
from exporter.models import WINDOW_COLUMNS, ObservationTable, QueueTable, SeriesKey

#: Samples of one score: z, anomaly, mean, standard deviation, samples; and whether it stands among all.
SCORE_SAMPLES, DISCOVERY_SAMPLES = 5, 1
#: Of a queue besides its rows: its entry in the directory, and agents in each of Genesys Cloud's routing statuses
#: (off queue, idle, interacting, not responding, communicating).
INFO_SAMPLES, AGENT_SAMPLES = 1, 5


@dataclass(frozen=True, slots=True)
class Need:
    """`least` is what a snapshot of now has for sure, once history is filled; `most` holds as long as no queue has
    contacts of other media types than these, and is None where neither the settings nor the answers name one."""

    least: int
    most: int | None
    media_types: tuple[str, ...]


def needed(
    queues: int,
    window: QueueTable | None,
    observations: ObservationTable | None,
    method: Method,
    contract: str,
    media_types: Collection[str] = (),
) -> Need:
    """What `queues` need; `observations` may be those of some of them. `media_types`: all that are selected, if any."""
    agents = 0 if observations is None else len(observations.agent_keys)
    listed = queues * INFO_SAMPLES if contract == "aggregates" else 0
    least = listed + agents + _seen(window, contract)
    named = sorted(media_types or {key.media_type for key in (*_speaking(window), *_speaking(observations))})
    if not named:
        return Need(least, None, ())
    by_queue = INFO_SAMPLES + AGENT_SAMPLES if contract == "aggregates" else 0
    most = queues * (len(named) * most_of_a_row(method) + by_queue)
    return Need(least, max(least, most), tuple(named))


def most_of_a_row(method: Method) -> int:
    """Samples of one queue and media type that has a value everywhere."""
    window = rates.derive({name: np.zeros(0) for name in WINDOW_COLUMNS}).keys() - NO_SAMPLE
    scores = len(method.metrics) * (SCORE_SAMPLES + DISCOVERY_SAMPLES * method.z_is_tail)
    return len(window) + len(OBSERVED) + len(COUNTERS) + scores


def _speaking(table: QueueTable | ObservationTable | None) -> list[SeriesKey]:
    """The rows that a table alone makes a snapshot have."""
    if table is None:
        return []
    counts = (column for name, column in table.columns.items() if name != "service_level_target")
    return speaking(table.keys, counts)


def _seen(window: QueueTable | None, contract: str) -> int:
    """Samples of the window's rows, and the counters that each of them will have."""
    if window is None:
        return 0
    rows = {key: row for row, key in enumerate(_speaking(window))}
    columns = window_columns(window, rows, contract, np.full(len(rows), np.nan))
    return int(samples_by_row(columns, None, len(rows)).sum()) + len(COUNTERS) * len(rows)
