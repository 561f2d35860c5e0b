"""The snapshot: its rows, columns, scores, names, and what stays the same from poll to poll."""

from __future__ import annotations

from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from exporter.analysis import analyst as analyst_module
from exporter.analysis.analyst import Analyst
from exporter.analysis.baseline import Baseline
from exporter.analysis.history import History
from exporter.analysis.scoring import Method, Model, ScoreOptions
from exporter.analysis.scoring.robust import Robust
from exporter.analysis.scoring.zscore import ZScore
from exporter.analysis.walking import BUCKETS_AT_A_TIME, Walked
from exporter.models import (
    ABANDONMENT,
    OFFERED,
    SLA_BREACH,
    DatasetState,
    Directory,
    Queue,
    ScoreColumns,
    SeriesKey,
    Snapshot,
    Window,
)
from tests.analysis.building import A, B, C, at, batch, cell, observation_table, open_history, start_of, window_table

CHAT = SeriesKey("a", "chat")


def directory(*ids: str, names: dict[str, str] | None = None) -> Directory:
    given = names or {}
    return Directory({i: Queue(i, given.get(i, f"Queue {i}"), "Home", {"voice": 0.8}) for i in ids})


class Desk:
    """An analyst with an empty history in memory and readings that a test sets."""

    def __init__(self, history: History | None = None, **other: Any) -> None:
        self.history = history or open_history(None, now=at(0))
        given = {"contract": "aggregates", "bucket": "PT15M", "max_series": 250_000}
        method = other.pop("method", ZScore())
        self.analyst = Analyst(self.history, method, ScoreOptions(), **(given | other))
        self.readings: dict[str, Any] = {"directory": None, "window": None, "observations": None, "datasets": {}}

    def snapshot(self, now: datetime, **readings: Any) -> Snapshot:
        self.readings |= readings
        return self.analyst.snapshot(now=now, **self.readings)


def value(snapshot: Snapshot, column: str, key: SeriesKey) -> float:
    return float(snapshot.columns[column][snapshot.rows.keys.index(key)])


def window_at(quarter: float) -> Window:
    return Window(at(quarter), at(quarter + 1))


def test_without_any_reading_the_snapshot_is_empty() -> None:
    snapshot = Desk().snapshot(at(0))
    assert snapshot.rows.keys == ()
    assert snapshot.columns == {}
    assert (snapshot.window, snapshot.scores, snapshot.org_media) == (None, None, ())


def test_counts_and_ratios_of_the_window() -> None:
    table = window_table(
        window_at(0),
        {
            A: {
                "offered": 8,
                "abandoned": 2,
                "answered": 6,
                "answered_seconds": 90,
                "sla_contacts": 5,
                "sla_breached": 1,
            },
            C: {"abandoned": 1},
        },
    )
    snapshot = Desk().snapshot(at(1), window=table)
    assert snapshot.rows.keys == (A, C)
    assert value(snapshot, "offered", A) == 8
    assert value(snapshot, "abandonment_ratio", A) == 0.25
    assert value(snapshot, "sla_breach_ratio", A) == 0.2
    assert value(snapshot, "average_speed_of_answer_seconds", A) == 15
    assert value(snapshot, "abandoned", C) == 1
    assert np.isnan(value(snapshot, "abandonment_ratio", C))
    assert "waiting" not in snapshot.columns
    assert "offered_total" not in snapshot.columns


def test_other_rules_hold_from_the_next_snapshot_on() -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(quarter): {A: cell(10, quarter % 3)} for quarter in range(96)}))
    table = window_table(window_at(96), {A: {"offered": 10, "abandoned": 4}})
    before = desk.snapshot(at(97), window=table).scores
    desk.analyst.follow(Robust(), ScoreOptions(threshold=9.0), 1)
    after = desk.snapshot(at(97))
    assert before is not None
    assert after.dropped_series > 0
    assert (before.method, before.threshold) == ("zscore", 2.0)
    desk.analyst.follow(Robust(), ScoreOptions(threshold=9.0), 250_000)
    scores = desk.snapshot(at(97)).scores
    assert scores is not None
    assert (scores.method, scores.threshold) == ("robust", 9.0)


