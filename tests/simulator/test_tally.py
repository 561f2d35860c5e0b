"""Counting by hand: a few contacts with known stamps, and what each bucket must hold."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from exporter.simulator.contacts import ABANDONED, ANSWERED, FLOWED_OUT, NEVER, NOWHERE, SESSION, Contacts
from exporter.simulator.measures import MEASURES, SLA_CONTACTS, SLA_MET
from exporter.simulator.periods import Period, cut
from exporter.simulator.tally import Tally

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BASE = round(START.timestamp() * 1000)
MINUTE = 60_000
SLA = 20_000
LATER = BASE + 10**9


def contact(
    stream: int, offered: int, wait: int, outcome: int, talk: int = 0, acw: int = 0, sla: int = 20_000
) -> dict[str, int]:
    """One contact; times in ms after START."""
    answered = outcome == ANSWERED
    left = BASE + offered + wait
    return {
        "stream": stream, "offered_at": BASE + offered, "left_at": left, "outcome": outcome, "wait": wait,
        "ended_at": left + talk if answered else NEVER, "handled_at": left + talk + acw if answered else NEVER,
        "breached": outcome == ABANDONED or (answered and wait > SLA), "late_answer": answered and wait > SLA,
        "alert": 2_000 if answered else 0, "talk": talk, "held": 0, "acw": acw, "transferred": 0, "delay": 0,
    }  # fmt: skip


def contacts_of(*rows: dict[str, int], **changed: int) -> Contacts:
    types = {"outcome": np.int8, "breached": np.bool_, "late_answer": np.bool_, "transferred": np.bool_}
    columns = {name: np.array([(row | changed)[name] for row in rows]) for name in rows[0]}
    return Contacts(**{name: values.astype(types.get(name, np.int64)) for name, values in columns.items()})  # type: ignore[arg-type]


def tallied(contacts: Contacts, minutes: int = 30, now_ms: int = LATER, rows: tuple[int, ...] = (0,)) -> Tally:
    buckets = cut(START, datetime.fromtimestamp(BASE / 1000 + minutes * 60, UTC), Period(seconds=900))
    measures = MEASURES | {"contacts": SLA_CONTACTS, "met": SLA_MET}
    tally = Tally(max(rows) + 1, buckets, measures, now_ms)
    tally.add(contacts, np.array(rows, dtype=np.int64))
    return tally


def counts(tally: Tally, name: str) -> list[int]:
    found: list[int] = tally.cells[name].count[0].tolist()
    return found


def test_each_event_is_counted_where_it_happens() -> None:
    # Offered at 9:14:50, answered at 9:15:10, talked to until 9:31:00, wrapped up at 9:31:30.
    call = contact(0, 890_000, 20_000, ANSWERED, talk=950_000, acw=30_000)
    tally = tallied(contacts_of(call), minutes=45)
    expected = {
        "nOffered": [1, 0, 0], "tAnswered": [0, 1, 0], "tWait": [0, 1, 0], "tAlert": [0, 1, 0], "nConnected": [0, 1, 0],
        "tTalk": [0, 0, 1], "tAcw": [0, 0, 1], "tHandle": [0, 0, 1], "contacts": [0, 1, 0], "met": [0, 1, 0],
        "nOverSla": [0, 0, 0], "tAbandon": [0, 0, 0], "tFlowOut": [0, 0, 0],
    }  # fmt: skip
    assert {name: counts(tally, name) for name in expected} == expected
    assert tally.cells["tHandle"].sum[0].tolist() == [0, 0, 980_000]


@pytest.mark.parametrize(
    ("outcome", "wait", "expected"),
    [
        (ANSWERED, 20_000, {"nOffered", "nConnected", "tAnswered", "contacts", "met"}),
        (ANSWERED, 20_001, {"nOffered", "nConnected", "tAnswered", "nOverSla", "contacts"}),
        (ABANDONED, 5_000, {"nOffered", "tAbandon", "contacts"}),
        (ABANDONED, 4_999, {"nOffered", "tAbandon", "tShortAbandon", "contacts"}),
        (FLOWED_OUT, 9_000, {"nOffered", "tFlowOut"}),
        (NOWHERE, 9_000, {"nOffered"}),
    ],
)
def test_an_outcome_shows_in_its_metrics_alone(outcome: int, wait: int, expected: set[str]) -> None:
    tally = tallied(contacts_of(contact(0, 0, wait, outcome)))
    shown = {name for name in tally.cells if tally.cells[name].count.any()}
    assert shown == expected | {"tAcd", "tWait"} | ({"tAlert"} if outcome == ANSWERED else set()) | (
        {"tConnected", "tHandle"} if outcome == ANSWERED else set()
    )


def test_a_cobrowse_session_shows_its_own_count_alone() -> None:
    tally = tallied(contacts_of(contact(0, 0, 1_000, SESSION)))
    assert {name for name in tally.cells if tally.cells[name].count.any()} == {"nCobrowseSessions"}


@pytest.mark.parametrize(
    ("offered", "expected"),
    [(-1, [0, 0]), (0, [1, 0]), (899_999, [1, 0]), (900_000, [0, 1]), (1_799_999, [0, 1]), (1_800_000, [0, 0])],
)
def test_buckets_are_half_open(offered: int, expected: list[int]) -> None:
    assert counts(tallied(contacts_of(contact(0, offered, 1, NOWHERE))), "nOffered") == expected


def test_an_event_is_there_from_its_moment_plus_its_delay() -> None:
    call = contacts_of(contact(0, MINUTE, 10_000, ABANDONED), delay=5_000)
    offered = [counts(tallied(call, now_ms=BASE + MINUTE + after), "nOffered")[0] for after in (4_999, 5_000)]
    abandoned = [counts(tallied(call, now_ms=BASE + MINUTE + after), "tAbandon")[0] for after in (14_999, 15_000)]
    assert (offered, abandoned) == ([0, 1], [0, 1])


def test_sum_least_and_most_are_of_the_bucket() -> None:
    calls = [contact(0, offered, wait, ABANDONED) for offered, wait in ((0, 700), (1, 30), (2, 5_000), (900_000, 9))]
    cells = tallied(contacts_of(*calls)).cells["tAbandon"]
    assert [array[0].tolist() for array in (cells.count, cells.sum, cells.least, cells.most)] == [
        [3, 1],
        [5_730, 9],
        [30, 9],
        [5_000, 9],
    ]


def test_rows_gather_streams_and_unwanted_ones_are_left_out() -> None:
    calls = [contact(stream, stream * 1_000, 1_000, ABANDONED) for stream in (0, 1, 2, 2)]
    tally = tallied(contacts_of(*calls), rows=(1, -1, 1))
    assert tally.cells["nOffered"].count.tolist() == [[0, 0], [3, 0]]
