"""From a CSV of past buckets to alarms, a sheet of scores and a chart."""

from __future__ import annotations

import csv
import io
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from datetime import UTC, datetime

import numpy as np
import pytest

from exporter.analysis.backtest import (
    BacktestError,
    BacktestOptions,
    ScoreSheet,
    Track,
    describe,
    read_past,
    run_backtest,
    write_chart,
)
from exporter.analysis.backtest.chart import RED, drawing
from exporter.analysis.backtest.font import dots
from exporter.analysis.backtest.running import counted_buckets
from exporter.analysis.backtest.shapes import Dot
from exporter.analysis.scoring import ScoreOptions
from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH
from tests.analysis.traffic import MONDAY, weeks

RATIOS = (ABANDONMENT, SLA_BREACH)
SHORT = "queue,t,offered,abandoned,sla_breach\n"
EXPORT = (
    "queueId,queueName,mediaType,timeInterval,totalContacts,abandonmentRate,slaBreachRate,answeredContacts,"
    "abandonedContacts,slaBreaches,abandonmentZScore,slaBreachZScore,isAnomaly,serviceLevelContacts\n"
)


def file_of(tmp_path, text, name="past.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def short_file(tmp_path, offered, abandoned):
    rows = [
        f"q{series},{MONDAY + row * 3600},{offered[row, series]},{abandoned[row, series]},0"
        for row, series in np.argwhere(offered > 0)
    ]
    return file_of(tmp_path, SHORT + "\n".join(rows))


def hourly(counts):
    return counts.reshape(-1, 4, counts.shape[1]).sum(1)


def test_short_rows_in_any_order_and_absent_rows_are_true_zeros(tmp_path):
    past = read_past(file_of(tmp_path, SHORT + "B,2700,4,1,2\nA,900,10,3,5\n\nA,1800,7,0,0\n"))
    assert [key.queue_id for key in past.keys] == ["B", "A"]
    assert past.history.bucket_seconds == 900
    assert past.history.starts.tolist() == [900, 1800, 2700]
    assert past.history.counts["offered"].tolist() == [[0, 10], [0, 7], [4, 0]]
    assert past.history.counts["sla_breached"].tolist() == [[0, 5], [0, 0], [2, 0]]
    np.testing.assert_array_equal(past.history.counts["sla_contacts"], past.history.counts["offered"])


def test_columns_of_the_export_with_bom_names_and_media(tmp_path):
    row = 'q-1,"Sales, north",voice,2026-03-01T09:00:00.000Z/PT30M,10,20.0000,30.0000,8,2,3,,,,9\n'
    past = read_past(file_of(tmp_path, "\ufeff" + EXPORT + row))
    assert past.keys == (("q-1", "voice"),)
    assert past.names == ("Sales, north",)
    assert past.history.bucket_seconds == 1800
    assert past.history.starts.tolist() == [int(datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp())]
    found = {name: int(column[0, 0]) for name, column in past.history.counts.items()}
    assert found == {"offered": 10, "abandoned": 2, "sla_breached": 3, "sla_contacts": 9}


def test_nights_are_zeros_and_lost_months_are_unknown(tmp_path):
    day, month = 86_400, 30 * 86_400
    past = read_past(file_of(tmp_path, SHORT + f"A,0,1,0,0\nA,{day},1,0,0\nA,{day + month},1,0,0\n"))
    assert past.history.bucket_seconds == day
    assert past.history.starts.tolist() == [0, day, day + month]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: the file is empty"),
        (SHORT, "holds no bucket"),
        ("queue,t,offered\nA,900,1\n", "line 1: no column abandoned, sla_breach"),
        ("queueId,timeInterval\n", "line 1: no column totalContacts, abandonedContacts, slaBreaches"),
        (SHORT + "A,900,1,0,0\nA,soon,1,0,0\n", "line 3: t is 'soon': write epoch seconds or ISO 8601"),
        (SHORT + "A,900,x,0,0\n", "line 2: offered is 'x': write a whole number of contacts, 0 or more"),
        (SHORT + "A,900,1,-1,0\n", "line 2: abandoned is '-1'"),
        (SHORT + "A,900,1,nan,0\n", "line 2: abandoned is 'nan'"),
        (SHORT + "A,900,1,inf,0\n", "line 2: abandoned is 'inf'"),
        (SHORT + "A,900,1.5,0,0\n", "line 2: offered is '1.5'"),
        (SHORT + "A,900,1,0\n", "line 2: 4 cells"),
        (SHORT + ",900,1,0,0\n", "line 2: the queue is empty"),
        (SHORT + "A,900,1,0,0\nB,900,1,0,0\nA,900,2,0,0\n", "line 4: the same queue, media type and bucket"),
        (SHORT + "A,900,1,0,0\nA,1000,1,0,0\n", "buckets begin 100 s apart"),
        (EXPORT + "q,n,v,2026-03-01T09:00:00Z/PT5M,1,,,0,0,0,,,,\n", "line 2: timeInterval is .*, a length other than"),
        (
            EXPORT + "q,n,v,2026-03-01T09:00:00Z/PT15M,1,,,0,0,0,,,,\nq,n,v,2026-03-01T10:00:00Z/PT1H,1,,,0,0,0,,,,\n",
            "line 3: a bucket of another length",
        ),
    ],
)
def test_a_fault_names_its_line_and_what_to_write(tmp_path, text, complaint):
    with pytest.raises(BacktestError, match=complaint):
        read_past(file_of(tmp_path, text))


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(BacktestError, match="No such file"):
        read_past(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"queue,\xff\xfe")
    with pytest.raises(BacktestError, match="no UTF-8 text"):
        read_past(tmp_path / "bad.csv")