def test_an_idle_queue_of_the_directory_has_zero_counts_and_no_ratio() -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(0): {A: cell(4), B: cell(1)}}))
    snapshot = desk.snapshot(at(2), directory=directory("a"), window=window_table(window_at(1), {}))
    assert snapshot.rows.keys == (A,)
    assert value(snapshot, "offered", A) == 0
    assert np.isnan(value(snapshot, "abandonment_ratio", A))
    assert value(snapshot, "service_level_target_ratio", A) == 0.8


def test_without_a_directory_an_idle_queue_stays_while_the_answer_names_it() -> None:
    desk = Desk(contract="summary")
    desk.history.merge(batch({start_of(0): {A: cell(4), B: cell(1)}}))
    idle = dict.fromkeys(("offered", "abandoned", "sla_breached", "sla_contacts"), 0.0)
    snapshot = desk.snapshot(at(2), window=window_table(window_at(1), {A: idle, C: idle}))
    assert snapshot.rows.keys == (A,)
    assert value(snapshot, "offered", A) == 0


def test_the_summary_contract_shows_no_count_that_it_does_not_tell() -> None:
    table = window_table(window_at(0), {A: {"offered": 1, "answered": np.nan, "flow_out": np.nan}})
    desk = Desk(contract="summary")
    desk.history.merge(batch({start_of(0): {B: cell(1)}}))
    snapshot = desk.snapshot(at(1), window=table, directory=directory("a", "b"))
    assert np.isnan(value(snapshot, "answered", A))
    assert np.isnan(value(snapshot, "answered", B))
    assert value(snapshot, "offered", B) == 0


def test_observations_give_rows_where_they_are_not_all_zero() -> None:
    table = observation_table(at(0), {A: (3, 1, 0, 1.7e9), CHAT: (0, 0, 0, np.nan)}, {("a", "IDLE"): 2})
    snapshot = Desk().snapshot(at(0), observations=table, directory=directory("a"))
    assert snapshot.rows.keys == (A,)
    assert value(snapshot, "waiting", A) == 3
    assert value(snapshot, "oldest_waiting_timestamp_seconds", A) == 1.7e9
    assert snapshot.agent_keys == (("a", "Queue a", "IDLE"),)
    assert snapshot.agents.tolist() == [2]
    assert "offered" not in snapshot.columns


def test_queues_that_vanish_from_the_directory_leave_at_once() -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(0): {A: cell(4), B: cell(1)}}))
    table = window_table(window_at(1), {A: {"offered": 1}, B: {"offered": 2}, C: {"offered": 3}})
    seen = observation_table(at(2), {B: (1, 0, 0, 0)}, {("b", "IDLE"): 1, ("a", "IDLE"): 1})
    before = desk.snapshot(at(2), directory=directory("a", "b"), window=table, observations=seen)
    after = desk.snapshot(at(2), directory=directory("a"))
    back = desk.snapshot(at(2), directory=directory("a", "b"))
    assert before.rows.keys == back.rows.keys == (A, B, C)
    assert after.rows.keys == (A, C)
    assert after.agent_keys == (("a", "Queue a", "IDLE"),)


def test_names_come_from_the_directory_then_the_answer_then_history_then_the_id(tmp_path: Path) -> None:
    first = open_history(tmp_path / "h", now=at(0))
    first.merge(batch({start_of(0): {B: cell(1)}}, names={"b": "Beta then"}))
    first.close()
    desk = Desk(open_history(tmp_path / "h", now=at(1)))
    rows = {key: {"offered": 1.0} for key in (A, B, C, SeriesKey("d", "voice"), SeriesKey("e", ""))}
    table = window_table(window_at(1), rows, names={"c": "Gamma answered", "a": "not this"})
    snapshot = desk.snapshot(at(2), directory=directory("a", "e", names={"e": ""}), window=table)
    assert snapshot.rows.names == ("Queue a", "Beta then", "Gamma answered", "d", "e")


