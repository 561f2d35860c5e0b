"""The two contracts behind one face: windows, batches, what a poll costs, and what lasting refusals do."""

from __future__ import annotations

import asyncio
import re
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.errors import GenesysError, PagingError, PayloadError, QueryError, ScopeError, Unavailable
from exporter.genesys.circuit import PROBE_SECONDS
from exporter.genesys.selection import Selection
from exporter.genesys.source import (
    BACKFILL_PATIENCE_SECONDS,
    IDS_PER_REQUEST,
    POLL_PATIENCE_SECONDS,
    AggregatesSource,
    SummarySource,
)
from exporter.models import DATASETS, HISTORY, WINDOW, Directory, EntitiesRejected, Queue, SeriesKey, Window
from tests.genesys.conftest import AGGREGATES, OBSERVATIONS, QUEUES, SUMMARY, Answer, Client, Reply, Seen

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
START = int(NINE.timestamp())
WINDOW_AT_NINE = Window.of_epoch(START, START + 900)
SPAN = Window.of_epoch(START, START + 4 * 900)
ALL, BY_NAME = Selection(), Selection(include=re.compile("."))
REFUSED = Reply({"code": "bad.request", "message": "too many predicates"}, 400)


def directory(queues: int) -> Directory:
    return Directory({f"q-{number}": Queue(f"q-{number}", f"Queue {number}", "") for number in range(queues)})


def aggregates(client: Client, selection: Selection = ALL, bucket: str = "PT15M") -> AggregatesSource:
    return AggregatesSource(client.api, selection, bucket, 60, client.clock)


def summary(client: Client, selection: Selection = ALL, bucket: str = "PT15M") -> SummarySource:
    return SummarySource(client.api, selection, bucket, 60, client.clock)


def asked_ids(seen: Seen) -> list[str]:
    return [predicate["value"] for predicate in seen.json.get("filter", {}).get("predicates", [])]


def row(queue: str, count: Any = 1, when: Window = WINDOW_AT_NINE) -> dict[str, Any]:
    interval = f"{when.start:%Y-%m-%dT%H:%M:%S}.000Z/{when.end:%Y-%m-%dT%H:%M:%S}.000Z"
    cell = {"interval": interval, "metrics": [{"metric": "nOffered", "stats": {"count": count}}]}
    return {"group": {"queueId": queue, "mediaType": "voice"}, "data": [cell]}


def echo(seen: Seen) -> Reply:
    return Reply({"results": [row(queue) for queue in asked_ids(seen)]})


# Which window


@pytest.mark.parametrize(
    ("now", "aggregates_window", "summary_window"),
    [
        ("09:16:00", "09:00:00/09:15:00", "09:00:00/09:15:00"),
        ("09:15:59", "08:59:59/09:14:59", "08:45:00/09:00:00"),
        ("09:20:30", "09:04:30/09:19:30", "09:00:00/09:15:00"),
        ("00:00:30", "23:44:30/23:59:30", "23:30:00/23:45:00"),
    ],
)
async def test_the_window_ends_a_settling_time_ago_or_with_the_newest_closed_bucket(
    client: Client, now: str, aggregates_window: str, summary_window: str
) -> None:
    at = datetime.fromisoformat(f"2026-03-02T{now}.900+00:00")
    for source, wanted in ((aggregates(client), aggregates_window), (summary(client), summary_window)):
        window = source.current_window(at)
        assert f"{window.start:%H:%M:%S}/{window.end:%H:%M:%S}" == wanted


# Aggregates: whole org or batches


async def test_only_a_selection_makes_a_window_wait_for_the_directory(client: Client) -> None:
    sources = aggregates(client), aggregates(client, BY_NAME), aggregates(client, Selection(("a",)))
    assert [each.window_needs_directory for each in sources] == [False, True, True]


async def test_the_whole_org_is_one_request_without_a_filter(client: Client) -> None:
    client.service.script(AGGREGATES, Reply({"results": [row("a"), row("b")]}))
    table = await aggregates(client).window(WINDOW_AT_NINE, directory(5000), client.deadline())
    assert table.keys == (SeriesKey("a", "voice"), SeriesKey("b", "voice"))
    (seen,) = client.service.calls(AGGREGATES)
    assert "filter" not in seen.json


