"""The gate: no minute of the service ever holds more of our calls than it may."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import RateLimited
from exporter.genesys.pacing import PATIENCE_SECONDS, PERIOD_SECONDS, PacingGate
from exporter.models import ApiEvent, ApiThrottled
from tests.conftest import FakeClock
from tests.genesys.strategies import unhurried

MINUTE = 60.0

#: When a caller comes, how long its call takes to arrive, and how long the answer then takes.
CALLERS = st.lists(
    st.tuples(st.floats(0, 200), st.sampled_from([0.0, 0.1, 5.0, 29.0]), st.sampled_from([0.0, 0.5, 30.0])),
    min_size=1,
    max_size=40,
)


async def arrivals_of(callers: list[tuple[float, float, float]], per_minute: int, reserved: int) -> list[float]:
    """When the calls of `callers` reach the service; every third one is background work."""
    clock, arrived = FakeClock(), list[float]()
    gate = PacingGate(per_minute, clock, lambda event: None)
    gate.reserved = reserved

    async def call(number: int, comes: float, travels: float, lasts: float) -> None:
        await clock.sleep(comes)
        async with gate.passage(float("inf"), background=number % 3 == 0):
            await clock.sleep(travels)
            arrived.append(clock.monotonic())
            await clock.sleep(lasts)

    await asyncio.gather(*(call(number, *caller) for number, caller in enumerate(callers)))
    return sorted(arrived)


@unhurried
@given(CALLERS, st.integers(1, 7), st.integers(0, 3))
def test_no_minute_of_the_service_holds_more_calls_than_the_ceiling(
    callers: list[tuple[float, float, float]], per_minute: int, reserved: int
) -> None:
    arrived = asyncio.run(arrivals_of(callers, per_minute, reserved))
    assert len(arrived) == len(callers)
    assert all(last - first > MINUTE for first, last in zip(arrived, arrived[per_minute:], strict=False))


@unhurried
@given(st.integers(1, 30), st.integers(1, 8))
def test_as_many_calls_as_the_ceiling_leave_at_once_and_the_next_ones_a_minute_later(calls: int, ceiling: int) -> None:
    arrived = asyncio.run(arrivals_of([(0.0, 0.0, 0.0)] * calls, ceiling, 0))
    assert arrived == pytest.approx([PERIOD_SECONDS * (number // ceiling) for number in range(calls)])


def test_a_call_that_is_slow_to_arrive_keeps_its_place_until_it_has() -> None:
    """Departures alone would let both of these arrive in the same minute."""
    first, second = asyncio.run(arrivals_of([(1.0, 29.0, 0.0), (1.0, 0.0, 0.0)], 1, 0))
    assert second - first > MINUTE


@pytest.fixture
def events() -> list[ApiEvent]:
    return []


@pytest.fixture
def gate(clock: FakeClock, events: list[ApiEvent]) -> PacingGate:
    return PacingGate(3, clock, events.append)


async def pass_through(gate: PacingGate, seconds: float = 600.0, *, background: bool = False) -> None:
    async with gate.passage(gate._clock.monotonic() + seconds, background=background):
        pass


async def test_a_free_place_costs_no_time_and_tells_nothing(gate: PacingGate, events: list[ApiEvent]) -> None:
    for _ in range(3):
        await pass_through(gate)
    assert events == []


async def test_a_wait_is_told_with_its_length(gate: PacingGate, clock: FakeClock, events: list[ApiEvent]) -> None:
    for _ in range(4):
        await pass_through(gate)
    assert clock.monotonic() == PERIOD_SECONDS
    assert events == [ApiThrottled(PERIOD_SECONDS)]


async def test_background_work_leaves_the_reserve_to_the_polls(gate: PacingGate, clock: FakeClock) -> None:
    gate.reserved = 2
    await pass_through(gate, background=True)
    with pytest.raises(RateLimited):
        await pass_through(gate, 10, background=True)
    await pass_through(gate)
    await pass_through(gate)
    assert clock.monotonic() == 0


async def test_polls_that_use_their_reserve_leave_background_work_its_share(gate: PacingGate, clock: FakeClock) -> None:
    gate.reserved = 2
    await pass_through(gate)
    await pass_through(gate)
    await pass_through(gate, background=True)
    assert clock.monotonic() == 0


@pytest.mark.parametrize(
    ("interval", "calls", "begin"), [(10, 4, 0), (10, 4, 45), (60, 30, 0), (60, 30, 60), (300, 60, 30)]
)
async def test_background_work_takes_no_place_that_a_poll_to_come_will_need(
    clock: FakeClock, interval: int, calls: int, begin: int
) -> None:
    """Not even after a burst of calls at the start, when what polls need on average is long used up."""
    gate = PacingGate(100, clock, lambda event: None)
    gate.reserved = 60 * calls // interval
    due, late, done = [float(interval)], [0.0], [0]
    gate.expected = lambda seconds: calls * max(0, math.floor((clock.monotonic() + seconds - due[0]) / interval) + 1)

    async def polls() -> None:
        while due[0] < 900:
            await clock.sleep(due[0] - clock.monotonic())
            due[0] += interval
            for _ in range(calls):
                await pass_through(gate)
            late[0] = max(late[0], clock.monotonic() - (due[0] - interval))

    async def back_fill() -> None:
        while True:
            await pass_through(gate, background=True)
            done[0] += 1
            await clock.sleep(0.01)

    for _ in range(begin):
        await pass_through(gate)
    filling = asyncio.create_task(back_fill())
    await polls()
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    assert late[0] <= PATIENCE_SECONDS + 1
    assert done[0] > 0.8 * 14 * (100 - max(60 * calls // interval, calls))


async def test_a_reserve_as_large_as_the_ceiling_does_not_stop_background_work(gate: PacingGate) -> None:
    gate.reserved = 50
    await pass_through(gate, background=True)


async def test_a_place_that_comes_too_late_is_refused_at_once_with_the_reason(
    gate: PacingGate, clock: FakeClock
) -> None:
    for _ in range(3):
        await pass_through(gate)
    with pytest.raises(RateLimited, match=r"our own ceiling of 3 .*GENESYS_REQUESTS_PER_MINUTE") as caught:
        await pass_through(gate, 10)
    assert caught.value.retry_after_seconds == PERIOD_SECONDS
    assert clock.monotonic() == 0


async def test_a_place_that_comes_in_time_is_waited_for(gate: PacingGate, clock: FakeClock) -> None:
    for _ in range(4):
        await pass_through(gate, PERIOD_SECONDS)
    assert clock.monotonic() == PERIOD_SECONDS


async def test_a_closed_gate_holds_everyone_and_the_longer_closure_counts(gate: PacingGate, clock: FakeClock) -> None:
    gate.close_for(40)
    gate.close_for(5)
    with pytest.raises(RateLimited, match="the service asked for a pause that lasts another 40 s"):
        await pass_through(gate, 39)
    await pass_through(gate, background=True)
    assert clock.monotonic() == 40


async def test_a_closure_that_begins_while_others_wait_holds_them_too(gate: PacingGate, clock: FakeClock) -> None:
    for _ in range(3):
        await pass_through(gate)
    waiter = asyncio.create_task(pass_through(gate))
    await asyncio.sleep(0)
    gate.close_for(100)
    await waiter
    assert clock.monotonic() == 100


async def test_a_waiter_that_is_cancelled_or_fails_takes_no_place(gate: PacingGate, clock: FakeClock) -> None:
    gate.close_for(10)
    waiters = [asyncio.create_task(pass_through(gate)) for _ in range(3)]
    await asyncio.sleep(0)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    clock.advance(10)
    for _ in range(3):
        await pass_through(gate, 0)


async def test_a_call_that_fails_holds_its_place_like_any_other(gate: PacingGate) -> None:
    for _ in range(3):
        with pytest.raises(KeyError):
            async with gate.passage(0):
                raise KeyError
    with pytest.raises(RateLimited):
        await pass_through(gate, 10)


async def test_the_gate_forgets_calls_of_the_past(gate: PacingGate, clock: FakeClock) -> None:
    for _ in range(1000):
        await pass_through(gate)
        clock.advance(PERIOD_SECONDS)
    assert len(gate._all.ended) <= 3


async def test_callers_that_come_together_leave_one_after_the_other(gate: PacingGate, clock: FakeClock) -> None:
    left: list[float] = []

    async def call() -> None:
        async with gate.passage(float("inf")):
            left.append(clock.monotonic())

    await asyncio.gather(*(call() for _ in range(9)))
    assert [b - a for a, b in pairwise(left)].count(PERIOD_SECONDS) == 2
