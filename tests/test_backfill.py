"""Filling history's gaps: in which order, in what portions, what happens when it fails. API and analysis are stubs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backfill import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, REPUBLISH_SECONDS, Backfill
from exporter.errors import AuthError, GenesysError, PayloadError, QueryError, RateLimited, ScopeError, Unavailable
from exporter.models import BucketBatch, Directory, ObservationTable, QueueTable, Window
from exporter.poller import Rhythm
from tests.conftest import FakeClock
from tests.genesys.strategies import unhurried

BUCKET = 900
DAY = 86_400
RHYTHM = Rhythm(
    interval_seconds=60, bucket_seconds=BUCKET, settle_seconds=60, stale_after_seconds=180, baseline_seconds=DAY
)
#: The end of the newest bucket that has closed and settled at the clock's start, 9:00.
END = int(datetime(2026, 3, 2, 8, 45, tzinfo=UTC).timestamp())
BUCKETS = DAY // BUCKET


class StubSource:
    """Closed buckets for the asking; `fail` says which spans fail, and how."""

    datasets: frozenset[str] = frozenset()

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.per_request = 96
        self.asked: list[Window] = []
        self.at: list[float] = []
        self.deadlines: list[float] = []
        self.background: list[bool] = []
        self.fail: Callable[[Window], BaseException | None] = lambda span: None
        self.lasts_seconds = 0.0

    @property
    def sizes(self) -> list[int]:
        return [(span.end_seconds - span.start_seconds) // BUCKET for span in self.asked]

    def buckets_per_request(self, directory: Directory | None) -> int:
        return self.per_request

    async def buckets(
        self, span: Window, directory: Directory | None, deadline: float, *, background: bool = False
    ) -> BucketBatch:
        self.asked.append(span)
        self.at.append(self.clock.monotonic())
        self.deadlines.append(deadline - self.clock.monotonic())
        self.background.append(background)
        self.clock.advance(self.lasts_seconds)
        if error := self.fail(span):
            raise error
        starts = np.arange(span.start_seconds, span.end_seconds, BUCKET, dtype=np.int64)
        return BucketBatch(BUCKET, starts, (), {})

    def current_window(self, now: datetime) -> Window:
        raise NotImplementedError

    async def directory(self, deadline: float) -> Directory:
        raise NotImplementedError

    async def window(self, window: Window, directory: Directory | None, deadline: float) -> QueueTable:
        raise NotImplementedError

    async def observations(self, directory: Directory | None, deadline: float) -> ObservationTable:
        raise NotImplementedError


class StubKeeper:
    """History as a set of starts."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.merged: list[int] = []
        self.completed = 0
        self.forgetful = False
        self.behave: Callable[[str], None] = lambda what: None

    def missing(self, since_seconds: int, until_seconds: int) -> Sequence[int]:
        self.behave("missing")
        return [start for start in range(until_seconds - BUCKET, since_seconds - 1, -BUCKET) if start not in self.held]

    def merge(self, batch: BucketBatch) -> None:
        self.behave("merge")
        self.merged += batch.starts.tolist()
        if not self.forgetful:
            self.held |= set(batch.starts.tolist())

    def complete(self) -> None:
        self.behave("complete")
        self.completed += 1

    def score_past(self) -> None:
        self.behave("score_past")


class Rig:
    """A back-fill among stubs; it is stopped after so many looks for gaps."""

    def __init__(self, clock: FakeClock, rhythm: Rhythm = RHYTHM) -> None:
        self.clock = clock
        self.source, self.keeper = StubSource(clock), StubKeeper()
        self.progress: list[tuple[int, int]] = []
        self.republished: list[float] = []
        self.backfill = Backfill(
            self.source,
            self.keeper,
            rhythm=rhythm,
            clock=clock,
            directory=lambda: None,
            republish=self.republish,
            progress=lambda done, total: self.progress.append((done, total)),
        )

    async def republish(self) -> None:
        self.republished.append(self.clock.monotonic())

    async def until(self, done: Callable[[], bool]) -> None:
        """Run until `done`, which the machine must reach within seconds of its own time."""
        task = asyncio.create_task(self.backfill.run())
        async with asyncio.timeout(5):
            while not (done() or task.done()):  # noqa: ASYNC110 - the work of threads sets no event
                await asyncio.sleep(0)
        if task.done():
            await task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def to_the_end(self) -> None:
        seen = self.keeper.completed
        await self.until(lambda: self.keeper.completed > seen)

    @property
    def full(self) -> bool:
        return len(self.keeper.held) >= BUCKETS


@pytest.fixture
def rig(clock: FakeClock) -> Rig:
    return Rig(clock)


def span(first: int, last: int) -> Window:
    """From the `first` to the `last` newest bucket, counted from 0."""
    return Window.of_epoch(END - (last + 1) * BUCKET, END - first * BUCKET)


# What is asked for


async def test_a_first_start_asks_for_the_whole_baseline_a_day_at_a_time(rig: Rig) -> None:
    await rig.to_the_end()
    assert rig.source.asked == [span(0, 95)]
    assert rig.keeper.merged == list(range(END - DAY, END, BUCKET))
    assert rig.source.background == [True]
    assert rig.source.deadlines == [170]