async def test_selected_queues_are_asked_for_by_id_in_batches(client: Client) -> None:
    client.service.script(AGGREGATES, echo)
    table = await aggregates(client, BY_NAME).window(WINDOW_AT_NINE, directory(2500), client.deadline())
    assert [len(asked_ids(seen)) for seen in client.service.calls(AGGREGATES)] == [1000, 1000, 500]
    assert len(table.keys) == 2500


async def test_ids_from_the_settings_need_no_directory(client: Client) -> None:
    client.service.script(AGGREGATES, echo)
    source = aggregates(client, Selection(("a", "b")))
    await source.window(WINDOW_AT_NINE, None, client.deadline())
    assert asked_ids(client.service.calls(AGGREGATES)[0]) == ["a", "b"]


async def test_names_that_decide_need_a_directory_first(client: Client) -> None:
    source = aggregates(client, Selection(("a",), exclude=re.compile("x")))
    for call in (
        source.window(WINDOW_AT_NINE, None, client.deadline()),
        source.buckets(SPAN, None, client.deadline()),
        source.observations(None, client.deadline()),
    ):
        with pytest.raises(GenesysError, match="the queue directory is needed first"):
            await call
    assert client.service.calls(AGGREGATES) == []


async def test_a_selection_that_no_queue_meets_asks_for_nothing_and_not_for_everything(client: Client) -> None:
    source = aggregates(client, BY_NAME)
    assert (await source.window(WINDOW_AT_NINE, Directory({}), client.deadline())).keys == ()
    assert (await source.buckets(SPAN, Directory({}), client.deadline())).keys == ()
    assert (await source.observations(Directory({}), client.deadline())).keys == ()
    assert client.service.seen == []


async def test_the_directory_is_cut_to_the_selection(client: Client) -> None:
    client.service.script(QUEUES, Reply({"entities": [{"id": "a", "name": "Sales"}, {"id": "b", "name": "Other"}]}))
    found = await aggregates(client, Selection(include=re.compile("Sales"))).directory(client.deadline())
    assert list(found.queues) == ["a"]


# Aggregates: a batch that is refused


def at_most(limit: int) -> Answer:
    return lambda seen: echo(seen) if len(asked_ids(seen)) <= limit else REFUSED


