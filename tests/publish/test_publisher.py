"""The publisher: whole snapshots only, nothing stale, nothing made twice."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from exporter.models import OBSERVATIONS, WINDOW, DatasetState, Rows, SeriesKey
from exporter.publish.publisher import Publisher
from tests.conftest import FakeClock
from tests.publish.samples import NOW, datasets, snapshot


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Whatever goes, goes by itself."""
    gc.disable()
    yield
    gc.enable()


def ageing(**seconds: float) -> dict[str, DatasetState]:
    """Datasets that grow stale so many seconds from now; the others stay fresh."""
    states = {name: DatasetState(up=True, last_success=NOW, stale_at=None) for name in datasets()}
    for name, left in seconds.items():
        states[name] = DatasetState(up=True, last_success=NOW, stale_at=NOW + timedelta(seconds=left))
    return states


async def test_the_old_view_stays_until_the_new_one_is_rendered(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    assert await publisher.view() is None
    await publisher.publish(snapshot(id=1))
    first = await publisher.view()
    publishing = asyncio.create_task(publisher.publish(snapshot(id=2)))
    await asyncio.sleep(0)
    assert await publisher.view() is first
    await publishing
    second = await publisher.view()
    assert second is not None
    assert second.shown.snapshot.id == 2
    assert publisher.snapshot is second.shown.snapshot


@pytest.mark.usefixtures("no_collections")
async def test_a_replaced_view_is_gone_at_once_whatever_was_asked_of_it(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    await publisher.publish(snapshot(id=1))
    replaced = await publisher.view()
    assert replaced is not None
    for document in (replaced.dashboard(), replaced.envelope(), replaced.table()):
        await document.get(gzip=True)
    await replaced.metrics(b"", openmetrics=True, gzip=False)
    gone = weakref.ref(replaced)
    del replaced, document
    await publisher.publish(snapshot(id=2))
    assert gone() is None


async def test_a_stale_view_is_made_anew_once_for_everyone_who_asks(clock: FakeClock) -> None:
    told: list[int] = []
    publisher = Publisher(clock, told.append)
    await publisher.publish(snapshot(datasets=ageing(window=10, observations=10)))
    fresh = await publisher.view()
    clock.advance(10)
    views = await asyncio.gather(*(publisher.view() for _ in range(5)))
    assert len(set(map(id, views))) == 1
    assert views[0] is not None
    assert views[0] is not fresh
    assert not views[0].shown.fresh & {WINDOW, OBSERVATIONS}
    assert b"genesys_queue_offered_contacts{" not in views[0].exposition.text.plain()
    assert len(told) == 2
    assert told[1] == views[0].exposition.series < told[0]
    assert await publisher.view() is views[0]


async def test_each_dataset_ages_by_itself(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    await publisher.publish(snapshot(datasets=ageing(window=20, observations=10)))
    tags = set()
    for _ in range(3):
        view = await publisher.view()
        assert view is not None
        tags.add(view.shown.tag)
        clock.advance(10)
    assert tags == {"1772356565250-qwho", "1772356565250-qwh", "1772356565250-qh"}


async def test_a_new_snapshot_wins_over_a_renewal_of_the_old_one(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    rows = 20_000  # takes much longer to render than the new one
    large = Rows(tuple(SeriesKey(f"q{n}", "voice") for n in range(rows)), ("x",) * rows)
    waiting = {"waiting": np.arange(float(rows))}
    await publisher.publish(snapshot(id=1, rows=large, columns=waiting, scores=None, datasets=ageing(window=10)))
    clock.advance(10)
    asked_early = asyncio.create_task(publisher.view())
    await asyncio.sleep(0)
    await publisher.publish(snapshot(id=2, datasets=ageing()))
    assert not asked_early.done()
    for view in (await asked_early, await publisher.view()):
        assert view is not None
        assert (view.shown.snapshot.id, WINDOW in view.shown.fresh) == (2, True)


async def test_documents_are_built_once_and_filtered_ones_each_time(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    await publisher.publish(snapshot())
    view = await publisher.view()
    assert view is not None
    one, other = await asyncio.gather(view.dashboard().get(gzip=False), view.dashboard().get(gzip=False))
    assert one is other
    assert await view.table().get(gzip=True) is await view.table().get(gzip=True)
    assert await view.table(bom=True).get(gzip=False) == b"\xef\xbb\xbf" + await view.table().get(gzip=False)


async def test_plain_text_is_made_ready_while_somebody_wants_it_and_no_longer(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    await publisher.publish(snapshot(id=1))
    view = await publisher.view()
    assert view is not None
    (wanted, _) = await view.metrics(b"", openmetrics=False, gzip=False)
    wanting = [view.plain_wanted]
    for number in (2, 3):
        await publisher.publish(snapshot(id=number))
        view = await publisher.view()
        assert view is not None
        wanting.append(view.plain_wanted)
    assert wanting == [{False}, set(), set()]
    assert wanted == view.exposition.text.plain().replace(b"snapshot_id 3", b"snapshot_id 1")


async def test_an_older_snapshot_of_another_replica_takes_no_newer_ones_place(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    await publisher.publish(snapshot(id=2))
    await publisher.publish(snapshot(id=1))
    assert publisher.snapshot is not None
    assert publisher.snapshot.id == 2


async def test_one_who_goes_away_does_not_stop_a_build_that_others_wait_for(clock: FakeClock) -> None:
    publisher = Publisher(clock)
    await publisher.publish(snapshot())
    view = await publisher.view()
    assert view is not None
    leaving = asyncio.create_task(view.dashboard().get(gzip=False))
    staying = asyncio.create_task(view.dashboard().get(gzip=False))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).startswith(b'{"status":"success"')


async def test_a_ceiling_that_hides_queues_is_told_once_and_its_end_too(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    publisher = Publisher(clock)
    for place, dropped in enumerate((0, 40, 50, 0, 0)):
        await publisher.publish(snapshot(id=1772356565250 + place, dropped_series=dropped))
    assert [record.getMessage() for record in caplog.records] == [
        "the quietest queues are not shown: there are 40 series more than EXPORTER_MAX_SERIES allows",
        "all queues are shown again",
    ]
