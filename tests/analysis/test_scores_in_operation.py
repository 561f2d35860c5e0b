"""Scores as an operator meets them: history and polls through the whole analyst, on days that make alarms cry wolf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from exporter.analysis.analyst import Analyst
from exporter.analysis.scoring import ScoreOptions, method
from exporter.models import (
    ABANDONMENT,
    BUCKET_COUNTS,
    OFFERED,
    SLA_BREACH,
    BucketBatch,
    Scores,
    SeriesKey,
    Snapshot,
    Window,
)
from tests.analysis.building import QUARTER, open_history, window_table

DAY, WEEK = 96, 672
BERLIN = ZoneInfo("Europe/Berlin")
Counts = np.ndarray


class Centre:
    """Contacts and abandons by quarter hour and queue from `start` on, polled as the exporter does."""

    def __init__(self, start: datetime, offered: Counts, abandoned: Counts, *, timezone: str = "UTC") -> None:
        self.start, self.offered, self.abandoned = int(start.timestamp()), offered, abandoned
        self.keys = tuple(SeriesKey(f"q{queue:02d}", "voice") for queue in range(offered.shape[1]))
        self.history = open_history(None, now=start)
        self.analyst = Analyst(
            self.history, method("seasonal"), ScoreOptions(timezone=timezone),
            contract="aggregates", bucket="PT15M", max_series=9999,
        )  # fmt: skip
        self.merged = 0

    def poll(self, quarter: int) -> Snapshot:
        """When the quarter hour is over, with everything before it closed."""
        self.close(quarter)
        return self.poll_window(self.start + quarter * QUARTER, self.offered[quarter], self.abandoned[quarter])

    def close(self, until: int) -> None:
        rows = np.arange(self.merged, until)
        if len(rows):
            offered, abandoned = (column[rows].astype(np.int64) for column in (self.offered, self.abandoned))
            counts = dict.fromkeys(BUCKET_COUNTS, np.zeros_like(offered)) | {
                "offered": offered,
                "answered": offered - abandoned,
                "abandoned": abandoned,
                "sla_breached": abandoned,
                "sla_contacts": offered,
            }
            self.history.merge(BucketBatch(QUARTER, self.start + rows * QUARTER, self.keys, counts))
        self.merged = max(self.merged, until)

    def poll_window(self, begin: float, offered: Counts, abandoned: Counts) -> Snapshot:
        rows = {
            key: {"offered": n, "answered": n - x, "abandoned": x, "sla_breached": x, "sla_contacts": n}
            for key, n, x in zip(self.keys, offered.tolist(), abandoned.tolist(), strict=True)
        }
        window = Window(*(datetime.fromtimestamp(begin + seconds, UTC) for seconds in (0, QUARTER)))
        table = window_table(window, rows)
        now = window.end + timedelta(seconds=60)
        return self.analyst.snapshot(now=now, directory=None, window=table, observations=None, datasets={})


def scores_of(snapshot: Snapshot) -> Scores:
    assert snapshot.scores is not None
    return snapshot.scores


def flags(snapshots: Iterable[Snapshot], *metrics: str) -> int:
    chosen = metrics or (ABANDONMENT, SLA_BREACH, OFFERED)
    return sum(int((scores_of(each).metrics[metric].anomaly == 1).sum()) for each in snapshots for metric in chosen)


def moments(start: datetime, quarters: int, zone: ZoneInfo) -> Iterator[datetime]:
    for quarter in range(quarters):
        yield (start.astimezone(UTC) + timedelta(minutes=15 * quarter)).astimezone(zone)


def open_hours(start: datetime, quarters: int, zone: ZoneInfo, first: int, last: int) -> Counts:
    """1 while the wall clock is between two hours, else 0."""
    return np.array([[float(first <= each.hour < last)] for each in moments(start, quarters, zone)])


@pytest.mark.parametrize(
    "change", [datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)], ids=["spring", "autumn"]
)
def test_a_clock_change_raises_no_wave_where_the_time_zone_is_set(change: datetime) -> None:
    chance = np.random.default_rng(1)
    start = change - timedelta(days=7)
    shape = open_hours(start, 9 * DAY, BERLIN, 8, 20)
    offered = chance.poisson(shape * [30.0, 90.0, 250.0, 8.0])
    abandoned = chance.binomial(offered, 0.06)
    raised = {}
    for timezone in ("Europe/Berlin", "UTC"):
        centre = Centre(start, offered, abandoned, timezone=timezone)
        morning = range(8 * DAY + 16, 8 * DAY + 44)  # the Monday after, 4:00 to 11:00
        evening = range(8 * DAY + 72, 8 * DAY + 92)
        polls = (centre.poll(quarter) for quarter in (*morning, *evening))
        raised[timezone] = flags(polls, ABANDONMENT, OFFERED)  # here a breach is an abandon: once is enough
    assert raised["Europe/Berlin"] <= 1
    assert raised["UTC"] >= 8  # without it, the test would show nothing


def test_windows_are_scored_by_their_time_of_day_for_as_long_as_no_bucket_comes_in() -> None:
    """History may fail while windows come; and a clock may be set back."""
    start, chance = datetime(2026, 3, 2, tzinfo=UTC), np.random.default_rng(4)
    shape = 1 + np.sin(np.arange(9 * DAY) / DAY * 2 * np.pi)[:, None]
    offered = chance.poisson(shape * [20.0, 60.0])
    abandoned = chance.binomial(offered, 0.1)
    centre = Centre(start, offered, abandoned)
    centre.poll(5 * DAY)
    for quarter in (*range(5 * DAY + 1, 7 * DAY, 5), 5 * DAY + 3):
        anew = Centre(start, offered, abandoned)
        anew.close(5 * DAY)
        window = anew.start + quarter * QUARTER, offered[quarter], abandoned[quarter]
        wanted, found = (scores_of(each.poll_window(*window)).metrics for each in (anew, centre))
        for metric in wanted:
            np.testing.assert_allclose(found[metric].z, wanted[metric].z, rtol=1e-3, atol=1e-3)


def test_a_queue_that_is_closed_at_night_raises_no_flag_when_it_opens() -> None:
    """Small and large queues that come alive slowly, and now and then a call at night."""
    chance = np.random.default_rng(2)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    hour = (np.arange(9 * DAY) % DAY / 4)[:, None]
    rising = np.clip((hour - 8) / 1.5, 0.0, 1.0) * (hour < 19)
    offered = chance.poisson(rising * np.repeat([0.4, 1.5, 5.0, 40.0, 200.0], 6) + 0.002)
    abandoned = chance.binomial(offered, 0.08)
    centre = Centre(start, offered, abandoned)
    raised = flags(centre.poll(quarter) for day in (7, 8) for quarter in range(day * DAY + 30, day * DAY + 42))
    assert raised <= 3  # of 24 polls × 30 queues × 3 scores, 2,160: one in 740 is chance


@pytest.mark.parametrize("minutes_late", [0, 6])
def test_before_a_large_queue_opens_and_after_it_has_closed_nothing_is_an_outage(minutes_late: int) -> None:
    """A week of history holds the very same slot of a week ago, whenever in a bucket the window begins."""
    chance = np.random.default_rng(6)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    offered = chance.poisson(open_hours(start, 9 * DAY, ZoneInfo("UTC"), 8, 19) * [100.0, 800.0, 1600.0, 3000.0])
    centre, polled = Centre(start, offered, offered // 20), []
    for day in (7, 8):
        for quarter in (*range(day * DAY + 28, day * DAY + 32), *range(day * DAY + 77, day * DAY + 82)):
            centre.close(quarter)
            begin = centre.start + quarter * QUARTER + minutes_late * 60
            if offered[quarter].any() or offered[quarter + (minutes_late > 0)].any():
                continue
            polled.append(centre.poll_window(begin, offered[quarter], offered[quarter]))
    assert len(polled) >= 16
    assert flags(polled, OFFERED) == 0
    orgs = [each.org_scores.metrics[OFFERED] for each in polled if each.org_scores is not None]
    assert [float(each.anomaly[0]) for each in orgs] == [0.0] * len(polled)


def test_a_queue_that_was_created_today_gets_no_wild_scores() -> None:
    chance = np.random.default_rng(3)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    offered = chance.poisson(np.tile([20.0, 20.0, 3.0, 120.0], (8 * DAY, 1)))
    offered[: 7 * DAY + 32, 1:] = 0  # three of them begin at eight today
    abandoned = chance.binomial(offered, 0.1)
    centre = Centre(start, offered, abandoned)
    polled = [centre.poll(quarter) for quarter in range(7 * DAY + 28, 7 * DAY + 80)]
    assert flags(polled) == 0
    z, volumes = (
        np.concatenate([scores_of(each).metrics[metric].z[1:] for each in polled]) for metric in (ABANDONMENT, OFFERED)
    )
    assert len(z) > 140
    assert np.nanmax(np.abs(z)) < 3.5
    assert np.isnan(volumes).all()  # what is usual for it nobody can know yet


@pytest.mark.parametrize("hours", [2, 6, 20])
def test_a_fresh_install_alerts_on_day_one(hours: int) -> None:
    chance = np.random.default_rng(4)
    offered = chance.poisson(np.tile(np.repeat([4.0, 30.0, 150.0], 8), (hours * 4 + 6, 1)))
    abandoned = chance.binomial(offered, 0.07)
    centre = Centre(datetime(2026, 3, 2, tzinfo=UTC), offered, abandoned)
    assert flags(centre.poll(quarter) for quarter in range(hours * 4 + 2)) <= 4
    abandoned[hours * 4 + 2 :, [8, 16]] = np.round(0.6 * offered[hours * 4 + 2 :, [8, 16]])
    scores = scores_of(centre.poll(hours * 4 + 3)).metrics[ABANDONMENT]
    assert np.flatnonzero(scores.anomaly == 1).tolist() == [8, 16]


def test_an_outage_of_the_whole_org_is_told_by_the_org_s_score() -> None:
    """At the first poll of a window without contacts; with a poll a minute, when half of the window is without."""
    chance = np.random.default_rng(5)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    hour = (np.arange(8 * DAY) % DAY / 4)[:, None]
    shape = 0.2 + np.exp(-0.5 * ((hour - 13) / 3.5) ** 2)
    offered = chance.poisson(shape * np.repeat([0.5, 2.0, 6.0], 20) * chance.gamma(60, 1 / 60, shape.shape))
    noon = 7 * DAY + 52
    offered[noon:] = 0
    centre = Centre(start, offered, np.zeros_like(offered))
    before, first = centre.poll(noon - 1), centre.poll(noon)
    for snapshot, flag in ((before, 0.0), (first, 1.0)):
        assert snapshot.org_scores is not None
        assert snapshot.org_scores.metrics[OFFERED].anomaly.tolist() == [flag]
    assert flags([first], OFFERED) <= 20  # most queues are too small to show it
    centre = Centre(start, offered, np.zeros_like(offered))
    centre.close(noon)
    for minute in range(1, 16):
        left = np.round(offered[noon - 1] * (15 - minute) / 15)
        begin = centre.start + noon * QUARTER + (minute - 15) * 60
        snapshot = centre.poll_window(begin, left, np.zeros_like(left))
        assert snapshot.org_scores is not None
        if snapshot.org_scores.metrics[OFFERED].anomaly[0] == 1:
            break
    assert minute <= 10
