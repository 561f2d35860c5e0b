"""The CSV: its exact text, that a spreadsheet is safe with it, and that it tells what /metrics tells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, HistoryBucket, Rows, Scores, SeriesKey, Snapshot
from exporter.publish.csv_export import CHUNK_BYTES, COLUMNS, HEADER, CsvWriter, bucket_text, cell, history_chunks
from exporter.publish.filters import ALL, RowFilter
from exporter.publish.shown import Shown
from tests.publish.samples import NAN, NOW, ROWS, col, history_bucket, score, snapshot

NINE = 1772355600  # 2026-03-01T09:00:00Z

WINDOW_CSV = (
    "queueId,queueName,mediaType,timeInterval,totalContacts,abandonmentRate,slaBreachRate,answeredContacts,"
    "abandonedContacts,slaBreaches,abandonmentZScore,slaBreachZScore,isAnomaly,serviceLevelContacts,offeredZScore\r\n"
    "q1,Sales,voice,2026-03-01T09:00:00.000Z/PT15M,12,25.0,50.0,9,3,6,4.5,1.25,true,12,\r\n"
    "q1,Sales,chat,2026-03-01T09:00:00.000Z/PT15M,0,,,0,0,0,,,,0,\r\n"
    "q2,Help & more,voice,2026-03-01T09:00:00.000Z/PT15M,10,10.0,20.0,9,1,2,-0.5,0.1,false,10,\r\n"
)


def window(snapshot: Snapshot, rows: RowFilter = ALL, *, bom: bool = False) -> str:
    return CsvWriter().window(Shown(snapshot, snapshot.fresh(NOW)), rows, bom=bom).decode()


def history(*buckets: HistoryBucket, rows: RowFilter = ALL, bom: bool = False) -> str:
    return b"".join(history_chunks(buckets, rows, bom=bom)).decode()


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_window_is_exactly_this() -> None:
    assert window(snapshot()) == WINDOW_CSV


def test_a_closed_bucket_is_exactly_this() -> None:
    lines = history(history_bucket(NINE - 900)).split("\r\n")
    assert lines[1:] == [
        "q1,Sales,voice,2026-03-01T08:45:00.000Z/PT15M,12,25.0,50.0,9,3,6,4.5,1.25,true,12,",
        "q1,Sales,chat,2026-03-01T08:45:00.000Z/PT15M,0,,,0,0,0,,,,0,",
        "q2,Help & more,voice,2026-03-01T08:45:00.000Z/PT15M,10,10.0,22.2222,9,1,2,-0.5,0.1,false,9,",
        "",
    ]


def test_a_contract_without_answers_and_service_level_leaves_cells_empty_and_breaches_by_offered() -> None:
    counts = {
        name: values
        for name, values in history_bucket(0).counts.items()
        if name in ("offered", "abandoned", "sla_breached")
    }
    row = read(history(history_bucket(NINE, counts=counts, z={}, anomaly={})))[2]
    assert (row["answeredContacts"], row["serviceLevelContacts"], row["abandonmentZScore"]) == ("", "", "")
    assert (row["slaBreachRate"], row["isAnomaly"]) == ("20.0", "")


@pytest.mark.parametrize(
    ("offered", "abandoned", "rate"), [(0, 0, ""), (1, 0, "0.0"), (1, 1, "100.0"), (3, 1, "33.3333"), (7, 2, "28.5714")]
)
def test_rates_of_a_closed_bucket_have_four_decimals_and_none_without_contacts(
    offered: int, abandoned: int, rate: str
) -> None:
    counts = {"offered": offered, "abandoned": abandoned, "sla_breached": abandoned}
    columns = {name: np.full(3, count, dtype=np.int64) for name, count in counts.items()}
    row = read(history(history_bucket(NINE, counts=columns)))[0]
    assert (row["abandonmentRate"], row["slaBreachRate"]) == (rate, rate)


def test_counts_without_a_value_are_empty_and_those_with_one_keep_no_fraction() -> None:
    columns = {"offered": col(12, NAN, 1e300), "abandoned": col(NAN, 3, 4)}
    rows = read(window(snapshot(columns=columns, scores=None)))
    assert [row["totalContacts"] for row in rows] == ["12", "", "1e+300"]
    assert [row["abandonedContacts"] for row in rows] == ["", "3", "4"]


@pytest.mark.parametrize("flags", [(1.0, NAN, "true"), (NAN, 1.0, "true"), (0.0, NAN, "false"), (NAN, NAN, "")])
def test_a_row_is_an_anomaly_if_any_metric_is(flags: tuple[float, float, str]) -> None:
    first, second, told = flags
    metrics = {
        metric: score(*[[NAN] * 3] * 2, [flag] * 3, *[[NAN] * 3] * 3)
        for metric, flag in ((ABANDONMENT, first), (SLA_BREACH, second))
    }
    assert {row["isAnomaly"] for row in read(window(snapshot(scores=Scores("zscore", 2, metrics))))} == {told}


def test_a_volume_that_raises_the_flag_shows_its_z() -> None:
    volume = score([12, 0, 10], [4.5, NAN, 0.25], [1, NAN, 0], [3, NAN, 9], [2, NAN, 4], [7, NAN, 9])
    shown = read(window(snapshot(scores=Scores("seasonal", 3, {OFFERED: volume}))))
    assert [(row["isAnomaly"], row["offeredZScore"]) for row in shown] == [("true", "4.5"), ("", ""), ("false", "0.25")]
    z, flags = {OFFERED: np.array([4.5, NAN, 0.25])}, {OFFERED: np.array([1, NAN, 0])}
    closed = read(history(history_bucket(NINE, z=z, anomaly=flags)))
    assert [row["offeredZScore"] for row in closed] == ["4.5", "", "0.25"]


def test_a_withdrawn_window_leaves_the_header() -> None:
    assert CsvWriter().window(Shown(snapshot(), frozenset())) == HEADER


def test_the_byte_order_mark_is_there_on_request() -> None:
    assert window(snapshot(), bom=True) == "\ufeff" + WINDOW_CSV
    assert history(bom=True).encode() == b"\xef\xbb\xbf" + HEADER


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Sales", "Sales"),
        ("", ""),
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", '"\'\r=1"'),
        ("\n=1", '"\'\n=1"'),
        ("'=1", "'=1"),
        ("a=1", "a=1"),
        ('=HYPERLINK("http://x","y")', '"\'=HYPERLINK(""http://x"",""y"")"'),
        ("a,b", '"a,b"'),
        ('say "hi"', '"say ""hi"""'),
        ("two\nlines", '"two\nlines"'),
        ("100%b", "100%b"),
        ("a\ud800b", "a?b"),
    ],
)
def test_text_cells(text: str, written: str) -> None:
    assert cell(text).decode() == written