def test_the_rows_object_stays_while_keys_and_names_do() -> None:
    desk = Desk()
    table = window_table(window_at(0), {A: {"offered": 1}, B: {"offered": 1}})
    first = desk.snapshot(at(1), directory=directory("a", "b"), window=table)
    turned = window_table(window_at(0), {B: {"offered": 3}, A: {"offered": 2}})
    second = desk.snapshot(at(2), directory=directory("a", "b"), window=turned)
    renamed = desk.snapshot(at(3), directory=directory("a", "b", names={"a": "New"}))
    assert second.rows is first.rows
    assert value(second, "offered", A) == 2
    assert renamed.rows is not first.rows
    assert renamed.rows.names == ("New", "Queue b")


def test_snapshot_ids_grow_even_when_the_clock_stands_still() -> None:
    desk = Desk()
    ids = [desk.snapshot(moment).id for moment in (at(1), at(1), at(0), at(2))]
    assert ids[0] == int(at(1).timestamp() * 1000)
    assert ids == sorted(set(ids))


def test_scores_equal_the_classic_formula_on_the_same_history() -> None:
    desk = Desk()
    random = np.random.default_rng(1)
    offered = random.poisson(6, 96)
    abandoned, breached = random.binomial(offered, 0.2), random.binomial(offered, 0.4)
    for i in range(96):
        desk.history.merge(batch({start_of(i): {A: cell(offered[i], abandoned[i], breached[i])}}))
    table = window_table(window_at(95.5), {A: {"offered": 7, "abandoned": 3, "sla_contacts": 7, "sla_breached": 1}})
    snapshot = desk.snapshot(at(97), window=table)
    assert snapshot.scores is not None
    inside = slice(0, 95)  # the last bucket overlaps the window
    for metric, events, now in ((ABANDONMENT, abandoned, 3 / 7), (SLA_BREACH, breached, 1 / 7)):
        rates = (events[inside] / offered[inside])[offered[inside] > 0]
        score = snapshot.scores.metrics[metric]
        assert score.z[0] == pytest.approx((now - rates.mean()) / rates.std(), abs=1e-9)
        assert score.samples[0] == len(rates)
    assert snapshot.history_buckets == 95


def test_a_queue_without_history_has_no_samples_and_no_score() -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(i): {A: cell(4, i % 2)} for i in range(8)}))
    snapshot = desk.snapshot(at(9), window=window_table(window_at(8), {B: {"offered": 4, "abandoned": 1}}))
    assert snapshot.scores is not None
    score = snapshot.scores.metrics[ABANDONMENT]
    assert (score.samples[0], score.value[0]) == (0, 0.25)
    assert np.isnan(score.z[0])
    assert np.isnan(score.anomaly[0])


def test_counters_are_withheld_until_the_back_fill_is_complete() -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(0): {A: cell(9, 2, 1)}}))
    table = window_table(window_at(1), {A: {"offered": 1}, B: {"offered": 1}})
    assert "offered_total" not in desk.snapshot(at(2), window=table).columns
    desk.analyst.complete()
    snapshot = desk.snapshot(at(2))
    assert snapshot.columns["offered_total"].tolist() == [9, 0]
    assert snapshot.columns["abandoned_total"].tolist() == [2, 0]
    assert snapshot.columns["sla_breached_total"].tolist() == [1, 0]


def test_the_score_of_a_bucket_that_has_just_closed_is_kept_for_exports() -> None:
    desk = Desk()
    desk.history.merge(batch({start_of(i): {A: cell(10, i % 3)} for i in range(8)}))
    desk.analyst.complete()
    desk.history.merge(batch({start_of(8): {A: cell(10, 7)}}))
    desk.snapshot(at(9.1), window=window_table(window_at(8.1), {A: {"offered": 1}}))
    closed = next(desk.history.read(start_of(8), start_of(9)))
    rates = np.array([i % 3 / 10 for i in range(8)])
    assert closed.z[ABANDONMENT][0] == pytest.approx((0.7 - rates.mean()) / rates.std(), rel=1e-6)
    assert closed.anomaly[ABANDONMENT].tolist() == [1.0]