@pytest.fixture(scope="module")
def surge(tmp_path_factory):
    """Eight days of two queues; on the last noon, half of the callers of the second give up for two hours."""
    offered, abandoned = (hourly(each) for each in weeks(1, [2.0, 60.0], days=8))
    abandoned[7 * 24 + 12 : 7 * 24 + 14, 1] = offered[7 * 24 + 12 : 7 * 24 + 14, 1] // 2
    return read_past(short_file(tmp_path_factory.mktemp("surge"), offered, abandoned))


def test_every_method_lists_the_surge_and_seasonal_lists_little_else(surge):
    told = []
    options = BacktestOptions(methods=("seasonal", "robust", "zscore"))
    report = run_backtest(surge, options, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3 * len(surge.history.starts),) * 2
    assert report.counted_seconds == 86_400
    noon = {MONDAY + (7 * 24 + 12 + k) * 3600 for k in range(2)}
    for summary in report.methods:
        assert {each.start_seconds for each in summary.flagged if each.key.queue_id == "q1"} & noon
    seasonal = report.methods[0]
    abandonment = [each for each in seasonal.flagged if each.metric == ABANDONMENT]
    assert {each.start_seconds for each in abandonment} == noon
    queue = next(each for each in seasonal.queues if each.key.queue_id == "q1" and each.metric == ABANDONMENT)
    assert (queue.flagged, queue.alarms[3.0], queue.scored) == (2, 1, 24)  # two buckets are one alarm
    text = describe(report)
    assert "method seasonal, threshold 3" in text
    assert "2026-01-12 12:00  q1  abandonment_ratio" in text


def test_alarms_fall_as_the_threshold_rises_and_the_own_threshold_is_among_them(surge):
    options = BacktestOptions(methods=("zscore",), scores=ScoreOptions(threshold=2.5))
    summary = run_backtest(surge, options).methods[0]
    counts = [summary.alarms(threshold) for threshold in (2.0, 2.5, 3.0, 4.0, 5.0)]
    assert counts == sorted(counts, reverse=True)
    assert summary.threshold == 2.5


def test_the_sheet_holds_every_score_with_what_explains_it_and_no_formula(surge, tmp_path):
    past = read_past(file_of(tmp_path, SHORT + "\n".join(f"=1+1,{900 * k},9,{k % 3},1" for k in range(40))))
    text = io.StringIO()
    run_backtest(past, BacktestOptions(methods=("zscore",)), sinks=[ScoreSheet.to(text, past)])
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert rows[0]["queue"] == "'=1+1"
    assert rows[0]["t"] == "1970-01-01T00:45:00Z"  # three samples lie before
    last = [row for row in rows if row["metric"] == ABANDONMENT][-1]
    ratios = np.array([k % 3 for k in range(39)]) / 9
    assert float(last["z"]) == pytest.approx((0 - ratios.mean()) / ratios.std(), abs=1e-9)
    assert (last["contacts"], last["events"], last["samples"]) == ("9", "0", "39.0")


def test_after_a_time_that_was_not_recorded_a_baseline_must_grow_again_before_anything_counts(tmp_path):
    day = 86_400
    days = [*range(10), *range(40, 50)]
    past = read_past(file_of(tmp_path, SHORT + "".join(f"A,{MONDAY + k * day},9,1,1\n" for k in days)))
    counted = counted_buckets(past, 7 * day)
    assert [days[row] for row in np.flatnonzero(counted)] == [7, 8, 9, 47, 48, 49]
    assert counted_buckets(past, 20 * day).all()  # the file has no whole baseline: better some than none


