"""The summary-query contract from end to end: pages, history, names, and what its server may get wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exporter.simulator import Fault, OrgConfig, SimulatedOrg
from tests.end_to_end.conftest import Starter
from tests.end_to_end.moving import AtWork
from tests.end_to_end.reading import csv_rows, history_counts

OFFERED = "genesys_queue_offered_contacts"
UP = {"window": 1.0, "history": 1.0}
#: 40 queues × 96 buckets are two pages of the back-fill's first day.
TWO_PAGES = OrgConfig(queues=40)


async def assert_history_is_true(at_work: AtWork) -> None:
    """Every queue's closed buckets, media types summed, are what really happened."""
    rows = await at_work.history()
    starts = sorted({row.start for row in rows})
    truth: dict[tuple[str, str, object], tuple[int, int, int]] = {}
    for cell, counts in at_work.org.truth(starts[0], starts[-1] + (starts[1] - starts[0]), 900).items():
        key = (cell.queue_id, "", cell.start)
        more = (counts.offered, counts.abandoned, counts.sla_breached)
        truth[key] = tuple(a + b for a, b in zip(truth.get(key, (0, 0, 0)), more, strict=True))  # type: ignore[assignment]
    assert history_counts(rows) == {key: counts for key, counts in truth.items() if any(counts)}


async def test_whole_queues_with_names_history_scores_and_counters(start: Starter) -> None:
    at_work = await start(TWO_PAGES, GENESYS_CONTRACT="summary")
    samples = await at_work.filled()
    assert samples.up == UP
    assert samples.label_values(OFFERED, "media_type") == {""}
    assert samples.label_values(OFFERED, "queue_name") <= {queue.name for queue in at_work.org.queues}
    absent = {"genesys_queue_answered_contacts", "genesys_queue_waiting_contacts", "genesys_queue_info"}
    assert samples.names() & absent == set()
    present = {"genesys_queue_zscore", "genesys_queue_abandonment_ratio", "genesys_queue_offered_contacts_total"}
    assert present <= samples.names()
    await assert_history_is_true(at_work)
    table = csv_rows((await at_work.get("/export.csv")).body)
    assert {row.series: row.number("totalContacts") for row in table} == samples.by_series(OFFERED)
    assert {(row.cells["answeredContacts"], row.cells["mediaType"]) for row in table} == {("", "")}
    history = await at_work.history()
    assert samples.total("genesys_queue_offered_contacts_total") == sum(row.count("totalContacts") for row in history)


async def test_a_quiet_queue_stays_with_zero_contacts_and_a_queue_that_left_goes_with_the_next_poll(
    start: Starter,
) -> None:
    at_work = await start(OrgConfig(queues=12), GENESYS_CONTRACT="summary")
    samples = await at_work.filled()
    known = {row.series[0] for row in await at_work.history() if row.count("totalContacts")}
    shown = samples.by_series(OFFERED)
    assert {queue_id for queue_id, _ in shown} >= known
    assert 0 in shown.values()
    gone = at_work.org.queues[0]
    at_work.org.remove_queue(gone.id)
    after = await at_work.polls()
    assert gone.id not in after.label_values(OFFERED, "queue_id")
    assert len(after.by_series(OFFERED)) == len(shown) - 1


async def test_a_token_that_expires_between_two_pages_costs_one_new_token(start: Starter) -> None:
    def expire_after_the_first_of_two_pages(org: SimulatedOrg) -> None:
        def mutation(payload: dict[str, Any]) -> dict[str, Any]:
            if payload["paging"]["nextPageToken"]:
                org.faults.clear()
                org.expire_tokens()
            return payload

        org.faults.add(Fault("summary", "mutate", mutation=mutation))

    at_work = await start(TWO_PAGES, expire_after_the_first_of_two_pages, GENESYS_CONTRACT="summary")
    samples = await at_work.filled()
    refused = [request for request in at_work.org.requests if request.status == 401]
    (struck,) = [request for request in refused if "nextPageToken" in request.body["paging"]]
    again = [request for request in at_work.org.requests if request.raw_body == struck.raw_body]
    assert [request.status for request in again] == [401, 200]
    assert samples.total("genesys_exporter_api_requests_total", endpoint="token", code="200") == 2
    assert samples.failures == {}
    await assert_history_is_true(at_work)


async def test_a_page_token_that_repeats_is_a_fault_nothing_of_it_is_used_and_the_next_good_run_is(
    start: Starter,
) -> None:
    fault = Fault("summary", "repeat_token")
    at_work = await start(OrgConfig(queues=65), lambda org: org.faults.add(fault), GENESYS_CONTRACT="summary")

    def paged() -> list[Any]:
        return [request.body for request in at_work.org.calls("summary") if "nextPageToken" in request.body["paging"]]

    await at_work.until(lambda samples: len(paged()) >= 2)
    assert len({row.start for row in await at_work.history()}) == 8  # the polls' own two hours, which are one page
    asked = Counter((request.body["dateFrom"], request.body["dateTo"]) for request in at_work.org.calls("summary"))
    assert {asked[body["dateFrom"], body["dateTo"]] for body in paged()[:2]} == {2}  # of four pages, and of two
    at_work.org.faults.clear()
    await at_work.filled()
    assert len({row.start for row in await at_work.history()}) >= 96
    await assert_history_is_true(at_work)


async def test_pages_without_end_fail_the_poll_which_keeps_what_it_had(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=5), GENESYS_CONTRACT="summary")
    good = await at_work.filled()
    at_work.org.faults.add(Fault("summary", "endless_pages"))
    before = len(at_work.org.requests)
    bad = await at_work.polls()
    assert bad.up == UP | {"window": 0.0}
    assert bad.failures == {"paging": 1.0}
    assert len(at_work.org.requests) - before <= 2
    assert bad.by_series(OFFERED) == good.by_series(OFFERED)
    assert "page" in (await at_work.dashboard())["datasets"]["window"]["message"]
    at_work.org.faults.clear()
    assert (await at_work.polls()).up == UP