async def test_what_has_settled_by_another_rhythm_is_asked_for(rig: Rig) -> None:
    rig.backfill.follow(replace(RHYTHM, settle_seconds=0))
    await rig.to_the_end()
    assert max(rig.keeper.merged) == END


async def test_the_newest_buckets_come_first(rig: Rig) -> None:
    rig.source.per_request = 40
    await rig.to_the_end()
    assert rig.source.asked == [span(0, 39), span(40, 79), span(80, 95)]


async def test_only_what_is_missing_is_asked_for_each_run_of_it_apart(rig: Rig) -> None:
    missing = {0, 1, 5, 6, 7, 90}
    rig.keeper.held = {END - (place + 1) * BUCKET for place in range(BUCKETS) if place not in missing}
    await rig.to_the_end()
    assert rig.source.asked == [span(0, 1), span(5, 7), span(90, 90)]


async def test_a_restart_with_everything_in_place_asks_for_nothing(rig: Rig) -> None:
    rig.keeper.held = set(range(END - DAY, END, BUCKET))
    await rig.to_the_end()
    assert rig.source.asked == []
    assert rig.keeper.completed == 1
    assert rig.progress == []


@unhurried
@given(st.sets(st.integers(0, BUCKETS - 1)), st.integers(1, 40))
def test_whatever_is_missing_is_asked_for_once_and_nothing_else_is(missing: set[int], per_request: int) -> None:
    rig = Rig(FakeClock())
    rig.source.per_request = per_request
    rig.keeper.held = {END - (place + 1) * BUCKET for place in range(BUCKETS) if place not in missing}
    asyncio.run(rig.to_the_end())
    assert sorted(rig.keeper.merged) == sorted(END - (place + 1) * BUCKET for place in missing)
    assert all(1 <= size <= per_request for size in rig.source.sizes)
    assert [span.end_seconds for span in rig.source.asked] == sorted(
        (span.end_seconds for span in rig.source.asked), reverse=True
    )


async def test_gaps_that_come_later_are_found(rig: Rig) -> None:
    await rig.to_the_end()
    rig.keeper.held -= {END - 3 * BUCKET}
    await rig.to_the_end()
    assert rig.source.asked[-1] == span(2, 2)


@pytest.mark.parametrize(("bucket", "longest"), [(900, 900), (86_400, 3600)])
async def test_new_gaps_are_looked_for_at_least_once_an_hour(clock: FakeClock, bucket: int, longest: int) -> None:
    rig = Rig(clock, replace(RHYTHM, bucket_seconds=bucket))
    looks: list[float] = []
    rig.keeper.behave = lambda what: looks.append(clock.monotonic()) if what == "missing" else None
    rig.keeper.held = set(range(END - 2 * DAY - END % DAY, END + DAY, BUCKET))
    await rig.until(lambda: len(looks) >= 3)
    assert all(later - earlier <= longest for earlier, later in pairwise(looks))


# What is shown meanwhile


async def test_progress_counts_up_to_the_whole(rig: Rig) -> None:
    rig.source.per_request = 40
    await rig.to_the_end()
    assert rig.progress == [(0, 96), (40, 96), (80, 96), (96, 96)]


async def test_scores_are_brought_up_to_date_now_and_then_and_at_the_end(rig: Rig) -> None:
    rig.source.per_request, rig.source.lasts_seconds = 1, 1.0
    await rig.until(lambda: rig.keeper.completed == 1 and rig.republished[-1] >= BUCKETS)
    gaps = [later - earlier for earlier, later in pairwise([0.0, *rig.republished])]
    assert len(rig.republished) < BUCKETS / 4
    assert all(gap > REPUBLISH_SECONDS for gap in gaps[:-1])


async def test_a_back_fill_that_gets_nothing_does_not_republish(rig: Rig) -> None:
    rig.source.fail = lambda span: Unavailable("down")
    await rig.until(lambda: len(rig.source.asked) >= 10)
    assert rig.republished == []


async def test_a_look_that_finds_nothing_new_is_not_republished(rig: Rig) -> None:
    looks: list[str] = []
    rig.keeper.behave = lambda what: looks.append(what)
    rig.keeper.held = set(range(END - DAY, END + 10 * DAY, BUCKET))
    await rig.until(lambda: looks.count("missing") >= 4)
    assert len(rig.republished) == rig.keeper.completed == 1


# Failures


@pytest.mark.parametrize(
    "error", [Unavailable("down"), RateLimited("wait", 30), AuthError("no"), ScopeError("no"), GenesysError("odd")]
)
async def test_a_failure_waits_ever_longer_and_goes_on_by_itself(
    rig: Rig, error: GenesysError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "exporter.backfill")
    rig.source.fail = lambda span: error if len(rig.source.asked) <= 9 else None
    await rig.to_the_end()
    pauses = [later - earlier for earlier, later in pairwise(rig.source.at[:10])]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert pauses[0] == FIRST_PAUSE_SECONDS
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert rig.full
    said = [record.getMessage() for record in caplog.records]
    told = [f"back-fill: {error}; it goes on by itself", "back-fill: works again"]
    assert said == ([] if isinstance(error, AuthError) else told)  # of refused credentials the polls speak


