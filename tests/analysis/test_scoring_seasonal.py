"""The seasonal score: its parts by hand, and its promises to the person who is woken by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.analysis.scoring import NO_HISTORY, ScoreOptions, buckets_between, method
from exporter.analysis.scoring.calendar import Calendar, local_slots, time_of_day_kernel
from exporter.analysis.scoring.rates import PRIOR_RHO, fit_rates, moved
from exporter.analysis.scoring.seasonal import rate_z
from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH
from tests.analysis.traffic import DAY, MONDAY, STEP, WEEK, history, weeks

SEASONAL = method("seasonal")


def model_of(offered, abandoned=None, *, start=MONDAY, step=STEP, **options):
    return SEASONAL.fit(history(offered, abandoned, start=start, step=step), ScoreOptions(**options))


def at(bucket, start=MONDAY):
    return datetime.fromtimestamp(start + bucket * STEP, UTC) + timedelta(seconds=STEP / 2)


def scored(model, n, x, middle, metric=ABANDONMENT, series=None):
    n, x = np.atleast_1d(np.asarray(n, float)), np.atleast_1d(np.asarray(x, float))
    return model.score(metric, n, x, middle, np.arange(len(n)) if series is None else np.asarray(series))


def replayed(offered, abandoned, first, metric, *, timezone="UTC", start=MONDAY, stride=4):
    """z of every bucket from `first` on, by models that are at most `stride` buckets old."""
    whole, z = history(offered, abandoned, start=start), []
    for row in range(first, len(offered)):
        if (row - first) % stride == 0:
            since, until = start + (row - WEEK) * STEP, start + row * STEP
            model = SEASONAL.fit(buckets_between(whole, since, until), ScoreOptions(timezone=timezone))
        n, x = (whole.counts[name][row].astype(float) for name in ("offered", "abandoned"))
        z.append(scored(model, n, n if metric == OFFERED else x, at(row, start), metric).z)
    return np.array(z)


# The calendar


def test_local_slots_follow_the_clock_on_the_wall_over_both_changes():
    """Berlin, 2026-03-29: 02:00 to 03:00 does not exist; 2026-10-25: it comes twice."""
    berlin = ZoneInfo("Europe/Berlin")
    for month, day, change in ((3, 29, -4), (10, 25, 4)):
        midnight = int(datetime(2026, month, day, tzinfo=berlin).timestamp())
        slots = local_slots(midnight + np.arange(DAY) * STEP + STEP // 2, STEP, "Europe/Berlin")
        wanted = np.arange(DAY)
        wanted[8 if change < 0 else 12 :] -= change
        np.testing.assert_array_equal(slots - slots[0], wanted)


def test_a_repeated_hour_holds_both_of_its_buckets():
    midnight = int(datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    baseline = history(np.ones(200), start=midnight)
    calendar = Calendar.of(baseline, "Europe/Berlin")
    grid = calendar.grid(baseline.counts["offered"])
    assert grid[0, 8:12, 0].tolist() == [2, 2, 2, 2]
    np.testing.assert_array_equal(grid[:, :, 0], calendar.exposure)


def test_the_newest_six_hours_teach_nothing_and_less_where_little_is_known():
    for rows, taught in ((WEEK, WEEK - 24), (8, 6), (1, 1)):
        weight = Calendar.of(history(np.ones(rows)), "UTC").weight.ravel()
        assert (weight > 0).tolist() == [True] * taught + [False] * (len(weight) - taught)


def test_a_bucket_of_last_week_counts_three_quarters():
    calendar = Calendar.of(history(np.ones(2 * WEEK)), "UTC")
    assert calendar.weight[1, 5] / calendar.weight[8, 5] == pytest.approx(0.75)
    assert calendar.weight.max() == pytest.approx(1, abs=0.02)


def test_kernel_is_a_triangle_of_ninety_minutes_closed_over_midnight():
    kernel = time_of_day_kernel(96, 900, 5400)
    assert kernel[0, [0, 3, 5, 6, 93]] == pytest.approx([1, 0.5, 1 / 6, 0, 0.5])
    assert time_of_day_kernel(6, 14_400, 5400).tolist() == np.eye(6).tolist()
    assert time_of_day_kernel(1, 86_400, 5400).tolist() == [[1]]


def test_rows_ahead_hold_the_next_day_and_repeat_after_it():
    calendar = Calendar.of(history(np.ones(WEEK + 10)), "UTC")
    assert [calendar.row_ahead(at(WEEK + 10 + k)) for k in (0, 1, 95, 96)] == [0, 1, 95, 0]


REACH = 7200
CHANGES = [("UTC", MONDAY + WEEK * STEP), ("Europe/Berlin", 1_774_746_000), ("Europe/Berlin", 1_792_890_000)]


@pytest.mark.parametrize("step", [STEP, 4 * STEP, DAY * STEP])
@pytest.mark.parametrize(("timezone", "change"), CHANGES)
@pytest.mark.parametrize("before", [0, 1, 2, 3, 5, 7])  # quarter hours or hours before the clock changes
def test_tables_reach_as_far_as_is_asked_whatever_the_clock_does(timezone, change, before, step):
    end = change - before * min(step, 4 * STEP)
    starts = end - np.arange(200, 0, -1, dtype=np.int64) * step
    baseline = replace(history(np.ones(200)), bucket_seconds=step, starts=starts, asked=(end, end + REACH))
    calendar = Calendar.of(baseline, timezone)
    of_rows = [slot for _, times in calendar.ahead() for slot in range(times.start, times.stop)]
    assert len(of_rows) == calendar.rows <= max(20, REACH // step + 5)
    for begin in range(end - step + 60, end + REACH + 1, 300):  # from the closed bucket that a window may begin in
        middle = begin + step // 2
        slot = int(local_slots(np.array([middle]), step, timezone)[0]) % calendar.slots
        assert of_rows[calendar.row_ahead(datetime.fromtimestamp(middle, UTC))] == slot


@pytest.mark.parametrize("end", [WEEK, WEEK + 30, 2 * WEEK - 5])
def test_tables_for_what_is_asked_score_as_those_for_the_whole_day(end):
    baseline = history(*weeks(3, (3, 40), days=14))
    baseline = buckets_between(baseline, MONDAY, MONDAY + end * STEP)
    asked = (MONDAY + end * STEP, MONDAY + end * STEP + REACH)
    whole, short = (SEASONAL.fit(replace(baseline, asked=each), ScoreOptions()) for each in (None, asked))
    for quarter in range(REACH // STEP + 1):
        for metric in SEASONAL.metrics:
            wanted, found = (scored(model, [9, 50], [3, 30], at(end + quarter), metric) for model in (whole, short))
            for name in ("z", "mean", "stddev", "samples"):
                np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-5)


# Rates


def test_one_effective_mean_by_hand():
    """Where every bucket is alike, 2 of 20, all levels say the same; only the root's prior moves them."""
    columns = scored(model_of(np.full(WEEK, 20), np.full(WEEK, 2)), 20, 2, at(WEEK))
    assert columns.mean[0] == pytest.approx(0.1, abs=0.001)
    assert columns.value[0] == 0.1
    assert abs(columns.z[0]) < 0.2


