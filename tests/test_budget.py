"""What the polls to come will ask of the minute: counted by their times, and by the buckets that will close."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.budget import BudgetWatch
from exporter.genesys.pacing import PacingGate
from exporter.genesys.source import CallPlan
from exporter.models import DATASETS, Directory
from exporter.settings import Settings
from tests.conftest import FakeClock

PLAN = CallPlan({"window": 1, "observations": 4}, per_directory=60, per_history=40)
A_QUARTER = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(A_QUARTER)


def gate_of(clock: FakeClock, settings: Settings, due_seconds: float | None = None) -> PacingGate:
    """The gate of an org whose size is known where the next poll is due."""
    gate = PacingGate(100, clock, lambda event: None)
    source: Any = SimpleNamespace(datasets=DATASETS, plan=lambda directory: PLAN)
    budget, due = BudgetWatch(settings, source, gate, clock), clock.monotonic() + (due_seconds or 0)
    if due_seconds is not None:
        budget.on_directory(Directory({}))
        budget.next_due = lambda: due
    return gate


def test_before_the_size_of_the_org_is_known_nothing_is_expected(
    clock: FakeClock, make_settings: Callable[..., Settings]
) -> None:
    gate = gate_of(clock, make_settings())
    assert gate.expected(60.0) == 0.0


def test_polls_are_expected_when_they_are_due_and_the_names_all_the_time(
    clock: FakeClock, make_settings: Callable[..., Settings]
) -> None:
    gate = gate_of(clock, make_settings(EXPORTER_POLL_INTERVAL="20", EXPORTER_SETTLE="0"), due_seconds=15)
    polls = [gate.expected(seconds) - 60 * seconds / 600 for seconds in (0, 14.9, 15, 34.9, 35, 61)]
    assert polls == pytest.approx([0, 0, 5, 5, 10, 15])


def test_a_bucket_that_will_close_is_expected_with_its_calls(
    clock: FakeClock, make_settings: Callable[..., Settings]
) -> None:
    gate = gate_of(clock, make_settings(EXPORTER_POLL_INTERVAL="3600", EXPORTER_SETTLE="60"), due_seconds=3600)
    clock.advance(30)
    assert [gate.expected(seconds) - seconds / 10 for seconds in (29.0, 31.0)] == pytest.approx([0, 40])
    clock.advance(31)
    assert gate.expected(61.0) == pytest.approx(6.1)
