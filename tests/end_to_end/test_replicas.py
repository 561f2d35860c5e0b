"""Two replicas on a real Redis: one polls, the other serves the same, and goes on when the first is lost.

Whatever happens to the leader, a scraper of the follower notices nothing, and the org sees one exporter's calls.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator.request_log import most_in_any_minute
from tests.end_to_end.pair import (
    CALLS_PER_MINUTE,
    INTERVAL_SECONDS,
    PASSWORD,
    Pair,
    Replica,
    Scrape,
    Scraper,
    assert_no_gap,
    eventually,
    paired,
)
from tests.end_to_end.reading import QUARTER, Cells, history_counts
from tests.end_to_end.test_restart import buckets

PROMISED_SECONDS = 2 * INTERVAL_SECONDS


@pytest.fixture
async def pair(
    tmp_path: Path, http: aiohttp.ClientSession, require_server: Callable[[str], str]
) -> AsyncIterator[Pair]:
    async with paired(require_server("redis-server"), tmp_path, http) as pair:
        yield pair
        assert most_in_any_minute(pair.org.requests) <= CALLS_PER_MINUTE
        for replica in pair.replicas:
            output = replica.process.output()
            assert PASSWORD not in output
            assert "not foreseen" not in output
            assert "Traceback" not in output


async def killed(leader: Replica) -> None:
    leader.process.kill()


async def asleep(leader: Replica) -> None:
    leader.process.send(signal.SIGSTOP)


async def cut_off(leader: Replica) -> None:
    leader.wire.cut(silent=False)


async def cut_off_silently(leader: Replica) -> None:
    leader.wire.cut(silent=True)


async def asked_to_stop(leader: Replica) -> None:
    assert await asyncio.to_thread(leader.process.stop, signal.SIGTERM, 20.0) == 0


async def woken(leader: Replica) -> None:
    leader.process.send(signal.SIGCONT)


async def mended(leader: Replica) -> None:
    leader.wire.mend()


Loss = Callable[[Replica], Awaitable[None]]
LOSSES = (killed, asleep, cut_off, cut_off_silently, asked_to_stop)
RETURNS = {asleep: woken, cut_off: mended, cut_off_silently: mended}


@pytest.mark.parametrize("lost", LOSSES)
async def test_a_lost_leader_is_replaced_within_two_polls_and_no_scrape_notices(pair: Pair, lost: Loss) -> None:
    leader, follower = await pair.both()
    began = time.monotonic()
    async with Scraper(follower.served.url, pair.http).at_work() as scraper:
        last = await scraper.until(lambda scrape: scrape.snapshot_id)
        at = time.monotonic()
        await lost(leader)
        taken = await scraper.until(lambda scrape: scrape.leads and scrape.snapshot_id > last.snapshot_id)
        later = await scraper.until(lambda scrape: scrape.snapshot_id > taken.snapshot_id)
        if lost in RETURNS:
            await RETURNS[lost](leader)
            await eventually(lambda: _follows(leader))
            await pair.same_snapshot(leader, follower)
    assert_no_gap(scraper.scrapes)
    assert taken.at - at < PROMISED_SECONDS
    assert later.counters == taken.counters
    pair.assert_never_two_pollers(began, extra=1)


async def _follows(replica: Replica) -> bool:
    described = await replica.describes()
    return described["redis"] is True and described["leader"] is False


async def test_a_leader_that_is_cut_off_calls_no_more_while_another_polls(pair: Pair) -> None:
    leader, follower = await pair.both()
    before = await calls_of(leader)
    leader.wire.cut(silent=True)
    await eventually(lambda: follower.leads())
    at_the_change = await calls_of(leader)
    begin = time.monotonic()
    await eventually(lambda: _more_polls(pair, begin, 3))
    assert await calls_of(leader) == at_the_change >= before
    assert not await leader.leads()


async def test_a_leader_that_never_heard_of_its_successor_is_told_by_it(pair: Pair) -> None:
    leader = await pair.start()
    await leader.served.filled()
    leader.wire.cut(silent=True)
    follower = await pair.start()
    await eventually(lambda: follower.leads())
    await eventually(lambda: _does_not_lead(leader))
    at_the_change, begin = await calls_of(leader), time.monotonic()
    await eventually(lambda: _more_polls(pair, begin, 3))
    assert await calls_of(leader) == at_the_change
    leader.wire.mend()
    await pair.same_snapshot(leader, follower)
    assert await follower.leads()


async def test_a_leader_that_alone_cannot_reach_genesys_cloud_lets_another_poll(pair: Pair) -> None:
    leader, follower = await pair.both()
    began = time.monotonic()
    async with Scraper(follower.served.url, pair.http).at_work() as scraper:
        leader.to_org.cut(silent=False)
        taken = await scraper.until(lambda scrape: scrape.leads)
        await scraper.until(lambda scrape: scrape.snapshot_id > taken.snapshot_id)
        await pair.same_snapshot(leader, follower)
        leader.to_org.mend()
    assert_no_gap(scraper.scrapes)
    assert not await leader.leads()
    assert (await leader.served.get("/-/ready")).status == 200
    pair.assert_never_two_pollers(began, extra=1)


async def _does_not_lead(replica: Replica) -> bool:
    return not await replica.leads()


async def _more_polls(pair: Pair, since: float, polls: int) -> bool:
    return len(pair.polls(since)) >= polls


async def calls_of(replica: Replica) -> float:
    return (await replica.served.metrics()).total("genesys_exporter_api_requests_total")


async def test_replicas_serve_one_snapshot_one_history_and_pay_for_it_once(pair: Pair) -> None:
    leader, follower = await pair.both()
    assert await calls_of(leader) > 0
    assert await calls_of(follower) == 0
    await pair.same_snapshot(leader, follower)
    assert (await follower.served.get("/-/ready")).status == 200
    await eventually(lambda: _one_history(leader, follower))
    assert len({start for _, _, start in history_counts(await follower.served.history())}) >= 90
    metrics = [await each.served.metrics() for each in (leader, follower)]
    assert [each.get("genesys_exporter_leader") for each in metrics] == [1.0, 0.0]
    assert [each.get("genesys_exporter_redis_up") for each in metrics] == [1.0, 1.0]


async def test_what_a_follower_serves_is_what_the_leader_serves_to_the_last_digit(pair: Pair) -> None:
    leader, follower = await pair.both()
    for _ in range(5):
        answers = await asyncio.gather(*(each.served.metrics() for each in (leader, follower)))
        queues = [_of_snapshot(answer.text) for answer in answers]
        if queues[0][0] == queues[1][0]:
            break
    assert queues[0] == queues[1]
    assert len(queues[0]) > 50


def _of_snapshot(text: str) -> list[str]:
    kept = ("genesys_exporter_snapshot_", "genesys_queue_", "genesys_org_")
    return [line for line in text.splitlines() if line.startswith(kept)]


async def test_buckets_that_close_around_a_change_are_counted_once_and_are_the_truth(pair: Pair) -> None:
    leader, follower = await pair.both(EXPORTER_STALE_AFTER="7200")
    async with Scraper(follower.served.url, pair.http).at_work() as scraper:
        await _a_bucket_closes(pair, leader, follower)
        leader.process.kill()
        await scraper.until(lambda scrape: scrape.leads)
        await _a_bucket_closes(pair, follower)
        rows = await follower.served.history()
        counts = history_counts(rows)
        await scraper.until(lambda scrape: _totals(scrape) == _sums(counts))  # with the next snapshot
    assert_no_gap(scraper.scrapes)
    starts = sorted({row.start for row in rows})
    assert starts == [starts[0] + n * QUARTER for n in range(len(starts))]
    assert counts == truth(pair, starts[0], starts[-1] + QUARTER)


async def _a_bucket_closes(pair: Pair, *replicas: Replica) -> None:
    """The clock leaps by a quarter of an hour; until all have merged what closed by that."""
    before = [await _newest(each) for each in replicas]
    pair.clock.set(pair.clock.ahead_seconds + QUARTER.total_seconds())

    async def merged() -> bool:
        return all([await _newest(each) > was for each, was in zip(replicas, before, strict=True)])

    await eventually(merged)
    await pair.same_snapshot(*replicas)


async def _newest(replica: Replica) -> datetime:
    return max((row.start for row in await replica.served.history()), default=datetime.min.replace(tzinfo=UTC))


def truth(pair: Pair, start: datetime, end: datetime) -> Cells:
    cells = pair.org.truth(start, end, 900)
    return {
        (cell.queue_id, cell.media_type, cell.start): (counts.offered, counts.abandoned, counts.sla_breached)
        for cell, counts in cells.items()
        if counts.offered or counts.abandoned or counts.sla_breached
    }


_SERIES = re.compile(r'genesys_queue_offered_contacts_total\{queue_id="([^"]+)".*media_type="([^"]*)"\}')


def _totals(scrape: Scrape) -> dict[tuple[str, str], float]:
    found = {_SERIES.match(series): value for series, value in scrape.counters.items()}
    return {(match[1], match[2]): value for match, value in found.items() if match}


def _sums(counts: Cells) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = {}
    for (queue_id, media_type, _), (offered, _, _) in counts.items():
        sums[queue_id, media_type] = sums.get((queue_id, media_type), 0) + offered
    return sums


async def test_who_takes_over_asks_for_no_bucket_again(pair: Pair) -> None:
    leader, follower = await pair.both()
    asked = len(pair.org.requests)
    leader.process.kill()
    begin = time.monotonic()
    await eventually(lambda: _more_polls(pair, begin, 3))
    assert await follower.leads()
    assert len(buckets(pair.org.requests[asked:])) <= 8  # the last two hours, where a bucket has just closed


@pytest.mark.parametrize("gone", ["dead", "silent"])
async def test_without_redis_the_leader_goes_on_and_followers_serve_until_stale(pair: Pair, gone: str) -> None:
    leader, follower = await pair.both(EXPORTER_STALE_AFTER="12")
    began = time.monotonic()
    if gone == "dead":
        pair.redis.kill()
    else:
        pair.redis.pause()
    async with Scraper(leader.served.url, pair.http).at_work() as scraper:
        await eventually(lambda: _ready_is(follower, 503))
        first = await scraper.until(lambda scrape: scrape.snapshot_id)
        await scraper.until(lambda scrape: scrape.snapshot_id > first.snapshot_id)
    assert_no_gap(scraper.scrapes)
    assert [await each.leads() for each in (leader, follower)] == [True, False]
    assert (await follower.served.metrics()).get("genesys_exporter_redis_up") == 0.0
    assert "stale" in (await follower.served.get("/-/ready")).text
    pair.assert_never_two_pollers(began, extra=0)

    if gone == "dead":
        pair.redis.start()
    else:
        pair.redis.resume()
    await eventually(lambda: _ready_is(follower, 200))
    await pair.same_snapshot(leader, follower)
    await eventually(lambda: _exactly_one_leads(leader, follower))
    pair.assert_never_two_pollers(began, extra=1)
    third = await pair.start()
    await eventually(lambda: _one_history(leader, third))
    assert await calls_of(third) == 0


async def _one_history(*replicas: Replica) -> bool:
    first, *others = [history_counts(await each.served.history()) for each in replicas]
    return bool(first) and all(each == first for each in others)


async def _ready_is(replica: Replica, status: int) -> bool:
    return (await replica.served.get("/-/ready")).status == status


async def _exactly_one_leads(*replicas: Replica) -> bool:
    return [await each.leads() for each in replicas].count(True) == 1