def test_negative_numbers_stay_numbers() -> None:
    assert read(window(snapshot()))[2]["abandonmentZScore"] == "-0.5"


names = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from("=+-@\t\r\n\",;%bs'"))


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(names, names, names), min_size=1, max_size=5))
def test_hostile_names_come_back_defused_and_otherwise_as_they_were(rows: list[tuple[str, str, str]]) -> None:
    named = Rows(tuple(SeriesKey(queue, media) for queue, _, media in rows), tuple(name for _, name, _ in rows))
    ones = np.ones(len(rows), dtype=np.int64)
    counts = dict.fromkeys(("offered", "abandoned", "sla_breached"), ones)
    bucket = history_bucket(NINE, rows=named, counts=counts, z={}, anomaly={})
    texts = (
        history(bucket),
        window(snapshot(rows=named, columns={"offered": ones.astype(float)}, scores=None)),
    )
    expected = [tuple("'" + text if text[:1] in tuple("=+-@\t\r\n") else text for text in row) for row in rows]
    for text in texts:
        assert [(row["queueId"], row["queueName"], row["mediaType"]) for row in read(text)] == expected
        assert {row["totalContacts"] for row in read(text)} == {"1"}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (ALL, ["q1 voice", "q1 chat", "q2 voice"]),
        (RowFilter(queues=("SAL*",)), ["q1 voice", "q1 chat"]),
        (RowFilter(queues=("q2",), media_types=("voice",)), ["q2 voice"]),
        (RowFilter(anomalous=True), ["q1 voice"]),
        (RowFilter(queues=("nobody",)), []),
    ],
)
def test_filters_hold_for_both_exports(rows: RowFilter, found: list[str]) -> None:
    for text in (window(snapshot(), rows), history(history_bucket(NINE), rows=rows)):
        assert [f"{row['queueId']} {row['mediaType']}" for row in read(text)] == found


def test_anomalous_history_is_judged_bucket_by_bucket_after_the_other_filters() -> None:
    calm = history_bucket(NINE, anomaly={ABANDONMENT: col(0, 0, 0)})
    late = history_bucket(NINE + 900, anomaly={ABANDONMENT: col(1, 1, 1), SLA_BREACH: col(0, 0, NAN)})
    rows = read(history(calm, late, rows=RowFilter(media_types=("voice",), anomalous=True)))
    assert [(row["queueId"], row["timeInterval"][11:16]) for row in rows] == [("q1", "09:15"), ("q2", "09:15")]


def test_rows_may_change_from_bucket_to_bucket() -> None:
    other = Rows((*ROWS.keys[:2], SeriesKey("q9", "voice")), ("Sales", "Sales", "New"))
    rows = read(history(history_bucket(NINE), history_bucket(NINE + 900, rows=other)))
    assert [row["queueName"] for row in rows] == ["Sales", "Sales", "Help & more", "Sales", "Sales", "New"]


def test_the_header_leaves_before_any_bucket_is_read_and_buckets_are_read_one_by_one() -> None:
    taken = 0

    def buckets() -> Iterator[HistoryBucket]:
        nonlocal taken
        for number in range(8000):
            taken += 1
            yield history_bucket(NINE + 900 * number)

    chunks = history_chunks(buckets())
    assert next(chunks) == HEADER
    assert taken == 0
    first = next(chunks)
    assert CHUNK_BYTES <= len(first) < CHUNK_BYTES + 1000
    assert first.endswith(b"\r\n")
    assert taken < 5000
    rest = b"".join(chunks)
    assert len(read((HEADER + first + rest).decode())) == 24000


def test_more_rows_than_a_slice_stay_in_order() -> None:
    count = 5000
    rows = Rows(tuple(SeriesKey(f"q{n}", "") for n in range(count)), ("x",) * count)
    offered = np.arange(count)
    bucket = history_bucket(
        NINE, rows=rows, counts=dict.fromkeys(("offered", "abandoned", "sla_breached"), offered), z={}, anomaly={}
    )
    found = read(history(bucket))
    assert [row["totalContacts"] for row in found] == [str(n) for n in range(count)]
    assert {tuple(row) for row in found} == {COLUMNS}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(900, "PT15M"), (1800, "PT30M"), (3600, "PT1H"), (14400, "PT4H"), (86400, "PT1D"), (90, "PT90S")],
)
def test_buckets_are_spelt_as_in_the_settings(seconds: int, text: str) -> None:
    assert bucket_text(seconds) == text
