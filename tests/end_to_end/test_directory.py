"""Queues that are renamed, join or leave while the exporter runs, and names that bite."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from exporter.simulator import OrgConfig
from tests.end_to_end.conftest import Starter
from tests.end_to_end.moving import AtWork
from tests.end_to_end.reading import Samples, by_series, csv_rows

OFFERED = "genesys_queue_offered_contacts"
DIRECTORY = "genesys_exporter_last_success_timestamp_seconds"

HOSTILE = [
    'quo"ted, with \\ and \\n and \n a line, \r\n two and \t tab',
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    '=HYPERLINK("http://127.0.0.1/","click")',
    "+1 -1 @SUM(A1:A9)|cmd",
    "\t=1+1",
    "% %s %% %(name)s {} {0} $name ${name}",
    "ünïcödé – サポート 🤖 \u202ereversed \u2028 separators \u200b\x7f\x00",
    " ",
    "x" * 400,
]


async def directory_read(at_work: AtWork) -> Samples:
    """Until the directory has been fetched again."""
    before = (await at_work.metrics()).total(DIRECTORY, dataset="queues")
    return await at_work.until(lambda samples: samples.total(DIRECTORY, dataset="queues") > before, 700)


async def everywhere(at_work: AtWork) -> dict[str, set[str]]:
    """Queue ids by route."""
    samples = await at_work.metrics()
    return {
        "/metrics": set().union(
            *(samples.label_values(name, "queue_id") for name in samples.names() if name.startswith("genesys_queue"))
        ),
        "/dashboard": {row["queueId"] for row in (await at_work.dashboard())["metrics"]},
        "/export.csv": {row.series[0] for row in csv_rows((await at_work.get("/export.csv")).body)},
    }


async def test_a_new_name_is_shown_after_the_next_directory(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3))
    await at_work.filled()
    queue = at_work.org.queues[0]
    at_work.org.rename_queue(queue.id, "Another name")
    samples = await directory_read(at_work)
    assert queue.name not in samples.label_values(OFFERED, "queue_name")
    names = [
        samples.label_values("genesys_queue_info", "queue_name"),
        samples.label_values("genesys_queue_agents", "queue_name"),
        {row["queueName"] for row in (await at_work.dashboard())["metrics"]},
        {row.name for row in csv_rows((await at_work.get("/export.csv")).body)},
    ]
    assert [names for names in names if "Another name" not in names or queue.name in names] == []
    assert {row.name for row in await at_work.history() if row.series[0] == queue.id} == {"Another name"}


async def test_a_queue_that_leaves_is_gone_from_every_route_and_stays_in_the_history(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3))
    await at_work.filled()
    queue = at_work.org.queues[1]
    assert {path: queue.id in ids for path, ids in (await everywhere(at_work)).items()} == dict.fromkeys(ROUTES, True)
    past = [row for row in await at_work.history() if row.series[0] == queue.id]
    at_work.org.remove_queue(queue.id)
    await directory_read(at_work)
    assert {path: queue.id in ids for path, ids in (await everywhere(at_work)).items()} == dict.fromkeys(ROUTES, False)
    kept = [row for row in await at_work.history() if row.series[0] == queue.id]
    assert len(past) > 0
    assert len(kept) >= len(past)
    await at_work.assert_window_is_true()


ROUTES = ("/metrics", "/dashboard", "/export.csv")


async def test_a_new_queue_has_its_name_one_poll_after_its_first_contacts(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=2))
    await at_work.filled()
    new = replace(at_work.org.queues[0], id=str(uuid.uuid4()), name="Newly opened")
    at_work.org.add_queue(new)
    first = await at_work.polls()
    assert first.label_values(OFFERED, "queue_id") >= {new.id}
    second = await at_work.polls()
    assert second.get("genesys_queue_info", queue_id=new.id) == 1
    assert "Newly opened" in second.label_values(OFFERED, "queue_name")
    assert second.up == dict.fromkeys(second.up, 1.0)
    await at_work.assert_window_is_true()


async def test_hostile_names_come_through_unchanged_and_harmless(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=len(HOSTILE)), EXPORTER_BUCKET="PT4H")
    names = dict(zip((queue.id for queue in at_work.org.queues), HOSTILE, strict=True))
    for queue_id, name in names.items():
        at_work.org.rename_queue(queue_id, name)
    await at_work.filled()
    text, openmetrics = await at_work.metrics(), await at_work.openmetrics()
    for samples in (text, openmetrics):
        for metric in (OFFERED, "genesys_queue_zscore", "genesys_queue_agents", "genesys_queue_info"):
            shown = {dict(own)["queue_id"]: dict(own)["queue_name"] for name, own in samples.values if name == metric}
            assert shown == {queue_id: names[queue_id] for queue_id in shown}
            assert len(shown) >= len(HOSTILE) - 4, metric
    assert text.values.keys() == openmetrics.values.keys()
    page = await at_work.dashboard()
    assert {(row["queueId"], row["queueName"]) for row in [*page["metrics"], *page["alerts"]]} <= set(names.items())
    assert len(by_series(page["metrics"])) >= len(HOSTILE)
    for rows in (csv_rows((await at_work.get("/export.csv")).body), await at_work.history()):
        assert {row.series[0] for row in rows} == names.keys()
        for row in rows:
            assert row.name in (names[row.series[0]], "'" + names[row.series[0]])
            assert row.name[:1] not in tuple("=+-@\t\r\n")
    html = (await at_work.get("/")).text
    assert [tag for tag in ("<script>alert", "<img src=x") if tag in html] == []


@pytest.mark.parametrize(
    ("variables", "names", "media_types"),
    [
        ({"GENESYS_QUEUE_INCLUDE": "Hotl|Sal", "GENESYS_QUEUE_EXCLUDE": "^Sal"}, {"Support Hotline 24/7"}, {"voice"}),
        ({"GENESYS_MEDIA_TYPES": "email"}, {"Customer Service Central"}, {"email"}),
    ],
)
async def test_what_is_not_selected_is_neither_asked_for_nor_shown(
    start: Starter, variables: dict[str, str], names: set[str], media_types: set[str]
) -> None:
    at_work = await start(OrgConfig(queues=5), **variables)
    samples = await at_work.filled()
    assert samples.label_values(OFFERED, "queue_name") == names
    assert samples.label_values(OFFERED, "media_type") == media_types
    assert {row.name for row in await at_work.history()} == names
    wanted = {queue.id for queue in at_work.org.queues if queue.name in names}
    for request in at_work.org.calls("aggregates"):
        asked = {value for value in _values(request.body["filter"]) if value not in media_types}
        assert asked == (wanted if "GENESYS_QUEUE_INCLUDE" in variables else set())


def _values(query: Any) -> list[str]:
    """Every value that a filter names."""
    predicates = [predicate["value"] for predicate in query.get("predicates", [])]
    return predicates + [value for clause in query.get("clauses", []) for value in _values(clause)]
