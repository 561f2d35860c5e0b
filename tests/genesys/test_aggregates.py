"""The aggregates contract: the request, and answers of every kind into columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import PayloadError
from exporter.genesys.aggregates import BUCKET_METRICS, WINDOW_METRICS, Report, parse_buckets, parse_window
from exporter.genesys.decode import MAX_COUNT, REJECT_REASONS, Rejects
from exporter.genesys.selection import Selection
from exporter.models import BUCKET_COUNTS, WINDOW_COLUMNS, BucketBatch, Lost, QueueTable, SeriesKey, Window
from tests.genesys.conftest import REFERENCE
from tests.genesys.strategies import aggregate_answers, unhurried

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
START = int(NINE.timestamp())
WINDOW = Window.of_epoch(START, START + 900)
WHEN = "2026-03-02T09:00:00.000Z/2026-03-02T09:15:00.000Z"
NEXT = "2026-03-02T09:15:00.000Z/2026-03-02T09:30:00.000Z"
SPAN = Window.of_epoch(START, START + 4 * 900)
ALL = Selection()
KEY = SeriesKey("q-1", "voice")


def metric(name: str, **stats: Any) -> dict[str, Any]:
    return {"metric": name, "stats": stats}


def cell(*metrics: Any, when: str = WHEN) -> dict[str, Any]:
    return {"interval": when, "metrics": list(metrics)}


def row(*cells: Any, queue: str | None = "q-1", media: str | None = "voice") -> dict[str, Any]:
    group = {"queueId": queue, "mediaType": media}
    return {"group": {name: value for name, value in group.items() if value is not None}, "data": list(cells)}


def body(*rows: Any) -> bytes:
    return json.dumps({"results": list(rows)}).encode()


def window_of(*bodies: bytes, selection: Selection = ALL) -> tuple[QueueTable, dict[str, int]]:
    rejects = Rejects()
    table = parse_window(bodies, WINDOW, selection, rejects)
    return table, dict(rejects._counts)


def buckets_of(*bodies: bytes, selection: Selection = ALL) -> tuple[BucketBatch, dict[str, int]]:
    rejects = Rejects()
    batch = parse_buckets(bodies, SPAN, 900, selection, rejects)
    return batch, dict(rejects._counts)


def values(table: QueueTable, place: int = 0) -> dict[str, float]:
    """The columns of one row that are not 0 or empty."""
    found = {name: float(column[place]) for name, column in table.columns.items()}
    return {name: value for name, value in found.items() if value and not math.isnan(value)}


# The request


def test_the_window_is_asked_for_in_one_bucket_and_history_in_closed_ones() -> None:
    window = json.loads(Report(WINDOW_METRICS, bucket=None, media_types=()).body(WINDOW, ()))
    assert window == {
        "interval": WHEN,
        "groupBy": ["queueId"],
        "metrics": [
            "nOffered",
            "oServiceLevel",
            "oServiceTarget",
            "tAbandon",
            "tAnswered",
            "tFlowOut",
            "tHandle",
            "tWait",
        ],
    }
    history = json.loads(Report(BUCKET_METRICS, bucket="PT1D", media_types=()).body(SPAN, ()))
    assert history == {
        "interval": "2026-03-02T09:00:00.000Z/2026-03-02T10:00:00.000Z",
        "granularity": "P1D",
        "groupBy": ["queueId"],
        "metrics": ["nOffered", "oServiceLevel", "tAbandon", "tAnswered", "tFlowOut"],
    }


def test_only_the_times_are_new_in_the_next_request() -> None:
    report = Report(WINDOW_METRICS, bucket=None, media_types=("voice",))
    first, second = (json.loads(report.body(window, ("q-1",))) for window in (WINDOW, SPAN))
    assert first.pop("interval") != second.pop("interval")
    assert first == second


# One row, by hand


def test_a_busy_row_in_full() -> None:
    """The first of the public voice rows of the reference: 877 = 787 + 83 + 7, 870 = 787 + 83, 414 = 787 - 373."""
    answer = body(
        row(
            cell(
                metric("nError", count=1),
                metric("nOffered", count=877),
                metric("tAbandon", count=83, sum=2_490_000.0, max=9.0),
                metric("tAnswered", count=787, sum=23_610_500.0),
                metric("tFlowOut", count=7, sum=1),
                metric("tHandle", count=790, sum=237_000_000),
                metric("oServiceTarget", current=0.8),
                metric("oServiceLevel", ratio=0.4758, numerator=414, denominator=870, target=0.8),
                metric("tWait", count=877, sum=26_100_501),
            )
        )
    )
    table, rejected = window_of(answer)
    assert table.keys == (SeriesKey("q-1", "voice"),)
    assert table.window == WINDOW
    assert {name: float(column[0]) for name, column in table.columns.items()} == {
        "offered": 877,
        "answered": 787,
        "abandoned": 83,
        "flow_out": 7,
        "sla_breached": 456,
        "sla_contacts": 870,
        "service_level_target": 0.8,
        "answered_seconds": 23_610.5,
        "handled": 790,
        "handled_seconds": 237_000.0,
        "waited": 877,
        "waited_seconds": 26_100.501,
    }
    assert tuple(table.columns) == WINDOW_COLUMNS
    assert rejected == {}


def test_what_is_absent_is_no_contacts_and_no_target() -> None:
    table, rejected = window_of(body(row(cell(metric("nOffered", count=5)))))
    assert values(table) == {"offered": 5}
    assert math.isnan(table.columns["service_level_target"][0])
    assert rejected == {}


def test_the_service_level_is_its_own_numerator_and_denominator_never_the_ratio() -> None:
    """The org may count flow-outs or leave short abandons out: nothing of it follows from other metrics."""
    table, _ = window_of(
        body(row(cell(metric("nOffered", count=100), metric("oServiceLevel", ratio=0.1, numerator=3, denominator=4))))
    )
    assert values(table) == {"offered": 100, "sla_contacts": 4, "sla_breached": 1}


def test_a_service_level_without_contacts_has_no_value() -> None:
    table, rejected = window_of(body(row(cell(metric("oServiceLevel", ratio=1.0, target=0.8)))))
    assert values(table) == {"service_level_target": 0.8}
    assert rejected == {}


def test_the_target_of_the_service_level_serves_where_there_is_no_other() -> None:
    table, _ = window_of(body(row(cell(metric("oServiceLevel", numerator=1, denominator=1, target=0.7)))))
    assert table.columns["service_level_target"][0] == 0.7


def test_a_bucket_may_hold_more_answers_than_offers() -> None:
    """An interaction that was offered at 9:14 and answered at 9:16 lies in two buckets."""
    table, rejected = window_of(body(row(cell(metric("nOffered", count=1), metric("tAnswered", count=3, sum=9000)))))
    assert values(table) == {"offered": 1, "answered": 3, "answered_seconds": 9}
    assert rejected == {}


def test_the_media_type_is_the_group_s_even_if_unforeseen_or_absent() -> None:
    rows = [row(cell(metric("nOffered", count=1)), media=media) for media in ("voice", "cobrowse", None)]
    table, rejected = window_of(body(*rows))
    assert [key.media_type for key in table.keys] == ["voice", "cobrowse", ""]
    assert rejected == {}


def test_media_types_that_are_not_selected_are_left_out_without_being_counted() -> None:
    rows = [row(cell(metric("nOffered", count=1)), media=media) for media in ("voice", "chat")]
    table, rejected = window_of(body(*rows), selection=Selection(media_types=("chat",)))
    assert table.keys == (SeriesKey("q-1", "chat"),)
    assert rejected == {}


def test_unknown_metrics_fields_and_qualified_metrics_are_passed_over() -> None:
    noise = {"metric": "tNew", "stats": {"count": -5, "p95": 3}, "extra": [1]}
    qualified = {"metric": "nOffered", "qualifier": "x", "stats": {"count": 99}}
    answer = body(row({**cell(noise, qualified, metric("nOffered", count=2)), "views": []}))
    table, rejected = window_of(answer)
    assert values(table) == {"offered": 2}
    assert rejected == {}


@pytest.mark.parametrize("answer", [b"{}", b'{"results": null}', b'{"results": []}'])
def test_an_idle_org_is_an_empty_table(answer: bytes) -> None:
    table, rejected = window_of(answer)
    assert table.keys == ()
    assert {column.shape for column in table.columns.values()} == {(0,)}
    batch, _ = buckets_of(answer)
    assert batch.starts.tolist() == [START, START + 900, START + 1800, START + 2700]
    assert {counts.shape for counts in batch.counts.values()} == {(4, 0)}
    assert rejected == {}


def test_the_answers_of_several_batches_are_one_table() -> None:
    bodies = [body(row(cell(metric("nOffered", count=n)), queue=f"q-{n}")) for n in (1, 2, 3)]
    table, _ = window_of(*bodies)
    assert [key.queue_id for key in table.keys] == ["q-1", "q-2", "q-3"]
    assert table.columns["offered"].tolist() == [1, 2, 3]


# Rows that make no sense


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (metric("nOffered", count=-1), "negative"),
        (metric("nOffered", count=2.5), "range"),
        (metric("nOffered", count=MAX_COUNT + 1), "range"),
        (metric("nOffered", count=10**30), "range"),
        (metric("nOffered", count="5"), "type"),
        (metric("nOffered", count=True), "type"),
        (metric("tAnswered", count=1, sum=-1), "negative"),
        (metric("tAnswered", count=1, sum=1e17), "range"),
        (metric("tHandle", count=-1, sum=1), "negative"),
        (metric("oServiceLevel", numerator=-1, denominator=5), "negative"),
        (metric("oServiceLevel", numerator=6, denominator=5), "range"),
        (metric("oServiceLevel", numerator=0.5, denominator=5), "range"),
        (metric("oServiceLevel", numerator=1, denominator=1, target=80), "range"),
        (metric("oServiceTarget", current=-0.1), "negative"),
        (metric("oServiceTarget", current=1.1), "range"),
        (metric("nOffered", count=None), "type"),
        (metric("nOffered"), "type"),
        (metric("tAnswered", count=1), "type"),
        (metric("tAnswered", count=1, sum=None), "type"),
        (metric("oServiceLevel", numerator=0), "type"),
        (metric("oServiceLevel", denominator=5), "type"),
        ({"metric": "nOffered"}, "type"),
        ({"metric": None, "stats": {}}, "type"),
    ],
)
def test_a_number_that_cannot_be_costs_its_row_alone(bad: Any, reason: str) -> None:
    good = row(cell(metric("nOffered", count=7)), queue="good")
    spoilt = row(cell(metric("tAbandon", count=1), bad), queue="bad")
    for rows in ([good, spoilt], [spoilt, good]):
        table, rejected = window_of(body(*rows))
        assert table.keys == (SeriesKey("good", "voice"),)
        assert values(table) == {"offered": 7}
        assert rejected == {reason: 1}
        batch, rejected = buckets_of(body(*rows))
        assert batch.keys == (SeriesKey("good", "voice"),)
        assert rejected == {reason: 1}


@pytest.mark.parametrize("queue", [None, ""])
def test_a_row_without_a_queue_is_left_out(queue: str | None) -> None:
    table, rejected = window_of(body(row(cell(metric("nOffered", count=1)), queue=queue)))
    assert table.keys == ()
    assert rejected == {"missing_id": 1}


def test_the_same_row_twice_counts_once() -> None:
    rows = [row(cell(metric("nOffered", count=2), metric("oServiceTarget", current=0.8)))] * 2
    for table, rejected in (window_of(body(*rows)), window_of(body(rows[0]), body(rows[1]))):
        assert values(table) == {"offered": 2, "service_level_target": 0.8}
        assert table.lost == Lost()
        assert rejected == {"duplicate": 1}


def test_of_rows_that_contradict_each_other_none_is_believed() -> None:
    rows = [row(cell(metric("nOffered", count=n))) for n in (1, 2, 1)]
    table, rejected = window_of(body(*rows))
    assert (table.keys, table.lost) == ((), Lost(frozenset({(0, KEY)})))
    batch, _ = buckets_of(body(*rows))
    assert not batch.counts["offered"].any()
    assert batch.lost == Lost(frozenset({(0, KEY)}))
    assert rejected == {"duplicate": 2}


@pytest.mark.parametrize("order", [1, -1])
def test_a_broken_row_loses_nothing_that_another_row_tells(order: int) -> None:
    rows = [row(cell(metric("nOffered", count=-1))), row(cell(metric("nOffered", count=2)))]
    table, _ = window_of(body(*rows[::order]))
    assert (values(table), table.lost) == ({"offered": 2}, Lost())


@pytest.mark.parametrize(
    ("broken", "lost"),
    [
        (row(cell(metric("nOffered", count=-1))), Lost(frozenset({(0, KEY)}))),
        ({**row(), "data": "soon"}, Lost(frozenset((place, KEY) for place in range(4)))),
        (row(cell(metric("nOffered", count=1), when=NEXT[:30])), Lost(frozenset((place, KEY) for place in range(4)))),
        (row(cell(metric("nOffered", count=1)), queue=""), Lost(others=True)),
        (row(cell(metric("tHandle", count=1, sum=1), metric("tAnswered", count=1, sum=1)), queue=None), Lost()),
        ({"data": []}, Lost(others=True)),
        ({**row(cell(metric("nOffered", count="5"))), "group": {"queueId": "q", "mediaType": "fax"}}, Lost()),
    ],
)
def test_what_cannot_be_read_is_lost_and_no_zero(broken: Any, lost: Lost) -> None:
    other = row(*(cell(metric("nOffered", count=7), when=at(place)) for place in range(4)), queue="other")
    rejects = Rejects()
    batch = parse_buckets([body(other, broken)], SPAN, 900, Selection(media_types=("voice",)), rejects)
    assert batch.lost == lost
    assert batch.keys == (SeriesKey("other", "voice"),)
    assert bool(rejects.lost) is bool(lost)


def test_the_answer_about_an_earlier_span_is_not_believed_where_it_is_silent() -> None:
    earlier = body(row(*(cell(metric("nOffered", count=7), when=at(place)) for place in (-1, 0, 1, 2))))
    batch, _ = buckets_of(earlier)
    assert batch.lost.others  # nobody told of the newest bucket


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (body(row(cell(metric("nOffered", count=1)))), ["q-2"]),
        (body(row(cell(metric("nOffered", count=1), when="2026-03-02T07:00:00Z/2026-03-02T07:15:00Z"))), ["q-1"]),
        (b'{"access_token": "t", "expires_in": 5}', ["q-1"]),
    ],
)
def test_the_answer_to_another_question_is_none(answer: bytes, asked: list[str]) -> None:
    with pytest.raises(PayloadError):
        parse_window([answer], WINDOW, ALL, Rejects(), [asked])
    with pytest.raises(PayloadError):
        parse_buckets([answer], SPAN, 900, ALL, Rejects(), [asked])


def test_a_stranger_among_the_queues_that_were_asked_for_is_left_out() -> None:
    rows = [row(cell(metric("nOffered", count=1)), queue=queue) for queue in ("q-1", "q-2")]
    table = parse_window([body(*rows)], WINDOW, ALL, Rejects(), [["q-2", "q-3"]])
    assert table.keys == (SeriesKey("q-2", "voice"),)


def test_the_same_metric_twice_makes_a_row_worthless() -> None:
    table, rejected = window_of(body(row(cell(metric("nOffered", count=1), metric("nOffered", count=2)))))
    assert table.keys == ()
    assert rejected == {"duplicate": 1}


@pytest.mark.parametrize(
    "when",
    [
        NEXT,
        "2026-03-02T09:00:00.000Z/2026-03-02T10:00:00.000Z",
        "2026-03-02T09:00:01.000Z/2026-03-02T09:15:01.000Z",
        "2026-03-02T09:00:00.000Z/PT15M",
        "2026-03-02T09:00:00.000Z",
        "",
        "yesterday/today",
        "9999-12-31T23:59:59.999Z/9999-12-31T23:59:59.999Z",
    ],
)
def test_an_interval_that_was_not_asked_for_is_left_out(when: str) -> None:
    good = row(cell(metric("nOffered", count=2)), queue="good")
    table, rejected = window_of(body(row(cell(metric("nOffered", count=1), when=when)), good))
    assert values(table) == {"offered": 2}
    assert table.lost.series() == {KEY}
    assert rejected == {"outside_window": 1}


@pytest.mark.parametrize(
    "when",
    [
        "2026-03-02T09:00:00Z/2026-03-02T09:15:00Z",
        "2026-03-02T10:00:00.000+01:00/2026-03-02T10:15:00.000+01:00",
        "2026-03-02T09:00:00.000Z/2026-03-02T09:14:59.999Z",
    ],
)
def test_another_spelling_of_the_same_interval_is_the_same(when: str) -> None:
    table, rejected = window_of(body(row(cell(metric("nOffered", count=1), when=when))))
    assert values(table) == {"offered": 1}
    assert rejected == {}


# Closed buckets


def at(place: int) -> str:
    window = Window.of_epoch(START + place * 900, START + (place + 1) * 900)
    return f"{window.start:%Y-%m-%dT%H:%M:%S}.000Z/{window.end:%Y-%m-%dT%H:%M:%S}.000Z"


def test_buckets_lie_at_their_place_and_the_silent_ones_are_zero() -> None:
    answer = body(
        row(
            cell(metric("nOffered", count=4), metric("tAbandon", count=1), when=at(2)),
            cell(metric("oServiceLevel", numerator=1, denominator=3), metric("tAnswered", count=2, sum=5), when=at(0)),
        ),
        row(cell(metric("nOffered", count=9), metric("tFlowOut", count=2, sum=0), when=at(3)), queue="q-2"),
    )
    batch, rejected = buckets_of(answer)
    assert batch.bucket_seconds == 900
    assert batch.keys == (SeriesKey("q-1", "voice"), SeriesKey("q-2", "voice"))
    assert {name: counts.tolist() for name, counts in batch.counts.items()} == {
        "offered": [[0, 0], [0, 0], [4, 0], [0, 9]],
        "answered": [[2, 0], [0, 0], [0, 0], [0, 0]],
        "abandoned": [[0, 0], [0, 0], [1, 0], [0, 0]],
        "flow_out": [[0, 0], [0, 0], [0, 0], [0, 2]],
        "sla_breached": [[2, 0], [0, 0], [0, 0], [0, 0]],
        "sla_contacts": [[3, 0], [0, 0], [0, 0], [0, 0]],
    }
    assert {counts.dtype for counts in batch.counts.values()} == {np.dtype(np.int64)}
    assert rejected == {}


def test_buckets_outside_the_span_twice_or_of_another_length_are_left_out() -> None:
    cells = [
        cell(metric("nOffered", count=1), when=at(0)),
        cell(metric("nOffered", count=2), when=at(0)),
        cell(metric("nOffered", count=3), when=at(-1)),
        cell(metric("nOffered", count=4), when=at(4)),
        cell(metric("nOffered", count=5), when="2026-03-02T09:00:00.000Z/2026-03-02T10:00:00.000Z"),
        cell(metric("nOffered", count=6), when=at(2)),
    ]
    batch, rejected = buckets_of(body(row(*cells)))
    assert batch.counts["offered"].tolist() == [[0], [0], [6], [0]]
    assert rejected == {"duplicate": 1, "outside_window": 3}


def test_a_series_that_contradicts_itself_everywhere_is_no_series_of_zeros() -> None:
    rejects = Rejects()
    twice = row(*(cell(metric("nOffered", count=count), when=at(0)) for count in (1, 2)), queue="q-2")
    batch = parse_buckets([body(twice, row(cell(metric("nOffered", count=7), when=at(3))))], SPAN, 900, ALL, rejects)
    assert batch.keys == (SeriesKey("q-1", "voice"),)
    assert batch.counts["offered"].tolist() == [[0], [0], [0], [7]]
    assert batch.lost.cells == {(0, SeriesKey("q-2", "voice"))}


def test_a_series_of_which_nothing_could_be_read_is_no_series_of_zeros() -> None:
    good = row(cell(metric("nOffered", count=1)))
    batch, rejected = buckets_of(body(row(cell(metric("nOffered", count=1), when=at(9)), queue="stray"), good))
    assert batch.keys == (KEY,)
    assert rejected == {"outside_window": 1}


# Properties


def check_window(table: QueueTable) -> None:
    assert len(set(table.keys)) == len(table.keys)
    assert all(key.queue_id for key in table.keys)
    for name, column in table.columns.items():
        assert column.shape == (len(table.keys),)
        assert column.dtype == np.float64
        if name == "service_level_target":
            told = column[~np.isnan(column)]
            assert ((told >= 0) & (told <= 1)).all()
        else:
            assert ((column >= 0) & (column <= 1e13)).all()
        if name in BUCKET_COUNTS:
            assert (column == np.floor(column)).all()
            assert (column <= MAX_COUNT).all()
    assert (table.columns["sla_breached"] <= table.columns["sla_contacts"]).all()


@unhurried
@given(st.lists(aggregate_answers([WHEN, NEXT]), min_size=1, max_size=2), st.sampled_from([(), ("voice", "chat")]))
def test_no_answer_gets_a_wrong_number_into_the_window(bodies: list[bytes], media_types: tuple[str, ...]) -> None:
    rejects = Rejects()
    try:
        table = parse_window(bodies, WINDOW, Selection(media_types=media_types), rejects)
    except PayloadError:
        return
    check_window(table)
    assert set(rejects._counts) <= set(REJECT_REASONS)


@unhurried
@given(st.lists(aggregate_answers([at(0), at(1), at(3), at(4)]), min_size=1, max_size=2))
def test_no_answer_gets_a_wrong_number_into_the_buckets(bodies: list[bytes]) -> None:
    rejects = Rejects()
    try:
        batch = parse_buckets(bodies, SPAN, 900, ALL, rejects)
    except PayloadError:
        return
    assert set(batch.counts) == set(BUCKET_COUNTS)
    for counts in batch.counts.values():
        assert counts.shape == (4, len(batch.keys))
        assert ((counts >= 0) & (counts <= MAX_COUNT)).all()
    assert (batch.counts["sla_breached"] <= batch.counts["sla_contacts"]).all()
    assert set(rejects._counts) <= set(REJECT_REASONS)


good_rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 1000)), unique_by=lambda pair: pair[0], max_size=4
)
bad_rows = st.sampled_from(
    [
        1,
        {},
        row(cell(metric("nOffered", count=-1)), queue="x"),
        row(cell(metric("nOffered", count="5")), queue="x"),
        row(cell(metric("tWait", sum=1e300)), queue="x"),
        row(cell(metric("nOffered", count=1), when=NEXT), queue="x"),
        row(cell(metric("nOffered", count=1)), queue=""),
    ]
)


@unhurried
@given(good_rows, st.lists(bad_rows, max_size=4), st.randoms())
def test_bad_rows_change_nothing_about_the_good_ones_and_each_is_counted(
    good: Sequence[tuple[str, int]], bad: list[Any], random: Any
) -> None:
    rows = [row(cell(metric("nOffered", count=count)), queue=queue) for queue, count in good] + bad
    random.shuffle(rows)
    table, rejected = window_of(body(row(cell(), queue="there"), *rows))
    told = {key.queue_id: offered for key, offered in zip(table.keys, table.columns["offered"], strict=True)}
    assert told == {"there": 0, **dict(good)}
    assert sum(rejected.values()) == len(bad)


def spoil(kind: int, told: dict[str, Any]) -> list[Any]:
    """A true row as a bad line may leave it: never another number that could be true."""
    first = told["data"][0]
    other = {**first, "metrics": [metric("nOffered", count=first["metrics"][0]["stats"]["count"] + 7)]}
    return [
        [told, told],
        [told, {**told, "data": [other]}],
        [{**told, "group": {"mediaType": "voice"}}],
        [{**told, "data": [{**first, "metrics": [metric("nOffered", count=-1)]}, *told["data"][1:]]}],
        [{**told, "data": [{**first, "metrics": [metric("nOffered", count="3")]}]}],
        [{**told, "data": [{**each, "interval": "soon"} for each in told["data"]]}],
        [{**told, "data": None}],
        ["row"],
        [{}],
    ][kind]


@unhurried
@given(
    st.dictionaries(
        st.sampled_from("abcde"), st.dictionaries(st.integers(0, 3), st.integers(1, 99), min_size=1), min_size=1
    ),
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 8)),
)
def test_whatever_happens_to_rows_each_figure_is_true_or_lost(
    truth: dict[str, dict[int, int]], spoilt: dict[str, int]
) -> None:
    rows = []
    for queue, cells in truth.items():
        told = row(*(cell(metric("nOffered", count=n), when=at(place)) for place, n in cells.items()), queue=queue)
        rows += spoil(spoilt[queue], told) if queue in spoilt else [told]
    try:
        batch, _ = buckets_of(body(*rows))
    except PayloadError:
        return
    column = {key.queue_id: place for place, key in enumerate(batch.keys)}
    for queue in "abcde":
        for place in range(4):
            told_here = batch.counts["offered"][place, column[queue]] if queue in column else 0
            lost = batch.lost.others or (place, SeriesKey(queue, "voice")) in batch.lost.cells
            assert told_here == truth.get(queue, {}).get(place, 0) or (told_here == 0 and lost)


# The real service


@pytest.mark.skipif(
    not REFERENCE.exists(), reason=f"the vendor's samples, not ours to copy: {REFERENCE.name} is not beside the project"
)
def test_the_sample_of_the_reference_is_read_without_a_complaint() -> None:
    text = (REFERENCE / "samples" / "aggregates_200.txt").read_text()
    numbers = iter(range(100))
    sample = re.sub(r"\{\{faker 'string\.uuid'\}\}", lambda match: f"q-{next(numbers)}", text[text.index("\n{") :])
    span = Window(datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 13, tzinfo=UTC))
    rejects = Rejects()
    table = parse_window([sample.encode()], span, ALL, rejects)
    assert dict(rejects._counts) == {}
    assert [key.media_type for key in table.keys] == ["callback", "cobrowse", "message", "email"] or len(
        table.keys
    ) == 4
    callback = values(table)
    assert callback["offered"] == callback["answered"] == callback["sla_contacts"] == callback["sla_breached"] == 4
    assert callback["answered_seconds"] == pytest.approx(110_554.154)
    assert callback["handled_seconds"] == pytest.approx(318.215)
