"""What `check` says of the ceiling on series is what the ceiling does: no snapshot lies beyond the bounds."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.analysis.analyst import Analyst
from exporter.analysis.need import Need, needed
from exporter.analysis.scoring import METHODS, ScoreOptions
from exporter.models import WINDOW_COLUMNS, Directory, ObservationTable, Queue, QueueTable, SeriesKey, Window
from tests.analysis.building import A, B, C, at, batch, cell, observation_table, open_history, start_of, window_table

DAYS = 8
NOW = DAYS * 96
WINDOW = Window(at(NOW), at(NOW + 1))
STATUSES = ("OFF_QUEUE", "IDLE", "INTERACTING", "NOT_RESPONDING", "COMMUNICATING")
BUSY = dict.fromkeys(WINDOW_COLUMNS, 9.0) | {"abandoned": 3.0, "sla_breached": 2.0, "service_level_target": 0.8}


def dropped(
    most: int, method: str, window: QueueTable, observations: ObservationTable | None, past: tuple[SeriesKey, ...]
) -> int:
    """Series that a snapshot under this ceiling leaves out; `past` had contacts in every quarter hour before."""
    history = open_history(None, now=at(0))
    history.merge(batch({start_of(quarter): dict.fromkeys(past, cell(10, quarter % 3, 2)) for quarter in range(NOW)}))
    analyst = Analyst(history, METHODS[method], ScoreOptions(), contract="aggregates", bucket="PT15M", max_series=most)
    analyst.complete()
    ids = {key.queue_id for key in window.keys}
    directory = Directory({each: Queue(each, each, "Home") for each in ids})
    readings = {"directory": directory, "window": window, "observations": observations, "datasets": {}}
    return analyst.snapshot(now=at(NOW + 1), **readings).dropped_series


@pytest.mark.parametrize("method", METHODS)
def test_queues_with_every_value_need_the_most_and_no_more(method: str) -> None:
    pairs = (A, SeriesKey("a", "chat"), B, SeriesKey("b", "chat"))
    window = window_table(WINDOW, dict.fromkeys(pairs, BUSY))
    agents = {(queue, status): 1.0 for queue in ("a", "b") for status in STATUSES}
    seen = observation_table(at(NOW), dict.fromkeys(pairs, (1, 2, 1, 1_772_000_000.0)), agents)
    need = needed(2, window, seen, METHODS[method], "aggregates")
    assert need.media_types == ("chat", "voice")
    assert need.most is not None
    assert dropped(need.most, method, window, seen, pairs) == 0
    assert dropped(need.most - 1, method, window, seen, pairs) > 0
    assert need.least < need.most


def test_queues_without_a_past_need_the_least_and_what_says_that_they_have_none() -> None:
    window = window_table(WINDOW, {A: {"offered": 4.0}, C: {"abandoned": 1.0}})
    need = needed(2, window, None, METHODS["zscore"], "aggregates")
    without = 2 * 2  # baseline_samples is 0 for both ratios of both
    assert dropped(need.least + without, "zscore", window, None, ()) == 0
    assert dropped(need.least - 1, "zscore", window, None, ()) > 0


def test_media_types_without_a_contact_are_not_reckoned_with_unless_they_are_selected() -> None:
    window = window_table(WINDOW, {A: {"offered": 4.0}, C: {}})
    silent = observation_table(at(NOW), {SeriesKey("a", "video"): (0, 0, 0, np.nan)})
    zscore = METHODS["zscore"]
    assert needed(3, window, silent, zscore, "aggregates").media_types == ("voice",)
    assert needed(3, window, silent, zscore, "aggregates", ("email", "chat")).media_types == ("chat", "email")


def test_without_an_answer_nothing_is_said_of_the_most() -> None:
    assert needed(3, None, None, METHODS["zscore"], "aggregates") == Need(3, None, ())


def test_the_summary_contract_has_neither_media_types_nor_directory() -> None:
    window = window_table(WINDOW, {SeriesKey("a", ""): {"offered": 4.0}})
    need = needed(1, window, None, METHODS["zscore"], "summary")
    assert need.media_types == ("",)
    assert need.most is not None
    assert need.most < 37