class Counting:
    """The classic method, counting how often it is fitted."""

    name, default_threshold, metrics, z_is_tail = ZScore.name, ZScore.default_threshold, ZScore.metrics, False

    def __init__(self) -> None:
        self.fits = 0

    def fit(self, baseline: Baseline, options: ScoreOptions) -> Model:
        self.fits += 1
        return ZScore().fit(baseline, options)


def test_the_model_is_fitted_anew_only_when_the_baseline_has_changed() -> None:
    method = Counting()
    history = open_history(None, now=at(0), baseline_days=1)
    analyst = Analyst(history, method, ScoreOptions(), contract="aggregates", bucket="PT15M", max_series=9999)
    history.merge(batch({start_of(i): {A: cell(9, i % 3)} for i in range(100)}))

    def fits_until(quarter: float) -> int:
        table = window_table(window_at(quarter - 1), {A: {"offered": 1.0}})
        analyst.snapshot(now=at(quarter), directory=None, window=table, observations=None, datasets={})
        return method.fits

    analyst.prepare(window_at(99.1))
    assert method.fits == 1
    assert fits_until(100.1) == 1
    assert fits_until(100.2) == 1
    history.merge(batch({start_of(99): {A: cell(9, 99 % 3)}}))  # nothing new
    assert fits_until(100.3) == 1
    history.merge(batch({start_of(98): {A: cell(8)}}))
    assert fits_until(100.4) == 2
    assert fits_until(101.0) == 3  # the bucket 99 does not overlap the window any more