def test_a_baseline_reaches_back_from_the_end_of_the_bucket_as_in_operation(tmp_path):
    rates = [0.5, *[0.1] * 6, 0.1]
    text = SHORT + "".join(f"A,{MONDAY + k * 86_400},100,{round(100 * rate)},0\n" for k, rate in enumerate(rates))
    past, sheet = read_past(file_of(tmp_path, text)), io.StringIO()
    run_backtest(past, BacktestOptions(methods=("zscore",)), sinks=[ScoreSheet.to(sheet, past)])
    last = [row for row in csv.DictReader(io.StringIO(sheet.getvalue())) if row["metric"] == ABANDONMENT][-1]
    assert (last["samples"], float(last["mean"])) == ("6.0", pytest.approx(0.1))


def test_methods_are_compared_by_alarms_surprises_and_agreement(surge):
    report = run_backtest(surge, BacktestOptions(methods=("seasonal", "zscore")))
    seasonal, classic = report.methods
    assert seasonal.surprised[ABANDONMENT] == pytest.approx(2 / 47)
    both = set(seasonal.places[ABANDONMENT]) & set(classic.places[ABANDONMENT])
    alone = {method.method: sum(len(method.places[each]) for each in RATIOS) for method in report.methods}
    text = describe(report)
    assert both
    assert f"{len(both)} buckets flagged by both, {alone['seasonal'] - len(both)} by seasonal alone" in text
    assert "|z| > 3 in abandonment_ratio 4.26%" in text
    assert "  seasonal (threshold 3)" in text


def told_of(tmp_path, quarters, queues=("A",), media_types=("voice",), methods=("seasonal",)):
    """The text about so many quarter hours; in the sixth, and in every 96th after it, half of the contacts give up."""
    rows = [
        f"{queue},{media_type},{MONDAY + 900 * k},60,{30 if k % 96 == 5 else k % 3},9\n"
        for queue in queues
        for media_type in media_types
        for k in range(quarters)
    ]
    past = read_past(file_of(tmp_path, "queue,media_type,t,offered,abandoned,sla_breach\n" + "".join(rows)))
    return describe(run_backtest(past, BacktestOptions(methods=methods))).splitlines()


@pytest.mark.parametrize(
    ("quarters", "span", "alarms", "weekly"),
    [
        (6, "90 minutes", "1", False),
        (96, "24 hours", "1", False),
        (191, "47.75 hours", "2", False),
        (192, "2.0 days", "7.00", True),
        (14 * 96, "7.0 days", "7.00", True),
        (28 * 96, "3.0 weeks", "7.00", True),
    ],
)
def test_alarms_a_week_are_told_where_two_days_were_counted_and_else_those_that_there_were(
    tmp_path, quarters, span, alarms, weekly
):
    head, *lines = told_of(tmp_path, quarters, methods=("zscore",))
    assert f"alarms counted over {span}, each bucket" in head
    assert [line.split("  ")[1] for line in lines if line.startswith("  alarms ")] == [
        "alarms per week" if weekly else f"alarms in {span}"
    ]
    assert next(line for line in lines if "  A (voice)" in line and ABANDONMENT in line).split()[-1] == alarms
    foot = "a queue and week, all metrics" if weekly else "all queues and metrics"
    assert next(line for line in lines if foot in line).split()[-1] == alarms


@pytest.mark.parametrize(
    ("quarters", "head", "own"), [(96, "alarms in 24 hours", "4"), (192, "alarms a queue", "14.00")]
)
def test_the_comparison_counts_as_the_methods_do(tmp_path, quarters, head, own):
    lines = told_of(tmp_path, quarters, ("A", "B"), ("voice", "chat"), ("zscore", "robust"))
    place = next(k for k, line in enumerate(lines) if line.startswith(f"  {head}") and "own" in line)
    assert lines[place + 1].split()[3] == own


def test_queues_are_counted_as_queues_and_their_media_types_beside_them(tmp_path):
    assert told_of(tmp_path, 2)[0].startswith("1 queue, 2 buckets of 15 minutes")
    assert told_of(tmp_path, 1)[0].startswith("1 queue, 1 bucket of 15 minutes")
    assert told_of(tmp_path, 2, media_types=("voice", "chat", "email"))[0].startswith("1 queue with 3 media types, 2 b")
    two = told_of(tmp_path, 2, ("A", "B"), ("voice", "chat"))
    assert two[0].startswith("2 queues with 4 pairs of queue and media type, 2 buckets")
    assert told_of(tmp_path, 2, ("A", "B"))[0].startswith("2 queues, 2 buckets")


