"""Aggregates over HTTP: the shapes, orders and gaps of the real service, and the counts of the truth."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exporter.simulator import Incident, Lateness, Queue, SimulatedOrg
from exporter.simulator.directory import EMPTY_DIVISION
from exporter.simulator.truth import Cell, Counts
from tests.simulator.client import (
    AGGREGATES,
    NOW,
    QUARTER,
    Api,
    Clock,
    connected,
    interval,
    matches,
    small_org,
    stats,
)

START = NOW - timedelta(hours=2)
COUNTS = ["nOffered", "tAnswered", "tAbandon", "tFlowOut", "oServiceLevel"]
Rows = list[dict[str, Any]]


async def ask(api: Api, start: datetime = START, end: datetime = NOW, **fields: Any) -> Rows:
    body = {"interval": interval(start, end), "metrics": COUNTS, "groupBy": ["queueId"]} | fields
    answer = await api.post(AGGREGATES, body)
    assert answer.status == 200, answer.body
    rows: Rows = answer.body["results"]
    return rows


def counted(rows: Rows) -> dict[Cell, Counts]:
    """An answer in the form of the truth."""
    found = {}
    for row in rows:
        for cell in row["data"]:
            got = stats(cell["metrics"])
            level = got.get("oServiceLevel", {"numerator": 0, "denominator": 0})
            start = datetime.fromisoformat(cell["interval"].split("/")[0])
            found[Cell(row["group"]["queueId"], row["group"]["mediaType"], start)] = Counts(
                *(got.get(name, {"count": 0})["count"] for name in COUNTS[:4]),
                int(level["denominator"] - level["numerator"]),
                int(level["denominator"]),
            )
    return found


@pytest.mark.parametrize(
    ("granularity", "seconds"), [("PT15M", 900), ("PT30M", 1800), ("PT1H", 3600), ("P1D", 86_400), (None, 86_400)]
)
async def test_counts_are_the_truth(granularity: str | None, seconds: int) -> None:
    org = small_org(20)
    start, end = NOW - timedelta(days=1, hours=1), NOW - timedelta(hours=1)
    async with connected(org) as api:
        rows = await ask(api, start, end, **({"granularity": granularity} if granularity else {}))
    truth = {cell: c for cell, c in org.truth(start, end, seconds).items() if any(c)}
    assert counted(rows) == truth
    assert len(truth) > 20


async def test_the_same_question_has_the_same_answer_also_after_a_restart() -> None:
    answers = []
    for _ in range(2):
        async with connected(small_org(12)) as api:
            answers += [await ask(api, granularity="PT15M"), await ask(api, granularity="PT15M")]
    assert answers[0] == answers[1] == answers[2] == answers[3]


async def test_media_type_is_always_in_the_group() -> None:
    async with connected(small_org(9)) as api:
        assert {tuple(row["group"]) for row in await ask(api)} == {("mediaType", "queueId")}
        assert (
            await ask(api)
            == await ask(api, groupBy=["queueId", "mediaType"])
            == await ask(api, groupBy=["mediaType", "queueId"])
        )
        by_media = await ask(api, groupBy=[])
        assert by_media == await ask(api, groupBy=["mediaType"])
        assert {tuple(row["group"]) for row in by_media} == {("mediaType",)}


async def test_rows_without_queue_are_the_sum_of_the_queues() -> None:
    async with connected(small_org(9)) as api:
        whole = {row["group"]["mediaType"]: stats(row["data"][0]["metrics"]) for row in await ask(api, groupBy=[])}
        queues = [stats(r["data"][0]["metrics"]) for r in await ask(api) if r["group"]["mediaType"] == "voice"]
        assert whole["voice"]["nOffered"]["count"] == sum(row["nOffered"]["count"] for row in queues)
        assert whole["voice"]["tAnswered"]["max"] == max(row["tAnswered"]["max"] for row in queues)
        divisions = await ask(api, groupBy=["divisionId", "direction"])
        assert {tuple(sorted(row["group"])) for row in divisions} == {("direction", "divisionId", "mediaType")}
        assert sum(
            stats(row["data"][0]["metrics"])["nOffered"]["count"]
            for row in divisions
            if row["group"]["mediaType"] == "voice"
        ) == whole["voice"]["nOffered"]["count"]  # fmt: skip


async def test_metrics_come_in_the_services_order_with_their_kinds_of_stats() -> None:
    wanted = [
        "tWait",
        "tShortAbandon",
        "oServiceLevel",
        "oServiceTarget",
        "tAbandon",
        "nOffered",
        "nOverSla",
        "tHandle",
    ]
    async with connected(small_org(2)) as api:
        rows = await ask(api, metrics=[*wanted, "tHeldComplete", "tAcw", "tAcd"])
    metrics = rows[0]["data"][0]["metrics"]
    assert [metric["metric"] for metric in metrics] == [
        "nOffered", "nOverSla", "tAbandon", "tAcd", "tAcw", "tHandle", "tHeldComplete",
        "oServiceTarget", "oServiceLevel", "tWait", "tShortAbandon",
    ]  # fmt: skip
    got = stats(metrics)
    assert set(got["nOffered"]) == {"count"}
    assert set(got["tAbandon"]) == {"max", "min", "count", "sum"}
    assert all(isinstance(value, int) for value in got["tAbandon"].values())
    assert got["tAbandon"]["min"] * got["tAbandon"]["count"] <= got["tAbandon"]["sum"]
    assert got["oServiceTarget"] == {"current": 0.8}
    level = got["oServiceLevel"]
    assert list(level) == ["ratio", "numerator", "denominator", "target"]
    assert level["ratio"] == level["numerator"] / level["denominator"]


async def test_the_service_level_is_answered_in_time_of_answered_and_abandoned() -> None:
    async with connected(small_org(9)) as api:
        rows = await ask(api, metrics=[*COUNTS, "nOverSla", "tWait"], granularity="PT15M")
    checked = 0
    for row in rows:
        for cell in row["data"]:
            got = {name: value.get("count", 0) for name, value in stats(cell["metrics"]).items()}
            level = stats(cell["metrics"]).get("oServiceLevel")
            left = got.get("tAnswered", 0) + got.get("tAbandon", 0)
            assert (level is None) == (left == 0)
            if level:
                assert level["denominator"] == left
                assert level["numerator"] == got.get("tAnswered", 0) - got.get("nOverSla", 0)
            if row["group"]["mediaType"] == "voice":
                assert got.get("tWait", 0) == left + got.get("tFlowOut", 0)
            checked += 1
    assert checked > 50


async def test_nothing_is_zero_filled() -> None:
    org = small_org(20)
    async with connected(org) as api:
        night = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
        rows = await ask(api, night, night + timedelta(hours=4), granularity="PT15M")
        assert await ask(api, night, night + QUARTER, filter=matches("queueId", "unknown")) == []
        future = await ask(api, NOW + timedelta(days=1), NOW + timedelta(days=2))
        never = await ask(api, metrics=["nError", "tMonitoring"])
    truth = {cell: c for cell, c in org.truth(night, night + timedelta(hours=4), 900).items() if any(c)}
    assert len(counted(rows)) == len(truth) < 16 * sum(len(queue.media_types) for queue in org.queues)
    assert all(metric["stats"].get("count", 1) for row in rows for cell in row["data"] for metric in cell["metrics"])
    assert future == never == []


async def test_an_unforeseen_media_type_shows_its_own_count_and_a_target() -> None:
    async with connected(small_org(3)) as api:
        metrics = ["nCobrowseSessions", "nOffered", "tTalk", "oServiceLevel", "oServiceTarget"]
        rows = await ask(api, NOW - timedelta(days=1), metrics=metrics)
    (row,) = [row for row in rows if row["group"]["mediaType"] == "cobrowse"]
    assert [metric["metric"] for metric in row["data"][0]["metrics"]] == ["nCobrowseSessions", "oServiceTarget"]
    assert not any("nCobrowseSessions" in stats(r["data"][0]["metrics"]) for r in rows if r is not row)


async def test_buckets_need_no_alignment_and_the_last_one_is_cut() -> None:
    start = NOW.replace(minute=3, second=17, microsecond=123_000)
    async with connected(small_org(2)) as api:
        rows = await ask(api, start - timedelta(minutes=40), start, granularity="PT15M")
    assert [cell["interval"] for cell in rows[0]["data"]] == [
        "2026-03-03T09:23:17.123Z/2026-03-03T09:38:17.123Z",
        "2026-03-03T09:38:17.123Z/2026-03-03T09:53:17.123Z",
        "2026-03-03T09:53:17.123Z/2026-03-03T10:03:17.123Z",
    ]


async def test_events_ahead_of_now_have_not_happened() -> None:
    clock = Clock()
    async with connected(small_org(3, clock=clock)) as api:
        tomorrow = NOW + timedelta(days=1)
        early = counted(await ask(api, NOW - QUARTER, tomorrow))
        clock.advance(600)
        late = counted(await ask(api, NOW - QUARTER, tomorrow))
    assert sum(c.offered for c in early.values()) < sum(c.offered for c in late.values())


async def test_late_events_correct_closed_buckets() -> None:
    clock = Clock(NOW + timedelta(seconds=1))
    org = small_org(3, clock=clock, lateness=Lateness(usual_ms=20_000, late_ratio=0.1, late_ms=3_600_000))
    async with connected(org) as api:
        first = counted(await ask(api, NOW - QUARTER, NOW))
        clock.advance(60)
        settled = counted(await ask(api, NOW - QUARTER, NOW))
        clock.advance(7200)
        corrected = counted(await ask(api, NOW - QUARTER, NOW))
    offered = [sum(c.offered for c in cells.values()) for cells in (first, settled, corrected)]
    assert offered[0] < offered[1] < offered[2]
    assert corrected == org.truth(NOW - QUARTER, NOW, 900)


async def queue_ids(api: Api, query: dict[str, Any]) -> set[tuple[str, str]]:
    return {(row["group"]["queueId"], row["group"]["mediaType"]) for row in await ask(api, filter=query)}


def predicate(dimension: str, **fields: Any) -> dict[str, Any]:
    return {"dimension": dimension} | fields


async def test_filters_select_what_they_say() -> None:
    org = small_org(12)
    async with connected(org) as api:
        everything = {(row["group"]["queueId"], row["group"]["mediaType"]) for row in await ask(api)}
        first, second = org.queues[0].id, org.queues[1].id
        voice = {pair for pair in everything if pair[1] == "voice"}
        of_first = {pair for pair in everything if pair[0] == first}
        cases: list[tuple[dict[str, Any], set[tuple[str, str]]]] = [
            (matches("queueId", first, second), {pair for pair in everything if pair[0] in (first, second)}),
            (matches("mediaType", "voice"), voice),
            ({"type": "and", "predicates": matches("queueId", first, second)["predicates"]}, set()),
            ({"type": "and", "clauses": [matches("queueId", first), matches("mediaType", "voice")]}, of_first & voice),
            ({"type": "or", "clauses": [matches("queueId", first), matches("mediaType", "voice")]}, of_first | voice),
            ({"type": "and", "predicates": [predicate("queueId", operator="exists")]}, everything),
            ({"type": "and", "predicates": [predicate("queueId", operator="notExists")]}, set()),
            ({"type": "and", "predicates": [predicate("userId", operator="notExists")]}, everything),
            ({"type": "and", "predicates": [predicate("userId", operator="exists")]}, set()),
            ({"type": "or", "predicates": [predicate("userId", value="somebody")]}, set()),
            ({"type": "or", "predicates": [predicate("direction", value="inbound")]}, everything),
            ({"type": "or", "predicates": [predicate("direction", value="outbound")]}, set()),
            ({"type": "or"}, everything),
            (
                {
                    "type": "and",
                    "predicates": [predicate("divisionId", value=org.queues[0].division.id)],
                    "clauses": [matches("mediaType", "voice", "message")],
                },
                {
                    (queue.id, media)
                    for queue in org.queues
                    for media in ("voice", "message")
                    if queue.division == org.queues[0].division
                }
                & everything,
            ),
        ]
        for query, expected in cases:
            assert await queue_ids(api, query) == expected, query


async def test_queues_come_and_go_and_change_their_names() -> None:
    org = small_org(3)
    extra = Queue("11111111-2222-4333-8444-555555555555", "New", org.divisions[0], ("voice",), 400.0, 2, 0.05)
    async with connected(org) as api:
        before = await ask(api)
        gone = org.queues[0].id
        org.remove_queue(gone)
        org.add_queue(extra)
        org.rename_queue(org.queues[0].id, "Renamed")
        after = await ask(api)
    assert org.queues[0].name == "Renamed"
    assert [row for row in after if row["group"]["queueId"] != extra.id] == [
        row for row in before if row["group"]["queueId"] != gone
    ]
    assert [row for row in after if row["group"]["queueId"] == extra.id]
    assert gone not in {cell.queue_id for cell in org.truth(START, NOW, 900)}


async def test_a_client_sees_its_divisions_alone() -> None:
    org = small_org(12)
    home = org.queues[0].division
    async with connected(org) as api:
        org.client.divisions = frozenset({home.id})
        seen = {row["group"]["queueId"] for row in await ask(api)}
        org.client.divisions = frozenset(each.id for each in org.divisions if each.name == EMPTY_DIVISION)
        nothing = await ask(api)
    assert seen == {queue.id for queue in org.queues if queue.division == home}
    assert nothing == []


async def test_an_incident_shows_at_once() -> None:
    org = small_org(2)
    async with connected(org) as api:
        org.add_incident(Incident("outage", None, START, NOW, 1.0))
        cells = counted(await ask(api, START + QUARTER, NOW))
    assert sum(counts.offered for counts in cells.values()) == 0


async def test_days_of_a_time_zone_begin_at_its_midnight() -> None:
    start = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    async with connected(small_org(1, clock=Clock(start + timedelta(days=3)))) as api:
        rows = await ask(api, start, start + timedelta(days=2), granularity="P1D", timeZone="Europe/Berlin")
    assert rows[0]["data"][0]["interval"].split("/")[1] == "2026-03-29T22:00:00.000Z"


async def test_other_routes_answer_while_a_large_query_is_counted() -> None:
    org: SimulatedOrg = small_org(400, requests_per_minute=100_000)
    async with connected(org) as api:
        large = asyncio.create_task(ask(api, NOW - timedelta(hours=12), NOW, granularity="PT15M"))
        answered = 0
        while not large.done():
            assert (await api.get("/api/v2/routing/queues", pageSize=1)).status == 200
            answered += 1
        assert await large
    assert answered > 2
