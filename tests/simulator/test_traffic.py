"""Simulated traffic: fixed by seed and time, and like a call centre's."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from exporter.simulator import OrgConfig, Queue, SimulatedOrg
from exporter.simulator.directory import INCIDENT_QUEUE_NAME, queues
from exporter.simulator.profiles import OFFICE
from exporter.simulator.truth import Cell, Counts
from tests.simulator.client import NOW, Clock, small_org

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def of_queue(cells: dict[Cell, Counts], queue_id: str, media_type: str = "voice") -> dict[datetime, Counts]:
    return {
        cell.start: counts
        for cell, counts in cells.items()
        if (cell.queue_id, cell.media_type) == (queue_id, media_type)
    }


def total(cells: dict[Cell, Counts], media_type: str) -> Counts:
    return Counts(*np.sum([counts for cell, counts in cells.items() if cell.media_type == media_type], axis=0).tolist())


def test_another_org_of_the_same_seed_has_the_same_past() -> None:
    first, second = small_org(12), small_org(12)
    assert [queue.id for queue in first.queues] == [queue.id for queue in second.queues]
    assert first.truth(NOW - DAY, NOW, 900) == second.truth(NOW - DAY, NOW, 900)


def test_another_seed_has_another_past() -> None:
    first, second = small_org(12), small_org(12, seed=2)
    assert not {queue.id for queue in first.queues} & {queue.id for queue in second.queues}
    assert list(first.truth(NOW - DAY, NOW, 900).values()) != list(second.truth(NOW - DAY, NOW, 900).values())


def test_the_past_does_not_depend_on_how_it_is_asked_for() -> None:
    whole = small_org().truth(NOW - DAY, NOW, 900)
    org = small_org()
    pieces: dict[Cell, Counts] = {}
    for hour in (5, 23, 0, 12):
        start = NOW - DAY + timedelta(hours=hour)
        pieces |= org.truth(start, start + timedelta(hours=1), 900)
    assert pieces == {cell: counts for cell, counts in whole.items() if cell in pieces}
    assert pieces


def test_a_queue_has_the_same_past_in_an_org_of_any_size() -> None:
    few, many = small_org(4), small_org(300)
    known = {queue.id for queue in few.queues}
    hour = (NOW - timedelta(hours=1), NOW, 900)
    assert few.truth(*hour) == {cell: counts for cell, counts in many.truth(*hour).items() if cell.queue_id in known}


def test_more_traffic_than_the_cache_holds_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = small_org(12).truth(NOW - DAY, NOW, 3600)
    monkeypatch.setattr("exporter.simulator.traffic.CACHED_CONTACTS", 500)
    org = small_org(12)
    assert org.truth(NOW - DAY, NOW, 3600) == org.truth(NOW - DAY, NOW, 3600) == expected


def test_voice_identities_hold_over_the_whole_and_break_between_buckets() -> None:
    # From one Monday's night to the next, so that nearly nobody is in line at either end.
    cells = small_org(queues=9).truth(MONDAY, MONDAY + WEEK, 900)
    voice = total(cells, "voice")
    finished = voice.answered + voice.abandoned + voice.flow_out
    assert finished == pytest.approx(voice.offered, rel=0.001)
    assert voice.sla_contacts == voice.answered + voice.abandoned
    crossing = [c for cell, c in cells.items() if cell.media_type == "voice" and c.answered > c.offered]
    assert crossing, "some bucket must answer more than it was offered"


def test_messages_are_never_abandoned_and_some_end_as_nothing() -> None:
    cells = small_org(queues=40).truth(MONDAY, MONDAY + DAY, 86_400)
    message = total(cells, "message")
    assert message.abandoned == message.flow_out == 0
    assert 0.8 < message.answered / message.offered < 0.99
    assert total(cells, "email").abandoned == 0


def test_days_and_weeks_have_a_shape() -> None:
    org = small_org(queues=1)
    hours = of_queue(org.truth(MONDAY, MONDAY + WEEK, 3600), org.queues[0].id)
    noon = np.mean([c.offered for start, c in hours.items() if start.hour in (10, 11)])
    night = np.mean([c.offered for start, c in hours.items() if start.hour in (2, 3)])
    assert 1.5 < noon / night < 4.0
    per_day: dict[int, int] = defaultdict(int)
    for start, counts in hours.items():
        per_day[start.weekday()] += counts.offered
    assert per_day[6] < per_day[0]


def test_some_queues_close_at_night() -> None:
    org = small_org(queues=40)
    cells = org.truth(MONDAY + DAY, MONDAY + 2 * DAY, 3600)
    open_hours = {queue.id: len(of_queue(cells, queue.id)) for queue in org.queues if "voice" in queue.media_types}
    assert min(open_hours.values()) < 16
    assert open_hours[org.queues[0].id] == 24


@pytest.mark.parametrize(("offset", "hours"), [(0, range(7, 20)), (-5, range(12, 24)), (3, range(4, 17))])
def test_a_queue_lives_by_the_clock_of_its_place(offset: int, hours: range) -> None:
    org = small_org(queues=0)
    org.add_queue(Queue("q", "Office", org.divisions[0], ("voice",), 3000.0, OFFICE, 0.03, utc_offset_hours=offset))
    cells = org.truth(MONDAY, MONDAY + DAY, 3600)
    assert [cell.start.hour for cell, counts in cells.items() if counts.offered] == list(hours)


def test_queues_reach_from_a_handful_to_thousands_of_contacts_an_hour() -> None:
    org = small_org(queues=40)
    cells = org.truth(MONDAY + timedelta(hours=8), MONDAY + timedelta(hours=20), 3600)
    busiest = {
        queue.id: max((c.offered for c in of_queue(cells, queue.id).values()), default=0) for queue in org.queues
    }
    assert max(busiest.values()) > 2000
    assert min(count for count in busiest.values() if count) < 12


def test_the_first_queue_is_busy_round_the_clock() -> None:
    org = SimulatedOrg(OrgConfig(queues=1, seed=5))
    assert org.queues[0].name == INCIDENT_QUEUE_NAME
    quarters = of_queue(org.truth(MONDAY, MONDAY + WEEK, 900), org.queues[0].id)
    assert len(quarters) == 672
    assert min(c.offered for c in quarters.values()) >= 15


def test_abandonment_follows_load() -> None:
    org = small_org(queues=2)
    quarters = of_queue(org.truth(MONDAY, MONDAY + 4 * WEEK, 900), org.queues[1].id)
    lunch, morning = ([c for start, c in quarters.items() if start.hour == hour and c.offered > 50] for hour in (12, 9))
    ratios = [sum(c.abandoned for c in part) / sum(c.offered for c in part) for part in (lunch, morning)]
    assert ratios[0] > 1.2 * ratios[1]


def test_counts_vary_more_than_chance_alone() -> None:
    org = small_org(queues=2)
    tuesdays = [
        sum(c.offered for c in of_queue(org.truth(start, start + timedelta(hours=1), 900), org.queues[1].id).values())
        for start in (MONDAY + DAY + week * WEEK + timedelta(hours=14) for week in range(30))
    ]
    assert np.var(tuesdays) > 3 * np.mean(tuesdays)


def test_the_directory_is_the_same_however_many_are_asked_for() -> None:
    assert queues(50, 1)[:10] == queues(10, 1)


def test_names_hold_what_real_names_hold() -> None:
    names = [queue.name for queue in queues(20, 1)]
    for part in ('"', ",", "=", "ü", "サ", "\\", "%", "{", "@", "'"):
        assert any(part in name for name in names), part
    twins = [queue for queue in queues(20, 1) if names.count(queue.name) == 2]
    assert len({queue.division.id for queue in twins}) == 2


def test_the_clock_of_an_org_is_its_own() -> None:
    clock = Clock()
    org = small_org(clock=clock)
    clock.advance(60)
    assert org.clock() == NOW + timedelta(minutes=1)