def test_what_is_not_listed_is_called_what_it_is(tmp_path):
    names = [f"q{k}" for k in range(105)]
    assert "  … and 5 queues with fewer alarms" in told_of(tmp_path, 6, names)
    both = told_of(tmp_path, 6, names[:55], ("voice", "chat"))
    assert "  … and 10 pairs of queue and media type with fewer alarms" in both


def test_of_many_flagged_buckets_the_farthest_out_are_kept_and_all_are_counted(surge):
    loud = ScoreOptions(threshold=0.5)
    whole, few = (
        run_backtest(surge, BacktestOptions(methods=("zscore",), scores=loud, kept=kept)).methods[0]
        for kept in (10_000, 3)
    )
    assert whole.flags == few.flags == len(whole.flagged) > 12
    assert sorted(abs(each.z) for each in few.flagged) == sorted(abs(each.z) for each in whole.flagged)[-3:]


def test_one_queue_alone_has_the_scores_that_it_has_among_others(surge):
    sheets = []
    for past in (surge, surge.of_queue("q1")):
        text = io.StringIO()
        run_backtest(past, BacktestOptions(), sinks=[ScoreSheet.to(text, past)])
        sheets.append([row for row in csv.DictReader(io.StringIO(text.getvalue())) if row["queue"] == "q1"])
    assert [(row["t"], row["metric"], row["anomaly"]) for row in sheets[0]] == [
        (row["t"], row["metric"], row["anomaly"]) for row in sheets[1]
    ]
    np.testing.assert_allclose(*([float(row["z"]) for row in rows] for rows in sheets), atol=1e-5)


def test_a_picture_has_pixels_too_without_any_library(surge, tmp_path):
    track = Track.of(surge, 1, "seasonal", 3.0)
    run_backtest(surge, BacktestOptions(), sinks=[track])
    write_chart(track, tmp_path / "q1.png")
    pixels = pixels_of((tmp_path / "q1.png").read_bytes())
    drawn = drawing(track)
    assert pixels.shape == (2 * drawn.height, 2 * drawn.width, 3)
    red = [shape for shape in drawn.shapes if isinstance(shape, Dot) and shape.colour == RED]
    assert red
    for dot in red:
        assert pixels[round(2 * dot.y) - 1, round(2 * dot.x)].tolist() == [0xCF, 0x11, 0x24]


def pixels_of(data):
    """The pixels of a PNG without filters; every checksum is held against its part."""
    parts, place = {}, 8
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0]
        parts[kind], place = body, place + 12 + size
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


def test_letters_are_dots():
    shown = ["".join(" #"[dot] for dot in row) for row in dots("1").astype(int)]
    assert shown == ["  #   ", " ##   ", "  #   ", "  #   ", "  #   ", "  #   ", " ###  ", "      "]
    np.testing.assert_array_equal(dots("é"), dots("?"))
    assert dots("").shape == (8, 0)


@pytest.mark.parametrize("ending", ["html", "svg"])
def test_a_chart_shows_values_band_and_flags(surge, tmp_path, ending):
    track = Track.of(surge, 1, "seasonal", 3.0)
    run_backtest(surge, BacktestOptions(), sinks=[track])
    write_chart(track, tmp_path / f"q1.{ending}")
    drawn = (tmp_path / f"q1.{ending}").read_text(encoding="utf-8")
    picture = ElementTree.fromstring(  # noqa: S314 - our own file
        drawn[drawn.index("<svg") : drawn.index("</svg>") + 6]
    )
    shapes = [each.tag.rpartition("}")[2] for each in picture.iter()]
    assert "polygon" in shapes
    assert len(track.panels[OFFERED].starts) == 8 * 24
    red = [each for each in picture.iter() if each.get("fill") == "#cf1124"]
    assert len(red) >= 2


def test_a_chart_needs_a_known_queue_and_form(surge, tmp_path):
    with pytest.raises(BacktestError, match="no queue 'Sales' in the file; it holds q0, q1"):
        surge.of_queue("Sales")
    with pytest.raises(BacktestError, match=r"written as \.html or \.svg or \.png"):
        write_chart(Track.of(surge, 1, "seasonal", 3.0), tmp_path / "q1.gif")