async def test_a_success_makes_the_next_pause_short_again(rig: Rig) -> None:
    rig.source.per_request = 24
    bad = {1, 2, 4}
    rig.source.fail = lambda span: RateLimited("wait") if len(rig.source.asked) in bad else None
    await rig.to_the_end()
    assert [later - earlier for earlier, later in pairwise(rig.source.at)] == [5, 10, 0, 5, 0, 0][
        : len(rig.source.at) - 1
    ]


async def test_what_was_merged_is_not_asked_for_again_after_a_failure(rig: Rig) -> None:
    rig.source.per_request = 24
    rig.source.fail = lambda span: RateLimited("wait") if len(rig.source.asked) == 3 else None
    await rig.to_the_end()
    assert rig.source.asked == [span(0, 23), span(24, 47), span(48, 71), span(48, 71), span(72, 95)]


@pytest.mark.parametrize("error", [PayloadError("too large"), QueryError("too much"), Unavailable("no answer in 30 s")])
async def test_an_answer_that_is_too_large_is_asked_for_in_smaller_portions(rig: Rig, error: GenesysError) -> None:
    rig.source.fail = lambda span: error if span.end_seconds - span.start_seconds > 20 * BUCKET else None
    await rig.to_the_end()
    assert rig.full
    assert rig.source.sizes[:4] == [96, 48, 24, 12]
    assert max(rig.source.sizes[3:]) <= 24


async def test_portions_grow_again_when_the_fault_is_over(rig: Rig) -> None:
    """A proxy's bad minute must not make the rest of the back-fill a bucket at a time."""
    rig.backfill._rhythm = replace(RHYTHM, baseline_seconds=7 * DAY)
    rig.source.fail = lambda span: PayloadError("<html>") if len(rig.source.asked) <= 8 else None
    await rig.to_the_end()
    assert rig.source.sizes[:9] == [96, 48, 24, 12, 6, 3, 1, 1, 1]
    assert len(rig.keeper.held) >= 7 * BUCKETS - 2
    assert max(rig.source.sizes[9:]) > 48
    assert len(rig.source.sizes) < 40


@pytest.mark.parametrize("error", [PayloadError("nonsense"), QueryError("refused")])
async def test_a_bucket_that_cannot_be_had_does_not_hold_up_the_older_ones(rig: Rig, error: GenesysError) -> None:
    poison = END - 10 * BUCKET
    rig.source.fail = lambda span: error if span.start_seconds <= poison < span.end_seconds else None
    await rig.to_the_end()
    assert set(range(END - DAY // 2, END, BUCKET)) - rig.keeper.held == {poison}
    assert set(range(END - DAY + 4 * BUCKET, END - DAY // 2, BUCKET)) <= rig.keeper.held
    assert rig.source.sizes.count(1) < 20
    rig.source.fail = lambda span: None
    await rig.until(lambda: poison in rig.keeper.held)
    assert rig.clock.monotonic() < 2 * 3600


async def test_a_past_that_the_service_refuses_does_not_keep_the_back_fill_from_ending(rig: Rig) -> None:
    """A gateway that keeps half a day: the counters wait for the end of the back-fill, and it must come."""
    edge = END - DAY // 2
    rig.source.fail = lambda span: QueryError("too far back") if span.start_seconds < edge else None
    await rig.to_the_end()
    assert set(range(edge, END, BUCKET)) <= rig.keeper.held
    assert rig.clock.monotonic() < 600
    calls = len(rig.source.asked)
    assert calls < 70
    await rig.until(lambda: rig.clock.monotonic() > 3000)
    assert len(rig.source.asked) - calls <= 3, "what was refused is not asked for at every look"


async def test_a_history_that_does_not_keep_what_it_is_given_is_no_reason_to_hammer_the_service(rig: Rig) -> None:
    rig.keeper.forgetful = True
    await rig.until(lambda: len(rig.source.asked) >= 8)
    assert [later - earlier for earlier, later in pairwise(rig.source.at)][:3] == [5, 10, 20]


@pytest.mark.parametrize("what", ["missing", "merge", "complete"])
async def test_a_defect_of_ours_does_not_end_the_back_fill(
    rig: Rig, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([True])

    def fail(now: str) -> None:
        if now == what and next(failures, False):
            raise ZeroDivisionError("a defect")

    rig.keeper.behave = fail
    await rig.to_the_end()
    assert rig.full
    assert rig.clock.monotonic() <= 2 * LONGEST_PAUSE_SECONDS
    assert "please report this" in caplog.text


async def test_publishing_that_fails_does_not_end_the_back_fill(clock: FakeClock) -> None:
    class Failing(Rig):
        async def republish(self) -> None:
            if not self.republished:
                await super().republish()
                raise ZeroDivisionError("a defect")
            await super().republish()

    rig = Failing(clock)
    await rig.until(lambda: len(rig.republished) >= 2)
    assert rig.full


async def test_cancelling_ends_it_at_once(rig: Rig) -> None:
    task = asyncio.create_task(rig.backfill.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