def test_overdispersion_is_found_where_it_is():
    found = []
    for rho in (0.005, 0.05, 0.2):
        offered, abandoned = weeks(1, np.full(20, 60), rho=rho, rate=0.2)
        baseline = history(offered, abandoned)
        calendar = Calendar.of(baseline, "UTC")
        grids = (calendar.grid(baseline.counts[name]) for name in ("offered", "abandoned"))
        found.append(float(np.median(fit_rates(calendar, *grids).rho)))
    assert found[0] < 0.015 < found[1] < 0.09 < found[2] < 0.3


def test_without_any_spread_to_see_the_prior_stands():
    baseline = history(np.ones(WEEK), np.zeros(WEEK))  # one contact a bucket: ρ has no meaning there
    calendar = Calendar.of(baseline, "UTC")
    grids = (calendar.grid(baseline.counts[name]) for name in ("offered", "abandoned"))
    assert fit_rates(calendar, *grids).rho[0] == pytest.approx(PRIOR_RHO, rel=0.01)


def test_the_short_side_of_a_skewed_count_is_the_standardised_distance():
    """None of 4 at 5 %, ρ 0: distance −0.2 / √0.19 = −0.459; mid-p would say Φ⁻¹(0.95⁴ / 2) = −0.237."""
    z = rate_z(np.array([4.0]), np.zeros(1), np.array([0.05]), np.array([1e-9]))
    assert z[0] == pytest.approx(-0.2 / np.sqrt(0.19), abs=1e-6)


