"""The ceiling on calls: never passed in any minute, whatever else is going on."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from exporter.budget import BudgetWatch
from exporter.clock import Clock
from exporter.errors import SettingsError
from exporter.genesys.pacing import PacingGate
from exporter.genesys.source import Source
from exporter.settings import Settings
from exporter.simulator import Fault, OrgConfig
from tests.end_to_end.conftest import Starter


@pytest.mark.parametrize(("contract", "queues", "days"), [("aggregates", 5, 8), ("summary", 100, 2)])
async def test_back_fill_polls_and_retries_together_stay_below_the_ceiling(
    start: Starter, contract: str, queues: int, days: int
) -> None:
    ceiling = 6
    config = OrgConfig(queues=queues, requests_per_minute=ceiling)
    at_work = await start(
        config,
        GENESYS_CONTRACT=contract,
        GENESYS_REQUESTS_PER_MINUTE=str(ceiling),
        EXPORTER_BASELINE_DAYS=str(days),
    )
    at_work.org.faults.add(
        Fault("*", status=503, probability=0.1),
        Fault("*", "reset", probability=0.1),
        Fault("*", "expire_tokens", probability=0.1),
    )
    samples = await at_work.filled()
    assert samples.total("genesys_exporter_history_buckets") >= days * 96 - 2
    assert at_work.org.calls_in_any_minute() <= ceiling
    assert at_work.org.calls_in_any_minute() >= ceiling - 2
    assert [request for request in at_work.org.requests if request.status == 429] == []
    assert samples.total("genesys_exporter_api_throttled_seconds_total") > 0


async def test_the_back_fill_leaves_the_polls_their_calls(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3), GENESYS_REQUESTS_PER_MINUTE="5", EXPORTER_BASELINE_DAYS="9")
    samples = await at_work.filled()
    assert samples.total("genesys_exporter_polls_total") >= 4
    assert samples.failures == {}
    assert at_work.org.calls_in_any_minute() <= 5


async def test_the_gate_knows_when_the_next_poll_is_due_and_what_it_will_call(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates: list[PacingGate] = []

    class Watched(BudgetWatch):
        def __init__(self, settings: Settings, source: Source, gate: PacingGate, clock: Clock) -> None:
            super().__init__(settings, source, gate, clock)
            gates.append(gate)

    monkeypatch.setattr("exporter.app.BudgetWatch", Watched)
    at_work = await start(OrgConfig(queues=3), EXPORTER_POLL_INTERVAL="300")
    await at_work.polls()
    due = at_work.exporter.poller.next_due - at_work.clock.monotonic()
    before, after = (gates[0].expected(due + seconds) for seconds in (-1, 1))
    assert due > 200
    assert before < 2
    assert after - before == pytest.approx(2, abs=0.1)  # the window, and what happens now


@pytest.mark.parametrize(("contract", "needed"), [("aggregates", 36.6), ("summary", 9.8)])
async def test_an_org_too_large_for_the_budget_ends_the_exporter_with_the_numbers(
    start: Starter, contract: str, needed: float
) -> None:
    at_work = await start(
        OrgConfig(queues=2001),
        GENESYS_CONTRACT=contract,
        EXPORTER_POLL_INTERVAL="20" if contract == "aggregates" else "13",
        GENESYS_REQUESTS_PER_MINUTE="8",
    )
    with pytest.raises(SettingsError) as refused:
        await asyncio.wait_for(at_work.exporter.work, 30)
    assert f"8 cannot hold the {needed} calls a minute that 2001 queues need" in str(refused.value)
    assert at_work.org.calls_in_any_minute() <= 8


async def test_an_org_that_outgrows_the_budget_while_it_is_polled_is_a_warning_and_no_end(
    start: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    at_work = await start(OrgConfig(queues=200), GENESYS_REQUESTS_PER_MINUTE="3")  # one call's worth of observations
    await at_work.polls()
    at_work.org.add_queue(replace(at_work.org.queues[0], id=str(uuid.uuid4())))
    await at_work.polls(22)  # two more readings of the directory
    assert len(at_work.org.calls("queues")) >= 3
    told = [message for message in caplog.messages if "outgrown" in message]
    assert len(told) == 1
    assert "3 cannot hold the 3.2 calls a minute that 201 queues need" in told[0]
    assert at_work.org.calls_in_any_minute() <= 3
