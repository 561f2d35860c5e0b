"""What a scrape finds has been made before it asks."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import pytest

from exporter.publish import scrapes, self_metrics
from exporter.publish.scrapes import PLAIN_WANTED_SECONDS, WANTED_SECONDS, Form, Scrapes
from tests.publish.conftest import Client, Exporter
from tests.publish.samples import report

TEXT_GZIP = Form(openmetrics=False, gzip=True)
PACKED = {"Accept-Encoding": "gzip"}


@pytest.fixture
def ahead(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Scrapes]:
    """The application's own, which works ahead only when the test says so."""
    made: list[Scrapes] = []

    class Held(Scrapes):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            made.append(self)

        async def _keep_ready(self) -> None:
            """Not by itself."""

    monkeypatch.setattr("exporter.publish.server.Scrapes", Held)
    return lambda: made[0]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every text of the own metrics that was made."""
    made: list[bytes] = []
    text_of = self_metrics.text_of

    def note(registry: Any) -> bytes:
        made.append(text_of(registry))
        return made[-1]

    monkeypatch.setattr(self_metrics, "text_of", note)
    return made


async def scrape(client: Client) -> bytes:
    async with client.get("/metrics", headers=PACKED) as response:
        return gzip.decompress(await response.read())


async def until(true: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)


async def test_a_scrape_only_sends_what_was_made_in_the_last_second(
    ahead: Callable[[], Scrapes], client: Client, exporter: Exporter, rendered: list[bytes]
) -> None:
    await exporter.publish()
    await scrape(client)
    for _ in range(3):
        exporter.clock.advance(1)
        exporter.metrics.on_report(report())
        await ahead().make_ready()
        made = len(rendered)
        assert await scrape(client) == await scrape(client)
        assert len(rendered) == made
        assert (await scrape(client)).endswith(rendered[-1])
    assert b"genesys_exporter_polls_total 3.0" in await scrape(client)


async def test_a_new_snapshot_has_its_answer_before_it_is_asked_for(
    ahead: Callable[[], Scrapes], client: Client, exporter: Exporter
) -> None:
    await exporter.publish()
    await scrape(client)
    await exporter.publish(id=1772356565251)
    view = await exporter.publisher.view()
    assert view is not None
    assert not view.answers
    await ahead().make_ready()
    assert view.answers.keys() == {TEXT_GZIP}


async def test_what_nobody_has_asked_for_lately_is_not_made(
    ahead: Callable[[], Scrapes], client: Client, exporter: Exporter, rendered: list[bytes]
) -> None:
    await exporter.publish()
    await scrape(client)
    for seconds, more in ((WANTED_SECONDS, 1), (1, 0)):
        made = len(rendered)
        exporter.clock.advance(seconds)
        await ahead().make_ready()
        assert len(rendered) == made + more


def of_queues(text: bytes) -> list[bytes]:
    return [line for line in text.splitlines() if line.startswith(b"genesys_queue_")]


async def test_plain_text_is_kept_for_whoever_comes_often_and_let_go_after_one_look(
    ahead: Callable[[], Scrapes], client: Client, exporter: Exporter
) -> None:
    async def look() -> bytes:
        async with client.get("/metrics") as response:
            return await response.read()

    async def holds_text(seconds: float) -> bool:
        exporter.clock.advance(seconds)
        await ahead().make_ready()
        view = await exporter.publisher.view()
        assert view is not None
        return view._plain[False]._task is not None

    await exporter.publish()
    usual = await look()
    assert not await holds_text(PLAIN_WANTED_SECONDS)
    assert of_queues(await look()) == of_queues(usual)
    assert await holds_text(PLAIN_WANTED_SECONDS)
    await exporter.publish(id=1772356565251)
    assert await holds_text(0)
    assert not await holds_text(1)
    view = await exporter.publisher.view()
    assert view is not None
    assert (view.answers, view.plain_wanted) == ({}, set())
    await exporter.publish(id=1772356565252)
    assert not await holds_text(0)
    assert len(of_queues(await look())) == len(of_queues(usual)) > 50


async def test_it_works_by_itself_after_every_snapshot(client: Client, exporter: Exporter) -> None:
    await exporter.publish()
    await scrape(client)
    await exporter.publish(id=1772356565251)
    view = await exporter.publisher.view()
    assert view is not None
    await until(lambda: bool(view.answers), 0.9 * scrapes.RENEW_SECONDS)


async def test_a_defect_in_working_ahead_costs_no_scrape(
    client: Client, exporter: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await exporter.publish()

    async def fail(self: Scrapes) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Scrapes, "make_ready", fail)
    for turn in range(2):
        await exporter.publish(id=1772356565251 + turn)
        await until(lambda: len(caplog.records) > turn, 5)  # noqa: B023 - at once
        assert b"genesys_exporter_snapshot_id" in await scrape(client)
