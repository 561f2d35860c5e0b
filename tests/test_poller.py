"""The loop: deadlines, datasets that fail apart, what is kept, said and reported. API and analysis are stubs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from exporter.errors import AuthError, GenesysError, RateLimited, ScopeError, SettingsError, Unavailable
from exporter.models import (
    DATASETS,
    HISTORY,
    OBSERVATIONS,
    QUEUES,
    WINDOW,
    BucketBatch,
    DatasetState,
    Directory,
    ObservationTable,
    PollReport,
    Queue,
    QueueTable,
    SeriesKey,
    Snapshot,
    Window,
)
from exporter.poller import MANY_ROWS, Poller, Rhythm
from tests.conftest import FakeClock

RHYTHM = Rhythm(
    interval_seconds=60, bucket_seconds=900, settle_seconds=60, stale_after_seconds=180, baseline_seconds=7 * 86400
)
ALL = frozenset(DATASETS)
NO_COLUMN = np.zeros(0)

Behaviour = Callable[[], Awaitable[None]] | BaseException | None


def directory(*ids: str) -> Directory:
    return Directory({queue_id: Queue(queue_id, f"Queue {queue_id}", "") for queue_id in ids})


class StubSource:
    """Answers at once with what it is given, unless `behave` says otherwise for a dataset; notes every call."""

    def __init__(self, clock: FakeClock, datasets: frozenset[str] = ALL) -> None:
        self.datasets = datasets
        self.clock = clock
        self.behave: dict[str, Behaviour] = {}
        self.calls: list[tuple[str, float, float]] = []  # dataset, when, deadline
        self.spans: list[Window] = []
        self.queues = directory("q-1")
        self.seen: tuple[str, ...] = ("q-1",)
        self.per_request = 96
        self.window_needs_directory = False

    async def _call(self, dataset: str, deadline: float) -> None:
        self.calls.append((dataset, self.clock.monotonic(), deadline))
        behaviour = self.behave.get(dataset)
        if isinstance(behaviour, BaseException):
            raise behaviour
        if behaviour is not None:
            await behaviour()

    def count(self, dataset: str) -> int:
        return [name for name, _, _ in self.calls].count(dataset)

    def current_window(self, now: datetime) -> Window:
        return Window(now - timedelta(seconds=960), now - timedelta(seconds=60))

    def buckets_per_request(self, directory: Directory | None) -> int:
        return self.per_request

    async def directory(self, deadline: float) -> Directory:
        await self._call(QUEUES, deadline)
        return self.queues

    async def window(self, window: Window, directory: Directory | None, deadline: float) -> QueueTable:
        await self._call(WINDOW, deadline)
        return QueueTable(window, tuple(SeriesKey(queue_id, "voice") for queue_id in self.seen), {})

    async def buckets(
        self, span: Window, directory: Directory | None, deadline: float, *, background: bool = False
    ) -> BucketBatch:
        await self._call(HISTORY, deadline)
        self.spans.append(span)
        starts = np.arange(span.start_seconds, span.end_seconds, 900, dtype=np.int64)
        return BucketBatch(900, starts, (), {})

    async def observations(self, directory: Directory | None, deadline: float) -> ObservationTable:
        await self._call(OBSERVATIONS, deadline)
        return ObservationTable(self.clock.now(), (), {}, (), NO_COLUMN)


class StubAnalyst:
    """Notes what it is given; `behave` is called for every snapshot and every merge."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []
        self.merged: list[BucketBatch] = []
        self.behave: Callable[[str], None] = lambda what: None

    def merge(self, batch: BucketBatch) -> None:
        self.behave("merge")
        self.merged.append(batch)

    def snapshot(self, *, datasets: Mapping[str, DatasetState], now: datetime, **readings: Any) -> Snapshot:
        self.behave("snapshot")
        self.given.append({"datasets": datasets, "now": now, **readings})
        empty: Any = {"rows": None, "columns": {}, "scores": None, "agent_keys": (), "agents": NO_COLUMN, "queues": ()}
        return Snapshot(
            id=len(self.given),
            created=now,
            contract="aggregates",
            bucket="PT15M",
            window=None,
            org_media=(),
            org_offered=NO_COLUMN,
            org_scores=None,
            datasets=datasets,
            history_buckets=0,
            **empty,
        )


