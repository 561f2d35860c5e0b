"""Memory stays flat over a simulated week of polls: history rolls on, the snapshot is rendered, nothing piles up.

SOAK_QUEUES and SOAK_DAYS make it larger; the suite's size takes seconds.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bench import org
from exporter.analysis.analyst import Analyst
from exporter.analysis.history import History
from exporter.analysis.scoring import ScoreOptions, method
from exporter.models import DATASETS, WINDOW_COLUMNS, DatasetState, QueueTable, Window
from exporter.publish.exposition import Renderer

QUEUES = int(os.environ.get("SOAK_QUEUES", "20"))
DAYS = int(os.environ.get("SOAK_DAYS", "7"))
GROWTH_BYTES = 500_000 + 200 * QUEUES


@pytest.mark.parametrize("on_disk", [True, False])
def test_memory_is_flat_over_a_week_of_polls(tmp_path: Path, on_disk: bool) -> None:
    history = History.open(
        tmp_path / "history.sqlite" if on_disk else None,
        scope="soak",
        selection="all",
        bucket_seconds=org.BUCKET_SECONDS,
        baseline_days=1,
        retention_days=1,
        now=org.NOW,
    )
    options = ScoreOptions(threshold=3.0, min_samples=5, timezone="UTC")
    analyst = Analyst(history, method("zscore"), options, contract="aggregates", bucket="PT15M", max_series=10**6)
    history.mark_backfilled()
    renderer, held = Renderer(), []
    tracemalloc.start()
    try:
        for turn in range(DAYS * 24):
            now = org.NOW + timedelta(hours=turn)
            poll(analyst, renderer, turn, int(now.timestamp()))
            if turn % 24 == 23:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        history.close()
    assert held[-1] - held[1] < GROWTH_BYTES, held  # the first day fills the ring


def poll(analyst: Analyst, renderer: Renderer, turn: int, end: int) -> None:
    """Four buckets have closed, the window is read, scored and rendered."""
    analyst.merge(org.batch(QUEUES, range(end - 3600, end, org.BUCKET_SECONDS), seed=turn))
    window = Window.of_epoch(end - org.BUCKET_SECONDS, end)
    columns = {name: np.full(QUEUES, float(turn % 9 + 1)) for name in WINDOW_COLUMNS}
    state = DatasetState(True, window.end, window.end, window.end + timedelta(days=1))
    snapshot = analyst.snapshot(
        now=window.end,
        directory=None,
        window=QueueTable(window, org.keys(QUEUES), columns),
        observations=None,
        datasets=dict.fromkeys(DATASETS, state),
    )
    renderer.render(snapshot, frozenset(DATASETS))
