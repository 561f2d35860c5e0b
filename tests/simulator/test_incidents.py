"""Incidents: they strike whom they name, while they last, and nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from exporter.simulator import Incident, org_from_options
from exporter.simulator.directory import INCIDENT_QUEUE_NAME
from tests.simulator.client import NOW, QUARTER, small_org

START, END = NOW - 2 * QUARTER, NOW


def ratios(incident: Incident | None, queue: int = 1, media: str = "voice") -> tuple[float, float, int]:
    """Abandonment ratio, breach ratio and contacts of one queue over the incident's time."""
    org = small_org()
    if incident is not None:
        org.add_incident(incident)
    cells = org.truth(START, END, 1800)
    counts = next(c for cell, c in cells.items() if cell[:2] == (org.queues[queue].id, media))
    return counts.abandoned / counts.offered, counts.sla_breached / counts.sla_contacts, counts.offered


def test_an_abandonment_surge_takes_the_service_level_with_it() -> None:
    abandonment, breach, offered = ratios(None)
    hit_abandonment, hit_breach, hit_offered = ratios(Incident("abandonment_surge", 1, START, END, 0.6))
    assert hit_offered == offered
    assert hit_abandonment > 0.4 > 0.15 > abandonment
    # Not only because abandons count as breaches: whoever stays is answered late.
    assert (hit_breach - hit_abandonment) / (1 - hit_abandonment) > 0.7 > breach


def test_a_collapse_of_the_service_level_leaves_abandonment_alone() -> None:
    abandonment, breach, offered = ratios(None)
    hit = ratios(Incident("sla_collapse", 1, START, END, 0.8))
    assert hit[0] == abandonment
    assert hit[1] > breach + 0.3
    assert hit[2] == offered


def test_in_an_outage_nobody_arrives() -> None:
    org = small_org()
    org.add_incident(Incident("outage", None, START, END, 1.0))
    assert sum(counts.offered for counts in org.truth(START, END, 900).values()) == 0
    assert sum(counts.offered for counts in org.truth(START - QUARTER, START, 900).values()) > 0


def test_half_an_outage_leaves_half() -> None:
    assert ratios(Incident("outage", 1, START, END, 0.5))[2] == pytest.approx(ratios(None)[2] / 2, rel=0.15)


@pytest.mark.parametrize("queue", [1, None])
def test_an_incident_ends(queue: int | None) -> None:
    org, quiet = small_org(), small_org()
    org.add_incident(Incident("outage", queue, START, END, 1.0))
    before = (START - timedelta(hours=3), START, 900)
    assert org.truth(*before) == quiet.truth(*before)
    later = (END + timedelta(hours=14), END + timedelta(hours=16), 900)
    assert org.truth(*later) == quiet.truth(*later)


def test_an_incident_of_one_queue_leaves_the_others_alone() -> None:
    org, quiet = small_org(), small_org()
    struck = org.queues[1].id
    org.add_incident(Incident("abandonment_surge", struck, START, END))
    cells, quiet_cells = org.truth(START, END, 900), quiet.truth(START, END, 900)
    changed = {cell.queue_id for cell in cells if cells[cell] != quiet_cells.get(cell)}
    assert changed == {struck}


def test_an_incident_may_strike_one_media_type() -> None:
    org, quiet = small_org(), small_org()
    media = sorted({media for queue in org.queues for media in queue.media_types})
    assert len(media) > 1
    org.add_incident(Incident("outage", None, START, END, 1.0, media_type="voice"))
    cells, quiet_cells = org.truth(START, END, 900), quiet.truth(START, END, 900)
    assert {cell.media_type for cell in quiet_cells if cells.get(cell) != quiet_cells[cell]} == {"voice"}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "earthquake"},
        {"strength": 0.0},
        {"strength": 1.5},
        {"end": START},
        {"start": START.replace(tzinfo=None)},
    ],
)
def test_an_incident_that_makes_no_sense_is_refused(fault: dict[str, Any]) -> None:
    good: dict[str, Any] = {"kind": "outage", "queue": 0, "start": START, "end": END, "strength": 1.0}
    with pytest.raises(ValueError, match=r"kind|strength|aware"):
        Incident(**good | fault)


@pytest.mark.parametrize("hour", [3, 12, 20])
@pytest.mark.parametrize("weekday", [1, 6])
def test_the_demo_starts_amid_an_incident_that_any_sane_score_flags(hour: int, weekday: int) -> None:
    started = NOW.replace(hour=hour) + timedelta(days=weekday - NOW.weekday())
    org = org_from_options(4, 1, None, started)
    queue = org.queues[0]
    assert queue.name == INCIDENT_QUEUE_NAME
    window_end = started - timedelta(seconds=60)
    now = org.truth(window_end - QUARTER, window_end, 900)
    week = org.truth(started - timedelta(days=7, minutes=30), started - timedelta(minutes=30), 900)
    for events, contacts in (("abandoned", "offered"), ("sla_breached", "sla_contacts")):
        baseline = [
            getattr(c, events) / getattr(c, contacts) for cell, c in week.items() if cell[:2] == (queue.id, "voice")
        ]
        (value,) = [
            getattr(c, events) / getattr(c, contacts) for cell, c in now.items() if cell[:2] == (queue.id, "voice")
        ]
        assert len(baseline) == 672
        assert (value - np.mean(baseline)) / np.std(baseline) > 4.0


def test_the_demo_goes_on_with_other_incidents_and_repeats_itself() -> None:
    first, again = org_from_options(40, 3, None, NOW), org_from_options(40, 3, None, NOW)
    assert first.incidents == again.incidents
    assert first.incidents[0].start < NOW < first.incidents[0].end
    later = first.incidents[1:]
    assert len(later) > 100
    assert all(incident.start >= first.incidents[0].end for incident in later)
    assert {incident.kind for incident in later} == {"abandonment_surge", "sla_collapse", "outage"}
    assert 0 not in {incident.queue for incident in later}


def test_a_demo_of_one_queue_has_incidents_too() -> None:
    assert {incident.queue for incident in org_from_options(1, 1, None, NOW).incidents} == {0}
