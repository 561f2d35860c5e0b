"""Which buckets there are: fetched, kept, scored.

Comes in: starts of buckets as they are merged, scored, written and dropped. Goes out: which are missing and whether a
bucket differs from what is known. Holds no counts. Not thread-safe; `history` takes care of that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from exporter.analysis.store import BucketMark


class Register:
    """Buckets of one scope, by their start in epoch seconds."""

    def __init__(self, bucket_seconds: int) -> None:
        self._bucket_seconds = bucket_seconds
        self._digests: dict[int, int | None] = {}  # fetched for the present selection; None = digest not known yet
        self._held: set[int] = set()  # in the file or on the way to it, fetched for whichever selection
        self._scored: set[int] = set()

    def load(self, marks: Iterable[BucketMark], end: int) -> None:
        """Takes over what the file holds; a bucket from `end` on is not believed: a clock was wrong."""
        for mark in marks:
            self._held.add(mark.start)
            if mark.current and mark.start < end:
                self._digests[mark.start] = None
            if mark.scored:
                self._scored.add(mark.start)

    def fetched(self, start: int) -> bool:
        """Whether the bucket was fetched for the present selection."""
        return start in self._digests

    def held(self, start: int) -> bool:
        """Whether the counters contain the bucket."""
        return start in self._held

    def digest(self, start: int) -> int | None:
        """The bucket's digest, None where it is not known."""
        return self._digests.get(start)

    def learn(self, start: int, digest: int) -> None:
        """The digest of a bucket that was fetched before."""
        if start in self._digests:
            self._digests[start] = digest

    def fetched_between(self, first: int, end: int) -> list[int]:
        """Starts of the fetched buckets in [first, end), ascending."""
        return sorted(start for start in self._digests if first <= start < end)

    def missing(self, since: int, until: int) -> list[int]:
        """Starts of the buckets that lie within [since, until) and were not fetched, newest first."""
        step = self._bucket_seconds
        first, last = -(-since // step) * step, until // step * step - step
        return [start for start in range(last, first - 1, -step) if start not in self._digests]

    def ahead(self, end: int) -> list[int]:
        """Starts of the buckets from `end` on."""
        return [start for start in self._held if start >= end]

    def newest(self) -> int:
        """Start of the newest fetched bucket, 0 where there is none."""
        return max(self._digests, default=0)

    def put(self, start: int, digest: int) -> None:
        """A bucket was merged; its scores no longer hold if it was fetched for another selection."""
        if start not in self._digests:
            self._scored.discard(start)
        self._digests[start] = digest
        self._held.add(start)

    def score(self, start: int) -> None:
        """A bucket was scored."""
        self._scored.add(start)

    def scored(self, start: int) -> bool:
        """Whether the bucket's scores are kept."""
        return start in self._scored

    def keep(self, first: int, end: int) -> None:
        """Forgets the buckets outside of [first, end)."""
        self._digests = {start: each for start, each in self._digests.items() if first <= start < end}
        self._held = {start for start in self._held if first <= start < end}
        self._scored = {start for start in self._scored if first <= start < end}

    def unfetch(self) -> None:
        """All buckets are missing again; the counters contain them still."""
        self._digests.clear()

    def keep_only(self, starts: Collection[int]) -> None:
        """Forgets all other buckets, and all scores: the file was lost."""
        self._held = set(starts)
        self._digests = {start: each for start, each in self._digests.items() if start in self._held}
        self._scored = set()