class Rig:
    """A poller among stubs."""

    def __init__(
        self, clock: FakeClock, rhythm: Rhythm = RHYTHM, datasets: frozenset[str] = frozenset(DATASETS)
    ) -> None:
        self.clock = clock
        self.source, self.analyst = StubSource(clock, datasets), StubAnalyst()
        self.published: list[Snapshot] = []
        self.reports: list[PollReport] = []
        self.skipped: list[int] = []
        self.directories: list[Directory] = []
        self.enough, self.polls = asyncio.Event(), 0
        self.poller = Poller(
            self.source,
            self.analyst,
            self.publish,
            rhythm=rhythm,
            clock=clock,
            on_report=self.on_report,
            on_skipped=self.skipped.append,
            on_directory=self.on_directory,
        )

    async def publish(self, snapshot: Snapshot) -> None:
        await self.behave_published()
        self.published.append(snapshot)

    def on_directory(self, directory: Directory) -> None:
        self.behave_directory()
        self.directories.append(directory)

    async def behave_published(self) -> None:
        """What else happens while a snapshot is published."""

    def behave_directory(self) -> None:
        """What else happens when a directory has come."""

    def on_report(self, report: PollReport) -> None:
        self.reports.append(report)
        if len(self.reports) >= self.polls:
            self.enough.set()

    async def poll(self, after: float = 0.0) -> PollReport:
        self.clock.advance(after)
        return await self.poller.poll_once(self.clock.monotonic() + 54)

    async def run(self, polls: int) -> None:
        """The loop itself, until so many polls have been reported."""
        self.polls = len(self.reports) + polls
        self.enough.clear()
        loop = asyncio.create_task(self.poller.run())
        enough = asyncio.create_task(self.enough.wait())
        await asyncio.wait([loop, enough], return_when=asyncio.FIRST_COMPLETED)
        enough.cancel()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=not loop.done() or loop.cancelled())

    def state(self, dataset: str) -> DatasetState:
        return self.poller.readings.states[dataset]

    def lasting(self, seconds: float) -> Callable[[], Awaitable[None]]:
        async def last() -> None:
            self.clock.advance(seconds)

        return last


@pytest.fixture
def rig(clock: FakeClock) -> Rig:
    return Rig(clock)


# Deadlines


async def test_polls_begin_at_fixed_deadlines_whatever_they_last(rig: Rig) -> None:
    rig.source.behave[WINDOW] = rig.lasting(7)
    await rig.run(4)
    assert [when for name, when, _ in rig.source.calls if name == WINDOW] == [0, 60, 120, 180]
    assert rig.skipped == []


async def test_the_calls_of_a_poll_end_before_nine_tenths_of_the_interval(rig: Rig) -> None:
    await rig.run(2)
    assert {deadline - when for name, when, deadline in rig.source.calls if name == WINDOW} == {54}


async def test_a_deadline_that_is_missed_is_skipped_and_counted_never_made_up_for(rig: Rig) -> None:
    rig.source.behave[WINDOW] = rig.lasting(130)
    await rig.run(3)
    assert [when for name, when, _ in rig.source.calls if name == WINDOW] == [0, 180, 360]
    assert rig.skipped[:2] == [2, 2]


async def test_the_loop_is_alive_while_it_comes_round(rig: Rig) -> None:
    assert rig.poller.alive()
    rig.clock.advance(179)
    assert rig.poller.alive()
    rig.clock.advance(2)
    assert not rig.poller.alive()
    await rig.run(1)
    assert rig.poller.alive()


async def test_the_next_deadline_is_told_also_while_a_poll_is_under_way(rig: Rig) -> None:
    told: list[tuple[float, float]] = []

    async def slow() -> None:
        told.append((rig.clock.monotonic(), rig.poller.next_due))
        rig.clock.advance(25)
        told.append((rig.clock.monotonic(), rig.poller.next_due))

    rig.source.behave[WINDOW] = slow
    await rig.run(2)
    assert told == [(0, 60), (25, 60), (60, 120), (85, 120)]
    assert rig.poller.next_due == 120