async def test_a_large_batch_that_is_refused_is_asked_again_in_batches_of_two_hundred_and_so_from_then_on(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.service.script(AGGREGATES, at_most(200))
    source = aggregates(client, BY_NAME)
    for _ in range(2):
        assert len((await source.window(WINDOW_AT_NINE, directory(450), client.deadline())).keys) == 450
    sizes = [len(asked_ids(seen)) for seen in client.service.calls(AGGREGATES)]
    assert sizes == [450, 200, 200, 50, 200, 200, 50]
    assert source.plan(directory(450)).per_poll["aggregates"] == 3
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_calls_that_are_refused_together_fall_back_together(client: Client) -> None:
    client.service.script(AGGREGATES, at_most(200))
    source = aggregates(client, BY_NAME)
    window, history = await asyncio.gather(
        source.window(WINDOW_AT_NINE, directory(450), client.deadline()),
        source.buckets(SPAN, directory(450), client.deadline()),
    )
    assert len(window.keys) == len(history.keys) == 450


async def test_a_refusal_that_has_another_cause_does_not_make_batches_small_for_ever(client: Client) -> None:
    client.service.script(AGGREGATES, REFUSED)
    source = aggregates(client, BY_NAME)
    with pytest.raises(QueryError):
        await source.window(WINDOW_AT_NINE, directory(450), client.deadline())
    client.service.script(AGGREGATES, echo)
    await source.window(WINDOW_AT_NINE, directory(450), client.deadline())
    assert len(asked_ids(client.service.calls(AGGREGATES)[-1])) == 450


@pytest.mark.parametrize("queues", [1, 200])
async def test_a_small_batch_that_is_refused_is_not_asked_again(client: Client, queues: int) -> None:
    client.service.script(AGGREGATES, REFUSED)
    with pytest.raises(QueryError):
        await aggregates(client, BY_NAME).window(WINDOW_AT_NINE, directory(queues), client.deadline())
    assert len(client.service.calls(AGGREGATES)) == 1


async def test_the_whole_org_that_is_refused_is_not_asked_again(client: Client) -> None:
    client.service.script(AGGREGATES, REFUSED)
    with pytest.raises(QueryError):
        await aggregates(client).window(WINDOW_AT_NINE, directory(450), client.deadline())
    assert len(client.service.calls(AGGREGATES)) == 1


async def test_a_listing_that_ends_too_early_is_a_fault_and_one_that_stays_so_takes_nobody_for_gone(
    client: Client,
) -> None:
    source = aggregates(client)

    async def whole(total: int) -> bool:
        client.service.script(QUEUES, Reply({"entities": [{"id": "q"}], "pageCount": 1, "total": total}))
        return (await source.directory(client.deadline())).whole

    assert await whole(1)
    for _ in range(2):
        with pytest.raises(PagingError, match="ends after 1 queues of 3"):
            await whole(3)
        assert not await whole(3)
        assert await whole(1)


async def test_a_queue_that_cannot_be_read_makes_a_directory_that_is_not_whole(client: Client) -> None:
    client.service.script(QUEUES, Reply({"entities": [{"id": "q"}, {"id": 5}], "total": 2}))
    assert not (await aggregates(client).directory(client.deadline())).whole


# What history is told must be whole


QUARTERS = [Window.of_epoch(start, start + 900) for start in range(START, START + 3600, 900)]
OF_B = [row("b", 2, when) for when in QUARTERS]
SPOILT = Reply({"results": [row("a", -5), *OF_B]})
WHOLE = Reply({"results": [row("a", 1), *OF_B]})


async def test_closed_buckets_of_which_a_row_was_lost_are_asked_for_again(client: Client) -> None:
    """History takes what is absent for zero, and keeps it."""
    client.service.script(AGGREGATES, SPOILT, WHOLE)
    batch = await aggregates(client).buckets(SPAN, None, client.deadline())
    assert batch.counts["offered"][0].tolist() == [1, 2]
    assert client.events_of(EntitiesRejected) == [EntitiesRejected("negative", 1)]


@pytest.mark.parametrize(
    ("background", "patience"), [(False, POLL_PATIENCE_SECONDS), (True, BACKFILL_PATIENCE_SECONDS)]
)
async def test_a_row_that_stays_broken_is_done_without_in_the_end(
    client: Client, background: bool, patience: float
) -> None:
    client.service.script(AGGREGATES, SPOILT)
    source = aggregates(client)

    async def ask() -> tuple[str, ...]:
        batch = await source.buckets(SPAN, None, client.deadline(), background=background)
        return tuple(key.queue_id for key in batch.keys)

    for _ in range(2):
        with pytest.raises(PayloadError, match="figures of closed buckets could not be read; asking again"):
            await ask()
        client.clock.advance(patience / 2)
    for _ in range(2):
        assert await ask() == ("b",)
    calls = len(client.service.calls(AGGREGATES))
    client.service.script(AGGREGATES, WHOLE)
    assert await ask() == ("a", "b")
    client.service.script(AGGREGATES, SPOILT)
    assert await ask() == ("b",)
    assert len(client.service.calls(AGGREGATES)) == calls + 2
    client.service.script(AGGREGATES, Reply({"results": [row(""), *OF_B]}))
    with pytest.raises(PayloadError):
        await ask()


async def test_a_whole_answer_between_makes_patience_new(client: Client) -> None:
    source = aggregates(client)
    for answers in ([SPOILT], [WHOLE], [SPOILT]):
        client.service.script(AGGREGATES, *answers)
        try:
            batch = await source.buckets(SPAN, None, client.deadline())
        except PayloadError:
            client.clock.advance(POLL_PATIENCE_SECONDS * 0.9)
        else:
            assert len(batch.keys) == 2
    client.service.script(AGGREGATES, SPOILT)
    with pytest.raises(PayloadError):
        await source.buckets(SPAN, None, client.deadline())


async def test_rows_that_say_nothing_of_their_own_are_no_reason_to_ask_again(client: Client) -> None:
    everywhere = [row("a", 1, Window.of_epoch(start, start + 900)) for start in range(START - 900, START + 3600, 900)]
    client.service.script(AGGREGATES, Reply({"results": [*everywhere, everywhere[1]]}))
    await aggregates(client).buckets(SPAN, None, client.deadline())
    assert len(client.service.calls(AGGREGATES)) == 1


async def test_the_window_is_not_asked_for_again_since_a_lost_row_has_no_value_there(client: Client) -> None:
    client.service.script(AGGREGATES, SPOILT)
    table = await aggregates(client).window(WINDOW_AT_NINE, None, client.deadline())
    assert table.keys == (SeriesKey("b", "voice"),)
    assert len(client.service.calls(AGGREGATES)) == 1


async def test_summary_buckets_of_which_an_entity_was_lost_are_asked_for_again(client: Client) -> None:
    client.service.script(SUMMARY, Reply({"entities": [entity("a", -1)]}), Reply({"entities": [entity("a", 1)]}))
    batch = await summary(client).buckets(SPAN, None, client.deadline())
    assert batch.counts["offered"][0].tolist() == [1]


# Circuits


async def test_a_missing_permission_slows_down_its_own_dataset_alone(client: Client) -> None:
    missing = Reply({"code": "missing.permissions", "message": "analytics:queueObservation:view"}, 403)
    client.service.script(OBSERVATIONS, missing)
    client.service.script(AGGREGATES, Reply({"results": [row("a")]}))
    source = aggregates(client)
    for _ in range(20):
        with pytest.raises(ScopeError):
            await source.observations(directory(5), client.deadline())
        await source.window(WINDOW_AT_NINE, None, client.deadline())
        client.clock.advance(60)
    assert len(client.service.calls(AGGREGATES)) == 20
    assert len(client.service.calls(OBSERVATIONS)) == 3 + 17 * 60 // PROBE_SECONDS


async def test_a_permission_that_was_granted_is_found_by_the_slow_probe(client: Client) -> None:
    client.service.script(OBSERVATIONS, *[Reply({}, 403)] * 4, Reply({"results": []}))
    source = aggregates(client)
    for _ in range(4):
        with pytest.raises(ScopeError):
            await source.observations(directory(5), client.deadline())
        client.clock.advance(PROBE_SECONDS)
    for _ in range(5):
        await source.observations(directory(5), client.deadline())


async def test_a_success_between_refusals_makes_patience_new(client: Client) -> None:
    source = aggregates(client)
    for good in (False, False, True, False, False, True):
        client.service.script(OBSERVATIONS, Reply({"results": []}) if good else Reply({}, 403))
        calls = len(client.service.calls(OBSERVATIONS))
        await asyncio.gather(source.observations(directory(5), client.deadline()), return_exceptions=True)
        assert len(client.service.calls(OBSERVATIONS)) == calls + 1
        client.clock.advance(60)


async def test_an_outage_opens_no_circuit(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=503))
    source = aggregates(client)
    for polls in range(1, 6):
        with pytest.raises(Unavailable):
            await source.window(WINDOW_AT_NINE, None, client.deadline())
        assert len(client.service.calls(AGGREGATES)) == 4 * polls