def test_a_snapshot_makes_its_rows_while_the_model_is_fitted_ahead_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes that model: none is fitted twice."""
    begun, rows_made, seen = Event(), Event(), []

    class Slow(Counting):
        def fit(self, baseline: Baseline, options: ScoreOptions) -> Model:
            begun.set()
            seen.append(rows_made.wait(10))
            return super().fit(baseline, options)

    method = Slow()
    desk = Desk(open_history(None, now=at(0), baseline_days=1), method=method)
    desk.history.merge(batch({start_of(i): {A: cell(9, i % 3)} for i in range(100)}))
    org_sums = analyst_module._org_sums

    def last_step_before(*parts: Any) -> dict[str, Any]:
        rows_made.set()
        return org_sums(*parts)

    monkeypatch.setattr(analyst_module, "_org_sums", last_step_before)
    table = window_table(window_at(99.1), {A: {"offered": 9.0, "abandoned": 8.0}})
    with ThreadPoolExecutor(2) as threads:
        ahead = threads.submit(desk.analyst.prepare, window_at(99.1))
        assert begun.wait(10)
        snapshot = threads.submit(desk.snapshot, at(100.1), window=table).result(20)
        ahead.result(20)
    assert seen == [True]
    assert method.fits == 1
    assert snapshot.scores is not None
    assert np.isfinite(snapshot.scores.metrics[ABANDONMENT].z).all()


def test_the_buckets_of_the_back_fill_are_scored_by_a_walk_but_for_the_newest() -> None:
    def walk(method: Method, baseline: Baseline, options: ScoreOptions, wanted: Container[int]) -> Iterator[Walked]:
        for row, start in enumerate(baseline.starts.tolist()):
            if start not in wanted:
                continue
            z = baseline.counts["offered"][row].astype(float)
            yield start, {ABANDONMENT: (z, (z > 20).astype(float))}

    desk = Desk(walk=walk)
    desk.history.merge(batch({start_of(i): {A: cell(i + 1), B: cell(1)} for i in range(40)}))
    desk.analyst.score_past()
    assert desk.history.unscored() == [start_of(39)]
    buckets = list(desk.history.read(start_of(0), start_of(39)))
    assert [bucket.z[ABANDONMENT].tolist() for bucket in buckets] == [[i + 1, 1] for i in range(39)]
    assert [bucket.anomaly[ABANDONMENT].tolist() for bucket in buckets] == [[float(i > 19), 0] for i in range(39)]


def test_scoring_the_past_ends_when_it_is_told_to_and_goes_on_later() -> None:
    def walk(method: Method, baseline: Baseline, options: ScoreOptions, wanted: Container[int]) -> Iterator[Walked]:
        desk.analyst.stop()
        for start in baseline.starts.tolist():
            if start in wanted:
                yield start, {ABANDONMENT: (np.zeros(1), np.zeros(1))}

    desk = Desk(walk=walk)
    desk.history.merge(batch({start_of(i): {A: cell(1)} for i in range(40)}))
    desk.analyst.score_past()
    assert len(desk.history.unscored()) == 40 - BUCKETS_AT_A_TIME


def test_what_is_too_old_is_removed_every_hour() -> None:
    desk = Desk(open_history(None, now=at(0), baseline_days=1))
    desk.history.merge(batch({start_of(i): {A: cell(1)} for i in range(200)}))
    desk.snapshot(at(200))
    assert desk.history.missing(start_of(0), start_of(200)) == [start_of(i) for i in range(103, -1, -1)]
    desk.history.merge(batch({start_of(i): {A: cell(1)} for i in range(200, 205)}))
    desk.snapshot(at(203.9))
    assert len(desk.history.missing(start_of(0), start_of(205))) == 104
    desk.snapshot(at(205))
    assert len(desk.history.missing(start_of(0), start_of(205))) == 109


def test_a_reading_that_fails_later_keeps_its_last_values() -> None:
    table = window_table(window_at(0), {A: {"offered": 5}})
    desk = Desk()
    states = {"window": DatasetState(False, at(1), reason="unavailable")}
    first, second = desk.snapshot(at(1), window=table), desk.snapshot(at(2), datasets=states)
    assert value(second, "offered", A) == value(first, "offered", A) == 5
    assert second.datasets == states


def test_the_org_is_summed_by_media_type() -> None:
    table = window_table(window_at(0), {A: {"offered": 1}, B: {"offered": 2}, C: {"offered": 4}})
    snapshot = Desk().snapshot(at(1), window=table)
    assert dict(zip(snapshot.org_media, snapshot.org_offered.tolist(), strict=True)) == {"chat": 4, "voice": 3}
    assert snapshot.org_scores is None  # the classic method has no score for volume


class Volume:
    """A method that scores volume: z is the distance from the mean of the baseline, in contacts."""

    name, default_threshold, threshold, metrics, z_is_tail = "volume", 3.0, 3.0, (OFFERED,), True

    def __init__(self, mean: np.ndarray | None = None) -> None:
        self.mean = mean

    def fit(self, baseline: Baseline, options: ScoreOptions) -> Model:
        return Volume(baseline.counts["offered"].mean(axis=0))

    def score(self, metric: str, n: np.ndarray, x: np.ndarray, middle: datetime, series: np.ndarray) -> ScoreColumns:
        assert self.mean is not None
        mean = np.where(series >= 0, np.append(self.mean, 0)[series], np.nan)
        return ScoreColumns(x, x - mean, (abs(x - mean) > 3).astype(float), mean, mean * 0, mean)


def test_a_method_that_scores_volume_scores_the_org_and_queues_that_fell_silent() -> None:
    history = open_history(None, now=at(0))
    history.merge(batch({start_of(i): {A: cell(4 + i % 2), B: cell(6), C: cell(1)} for i in range(40)}))
    analyst = Analyst(history, Volume(), ScoreOptions(), contract="aggregates", bucket="PT15M", max_series=9999)
    snapshot = analyst.snapshot(
        now=at(41),
        directory=directory("a", "b", "c"),
        window=window_table(window_at(40), {A: {"offered": 5}, SeriesKey("d", "email"): {"offered": 2}}),
        observations=None,
        datasets={},
    )
    assert snapshot.scores is not None
    z = dict(zip(snapshot.rows.keys, snapshot.scores.metrics[OFFERED].z.tolist(), strict=True))
    assert (z[A], z[B], z[C]) == (0.5, -6, -1)
    stands = dict(zip(snapshot.rows.keys, snapshot.scores.discoveries[OFFERED].tolist(), strict=True))
    assert (stands[A], stands[B], stands[C]) == (0, 1, 0)
    assert snapshot.org_scores is not None
    org = snapshot.org_scores.metrics[OFFERED]
    assert snapshot.org_media == ("chat", "email", "voice")
    np.testing.assert_array_equal(org.value, [0, 2, 5])
    np.testing.assert_array_equal(org.mean, [1, np.nan, 10.5])
    np.testing.assert_array_equal(org.anomaly, [0, 0, 1])
    np.testing.assert_array_equal(org.samples, [1, 0, 10.5])


class Tail(ZScore):
    """The classic score, taken for a tail probability."""

    z_is_tail = True


def test_above_the_ceiling_the_busiest_rows_stay_and_what_is_left_out_is_counted() -> None:
    keys = [SeriesKey(f"q{i}", "voice") for i in range(10)]
    everything, limited = (Desk(method=Tail(), max_series=most) for most in (9999, 70))
    for desk in (everything, limited):
        desk.history.merge(batch({start_of(0): {key: cell(100 + i) for i, key in enumerate(keys)}}))
        desk.analyst.complete()
    table = window_table(window_at(1), {key: {"offered": 3.0} for key in keys})
    readings = {"window": table, "directory": directory(*(key.queue_id for key in keys))}
    whole, cut = everything.snapshot(at(2), **readings), limited.snapshot(at(2), **readings)

    def samples(snapshot: Snapshot) -> int:
        shown = [column for name, column in snapshot.columns.items() if name != "sla_contacts"]
        assert snapshot.scores is not None
        for score in snapshot.scores.metrics.values():
            shown += [score.z, score.anomaly, score.mean, score.stddev, score.samples]
        shown += snapshot.scores.discoveries.values()
        return sum(int((~np.isnan(column)).sum()) for column in shown) + len(snapshot.queues)

    assert 0 < len(cut.rows.keys) < 10
    assert cut.rows.keys == tuple(keys[-len(cut.rows.keys) :])
    assert samples(cut) <= 70
    assert samples(cut) + cut.dropped_series == samples(whole)
    assert whole.dropped_series == 0
    assert cut.org_offered.tolist() == whole.org_offered.tolist()
    assert limited.snapshot(at(2)).rows is cut.rows


def test_near_the_ceiling_rows_do_not_change_places_for_a_few_contacts() -> None:
    quiet, busy = SeriesKey("quiet", "voice"), SeriesKey("busy", "voice")
    desk = Desk(max_series=15)
    table = window_table(window_at(9), {quiet: {"offered": 1.0}, busy: {"offered": 1.0}})

    def shown(quarter: int, contacts: dict[SeriesKey, int]) -> tuple[SeriesKey, ...]:
        desk.history.merge(batch({start_of(quarter): {key: cell(count) for key, count in contacts.items()}}))
        return desk.snapshot(at(10), window=table).rows.keys

    assert shown(0, {quiet: 90, busy: 100}) == (busy,)
    assert shown(1, {quiet: 20}) == (busy,)
    assert shown(2, {quiet: 20}) == (quiet,)


def test_agents_count_as_series_of_their_queue() -> None:
    seen = observation_table(at(0), {A: (1, 0, 0, np.nan), B: (1, 0, 0, np.nan)}, {("a", str(i)): 1 for i in range(9)})
    desk = Desk(max_series=10)
    desk.history.merge(batch({start_of(0): {B: cell(1)}}))
    snapshot = desk.snapshot(at(1), observations=seen)
    assert snapshot.rows.keys == (B,)
    assert snapshot.agent_keys == ()
    assert snapshot.dropped_series == 3 + 9