# Another rhythm


async def run_and_follow(rig: Rig, rhythm: Rhythm, at: float, polls: int) -> list[float]:
    """When polls begin where another rhythm is given `at` some second after the first poll."""

    async def change() -> None:
        await rig.poller.first_poll_done.wait()
        await rig.clock.sleep(at)
        rig.poller.follow(rhythm)

    changing = asyncio.create_task(change())
    await rig.run(polls)
    await changing
    return [when for name, when, _ in rig.source.calls if name == WINDOW]


@pytest.mark.parametrize(
    ("interval", "at", "begins"),
    [
        (90, 20, [0, 90, 180, 270]),
        (30, 20, [0, 30, 60, 90]),
        (10, 25, [0, 25, 35, 45]),
        (3600, 59, [0, 3600, 7200, 10800]),
    ],
)
async def test_the_next_deadline_follows_the_new_interval(
    rig: Rig, interval: float, at: float, begins: list[float]
) -> None:
    assert await run_and_follow(rig, replace(RHYTHM, interval_seconds=interval), at, 4) == begins
    assert rig.skipped == []


async def test_an_interval_that_changes_during_a_poll_holds_after_it(rig: Rig) -> None:
    async def slow() -> None:
        rig.clock.advance(25)
        rig.poller.follow(replace(RHYTHM, interval_seconds=10))
        rig.source.behave.clear()

    rig.source.behave[WINDOW] = slow
    await rig.run(3)
    assert [when for name, when, _ in rig.source.calls if name == WINDOW] == [0, 25, 35]
    assert rig.skipped == []


async def test_readings_last_as_long_as_the_new_rhythm_says(rig: Rig) -> None:
    await rig.poll()
    before = rig.state(WINDOW).stale_at
    assert before is not None
    rig.poller.follow(replace(RHYTHM, interval_seconds=600, stale_after_seconds=1800))
    assert rig.state(WINDOW).stale_at == before + timedelta(seconds=1620)


async def test_a_loop_that_is_asked_to_come_round_sooner_is_not_taken_for_dead(clock: FakeClock) -> None:
    rig = Rig(clock, replace(RHYTHM, interval_seconds=3600))
    alive: list[bool] = []

    async def change() -> None:
        await rig.poller.first_poll_done.wait()
        await clock.sleep(1800)
        rig.poller.follow(RHYTHM)
        alive.append(rig.poller.alive())

    changing = asyncio.create_task(change())
    await rig.run(2)
    await changing
    assert alive == [True]


async def test_the_first_poll_is_done_whatever_became_of_it(rig: Rig) -> None:
    rig.source.behave = dict.fromkeys(DATASETS, Unavailable("down"))
    assert not rig.poller.first_poll_done.is_set()
    await rig.poll()
    assert rig.poller.first_poll_done.is_set()


async def test_a_loop_that_is_cancelled_takes_its_calls_with_it(rig: Rig) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    rig.source.behave[OBSERVATIONS] = hang
    loop = asyncio.create_task(rig.poller.run())
    await begun.wait()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert ended.is_set()


# A good poll


async def test_a_good_poll_reads_everything_publishes_once_and_reports(rig: Rig) -> None:
    rig.source.seen = ("q-1", "q-2")
    report = await rig.poll()
    asked = [name for name, _, _ in rig.source.calls]
    assert asked[:2] == [QUEUES, WINDOW]
    assert sorted(asked[2:]) == [HISTORY, OBSERVATIONS]
    assert len(rig.published) == 1
    assert (report.outcome, report.rows, report.failures, report.retry_after_seconds) == ("ok", 2, {}, None)
    assert report.started == rig.clock.now()
    assert rig.reports == [report]
    given = rig.analyst.given[0]
    assert given["directory"] is rig.source.queues
    assert given["window"].keys == (SeriesKey("q-1", "voice"), SeriesKey("q-2", "voice"))
    assert given["observations"].at == rig.clock.now()
    assert given["now"] == rig.clock.now()
    assert all(state.up for state in given["datasets"].values())


