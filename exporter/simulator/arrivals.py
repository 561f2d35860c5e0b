"""How many contacts arrive in a quarter hour, and under what load.

In: streams and quarter hours. Out: `Quarters`, one row for each pair. A Poisson count around the planned rate (daily
and weekly shape, local time) times a surprise: days and quarter hours differ from plan (log-normal, mean 1), so that
counts are overdispersed like real ones. Load is the surprise times how thinly the hour is staffed; the abandonment
ratio follows load.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.simulator.profiles import CELL_MS, CELLS_A_DAY, DAY_SHAPES, STAFFING_LOAD, WEEK_SHAPES
from exporter.simulator.randomness import Floats, Keys, derive, normals, poisson
from exporter.simulator.streams import Ints, StreamTable

# What a random number is for. The numbers are part of the simulated past: never reuse or reorder them.
_ARRIVALS, _DAY, _QUARTER, _MOOD = 1, 2, 3, 4

#: Day 0 of the epoch was a Thursday; Monday is 0.
_WEEKDAY_OF_DAY_0 = 3


@dataclass(frozen=True, slots=True)
class Quarters:
    """One row per stream and quarter hour: how many arrive, and under what load."""

    streams: Ints
    start_ms: Ints
    keys: Keys
    counts: Ints
    load: Floats
    abandon_ratio: Floats


def quarters_of(table: StreamTable, streams: Ints, cells: Ints) -> Quarters:
    stream = np.repeat(streams, len(cells))
    cell = np.tile(cells, len(streams))
    local = cell + table.offset_cells[stream]
    slot, day = local % CELLS_A_DAY, local // CELLS_A_DAY
    shape = table.day_shapes[stream]
    planned = table.peak_per_cell[stream] * DAY_SHAPES[shape, slot] * WEEK_SHAPES[shape, (day + _WEEKDAY_OF_DAY_0) % 7]
    keys = derive(table.keys[stream], cell)
    surprise = _surprise(table, stream, day, keys)
    load = surprise * STAFFING_LOAD[slot]
    mood = np.exp(0.22 * normals(keys, _MOOD))
    return Quarters(
        streams=stream,
        start_ms=cell * CELL_MS,
        keys=keys,
        counts=poisson(planned * surprise, keys, _ARRIVALS),
        load=load,
        abandon_ratio=np.clip(table.abandon_ratios[stream] * load**1.5 * mood, 0.0, 0.6),
    )


def _surprise(table: StreamTable, stream: Ints, day: Ints, keys: Keys) -> Floats:
    """How far volume is from plan: the day's part and the quarter hour's, each of mean 1."""
    spread = table.volatilities[stream]
    of_day = 0.6 * spread * normals(derive(table.keys[stream], day), _DAY) - 0.18 * spread**2
    of_quarter = spread * normals(keys, _QUARTER) - 0.5 * spread**2
    return np.asarray(np.exp(of_day + of_quarter))