def test_the_worked_example_of_the_docs():
    z = rate_z(np.full(3, 12.0), np.array([4.0, 5.0, 7.0]), np.full(3, 0.09444), np.full(3, 0.0485))
    assert z == pytest.approx([1.79, 2.23, 3.08], abs=0.01)
    level = 0.30 / (1.0 + 1 / 0.5**2)
    assert level == pytest.approx(0.06)
    assert moved(np.array([0.0944]), np.array([level]))[0] == pytest.approx(0.0997, abs=5e-5)


def test_clean_weeks_are_calibrated_at_every_volume():
    volumes = np.repeat([4, 15, 60, 300], 12)
    offered, abandoned = weeks(3, volumes, days=9)
    z = replayed(offered, abandoned, WEEK, ABANDONMENT, stride=24)
    n = offered[WEEK:]
    for low, high in ((3, 6), (6, 11), (11, 31), (31, 101), (101, 10**6)):
        band = z[(n >= low) & (n < high)]
        assert 0.7 < band.std() < 1.15
        assert (np.abs(band) > 3).mean() < 0.013


def test_a_surge_at_a_busy_queue_stands_out_and_one_abandon_at_a_quiet_one_does_not():
    offered, abandoned = weeks(4, [2, 400])
    model = model_of(offered[:WEEK], abandoned[:WEEK])
    columns = scored(model, [2, 400], [1, 130], at(WEEK + 48))
    assert columns.anomaly.tolist() == [0, 1]
    assert columns.z[1] > 3


def test_season_is_known():
    """A rate that is 30 % every evening is no news in the evening, and is at noon."""
    hour = np.arange(WEEK) % DAY / 4
    offered = np.full((WEEK, 1), 100)
    abandoned = np.where((hour >= 17) & (hour < 21), 30, 5)[:, None]
    model = model_of(offered, abandoned)
    evening, noon = (scored(model, 100, 30, at(WEEK + 4 * clock)) for clock in (19, 12))
    assert evening.anomaly[0] == 0
    assert noon.anomaly[0] == 1
    assert evening.mean[0] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("lag_days", [1, 3, 7])
