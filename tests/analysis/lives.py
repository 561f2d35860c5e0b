"""Lives of histories: all that a merge or a clean-up can do to the baseline, and the two ways to fit to it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exporter.analysis.scoring import ScoreOptions
from exporter.analysis.scoring.growing import GrowingZScore
from exporter.analysis.scoring.zscore import Moments, ZScore
from exporter.models import ABANDONMENT, BUCKET_COUNTS, SLA_BREACH, BucketBatch, Lost, SeriesKey
from tests.analysis.building import QUARTER, at, open_history, start_of

OPTIONS = ScoreOptions()


class Life:
    """A history in memory and what happens to it: queues of all sizes, some of equal ratios."""

    def __init__(self, seed: int, series: int = 9) -> None:
        self.rng = np.random.default_rng(seed)
        self.history = open_history(None, now=at(0), baseline_days=2, retention_days=2)
        self.grown = GrowingZScore()
        self.series, self.end = series, 0
        self.fill(100)

    def fill(self, buckets: int) -> None:
        self.end += buckets
        self.merge(range(self.end - buckets, self.end))

    def close(self) -> None:
        self.fill(1)

    def correct_the_last(self) -> None:
        self.merge(range(self.end - 8, self.end))

    def correct_an_old_one(self) -> None:
        self.merge([self.end - int(self.rng.integers(9, 180))])

    def leave_a_gap(self) -> None:
        self.end += int(self.rng.integers(2, 40))
        self.close()

    def fill_what_is_missing(self) -> None:
        missing = self.history.missing(start_of(self.end - 150), start_of(self.end))
        self.merge([(start - start_of(0)) // QUARTER for start in missing[::2]])

    def bring_a_series(self) -> None:
        self.series += 1
        self.close()

    def lose_rows(self) -> None:
        lost = frozenset({(0, self.key(int(self.rng.integers(self.series)))), (1, SeriesKey("unheard", "voice"))})
        self.merge([self.end - 2, self.end], lost=Lost(lost, others=bool(self.rng.integers(2))))
        self.end += 1

    def grow_old(self) -> None:
        """Those who were there are gone for so long that their columns are given up."""
        self.series, elder = self.series + 2, self.series
        for _ in range(8):
            self.end += 24
            self.merge(range(self.end - 24, self.end), only=range(elder, self.series))
        self.history.prune(at(self.end))

    def merge(self, quarters: Iterable[int], only: Iterable[int] | None = None, **more: object) -> None:
        starts = np.array([start_of(each) for each in quarters], np.int64)
        places = list(range(self.series) if only is None else only)
        counts = np.stack([self.column(place, len(starts)) for place in places], axis=2)
        named = dict(zip(BUCKET_COUNTS, counts, strict=True))
        self.history.merge(BucketBatch(QUARTER, starts, tuple(map(self.key, places)), named, **more))  # type: ignore[arg-type]

    def column(self, place: int, buckets: int) -> np.ndarray:
        """Counts (all six, buckets) of one series: one in three has equal ratios, of any volume."""
        volume = (0.3, 4, 90, 3000)[place % 4]
        offered = 3 * self.rng.poisson(volume, buckets)
        share = self.rng.beta(2, 20, buckets)
        abandoned = offered // 3 if place % 3 == 0 else self.rng.binomial(offered, share)
        breached = offered if place % 5 == 0 else self.rng.binomial(offered, 0.9)
        return np.stack([offered, offered - abandoned, abandoned, 0 * offered, breached, offered])

    @staticmethod
    def key(place: int) -> SeriesKey:
        return SeriesKey(f"queue {place}", "voice")

    def check(self) -> None:
        """What goes on from the last fit is what the formula gives."""
        window = start_of(self.end)
        with self.history.baseline(window, window + QUARTER) as pinned:
            series = len(pinned.keys)
            found, wanted = (each.fit(pinned.baseline, OPTIONS) for each in (self.grown, ZScore()))
        n, x = np.full(series, 30.0), np.arange(series) % 31.0
        for metric in (ABANDONMENT, SLA_BREACH):
            same(found.moments[metric], wanted.moments[metric])
            scores = (model.score(metric, n, x, at(self.end), np.arange(series)) for model in (found, wanted))
            np.testing.assert_allclose(*(each.z for each in scores), rtol=1e-9, atol=1e-9)


HAPPENINGS = (
    Life.close,
    Life.correct_the_last,
    Life.correct_an_old_one,
    Life.leave_a_gap,
    Life.fill_what_is_missing,
    Life.bring_a_series,
    Life.lose_rows,
    Life.grow_old,
)


def same(found: Moments, wanted: Moments) -> None:
    np.testing.assert_array_equal(found.samples, wanted.samples)
    np.testing.assert_array_equal(found.stddev == 0, wanted.stddev == 0)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(found.stddev, wanted.stddev, rtol=1e-9, atol=1e-14)
