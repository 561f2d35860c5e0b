"""An answer without any contact is believed when it can be true.

Nothing is zero-filled, so that an empty answer is how the service says that nothing happened, and also what is left
of an answer when something in between goes wrong. Comes in: how to read, and which contacts of which interval a
reading tells. A silence that nobody has heard yet is read twice, also a long one beside a few contacts; one that
earlier answers refute is a PayloadError, and from then on no silence is believed until somebody speaks again or
patience ends. A contact centre that opens or closes refutes nothing: its silence was heard before, or its contacts
all lie on one side of the hour, and no closer than they did in other answers. Lost rows are no silence.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

from exporter.clock import Clock
from exporter.errors import PayloadError
from exporter.models import BucketBatch, Lost, QueueTable

#: How unlikely it must be that the contacts of an interval all lie outside of what is now said to be silent, if they
#: came at any time alike, for that not to be believed: a quiet org is asked about a thousand times a day.
LEAST_PROBABILITY = 1e-6
#: Of contacts that were told before, even all may be taken back: by a correction, or with the queue that they had.
MOST_SHARE = 0.99
#: An answer about many buckets is read again where the contacts lie within less than this share of them: a contact
#: centre is open for longer than a third of the day. Few buckets are wanted whole, or three of them.
LEAST_EXTENT, FEW_BUCKETS = 1 / 3, 3
#: So much of an interval must have been silent in an answer that was believed for nothing else to refute it.
HEARD_SHARE = 0.5
#: Contacts may lie somewhat closer than in another interval about the same time: by a quarter, and by chance as likely
#: as LEAST_PROBABILITY (of a Poisson distribution, roughly).
CLOSER, BY_CHANCE, BESIDES = 1.25, 5.0, 1.0
#: Intervals with contacts that are remembered: two days of quarter hours, or some hours of polls beside them.
REMEMBERED = 400


class Told(NamedTuple):
    """The contacts of all queues in an interval of epoch seconds."""

    start: int
    end: int
    contacts: float


class Reading(Protocol):
    """What is read: a window or closed buckets."""

    @property
    def lost(self) -> Lost: ...


T = TypeVar("T", bound=Reading)


def told_by_window(table: QueueTable) -> list[Told]:
    """A window as one interval."""
    window = table.window
    return [Told(window.start_seconds, window.end_seconds, float(table.columns["offered"].sum()))]


def told_by_buckets(batch: BucketBatch) -> list[Told]:
    """Every bucket as an interval."""
    sums = batch.counts["offered"].sum(axis=1).tolist()
    starts = batch.starts.tolist()
    return [Told(start, start + batch.bucket_seconds, each) for start, each in zip(starts, sums, strict=True)]


class Silence:
    """Remembers where contacts were told of, and doubts."""

    def __init__(self, clock: Clock, patience_seconds: float) -> None:
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._heard: deque[Told] = deque(maxlen=REMEMBERED)
        self._quiet: deque[Told] = deque(maxlen=REMEMBERED)
        self._doubted_since: float | None = None
        self._silent = False

    async def believed(
        self, read: Callable[[], Awaitable[T]], told_by: Callable[[T], list[Told]], *, background: bool = False
    ) -> T:
        """What `read` gives; after a silence that is news, its second reading. PayloadError where it cannot be true."""
        reading = await read()
        if self._is_old_news(told_by(reading), background=background) or reading.lost:
            return self._accepted(reading, told_by)
        again = await read()
        if not again.lost and self._is_refuted(told_by(again)):
            self._doubted_since = self._clock.monotonic() if self._doubted_since is None else self._doubted_since
            raise PayloadError("the answer holds no contact at all where earlier ones told of some; asking again")
        return self._accepted(again, told_by)

    def _is_old_news(self, told: list[Told], *, background: bool) -> bool:
        if self._is_refuted(told):
            return False
        return _speaks_throughout(told) or (self._silent and not background and not _speaks(told))

    def _is_refuted(self, told: Iterable[Told]) -> bool:
        told = list(told)
        if self._doubted_since is not None:
            if self._clock.monotonic() - self._doubted_since >= self._patience_seconds:
                self._heard.clear()
                self._doubted_since = None
            elif not _speaks(told):
                return True
        speaking = [*self._heard, *(each for each in told if each.contacts)]
        return any(
            _refutes(heard, each) and not _may_lie_outside(heard, each, speaking)
            for each in told
            if not each.contacts and not self._was_quiet(each)
            for heard in self._heard
        )

    def _was_quiet(self, silent: Told) -> bool:
        least = HEARD_SHARE * (silent.end - silent.start)
        return any(_common(quiet, silent) >= least for quiet in self._quiet)

    def _accepted(self, reading: T, told_by: Callable[[T], list[Told]]) -> T:
        told = told_by(reading)
        if _speaks(told):
            self._doubted_since = None
            self._heard.extend(each for each in told if each.contacts and each not in self._heard)
        if not reading.lost:
            self._silent = not _speaks(told)
            self._quiet.extend(each for each in told if not each.contacts and each not in self._quiet)
        return reading


def _common(one: Told, other: Told) -> int:
    """Seconds that two intervals share; 0 or less where they do not."""
    return min(one.end, other.end) - max(one.start, other.start)


def _refutes(heard: Told, silent: Told) -> bool:
    common = _common(heard, silent)
    share = min(MOST_SHARE, common / (heard.end - heard.start))
    return common > 0 and heard.contacts * math.log1p(-share) < math.log(LEAST_PROBABILITY)


def _may_lie_outside(heard: Told, silent: Told, speaking: Iterable[Told]) -> bool:
    """Whether what was heard may all lie in its part before, or after, the silence: no closer there than in others.

    At the end of the day windows slide over the last contacts, and tell fewer and fewer; an answer that has lost its
    contacts comes after one that has all of them.
    """
    before, after = heard.start < silent.start, heard.end > silent.end
    if before == after:
        return False
    start, end = (heard.start, silent.start) if before else (silent.end, heard.end)
    for other in speaking:
        if other.start <= start and end <= other.end and (other.start, other.end) != (heard.start, heard.end):
            usual = other.contacts * (end - start) / (other.end - other.start)
            if heard.contacts <= CLOSER * usual + BY_CHANCE * math.sqrt(usual) + BESIDES:
                return True
    return False


def _speaks_throughout(told: list[Told]) -> bool:
    """False where a long silence surrounds the contacts: so looks the answer about a shorter span, from a cache."""
    speaking = [place for place, each in enumerate(told) if each.contacts]
    extent = speaking[-1] - speaking[0] + 1 if speaking else 0
    return extent >= max(len(told) * LEAST_EXTENT, min(len(told), FEW_BUCKETS))


def _speaks(told: Iterable[Told]) -> bool:
    return any(each.contacts for each in told)