def test_an_incident_in_the_baseline_does_not_hide_its_repeat(lag_days):
    offered, abandoned = weeks(5, np.repeat([20, 80, 400], 8))
    first = WEEK - lag_days * DAY + 48
    spoiled = abandoned.copy()
    spoiled[first : first + 8] = np.minimum(offered, abandoned * 4 + offered // 4)[first : first + 8]
    surge = np.minimum(offered, abandoned * 4 + offered // 4)[WEEK + 48]
    clean, repeat = (
        scored(model_of(offered[:WEEK], each[:WEEK]), offered[WEEK + 48], surge, at(WEEK + 48)).z
        for each in (abandoned, spoiled)
    )
    assert np.median(repeat) >= 0.8 * np.median(clean)


def risen(buckets, factor):
    """Rate expected next, after a usual week whose last `buckets` had so many times the events; z of as many again."""
    offered, abandoned = np.full((WEEK, 1), 100), np.full((WEEK, 1), 10)
    abandoned[WEEK - buckets :] = 10 * factor
    columns = scored(model_of(offered, abandoned), 100, 10 * factor, at(WEEK))
    return columns.mean[0], columns.z[0]


def test_a_level_that_holds_for_hours_moves_the_expectation_by_half_at_most():
    """Odds 0.111; e^0.4 = 1.49 times that is a rate of 14.2 %. Two hours must pass before any of it counts."""
    assert risen(8, 1.6)[0] == pytest.approx(0.1, abs=0.002)
    assert 0.11 < risen(24, 1.3)[0] < 0.12
    assert 0.14 < risen(40, 1.8)[0] < 0.1435


def test_the_level_follows_an_incident_less_than_a_drift():
    assert risen(24, 4)[0] < 0.12 < risen(24, 1.6)[0]


def test_an_incident_that_lasts_stays_news():
    fresh, lasting = risen(1, 4)[1], risen(40, 4)[1]
    assert fresh > lasting > 3


def test_the_level_fades_over_the_day():
    offered, abandoned = np.full((WEEK, 1), 100), np.full((WEEK, 1), 10)
    abandoned[WEEK - 24 :] = 20
    model = model_of(offered, abandoned)
    soon, later, next_day = (scored(model, 100, 10, at(WEEK + k)).mean[0] for k in (0, 24, 90))
    assert soon > later + 0.01 > next_day
    assert next_day == pytest.approx(0.1, abs=0.005)


def test_guards_hold_the_flag_and_leave_z_alone():
    model = model_of(np.full(WEEK, 500), np.full(WEEK, 1))
    small = scored(model, [500, 3], [9, 1], at(WEEK), series=[0, 0])
    assert small.z[0] > 3  # 1.8 % instead of 0.2 %: sure, and too little to matter
    assert small.z[1] > 2
    assert small.anomaly.tolist() == [0, 0]
    loose = model_of(np.full(WEEK, 500), np.full(WEEK, 1), min_difference=0.0)
    assert scored(loose, 500, 9, at(WEEK)).anomaly.tolist() == [1]


def test_low_rates_raise_no_flag_unless_asked():
    offered, abandoned = np.full(WEEK, 400), np.full(WEEK, 120)
    assert scored(model_of(offered, abandoned), 400, 10, at(WEEK)).z[0] < -3
    assert scored(model_of(offered, abandoned), 400, 10, at(WEEK)).anomaly[0] == 0
    both = model_of(offered, abandoned, directions={ABANDONMENT: "both"})
    assert scored(both, 400, 10, at(WEEK)).anomaly[0] == 1


def test_no_volume_no_history_and_too_little_of_it_give_no_score():
    model = model_of(np.stack([np.full(WEEK, 9), np.eye(1, WEEK, 5, dtype=int)[0]], axis=1))
    columns = scored(model, [0, 5, 5, np.nan], [0, 1, 1, 1], at(WEEK), series=[0, 1, NO_HISTORY, 0])
    assert np.isnan(columns.z).all()
    assert np.isnan(columns.anomaly).all()
    assert columns.mean[0] == pytest.approx(0, abs=0.01)  # the baseline still shows
    assert np.isnan(columns.mean[1:3]).all()


def test_more_events_than_contacts_count_as_all_of_them():
    columns = scored(model_of(np.full(WEEK, 9), np.ones(WEEK)), 4, 7, at(WEEK))
    assert columns.value[0] == 1.75
    assert np.isfinite(columns.z[0])


def test_an_empty_baseline_scores_nothing():
    for model in (model_of(np.zeros((0, 2))), model_of(np.zeros((5, 0)))):
        for metric in (ABANDONMENT, SLA_BREACH, OFFERED):
            assert np.isnan(scored(model, [4], [1], at(1), metric, series=[NO_HISTORY]).z).all()


@pytest.mark.parametrize("buckets", [4, 24, 60, 96])
def test_a_fresh_install_alerts_on_day_one_and_not_wildly(buckets):
    offered, abandoned = weeks(6, np.repeat([3, 30, 300], 20), days=2)
    model = model_of(offered[:buckets], abandoned[:buckets])
    now = buckets + 1
    calm = scored(model, offered[now], abandoned[now], at(now))
    assert np.nanmax(np.abs(calm.z)) < 3.5
    if buckets >= 24:
        surge = scored(model, offered[now], np.ceil(offered[now] * 0.7), at(now))
        assert (surge.anomaly[40:] == 1).all()


def test_a_queue_created_today_gets_no_wild_scores():
    offered = np.zeros((WEEK, 1), int)
    offered[-40:] = 12
    model = model_of(offered, offered // 10)
    assert abs(scored(model, 12, 3, at(WEEK)).z[0]) < 2
    assert np.isnan(scored(model, 12, 12, at(WEEK), OFFERED).z[0])


def test_hours_and_days_as_buckets():
    rng = np.random.default_rng(8)
    for step in (1800, 3600, 14_400, 86_400):
        offered = rng.poisson(200, (28 * 86_400 // step, 3))
        abandoned = rng.binomial(offered, 0.1)
        model = model_of(offered, abandoned, step=step)
        middle = datetime.fromtimestamp(MONDAY + len(offered) * step + step // 2, UTC)
        assert scored(model, [200, 200, 200], [20, 20, 90], middle).anomaly.tolist() == [0, 0, 1]
        assert np.isfinite(scored(model, [200] * 3, [200] * 3, middle, OFFERED).z).all()


# Volume


def test_an_outage_is_found_and_a_closed_night_is_none():
    offered, _ = weeks(9, np.repeat([70.0, 200.0, 900.0], 6), open_hours=(8, 20))
    model = model_of(offered[:WEEK])
    noon = scored(model, np.zeros(18), np.zeros(18), at(WEEK + 48), OFFERED)
    assert (noon.anomaly == 1).all()
    assert (noon.z < -3).all()
    night = scored(model, np.zeros(18), np.zeros(18), at(WEEK + 8), OFFERED)
    assert (night.anomaly == 0).all()


def test_a_queue_that_is_closed_at_night_raises_nothing_when_it_opens():
    offered, abandoned = weeks(10, np.repeat([5.0, 40.0, 300.0], 6), days=9, open_hours=(8, 20))
    for metric in (OFFERED, ABANDONMENT):
        z = replayed(offered, abandoned, WEEK, metric, stride=8)
        morning = z[(np.arange(len(z)) % DAY >= 28) & (np.arange(len(z)) % DAY < 40)]
        assert (np.abs(morning) > 3).sum() <= 1


def test_a_queue_that_closes_on_one_weekday_is_known_to_after_a_week():
    offered, _ = weeks(11, [60.0], days=15)
    day = np.arange(len(offered)) // DAY
    offered[day % 7 == 5] = 0
    model = model_of(offered[: 12 * DAY][-WEEK:], start=MONDAY + 5 * DAY * STEP)
    closed = scored(model, 0, 0, at(12 * DAY + 48), OFFERED)
    assert closed.anomaly[0] == 0


def test_a_week_after_a_holiday_the_usual_crowd_is_no_flood():
    offered, _ = weeks(12, [60.0], days=7)
    offered[:DAY] = 0
    model = model_of(offered)
    assert scored(model, 60, 60, at(WEEK + 48), OFFERED).anomaly[0] == 0
    assert scored(model, 400, 400, at(WEEK + 48), OFFERED).anomaly[0] == 1


def test_a_clock_change_raises_no_wave():
    """The week after Berlin's autumn change, a queue that opens at 8 on the wall."""
    berlin = ZoneInfo("Europe/Berlin")
    start = int(datetime(2026, 10, 18, tzinfo=berlin).timestamp())
    rng = np.random.default_rng(13)
    moments = start + np.arange(9 * DAY) * STEP
    hour = np.array([datetime.fromtimestamp(int(each), berlin).hour for each in moments])[:, None]
    offered = rng.poisson(np.where((hour >= 8) & (hour < 20), [30.0, 120.0], 0.0))
    after = slice(DAY * 7 + 8, DAY * 9)
    flags = {}
    for timezone in ("Europe/Berlin", "UTC"):
        z = replayed(offered, offered // 10, DAY * 7, OFFERED, timezone=timezone, start=start, stride=16)
        flags[timezone] = int((np.abs(z[after.start - DAY * 7 : after.stop - DAY * 7]) > 3).sum())
    assert flags["Europe/Berlin"] <= 1
    assert flags["UTC"] > 10


# Properties

volumes = st.lists(st.sampled_from([0.05, 0.5, 3, 30, 500]), min_size=2, max_size=5)


@settings(max_examples=15, deadline=None)
@given(
    volumes=volumes,
    seed=st.integers(0, 99),
    days=st.integers(1, 9),
    rho=st.sampled_from([0.001, 0.1, 0.7]),
    data=st.data(),
)
def test_finite_where_scored_monotone_in_events_and_blind_to_the_order_of_series(volumes, seed, days, rho, data):
    offered, abandoned = weeks(seed, volumes, days=days, rho=rho)
    order = data.draw(st.permutations(range(len(volumes))))
    n = offered[-1].astype(float)
    model, shuffled = model_of(offered, abandoned), model_of(offered[:, order], abandoned[:, order])
    z = np.stack([scored(model, n, np.floor(n * share), at(len(offered))).z for share in (0, 0.3, 0.7, 1)])
    assert np.isfinite(z[:, n > 0]).all() or np.isnan(z).any()
    assert (np.isnan(z) | np.isfinite(z)).all()
    steps = np.diff(z, axis=0)
    assert (steps[np.isfinite(steps)] > -0.01).all()
    again = scored(shuffled, n[order], np.floor(n * 0.3)[order], at(len(offered))).z
    np.testing.assert_allclose(again, z[1][order], rtol=1e-3, atol=1e-3)
    volume = scored(model, n, n, at(len(offered)), OFFERED)
    assert (np.isnan(volume.z) | np.isfinite(volume.z)).all()