async def test_a_parse_that_fails_is_a_payload_error_with_the_endpoint(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(b"<html>sign in</html>"))
    with pytest.raises(PayloadError, match=r"^aggregates: the answer is not what the contract promises"):
        await aggregates(client).window(WINDOW_AT_NINE, None, client.deadline())


# What it costs


@pytest.mark.parametrize(
    ("queues", "selection", "bucket", "per_poll", "per_directory", "per_history"),
    [
        (0, Selection(), "PT15M", {"aggregates": 1, "observations": 0}, 1, 1),
        (40, Selection(), "PT15M", {"aggregates": 1, "observations": 1}, 1, 1),
        (20_000, Selection(), "PT15M", {"aggregates": 1, "observations": 100}, 40, 2),
        (2500, BY_NAME, "PT15M", {"aggregates": 3, "observations": 13}, 5, 3),
        (2500, BY_NAME, "PT1D", {"aggregates": 3, "observations": 13}, 5, 3),
    ],
)
async def test_the_plan_counts_the_calls(
    client: Client,
    queues: int,
    selection: Selection,
    bucket: str,
    per_poll: dict[str, int],
    per_directory: int,
    per_history: int,
) -> None:
    plan = aggregates(client, selection, bucket).plan(directory(queues))
    assert (plan.per_poll, plan.per_directory, plan.per_history) == (per_poll, per_directory, per_history)


