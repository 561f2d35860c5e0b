"""Answers without a contact: when they are believed, and how often they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from exporter.errors import PayloadError
from exporter.genesys.silence import Silence, Told, told_by_buckets, told_by_window
from exporter.models import WINDOW_COLUMNS, BucketBatch, Lost, QueueTable, SeriesKey, Window
from tests.conftest import FakeClock

KEY = SeriesKey("q", "voice")
PATIENCE = 7200.0


def window(start: int, contacts: int, lost: Lost | None = None) -> QueueTable:
    keys = (KEY,) if contacts else ()
    columns = {name: np.full(len(keys), float(contacts)) for name in WINDOW_COLUMNS}
    return QueueTable(Window.of_epoch(start, start + 900), keys, columns, lost=lost or Lost())


def buckets(*contacts: int) -> BucketBatch:
    starts = np.arange(len(contacts), dtype=np.int64) * 900
    return BucketBatch(900, starts, (KEY,), {"offered": np.array(contacts, np.int64)[:, None]})


class Asked:
    """Reads scripted answers, of which the last stays; counts how often it is asked."""

    def __init__(self, *answers: QueueTable | BucketBatch) -> None:
        self._answers = list(answers)
        self.times = 0

    async def __call__(self) -> QueueTable | BucketBatch:
        self.times += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


Ask = Callable[..., object]


@pytest.fixture
def silence(clock: FakeClock) -> Silence:
    return Silence(clock, PATIENCE)


async def ask(silence: Silence, *answers: QueueTable | BucketBatch, background: bool = False) -> int:
    """How often it had to be asked."""
    read = Asked(*answers)
    told = told_by_window if isinstance(answers[0], QueueTable) else told_by_buckets
    await silence.believed(read, told, background=background)  # type: ignore[type-var, arg-type]
    return read.times


async def test_whoever_speaks_is_believed_at_once(silence: Silence) -> None:
    assert await ask(silence, window(0, 5)) == 1
    assert await ask(silence, buckets(5, 3, 0, 1)) == 1


async def test_a_silence_that_is_news_is_read_twice_and_then_no_more(silence: Silence) -> None:
    assert await ask(silence, window(0, 0)) == 2
    assert await ask(silence, window(60, 0)) == 1
    assert await ask(silence, window(120, 1)) == 1
    assert await ask(silence, window(180, 0)) == 2
    assert [await ask(silence, buckets(0, 0), background=True) for _ in range(2)] == [2, 2]


@pytest.mark.parametrize(
    ("contacts", "times"),
    [
        ((0, 1), 2),
        ((1, 1), 1),
        ((0, 0, 0, 0, 0, 0, 0, 9), 2),
        ((0, 1, 1, 1, 0, 0, 0, 0), 1),
        ((0,) * 30 + (1,) * 36 + (0,) * 30, 1),
        ((0,) * 40 + (1,) * 16 + (0,) * 40, 2),
    ],
)
async def test_a_long_silence_beside_a_few_contacts_is_read_twice(
    silence: Silence, contacts: tuple[int, ...], times: int
) -> None:
    """The answer about one bucket, kept by a cache, looks so when it is given to a question about eight."""
    assert await ask(silence, buckets(*contacts)) == times


async def test_a_silence_that_is_over_at_the_second_reading_was_none(silence: Silence) -> None:
    assert await ask(silence, window(0, 0), window(0, 9)) == 2
    assert await ask(silence, window(60, 8)) == 1


async def test_a_silence_where_many_contacts_were_told_is_not_believed_until_somebody_speaks(silence: Silence) -> None:
    await ask(silence, window(0, 50))
    for start in (60, 900, 3600):
        with pytest.raises(PayloadError, match="no contact at all"):
            await ask(silence, window(start, 0))
    assert await ask(silence, window(3660, 1)) == 1
    assert await ask(silence, window(3720, 0)) == 2  # a contact or two may leave a window with its oldest minute


@pytest.mark.parametrize(
    ("contacts", "later", "believed"),
    [(5, 60, True), (6, 60, False), (19, 450, True), (20, 450, False), (99, 900, True)],
)
async def test_how_many_contacts_refute_a_silence_depends_on_what_is_common(
    silence: Silence, contacts: int, later: int, believed: bool
) -> None:
    await ask(silence, window(0, contacts))
    if believed:
        await ask(silence, window(later, 0))
        return
    with pytest.raises(PayloadError):
        await ask(silence, window(later, 0))


async def test_patience_ends(silence: Silence, clock: FakeClock) -> None:
    await ask(silence, window(0, 50))
    for _ in range(3):
        with pytest.raises(PayloadError):
            await ask(silence, window(60, 0))
        clock.advance(PATIENCE / 3)
    await ask(silence, window(60, 0))
    assert await ask(silence, window(120, 0)) == 1


async def test_one_bucket_that_lost_all_its_contacts_is_enough(silence: Silence) -> None:
    await ask(silence, buckets(5, 6, 7))
    assert await ask(silence, buckets(5, 6, 7)) == 1
    with pytest.raises(PayloadError):
        await ask(silence, buckets(5, 0, 7))


async def test_a_window_tells_what_its_closed_bucket_cannot_deny(silence: Silence) -> None:
    await ask(silence, window(30, 20))
    with pytest.raises(PayloadError):
        await ask(silence, buckets(0, 0))


async def test_lost_rows_are_no_silence(silence: Silence) -> None:
    await ask(silence, window(0, 50))
    assert await ask(silence, window(60, 0, Lost(others=True))) == 1
    with pytest.raises(PayloadError):
        await ask(silence, window(120, 0))


class Heard:
    """A reading of some intervals."""

    lost = Lost()

    def __init__(self, told: list[Told]) -> None:
        self.told = told


class Day:
    """An org that is open from eight to eleven, and what its polls ask: the newest window, buckets that have closed."""

    OPENS, CLOSES = 8 * 3600, 11 * 3600

    def __init__(self, silence: Silence, clock: FakeClock, per_minute: float, interval: int) -> None:
        self._silence, self._clock, self._interval = silence, clock, interval
        self._contacts = np.arange(self.OPENS, self.CLOSES, 60 / per_minute)
        self.now = self.OPENS - 2 * 3600 + 7

    async def _ask(self, spans: list[tuple[int, int]], *, lost: tuple[int, ...] = ()) -> None:
        counts = (np.searchsorted(self._contacts, span) for span in spans)
        told = [
            Told(*span, 0.0 if place in lost else float(end - start))
            for place, (span, (start, end)) in enumerate(zip(spans, counts, strict=True))
        ]

        async def read() -> Heard:
            return Heard(told)

        await self._silence.believed(read, lambda heard: heard.told)

    async def window(self, *, lost: bool = False) -> None:
        end = self.now - 60
        await self._ask([(end - 900, end)], lost=(0,) if lost else ())

    async def history(self, *, lost: tuple[int, ...] = ()) -> None:
        """The last two hours."""
        end = (self.now - 60) // 900 * 900
        await self._ask([(start, start + 900) for start in range(end - 7200, end, 900)], lost=lost)

    async def until(self, seconds: int) -> None:
        while self.now < seconds:
            await self.window()
            if (self.now - 60) % 900 < self._interval:
                await self.history()
            self.now += self._interval
            self._clock.advance(self._interval)


#: Contacts a minute, and seconds between polls.
RHYTHMS = [(rate, interval) for rate in (0.5, 2, 6, 20, 200) for interval in (15, 60, 300)]
#: Of eight contacts in a window, all may lie in five minutes.
TELLING = [rhythm for rhythm in RHYTHMS if rhythm != (0.5, 300)]


@pytest.fixture
def day(silence: Silence, clock: FakeClock, request: pytest.FixtureRequest) -> Day:
    return Day(silence, clock, *request.param)


@pytest.mark.parametrize("day", RHYTHMS, indirect=True, ids=str)
async def test_a_day_that_begins_and_ends_on_the_hour_is_believed(day: Day) -> None:
    await day.until(Day.CLOSES + 3 * 3600)


@pytest.mark.parametrize("day", TELLING, indirect=True, ids=str)
@pytest.mark.parametrize("lost", [(7,), (4,), tuple(range(8))])
async def test_a_silence_in_the_middle_of_such_a_day_is_not(day: Day, lost: tuple[int, ...]) -> None:
    await day.until(Day.OPENS + 9000)
    with pytest.raises(PayloadError):
        await day.window(lost=True)
    with pytest.raises(PayloadError):
        await day.history(lost=lost)
