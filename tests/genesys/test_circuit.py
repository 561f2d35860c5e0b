"""Refusals that last: tried by three polls, then only now and then."""

from __future__ import annotations

import pytest

from exporter.errors import AuthError, ScopeError, Unavailable
from exporter.genesys.circuit import PATIENCE, PROBE_SECONDS, TOGETHER_SECONDS, Circuit
from tests.conftest import FakeClock


@pytest.fixture
def circuit(clock: FakeClock) -> Circuit:
    return Circuit(clock, ScopeError)


def refuse(circuit: Circuit, times: int = 1, key: object = None) -> None:
    for _ in range(times):
        circuit.record(ScopeError("no"), key)


def test_a_new_circuit_lets_everything_through(circuit: Circuit) -> None:
    circuit.check()


def test_a_refusal_is_repeated_to_those_who_come_together(circuit: Circuit, clock: FakeClock) -> None:
    refuse(circuit)
    with pytest.raises(ScopeError):
        circuit.check()
    clock.advance(TOGETHER_SECONDS)
    circuit.check()


def test_after_the_third_refusal_only_a_slow_probe_goes_through(circuit: Circuit, clock: FakeClock) -> None:
    refuse(circuit, PATIENCE)
    clock.advance(PROBE_SECONDS - 0.1)
    with pytest.raises(ScopeError):
        circuit.check()
    clock.advance(0.2)
    circuit.check()
    refuse(circuit)
    with pytest.raises(ScopeError):
        circuit.check()


def test_a_success_closes_it(circuit: Circuit) -> None:
    refuse(circuit, PATIENCE)
    circuit.reset()
    circuit.check()
    refuse(circuit)
    circuit._clock.advance(TOGETHER_SECONDS)  # type: ignore[attr-defined]
    circuit.check()


def test_what_is_no_refusal_does_not_count(circuit: Circuit) -> None:
    for error in (Unavailable("down"), AuthError("no"), ValueError("ours")):
        circuit.record(error)
    circuit.check()


def test_refusals_among_other_failures_are_no_row(circuit: Circuit, clock: FakeClock) -> None:
    for _ in range(PATIENCE):
        refuse(circuit, PATIENCE - 1)
        circuit.record(Unavailable("down"))
    clock.advance(TOGETHER_SECONDS)
    circuit.check()


def test_a_probe_that_does_not_get_through_leaves_it_open(circuit: Circuit, clock: FakeClock) -> None:
    refuse(circuit, PATIENCE)
    circuit.record(Unavailable("down"))
    clock.advance(TOGETHER_SECONDS)
    with pytest.raises(ScopeError):
        circuit.check()


def test_the_same_refusal_counts_once(circuit: Circuit, clock: FakeClock) -> None:
    error = ScopeError("no")
    for _ in range(PATIENCE):
        circuit.record(error)
    clock.advance(TOGETHER_SECONDS)
    circuit.check()


def test_another_key_goes_through_and_counts_anew(circuit: Circuit, clock: FakeClock) -> None:
    refuse(circuit, PATIENCE, "old")
    circuit.check("new")
    refuse(circuit, 1, "new")
    clock.advance(TOGETHER_SECONDS)
    circuit.check("new")


def test_a_refusal_that_is_repeated_holds_no_trace_of_earlier_callers(circuit: Circuit) -> None:
    refuse(circuit, PATIENCE)
    depths = []
    for _ in range(3):
        with pytest.raises(ScopeError) as caught:
            circuit.check()
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1
