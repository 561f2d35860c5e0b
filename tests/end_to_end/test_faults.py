"""Faults of one endpoint: what they cost, what says so on /metrics, and that the next good poll mends it.

One exporter lives through all of them, which is the proof that none needs a restart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
import pytest_asyncio

from exporter.simulator import Fault, OrgConfig, SimulatedOrg
from tests.end_to_end.moving import AtWork, MovingClock, started
from tests.end_to_end.reading import ALL_UP, Samples

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFERED = "genesys_queue_offered_contacts"
THROTTLED = "genesys_exporter_api_throttled_seconds_total"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def survivor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AtWork]:
    """An exporter with its past complete."""
    clock, history = MovingClock(), tmp_path_factory.mktemp("faults") / "history.sqlite3"
    org = SimulatedOrg(OrgConfig(queues=5), clock=clock.now)
    async with (
        aiohttp.ClientSession() as http,
        started(org, clock, http, {"EXPORTER_HISTORY": str(history)}) as at_work,
    ):
        await at_work.filled()
        yield at_work


@pytest_asyncio.fixture(loop_scope="module")
async def at_work(survivor: AtWork) -> AsyncIterator[AtWork]:
    """The survivor, well, with time for three polls and more until a bucket closes."""
    seconds = (survivor.clock.now().timestamp() - 60) % 900
    if seconds > 500:
        survivor.clock.advance(900 - seconds)
    await survivor.until(lambda samples: samples.up == ALL_UP)
    await survivor.polls()
    yield survivor
    survivor.org.faults.clear()


def name(value: object) -> str:
    """A test's id."""
    if not isinstance(value, Fault):
        return str(value)
    return f"{value.endpoint} {value.kind if value.kind != 'status' else value.status}"


def counted(samples: Samples, metric: str, **labels: str) -> float:
    return samples.total(f"genesys_exporter_{metric}_total", **labels)


#: A fault, the dataset that it costs, the reason that it is counted by, and the code of its requests.
LASTING = [
    (Fault("aggregates", status=500), "window", "unavailable", "500"),
    (Fault("aggregates", status=503), "window", "unavailable", "503"),
    (Fault("aggregates", status=503, retry_after=600), "window", "unavailable", "503"),
    (Fault("aggregates", status=429, retry_after=1), "window", "rate_limited", "429"),
    (Fault("aggregates", status=429), "window", "rate_limited", "429"),
    (Fault("aggregates", status=400), "window", "query", "400"),
    (Fault("aggregates", status=403), "window", "permission", "403"),
    (Fault("aggregates", "html", status=200), "window", "payload", "200"),
    (Fault("aggregates", "html", status=502), "window", "unavailable", "502"),
    (Fault("aggregates", "truncated"), "window", "payload", "error"),
    (Fault("aggregates", "mutate", mutation="not_an_array"), "window", "payload", "200"),
    (Fault("aggregates", "reset"), "window", "unavailable", "error"),
    (Fault("observations", status=403), "observations", "permission", "403"),
    (Fault("observations", status=500), "observations", "unavailable", "500"),
    (Fault("observations", "html", status=200), "observations", "payload", "200"),
    (Fault("observations", "truncated"), "observations", "payload", "error"),
]


@pytest.mark.parametrize(("fault", "dataset", "reason", "code"), LASTING, ids=name)
async def test_a_lasting_fault_costs_its_dataset_alone_and_the_next_good_poll_mends_it(
    at_work: AtWork, fault: Fault, dataset: str, reason: str, code: str
) -> None:
    before, fault = await at_work.metrics(), replace(fault)
    at_work.org.faults.add(fault)
    after = await at_work.polls()
    assert after.up == ALL_UP | {dataset: 0.0}
    assert {r: n for r, n in after.failures.items() if n != before.failures.get(r, 0)}.keys() == {reason}
    requests = [counted(each, "api_requests", endpoint=fault.endpoint, code=code) for each in (before, after)]
    assert requests[1] - requests[0] == fault.fired >= 1
    told = (await at_work.dashboard())["datasets"][dataset]
    assert (told["up"], told["reason"], told["stale"]) == (False, reason, False)
    assert told["message"].startswith(f"{fault.endpoint}: ")
    if dataset == "window":
        assert after.by_series(OFFERED) == before.by_series(OFFERED)
    assert (await at_work.get("/-/ready")).status == 200

    at_work.org.faults.clear()
    mended = await at_work.polls()
    assert mended.up == ALL_UP
    assert mended.failures == after.failures
    await at_work.assert_window_is_true()


PASSING = [
    (Fault("aggregates", status=503, times=2), "unavailable"),
    (Fault("aggregates", status=429, retry_after=5, times=3), "rate_limited"),
    (Fault("aggregates", status=429, times=1), "rate_limited"),
    (Fault("aggregates", "html", status=502, times=1), "unavailable"),
    (Fault("aggregates", "truncated", times=1), "payload"),
    (Fault("aggregates", "reset", times=1), "unavailable"),
]


@pytest.mark.parametrize(("fault", "reason"), PASSING, ids=name)
async def test_a_passing_fault_is_tried_again_within_the_poll_and_costs_nothing(
    at_work: AtWork, fault: Fault, reason: str
) -> None:
    before, fault = await at_work.metrics(), replace(fault)
    at_work.org.faults.add(fault)
    after = await at_work.polls()
    retries = [counted(each, "api_retries", endpoint="aggregates", reason=reason) for each in (before, after)]
    assert retries[1] - retries[0] == fault.fired == fault.times
    assert after.up == ALL_UP
    assert after.failures == before.failures
    asked_to_wait = float(fault.retry_after or 0) * fault.fired
    assert after.total(THROTTLED) - before.total(THROTTLED) >= asked_to_wait - 1e-6  # of binary fractions
    await at_work.assert_window_is_true()


async def test_a_token_that_expires_in_the_middle_of_a_poll_costs_one_new_token(at_work: AtWork) -> None:
    before = await at_work.metrics()
    at_work.org.faults.add(Fault("observations", "expire_tokens", times=1))
    after = await at_work.polls()
    assert after.up == ALL_UP
    assert after.failures == before.failures
    for endpoint, code, number in (("observations", "401", 1), ("observations", "200", 1), ("token", "200", 1)):
        requests = [counted(each, "api_requests", endpoint=endpoint, code=code) for each in (before, after)]
        assert requests[1] - requests[0] == number, (endpoint, code)
    await at_work.assert_window_is_true()


async def test_rows_that_make_no_sense_are_counted_and_leave_the_others(at_work: AtWork) -> None:
    before = await at_work.metrics()
    at_work.org.faults.add(Fault("aggregates", "mutate", mutation="negative_counts", rows=1, times=1))
    after = await at_work.polls()
    rejected = [counted(each, "rejected_entities", reason="negative") for each in (before, after)]
    assert rejected[1] - rejected[0] == 1
    assert min(after.by_series(OFFERED).values()) >= 0
    assert after.up == ALL_UP


async def test_deadlines_that_were_missed_are_counted_and_not_made_up_for(at_work: AtWork) -> None:
    before, requests = await at_work.metrics(), len(at_work.org.requests)
    at_work.clock.advance(190)  # one deadline is due, two have passed
    after = await at_work.polls()
    assert counted(after, "polls_skipped") - counted(before, "polls_skipped") == 2
    assert len(at_work.org.requests) - requests == 2  # window and observations of one poll
