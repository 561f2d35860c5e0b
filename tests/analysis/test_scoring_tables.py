"""Tables of many series, filled a few at a time."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.analysis.scoring.rates import MOST_INFORMATION, RateTables
from exporter.analysis.scoring.tables import empty_tables, lay


def part(series: int, first: float, information: float = 10.0) -> RateTables:
    """Two slots; every series has a value of its own."""
    values = first + np.arange(series, dtype=np.float32)
    slots = np.stack([values, values + 0.5])
    return RateTables(slots, np.full_like(slots, information), values, values, values)


def test_parts_stand_where_their_series_do():
    whole = empty_tables(RateTables, 2, 5)
    lay(part(2, 3.0), whole, slice(3, 5))
    lay(part(3, 0.0), whole, slice(0, 3))
    assert whole.rate.tolist() == [[0, 1, 2, 3, 4], [0.5, 1.5, 2.5, 3.5, 4.5]]
    assert whole.rho.tolist() == whole.buckets.tolist() == [0, 1, 2, 3, 4]


def test_information_is_rough_and_nothing_else_is():
    whole = empty_tables(RateTables, 2, 1)
    lay(part(1, 0.0, information=MOST_INFORMATION), whole, slice(0, 1))
    assert whole.information.dtype == np.float16
    assert {each.dtype for each in (whole.rate, whole.rho, whole.samples, whole.buckets)} == {np.dtype(np.float32)}
    assert 1 / whole.information[0, 0] == pytest.approx(1 / MOST_INFORMATION, rel=1e-3)
