"""Cells read by the column say what cells read one after another say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.genesys import cells
from exporter.genesys.aggregates import WINDOW_METRICS, parse_buckets, parse_window
from exporter.genesys.decode import Rejects
from exporter.genesys.selection import Selection
from exporter.models import BucketBatch, QueueTable, Window

WINDOW = Window.of_epoch(1772355600, 1772356500)
INTERVAL = "2026-03-01T09:00:00.000Z/2026-03-01T09:15:00.000Z"
NUMBERS = st.sampled_from([0, 1, 7, 12.0, 0.5, -1, 1e12, 1e17, None])
STATS = st.dictionaries(
    st.sampled_from(["count", "sum", "numerator", "denominator", "target", "current"]), NUMBERS, max_size=4
)
METRICS = st.lists(
    st.builds(
        lambda name, stats, more: {"metric": name, "stats": stats, **more},
        st.sampled_from([*WINDOW_METRICS, "nNew"]),
        STATS,
        st.sampled_from([{}, {}, {"qualifier": "x"}]),
    ),
    max_size=4,
)


def ordinary(offered: int) -> list[dict[str, Any]]:
    return [
        {"metric": "nOffered", "stats": {"count": offered}},
        {"metric": "oServiceLevel", "stats": {"numerator": offered - 1, "denominator": offered, "target": 0.8}},
        {"metric": "tAnswered", "stats": {"count": offered, "sum": offered * 1500.0}},
    ]


def answer(metrics: list[list[dict[str, Any]]]) -> bytes:
    rows = [
        {"group": {"queueId": f"q{i}", "mediaType": "voice"}, "data": [{"interval": INTERVAL, "metrics": each}]}
        for i, each in enumerate(metrics)
    ]
    return orjson.dumps({"results": rows})


def parsed(body: bytes) -> tuple[QueueTable, BucketBatch, Counter[str], Counter[str]]:
    seen, closed = Rejects(), Rejects()
    table = parse_window([body], WINDOW, Selection(), seen)
    return table, parse_buckets([body], WINDOW, 900, Selection(), closed), seen.lost, closed.lost


def one_by_one(body: bytes) -> tuple[QueueTable, BucketBatch, Counter[str], Counter[str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "FEW_CELLS", 10**9)
        return parsed(body)


@given(st.lists(METRICS, min_size=1, max_size=6), st.integers(0, 20))
def test_cells_read_by_the_column_say_what_they_say_one_by_one(odd: list[list[dict[str, Any]]], usual: int) -> None:
    body = answer([*(odd * cells.FEW_CELLS), *(ordinary(10 + i) for i in range(usual))])
    fast, slow = parsed(body), one_by_one(body)
    assert fast[0].keys == slow[0].keys
    assert fast[1].keys == slow[1].keys
    assert fast[2:] == slow[2:]
    for name, column in slow[0].columns.items():
        np.testing.assert_array_equal(fast[0].columns[name], column, err_msg=name)
    for name, counts in slow[1].counts.items():
        np.testing.assert_array_equal(fast[1].counts[name], counts, err_msg=name)


def test_ordinary_cells_are_all_read_by_the_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.genesys.cell_table.read_cell", None)  # the way of one cell after another
    table, *_ = parsed(answer([ordinary(5 + i) for i in range(20)]))
    assert table.columns["offered"].tolist() == [5.0 + i for i in range(20)]
    assert table.columns["answered_seconds"].tolist() == [(5 + i) * 1.5 for i in range(20)]
    assert table.columns["sla_breached"].tolist() == [1.0] * 20