async def test_a_large_org_is_shown_before_its_history_is_asked_for(rig: Rig) -> None:
    rig.source.seen = tuple(f"q-{number}" for number in range(MANY_ROWS))
    await rig.poll()
    assert [given["datasets"][HISTORY].up for given in rig.analyst.given] == [None, True]
    assert len(rig.published) == 2
    await rig.poll()
    assert len(rig.published) == 3


async def test_a_large_org_is_shown_with_its_names_before_anything_else_is_asked_for(rig: Rig) -> None:
    rig.source.seen = tuple(f"q-{number}" for number in range(MANY_ROWS))
    rig.analyst.behave = lambda what: rig.source.calls.append((what, 0.0, 0.0))
    await rig.poll()
    done = [name for name, _, _ in rig.source.calls]
    assert (set(done[:2]), done[2], done[-1]) == ({QUEUES, WINDOW}, "snapshot", "snapshot")
    assert set(done[3:-1]) == {HISTORY, "merge", OBSERVATIONS}
    assert rig.analyst.given[0]["directory"] is rig.source.queues


async def test_the_first_window_does_not_wait_for_names(rig: Rig) -> None:
    asked = asyncio.Event()

    async def wait() -> None:
        await asked.wait()

    async def tell() -> None:
        asked.set()

    rig.source.behave = {QUEUES: wait, WINDOW: tell}
    async with asyncio.timeout(2):
        assert (await rig.poll()).outcome == "ok"


async def test_the_first_window_waits_for_the_directory_that_says_what_to_ask_for(rig: Rig) -> None:
    rig.source.window_needs_directory = True

    async def give_way() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        assert rig.source.count(WINDOW) == 0

    rig.source.behave[QUEUES] = give_way
    assert (await rig.poll()).outcome == "ok"


async def test_the_duration_is_told(rig: Rig) -> None:
    rig.source.behave[WINDOW] = rig.lasting(7)
    assert (await rig.poll()).duration_seconds == 7


async def test_every_dataset_has_its_own_end_and_life(rig: Rig) -> None:
    await rig.poll()
    now = rig.clock.now()
    closed = datetime(2026, 3, 2, 8, 45, tzinfo=UTC)
    assert now == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    lives = {name: (state.data_end, state.stale_at) for name, state in rig.poller.readings.states.items()}
    assert lives == {
        WINDOW: (now - timedelta(seconds=60), now + timedelta(seconds=180)),
        OBSERVATIONS: (now, now + timedelta(seconds=180)),
        QUEUES: (now, now + timedelta(seconds=600 + 180)),
        HISTORY: (closed, closed + timedelta(seconds=900 + 60 + 180)),
    }


async def test_the_summary_contract_has_no_directory_and_no_observations(clock: FakeClock) -> None:
    rig = Rig(clock, datasets=frozenset({WINDOW, HISTORY}))
    report = await rig.poll()
    assert {name for name, _, _ in rig.source.calls} == {WINDOW, HISTORY}
    assert set(rig.poller.readings.states) == {WINDOW, HISTORY}
    assert report.outcome == "ok"


# Datasets fail apart