async def test_ids_from_the_settings_count_before_the_directory_is_known(client: Client) -> None:
    plan = aggregates(client, Selection(tuple(map(str, range(1500))))).plan(None)
    assert plan.per_poll == {"aggregates": 2, "observations": 8}


async def test_calls_a_minute_are_an_average_over_all_rhythms(client: Client) -> None:
    plan = aggregates(client).plan(directory(40))
    assert plan.per_minute(30, 900, 600) == pytest.approx(2 * 2 + 1 / 10 + 1 / 15)


async def test_one_request_of_the_back_fill_is_a_day_or_less_where_the_org_is_large(client: Client) -> None:
    for source in (aggregates(client), summary(client)):
        assert source.buckets_per_request(None) == 96
    assert aggregates(client).buckets_per_request(directory(2000)) == 50
    assert aggregates(client, bucket="PT1D").buckets_per_request(directory(5)) == 1


# The event loop


class Watched(Selection):
    """Notes in which thread answers are read."""

    threads: set[int] = set()  # noqa: RUF012 - one test uses it

    def takes_media(self, media_type: str) -> bool:
        self.threads.add(threading.get_ident())
        return super().takes_media(media_type)


@pytest.mark.parametrize(("rows", "in_the_loop"), [(1, True), (2000, False)])
async def test_large_answers_are_read_beside_the_event_loop(client: Client, rows: int, in_the_loop: bool) -> None:
    client.service.script(AGGREGATES, Reply({"results": [row(f"q-{number}") for number in range(rows)]}))
    Watched.threads.clear()
    source = aggregates(client, Watched())
    assert len((await source.window(WINDOW_AT_NINE, None, client.deadline())).keys) == rows
    await source.buckets(SPAN, None, client.deadline())
    assert (threading.get_ident() in Watched.threads) is in_the_loop


# The summary contract


def entity(queue: str, total: int, when: str = "2026-03-02T09:00:00.000Z/PT15M") -> dict[str, Any]:
    return {"id": queue, "totalContacts": total, "abandonedContacts": 0, "slaBreaches": 0, "timeInterval": when}


async def test_the_summary_contract_has_a_window_and_history_alone(client: Client) -> None:
    source = summary(client)
    assert source.datasets == {WINDOW, HISTORY}
    assert aggregates(client).datasets == set(DATASETS)
    for call in (source.directory(client.deadline()), source.observations(None, client.deadline())):
        with pytest.raises(GenesysError, match="the summary contract has no"):
            await call


async def test_a_summary_window_is_the_newest_bucket(client: Client) -> None:
    client.service.script(SUMMARY, Reply({"entities": [entity("a", 5), entity("b", 7)]}))
    source = summary(client)
    table = await source.window(WINDOW_AT_NINE, None, client.deadline())
    assert table.columns["offered"].tolist() == [5, 7]
    assert client.service.calls(SUMMARY)[0].json["dateTo"] == "2026-03-02T09:15:00.000Z"
    assert source.plan(None).per_poll == {"summary": 1}


async def test_a_large_summary_org_costs_a_call_a_page(client: Client) -> None:
    entities = [entity(f"q-{number}", 1) for number in range(2500)]
    client.service.script(SUMMARY, Reply({"entities": entities}))
    source = summary(client)
    await source.window(WINDOW_AT_NINE, None, client.deadline())
    plan = source.plan(None)
    assert (plan.per_poll, plan.per_directory, plan.per_history) == ({"summary": 2}, 0, 10)
    assert source.buckets_per_request(None) == 40


def test_a_batch_of_selected_queues_fits_a_request() -> None:
    assert IDS_PER_REQUEST * 120 < 512_000
