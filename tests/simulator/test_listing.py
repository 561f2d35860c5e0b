"""The directory's listing: pages, links, filters and what a queue tells about itself."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.simulator.directory import EMPTY_DIVISION
from tests.simulator.client import QUEUES, Api, connected, small_org


async def pages(api: Api, **parameters: Any) -> list[dict[str, Any]]:
    """Every page, followed by `nextUri` as real clients may."""
    answer = await api.get(QUEUES, **parameters)
    found = [answer.body]
    while "nextUri" in found[-1]:
        found.append((await api.get(found[-1]["nextUri"])).body)
    return found


async def test_pages_lead_to_every_queue_once() -> None:
    org = small_org(23)
    async with connected(org) as api:
        found = await pages(api, pageSize=5)
    entities = [entity for page in found for entity in page["entities"]]
    assert sorted(entity["id"] for entity in entities) == sorted(queue.id for queue in org.queues)
    assert [len(page["entities"]) for page in found] == [5, 5, 5, 5, 3]
    assert {(page["total"], page["pageCount"], page["pageSize"]) for page in found} == {(23, 5, 5)}
    assert [page["pageNumber"] for page in found] == [1, 2, 3, 4, 5]
    assert "previousUri" not in found[0]
    assert found[1]["previousUri"] == found[0]["selfUri"] == found[4]["firstUri"]
    assert found[3]["nextUri"] == found[4]["selfUri"] == found[0]["lastUri"]


async def test_a_page_beyond_the_last_is_empty() -> None:
    async with connected(small_org(3)) as api:
        page = (await api.get(QUEUES, pageNumber=9)).body
    assert (page["entities"], page["total"]) == ([], 3)
    assert not {"nextUri", "previousUri"} & set(page)


async def test_pages_have_25_queues_unless_asked() -> None:
    async with connected(small_org(30)) as api:
        page = (await api.get(QUEUES)).body
    assert (page["pageSize"], len(page["entities"]), page["pageCount"]) == (25, 25, 2)


@pytest.mark.parametrize(
    "parameter",
    [
        ("pageSize", 0),
        ("pageSize", 501),
        ("pageSize", "many"),
        ("pageNumber", 0),
        ("pageNumber", -1),
        ("sortOrder", "x"),
    ],
)
async def test_a_page_that_cannot_be_is_a_400(parameter: tuple[str, Any]) -> None:
    async with connected(small_org(1)) as api:
        assert (await api.get(QUEUES, **dict([parameter]))).status == 400


async def test_queues_are_sorted_by_name() -> None:
    async with connected(small_org(12)) as api:
        names = [entity["name"] for entity in (await api.get(QUEUES)).body["entities"]]
        backwards = [entity["name"] for entity in (await api.get(QUEUES, sortOrder="desc")).body["entities"]]
    assert names == sorted(names, key=str.casefold) == backwards[::-1]


async def test_filters_by_name_id_and_division() -> None:
    org = small_org(16)
    first, second = org.queues[:2]
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"name": "Claims"}, {queue.id for queue in org.queues if queue.name == "Claims"}),
        ({"name": "support*"}, {first.id}),
        ({"name": "*24/7"}, {first.id}),
        ({"name": "*hotline*"}, {first.id}),
        ({"name": "nothing"}, set()),
        ({"id": [first.id, second.id]}, {first.id, second.id}),
        ({"divisionId": first.division.id}, {queue.id for queue in org.queues if queue.division == first.division}),
    ]
    async with connected(org) as api:
        for parameters, expected in cases:
            found = await pages(api, pageSize=2, **parameters)
            assert {entity["id"] for page in found for entity in page["entities"]} == expected, parameters
            assert found[0]["total"] == len(expected)


async def test_a_division_may_exist_and_hold_nothing() -> None:
    async with connected(small_org(12)) as api:
        divisions = (await api.get("/api/v2/authorization/divisions")).body["entities"]
        (empty,) = [division for division in divisions if division["name"] == EMPTY_DIVISION]
        page = (await api.get(QUEUES, divisionId=empty["id"])).body
    assert (page["entities"], page["total"], page["pageCount"]) == ([], 0, 0)


async def test_a_queue_tells_its_division_and_its_service_levels() -> None:
    org = small_org(1)
    async with connected(org) as api:
        entity = (await api.get(QUEUES)).body["entities"][0]
        alone = (await api.get(f"{QUEUES}/{entity['id']}")).body
    assert alone == entity
    assert entity["division"] == {
        "id": org.queues[0].division.id,
        "name": "Home",
        "selfUri": f"/api/v2/authorization/divisions/{org.queues[0].division.id}",
    }
    levels = {name: setting["serviceLevel"] for name, setting in entity["mediaSettings"].items()}
    assert set(levels) == {"call", "callback", "chat", "email", "message"}
    assert levels["call"] == {"percentage": 0.8, "durationMs": 20_000}
    assert levels["email"]["durationMs"] == 4 * 3_600_000


async def test_renamed_and_removed_queues_show_at_once() -> None:
    org = small_org(3)
    async with connected(org) as api:
        org.rename_queue(org.queues[0].id, "New name")
        org.remove_queue(org.queues[1].id)
        names = {entity["name"] for entity in (await api.get(QUEUES)).body["entities"]}
    assert names == {"New name", org.queues[1].name}
    assert org.queue("New name").id == org.queues[0].id
