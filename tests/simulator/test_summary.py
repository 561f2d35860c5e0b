"""The summary contract: continuation tokens lead through every row once, with the counts of the truth."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.simulator.client import NOW, SUMMARY, Api, Clock, connected, iso, small_org

START = NOW - timedelta(hours=3)


async def page(api: Api, token: str | None = None, size: int = 2000, **fields: Any) -> dict[str, Any]:
    paging: dict[str, Any] = {"pageSize": size} | ({"nextPageToken": token} if token else {})
    body = {
        "timeGroup": "auto",
        "groupBy": ["queueId"],
        "filters": {"conversationStates": ["inbound"], "queues": {"ids": []}},
        "interval": "PT15M",
        "dateFrom": iso(START),
        "dateTo": iso(NOW),
        "select": ["totalContacts", "abandonedContacts", "slaBreaches"],
        "paging": paging,
    }
    answer = await api.post(SUMMARY, body | fields)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.body
    return found


async def all_pages(api: Api, size: int = 2000, **fields: Any) -> list[dict[str, Any]]:
    found = [await page(api, None, size, **fields)]
    while found[-1]["paging"]["nextPageToken"] is not None:
        found.append(await page(api, found[-1]["paging"]["nextPageToken"], size, **fields))
    return found


@pytest.mark.parametrize(("bucket", "seconds"), [("PT15M", 900), ("PT1H", 3600), ("PT4H", 14_400), ("PT1D", 86_400)])
async def test_rows_hold_the_truth_of_all_media_types_together(bucket: str, seconds: int) -> None:
    org = small_org(9)
    start = NOW - timedelta(days=2)
    async with connected(org) as api:
        rows = [row for each in await all_pages(api, interval=bucket, dateFrom=iso(start)) for row in each["entities"]]
    truth: dict[tuple[str, datetime], Counter[str]] = {}
    for cell, counts in org.truth(start, NOW, seconds).items():
        found = truth.setdefault((cell.queue_id, cell.start), Counter())
        found.update(totalContacts=counts.offered, abandonedContacts=counts.abandoned, slaBreaches=counts.sla_breached)
    assert len(rows) == 9 * (2 * 86_400 // seconds)
    for row in rows:
        begin, told = row["timeInterval"].split("/")
        expected = truth.get((row["id"], datetime.fromisoformat(begin)), Counter())
        assert told == bucket
        assert {name: row[name] for name in ("totalContacts", "abandonedContacts", "slaBreaches")} == {
            name: expected[name] for name in ("totalContacts", "abandonedContacts", "slaBreaches")
        }
    assert sum(row["totalContacts"] for row in rows) > 1000
    assert {row["name"] for row in rows} == {queue.name for queue in org.queues}


async def test_tokens_lead_through_every_row_once() -> None:
    async with connected(small_org(7)) as api:
        (whole,) = await all_pages(api)
        pieces = await all_pages(api, 10)
    assert len(whole["entities"]) == 7 * 12 == whole["paging"]["totalCount"]
    assert [row for piece in pieces for row in piece["entities"]] == whole["entities"]
    assert [len(piece["entities"]) for piece in pieces] == [10] * 8 + [4]
    assert {piece["paging"]["pageSize"] for piece in pieces} == {10}
    assert len({piece["paging"]["nextPageToken"] for piece in pieces}) == 9
    assert {piece["status"] for piece in pieces} == {"success"}


async def test_a_token_of_another_query_is_refused() -> None:
    async with connected(small_org(2)) as api:
        token = (await page(api, size=5))["paging"]["nextPageToken"]
        answer = await api.post(
            SUMMARY,
            {
                "timeGroup": "auto",
                "groupBy": ["queueId"],
                "interval": "PT1H",
                "dateFrom": iso(START),
                "dateTo": iso(NOW),
                "select": ["totalContacts"],
                "paging": {"pageSize": 5, "nextPageToken": token},
            },
        )
    assert (answer.status, answer.body["code"]) == (400, "bad.request")


async def test_pages_show_the_state_of_the_first_one() -> None:
    clock = Clock()
    async with connected(small_org(3, clock=clock)) as api:
        until = iso(NOW + timedelta(minutes=5))
        before = await all_pages(api, 4, dateTo=until)
        token = (await page(api, size=4, dateTo=until))["paging"]["nextPageToken"]
        clock.advance(300)
        assert (await page(api, token, 4, dateTo=until))["entities"] == before[1]["entities"]
        assert await all_pages(api, 4, dateTo=until) != before


async def test_a_forgotten_query_goes_on_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.simulator.contracts.summary.REMEMBERED_QUERIES", 0)
    async with connected(small_org(3)) as api:
        (whole,) = await all_pages(api)
        assert [row for piece in await all_pages(api, 5) for row in piece["entities"]] == whole["entities"]


async def test_select_and_queues_narrow_the_rows() -> None:
    org = small_org(5)
    wanted = org.queues[3].id
    async with connected(org) as api:
        (only,) = await all_pages(api, filters={"queues": {"ids": [wanted, "unknown"]}}, select=["slaBreaches"])
    assert {row["id"] for row in only["entities"]} == {wanted}
    assert set(only["entities"][0]) == {"id", "name", "slaBreaches", "timeInterval"}
    assert only["paging"]["totalCount"] == 12


@pytest.mark.parametrize(
    ("start", "end"), [(NOW, NOW), (NOW + timedelta(hours=1), NOW + timedelta(hours=2))], ids=["empty", "future"]
)
async def test_no_time_no_rows(start: datetime, end: datetime) -> None:
    async with connected(small_org(2)) as api:
        answer = await page(api, dateFrom=iso(start), dateTo=iso(end))
    assert answer == {
        "entities": [],
        "paging": {"nextPageToken": None, "pageSize": 2000, "totalCount": 0},
        "status": "success",
    }


async def test_removed_queues_are_gone() -> None:
    org = small_org(3)
    org.remove_queue(org.queues[0].id)
    async with connected(org) as api:
        (whole,) = await all_pages(api)
    assert {row["id"] for row in whole["entities"]} == {queue.id for queue in org.queues}
