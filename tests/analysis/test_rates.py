"""Rates and averages of one interval, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.analysis.rates import QUOTIENTS, derive, ratio
from exporter.models import BUCKET_COUNTS, WINDOW_COLUMNS

NAN = float("nan")


@pytest.mark.parametrize(
    ("events", "contacts", "expected"),
    [
        (1, 4, 0.25),
        (0, 4, 0),
        (1, 3, 1 / 3),
        (0, 0, NAN),  # no contacts: no rate, not a good one
        (2, 0, NAN),  # both of those who gave up had been offered before the window began
        (4, 3, 4 / 3),  # the same, seen on a window with contacts: the quotient stays what it is
        (NAN, 3, NAN),
        (1, NAN, NAN),
    ],
)
def test_a_ratio_is_the_exact_quotient_where_there_are_contacts(
    events: float, contacts: float, expected: float
) -> None:
    np.testing.assert_array_equal(ratio(np.array([events], float), np.array([contacts], float)), [expected])


def test_the_published_columns_are_the_counts_the_target_and_every_quotient() -> None:
    columns = {name: np.array([float(place + 1), 0.0]) for place, name in enumerate(WINDOW_COLUMNS)}
    published = derive(columns)
    assert set(published) == {*BUCKET_COUNTS, "service_level_target_ratio", *QUOTIENTS}
    for name in BUCKET_COUNTS:
        assert published[name] is columns[name]
    assert published["abandonment_ratio"][0] == columns["abandoned"][0] / columns["offered"][0]
    assert published["sla_breach_ratio"][0] == columns["sla_breached"][0] / columns["sla_contacts"][0]
    assert published["average_speed_of_answer_seconds"][0] == columns["answered_seconds"][0] / columns["answered"][0]
    assert published["average_handle_time_seconds"][0] == columns["handled_seconds"][0] / columns["handled"][0]
    assert published["average_wait_seconds"][0] == columns["waited_seconds"][0] / columns["waited"][0]
    assert all(np.isnan(published[name][1]) for name in QUOTIENTS)