@pytest.mark.parametrize("failing", DATASETS)
@pytest.mark.parametrize(
    "error", [Unavailable("down"), ScopeError("missing", "a:b:c"), AuthError("refused"), TypeError("a defect of ours")]
)
async def test_a_dataset_that_fails_costs_itself_alone(
    rig: Rig, failing: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.poll()
    kept = replace(rig.poller.readings, states={})
    rig.source.behave[failing] = error
    report = await rig.poll(after=1000)
    reason = getattr(error, "reason", "internal")
    assert report.failures == {failing: reason}
    assert report.outcome == ("failed" if failing == WINDOW else "partial")
    assert list(report.messages) == [failing]
    for name in DATASETS:
        state = rig.state(name)
        assert state.up is (name != failing)
        assert state.last_success == (rig.clock.now() if name != failing else rig.clock.now() - timedelta(seconds=1000))
    assert rig.state(failing).reason == reason
    assert len(rig.published) == 2
    for dataset, reading in ((QUEUES, "directory"), (WINDOW, "window"), (OBSERVATIONS, "observations")):
        if dataset == failing:
            assert getattr(rig.poller.readings, reading) is getattr(kept, reading)


async def test_a_dataset_that_failed_keeps_its_age(rig: Rig) -> None:
    await rig.poll()
    good = rig.state(WINDOW)
    rig.source.behave[WINDOW] = Unavailable("down")
    for _ in range(3):
        await rig.poll(after=60)
    bad = rig.state(WINDOW)
    assert (bad.up, bad.reason, bad.message) == (False, "unavailable", "down")
    assert (bad.last_success, bad.data_end, bad.stale_at) == (good.last_success, good.data_end, good.stale_at)
    rig.source.behave.clear()
    await rig.poll(after=60)
    assert (rig.state(WINDOW).up, rig.state(WINDOW).reason) == (True, None)


async def test_a_dataset_that_never_came_has_no_age(rig: Rig) -> None:
    rig.source.behave[WINDOW] = Unavailable("down")
    await rig.poll()
    assert rig.state(WINDOW) == DatasetState(False, None, None, None, "unavailable", "down")


async def test_everything_that_fails_is_a_report_and_a_snapshot_all_the_same(rig: Rig) -> None:
    rig.source.behave = dict.fromkeys(DATASETS, Unavailable("down"))
    report = await rig.poll()
    assert report.failures == dict.fromkeys(DATASETS, "unavailable")
    assert (report.outcome, report.rows) == ("failed", 0)
    assert len(rig.published) == 1


async def test_the_longest_pause_that_the_service_asked_for_is_reported(rig: Rig) -> None:
    rig.source.behave = {
        WINDOW: RateLimited("wait", 30),
        OBSERVATIONS: RateLimited("wait", 86_400),
        HISTORY: RateLimited("wait", None),
    }
    report = await rig.poll()
    assert report.retry_after_seconds == 86_400
    assert report.failures[WINDOW] == "rate_limited"


async def test_merging_that_fails_is_a_failure_of_history_alone(rig: Rig) -> None:
    def fail(what: str) -> None:
        if what == "merge":
            raise ValueError("counts that contradict themselves")

    rig.analyst.behave = fail
    report = await rig.poll()
    assert report.failures == {HISTORY: "internal"}
    assert len(rig.published) == 1


async def test_a_snapshot_that_fails_costs_one_poll_and_not_the_loop(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(what: str) -> None:
        if what == "snapshot" and not rig.reports:
            raise ZeroDivisionError

    rig.analyst.behave = fail
    await rig.run(2)
    assert [report.outcome for report in rig.reports] == ["failed", "ok"]
    assert rig.reports[0].failures == {WINDOW: "internal"}
    assert "please report this" in caplog.text
    assert rig.poller.first_poll_done.is_set()


async def test_settings_that_cannot_work_end_the_loop(clock: FakeClock) -> None:
    class Refusing(Rig):
        def behave_directory(self) -> None:
            raise SettingsError(["GENESYS_REQUESTS_PER_MINUTE: too few"])

    with pytest.raises(SettingsError):
        await Refusing(clock).poller.run()


async def test_a_directory_that_takes_its_time_leaves_time_for_the_window(rig: Rig) -> None:
    """The first directory comes before the rest, but it may not use up the poll."""

    async def use_up_the_time() -> None:
        _, _, deadline = rig.source.calls[-1]
        rig.clock.advance(deadline - rig.clock.monotonic())
        raise Unavailable("no answer")

    rig.source.behave[QUEUES] = use_up_the_time
    report = await rig.poll()
    assert report.failures == {QUEUES: "unavailable"}
    assert all(deadline - when >= 20 for name, when, deadline in rig.source.calls if name != QUEUES)


async def test_a_queue_that_could_not_be_read_is_not_gone(rig: Rig) -> None:
    rig.source.queues = directory("q-1", "q-2")
    await rig.poll()
    for whole, queues in ((False, {"q-1", "q-2", "q-3"}), (True, {"q-3"})):
        rig.source.queues = replace(directory("q-3"), whole=whole)
        await rig.poll(after=1000)
        assert rig.poller.readings.directory is not None
        assert rig.poller.readings.directory.queues.keys() == queues
        assert rig.poller.readings.directory.whole


async def test_a_directory_that_is_known_already_is_renewed_beside_the_rest(rig: Rig) -> None:
    await rig.poll()
    hanging = asyncio.Event()

    async def hang() -> None:
        await hanging.wait()

    async def release() -> None:
        hanging.set()

    rig.source.behave = {QUEUES: hang, WINDOW: release}
    async with asyncio.timeout(2):
        assert (await rig.poll(after=600)).outcome == "ok"


# What is said


def said(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.levelno >= level]
    caplog.clear()
    return said


async def test_a_failure_is_said_once_and_so_is_the_recovery(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "exporter")
    await rig.poll()
    assert said(caplog) == []
    rig.source.behave[WINDOW] = Unavailable("no answer within 30 s")
    await rig.poll(after=60)
    assert said(caplog) == ["window: no answer within 30 s"]
    for seconds in (29, 28, 27):
        rig.source.behave[WINDOW] = Unavailable(f"no answer within {seconds} s")
        await rig.poll(after=60)
    assert said(caplog) == []
    rig.source.behave[WINDOW] = AuthError("refused")
    await rig.poll(after=60)
    assert said(caplog) == ["window: refused"]
    rig.source.behave.clear()
    await rig.poll(after=60)
    assert said(caplog) == ["window: works again"]
    await rig.poll(after=60)
    assert said(caplog) == []


async def test_a_defect_of_ours_is_said_once_with_its_trace(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.source.behave[OBSERVATIONS] = TypeError("a defect")
    for _ in range(3):
        await rig.poll(after=60)
    assert [record.exc_info is not None for record in caplog.records if record.levelno >= logging.ERROR] == [True]


async def test_no_exception_text_of_a_defect_is_published(rig: Rig) -> None:
    rig.source.behave[OBSERVATIONS] = TypeError("secret-1 at line 5")
    report = await rig.poll()
    assert "secret-1" not in report.messages[OBSERVATIONS]
    assert "secret-1" not in str(rig.state(OBSERVATIONS).message)


# The directory


async def test_the_directory_is_renewed_every_ten_minutes(rig: Rig) -> None:
    await rig.run(21)
    assert [when for name, when, _ in rig.source.calls if name == QUEUES] == [0, 600, 1200]
    assert len(rig.directories) == 3


async def test_a_directory_that_failed_is_asked_for_at_the_next_poll(rig: Rig) -> None:
    rig.source.behave[QUEUES] = Unavailable("down")
    await rig.poll()
    rig.source.behave.clear()
    await rig.poll(after=60)
    assert rig.source.count(QUEUES) == 2
    assert rig.state(QUEUES).up


async def test_a_queue_without_a_name_asks_for_the_directory_once(rig: Rig) -> None:
    await rig.poll()
    rig.source.seen = ("q-1", "new")
    for _ in range(5):
        await rig.poll(after=60)
    assert rig.source.count(QUEUES) == 2
    rig.source.seen = ("q-1", "new", "newer")
    for _ in range(3):
        await rig.poll(after=60)
    assert rig.source.count(QUEUES) == 3


# History


def spans(rig: Rig) -> list[tuple[str, str]]:
    told = [(f"{span.start:%d %H:%M}", f"{span.end:%d %H:%M}") for span in rig.source.spans]
    rig.source.spans.clear()
    return told


async def test_the_last_two_hours_are_asked_for_whenever_a_bucket_has_closed_and_settled(rig: Rig) -> None:
    await rig.poll()
    assert spans(rig) == [("02 06:45", "02 08:45")]
    await rig.poll(after=59)
    assert spans(rig) == []
    await rig.poll(after=1)
    assert spans(rig) == [("02 07:00", "02 09:00")]
    assert rig.state(HISTORY).data_end == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    await rig.poll(after=899)
    assert spans(rig) == []


async def test_an_org_too_large_for_one_request_is_asked_in_parts_oldest_first(rig: Rig) -> None:
    rig.source.per_request = 3
    await rig.poll()
    assert spans(rig) == [("02 06:45", "02 07:30"), ("02 07:30", "02 08:15"), ("02 08:15", "02 08:45")]
    assert [len(batch.starts) for batch in rig.analyst.merged] == [3, 3, 2]


async def test_a_bucket_longer_than_two_hours_is_asked_for_once(clock: FakeClock) -> None:
    rig = Rig(clock, replace(RHYTHM, bucket_seconds=86_400))
    await rig.poll()
    assert spans(rig) == [("01 00:00", "02 00:00")]


async def test_history_that_failed_is_asked_for_at_the_next_poll(rig: Rig) -> None:
    rig.source.behave[HISTORY] = Unavailable("down")
    await rig.poll()
    assert rig.state(HISTORY).up is False
    rig.source.behave.clear()
    await rig.poll(after=30)
    assert spans(rig) == [("02 06:45", "02 08:45")]
    assert rig.state(HISTORY).up


async def test_history_goes_on_when_the_wall_clock_was_set_back() -> None:
    """A machine that starts with a wrong date must not wait for that date to come."""

    class WrongAtFirst(FakeClock):
        ahead = timedelta(days=900)

        def now(self) -> datetime:
            return super().now() + self.ahead

    clock = WrongAtFirst()
    rig = Rig(clock)
    await rig.poll()
    clock.ahead = timedelta()
    spans(rig)
    await rig.poll(after=60)
    assert spans(rig) == [("02 07:00", "02 09:00")]


# Publishing


async def test_a_republish_in_between_shows_the_latest_readings(rig: Rig) -> None:
    await rig.poll()
    await rig.poller.republish()
    assert len(rig.published) == 2
    assert rig.analyst.given[1]["window"] is rig.analyst.given[0]["window"]


async def test_snapshots_are_built_and_published_one_at_a_time(clock: FakeClock) -> None:
    class Slow(Rig):
        under_way = 0

        async def behave_published(self) -> None:
            self.under_way += 1
            assert self.under_way == 1
            await asyncio.sleep(0.01)
            self.under_way -= 1

    rig = Slow(clock)
    await asyncio.gather(*(rig.poller.republish() for _ in range(5)), rig.poll())
    assert [snapshot.id for snapshot in rig.published] == [1, 2, 3, 4, 5, 6]


async def test_states_that_were_published_do_not_change_afterwards(rig: Rig) -> None:
    await rig.poll()
    before = dict(rig.analyst.given[0]["datasets"])
    rig.source.behave = dict.fromkeys(DATASETS, Unavailable("down"))
    await rig.poll(after=600)
    assert rig.analyst.given[0]["datasets"] == before


@pytest.mark.parametrize(
    ("now", "bucket", "closed"),
    [
        ("09:15:59", 900, "09:00"),
        ("09:16:00", 900, "09:15"),
        ("09:01:00", 3600, "09:00"),
        ("09:00:59", 3600, "08:00"),
        ("00:01:00", 86_400, "00:00"),
    ],
)
def test_a_bucket_has_closed_when_it_has_settled_too(now: str, bucket: int, closed: str) -> None:
    rhythm = replace(RHYTHM, bucket_seconds=bucket)
    end = rhythm.last_closed(datetime.fromisoformat(f"2026-03-02T{now}+00:00"))
    assert f"{datetime.fromtimestamp(end, UTC):%H:%M}" == closed


def test_every_failure_has_a_reason_that_fits_a_label() -> None:
    kinds: list[type[GenesysError]] = [GenesysError, *GenesysError.__subclasses__()]
    assert all(kind.reason.replace("_", "").isalpha() for kind in kinds)
