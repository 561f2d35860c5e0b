"""Files of past buckets as people have them: what is understood, and what is refused with what to do."""

from __future__ import annotations

import gzip
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.analysis.backtest import BacktestError, BacktestOptions, read_past, run_backtest
from exporter.analysis.backtest import reading as reading_module
from exporter.analysis.backtest.room import free_memory, require_room
from exporter.models import OFFERED

SHORT = "queue,t,offered,abandoned,sla_breach\n"
SEED = "queueId,queueName,mediaType,timeInterval,totalContacts,abandonmentRate,slaBreachRate\n"
EXPORT = (
    "queueId,queueName,mediaType,timeInterval,totalContacts,abandonmentRate,slaBreachRate,answeredContacts,"
    "abandonedContacts,slaBreaches,abandonmentZScore,slaBreachZScore,isAnomaly,serviceLevelContacts\n"
)
NINE = 1_772_355_600  # 2026-03-01T09:00:00Z


def file_of(tmp_path, text, name="past.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def counts_of(past):
    return {name: column.tolist() for name, column in past.history.counts.items()}


@pytest.mark.parametrize(
    "text",
    [
        f"queue;t;offered;abandoned;sla_breach\nA;{NINE};10;3;5\n",
        f"queue\tt\toffered\tabandoned\tsla_breach\r\nA\t{NINE}\t10\t3\t5\r\n",
        f"{SHORT}A,{NINE}000,10,3,5\n",
        f"{SHORT}A,2026-03-01T10:00:00+01:00,10,3,5\n",
        f"{SHORT}A,2026-03-01 09:00,10.0,3,5\n",
        f"sla_breach,offered,queue,more,abandoned,t\n5,10,A,,3,{NINE}\n",
        f"{SHORT}A,{NINE},10,3,5\n,,,,\n\n",
        f"{SHORT}A,{NINE},10,3,5\n{SHORT}A,{NINE + 900},0,0,0\n",
        SEED + "A,,,2026-03-01T09:00:00.000Z/PT15M,10,30.0,50.0\n",
        SEED.replace(",", ";") + "A;;;2026-03-01T09:00:00.000Z/PT15M;10;30,0000;50,0\n",
        EXPORT + "A,A,,2026-03-01T09:00:00.000Z/PT15M,10,30.0,50.0,7,3,5,,,,\n",
    ],
    ids=["semicolons", "tabs", "milliseconds", "offset", "spreadsheet ISO", "any order", "blank rows", "two files",
         "seven columns", "decimal commas", "blank service level"],
)  # fmt: skip
def test_what_people_have_is_understood(tmp_path, text):
    past = read_past(file_of(tmp_path, text))
    assert past.keys == (("A", ""),)
    assert past.history.starts[0] == NINE
    first = {name: column[0] for name, column in counts_of(past).items()}
    assert first == {"offered": [10], "abandoned": [3], "sla_breached": [5], "sla_contacts": [10]}


def test_gzip_is_unpacked(tmp_path):
    past = read_past(file_of(tmp_path, gzip.compress(f"{SHORT}A,{NINE},10,3,5\n".encode()), "past.csv.gz"))
    assert counts_of(past)["abandoned"] == [[3]]


def test_names_that_were_defused_for_spreadsheets_are_themselves_again(tmp_path):
    row = "'=q,'@Social Media,voice,2026-03-01T09:00:00.000Z/PT15M,10,30.0,50.0\n"
    past = read_past(file_of(tmp_path, SEED + row))
    assert (past.keys, past.names) == ((("=q", "voice"),), ("@Social Media",))


def test_rates_that_were_rounded_still_tell_their_contacts(tmp_path):
    rows = [(7, "14.2857", "33.3333"), (3, "33.33", "66.67"), (1000, "0.1", "12.3"), (0, "", "")]
    text = "".join(f"q{k},,,2026-03-01T09:00:00Z/PT15M,{n},{x},{y}\n" for k, (n, x, y) in enumerate(rows))
    counts = counts_of(read_past(file_of(tmp_path, SEED + text)))
    assert counts["abandoned"] == [[1, 1, 1, 0]]
    assert counts["sla_breached"] == [[2, 2, 123, 0]]


UNCLOSED = SHORT + f'A,{NINE},1,0,0\n"' + "x" * 200_000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SEED + "A,,,2026-03-01T09:00:00Z/PT15M,20,0.05,0\n", "line 2: abandonmentRate is '0.05', no whole number of"),
        (SEED + "A,,,2026-03-01T09:00:00Z/PT15M,20,105,0\n", "line 2: abandonmentRate is '105': write a rate in"),
        (SEED + "A,,,2026-03-01T09:00:00Z/PT15M,20,,n/a\n", "line 2: slaBreachRate is 'n/a': write a rate in percent"),
        (SHORT + "A,3/1/2026 9:00,1,0,0\n", "line 2: t is '3/1/2026 9:00', the date of a spreadsheet: write epoch"),
        (SHORT + "A,01.03.2026 09:00,1,0,0\n", "line 2: t is .* the date of a spreadsheet"),
        (SHORT + "A,1.77236E+09,1,0,0\n", "line 2: t is '1.77236E.09', shortened by a spreadsheet: write epoch"),
        (SHORT + "A,-900,1,0,0\n", "line 2: t is '-900'"),
        (SHORT + "A,1900-01-01T00:00:00Z,1,0,0\n", "line 2: t is .*, before 1970 or after 2100"),
        (SHORT + 'A,900,"1,234",0,0\n', "line 2: offered is '1,234': write a whole number of contacts"),
        (SHORT + "A,900,1,0.05,0\n", "line 2: abandoned is '0.05': write a whole number of contacts"),
        (SHORT + 'A,900,1,0,0\n"B\nC",900,1,0,0\nD,900,x,0,0\n', "line 5: offered is 'x'"),
        (SHORT + "A,900,1,0,0\nA,900,1,0\n", "line 3: 4 cells where the header has 5: quote text that holds a comma"),
        ((SHORT + "A,900,1,0,0\nB").encode() + b"\xfcro,900,1,0,0\n", "line 3: not UTF-8 text: save the file as CSV"),
        ((SEED + "A,B").encode() + b"\xfcro,,2026-03-01T09:00:00Z/PT15M,1,0,0\n", "line 2: not UTF-8 text"),
        (SHORT + "A,900,1,\0,0\n", "line 2: "),
        (UNCLOSED, "line 3: field larger than field limit .*: save the file as CSV UTF-8, and close every quote"),
        ("queue,t,offered,abandoned,sla_breach,t\n", "line 1: the column t for the second time"),
        ("\n", "line 1: the file is empty"),
        (b"PK\x03\x04 and so on", "a spreadsheet or an archive: save it as CSV"),
        (b"SQLite format 3\0", "a history file: fetch /export.csv"),
        ("\ufeffqueue".encode("utf-16-le"), "UTF-16 text: save it as CSV UTF-8"),
        (bytes(random.Random(1).randbytes(5000)), "line 1: this is no UTF-8 text"),
        (gzip.compress(SHORT.encode(), mtime=0)[:-9], "end-of-stream|CRC|Compressed"),
        (b"\x1f\x8b nonsense", "past.csv: "),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_line_and_what_to_do(tmp_path, text, complaint):
    with pytest.raises(BacktestError, match=complaint) as refused:
        read_past(file_of(tmp_path, text))
    assert str(refused.value).startswith(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_an_export_tells_zeros_so_that_what_it_leaves_out_is_unknown(tmp_path):
    def text(header, zero):
        rows = [("A", 0, 5), ("B", 0, zero), ("A", 1, 5), ("A", 2, 5), ("B", 2, 7)]  # nothing of B at 1
        return header + "".join(f"{queue},,,{900 * slot},{n},0.0,0.0\n" for queue, slot, n in rows)

    told = read_past(file_of(tmp_path, text(SEED, 0)))
    assert told.history.lost.tolist() == [[False, False], [False, True], [False, False]]
    assert not told.of_queue("A").history.lost.any()
    assert told.of_queue("B").history.lost[:, 0].tolist() == [False, True, False]
    assert read_past(file_of(tmp_path, text(SEED, 3))).history.lost is None  # somebody left the zeros out
    short = SHORT + "A,0,0,0,0\nA,900,1,0,0\nB,900,1,0,0\n"
    assert read_past(file_of(tmp_path, short)).history.lost is None


def test_what_is_unknown_has_no_score(tmp_path):
    rows = [
        f"{queue},,,{3600 * row},{n},0.0,0.0\n"
        for row in range(24 * 6)
        for queue, n in (("A", 50), ("B", 0))
        if queue == "B" or row != 140
    ]
    past, starts = read_past(file_of(tmp_path, SEED + "".join(rows))), []
    options = BacktestOptions()
    run_backtest(past, options, sinks=[lambda name, step: starts.append(step.scores.metrics[OFFERED].z[0])])
    assert [row for row in range(130, 144) if np.isnan(starts[row])] == [140]


def test_days_of_a_local_clock_are_no_hours(tmp_path):
    days = [NINE + 86_400 * day - (3600 if day > 27 else 0) for day in range(40)]
    text = SHORT + "".join(f"A,{start},10,1,1\n" for start in days)
    with pytest.raises(BacktestError, match="days that begin at a local midnight"):
        read_past(file_of(tmp_path, text))


def test_a_fault_in_a_long_file_names_its_own_line(tmp_path):
    rows = [f"A,{900 * row},10,1,1\n" for row in range(45_000)]
    rows[44_321] = "A,39888900,many,1,1\n"
    with pytest.raises(BacktestError, match="line 44323: offered is 'many'"):
        read_past(file_of(tmp_path, SHORT + "".join(rows)))


def test_what_memory_cannot_hold_is_refused_before_it_is_read(tmp_path):
    require_room(10e9, "its rows", free_bytes=11e9)
    with pytest.raises(
        BacktestError, match=r"its rows need about 10\.0 GB of memory and 9\.0 GB are free: export a sh"
    ):
        require_room(10e9, "its rows", free_bytes=9e9)
    free = free_memory()
    assert free is None or free > 1e6
    rows = "".join(f"q{row},{900 * row},1,0,0\n" for row in range(100_000))
    if free is not None and free < 119e9:
        with pytest.raises(BacktestError, match=r"100000 queues in 100000 buckets need about 120\.0 GB of memory"):
            read_past(file_of(tmp_path, SHORT + rows))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_rows_in_any_order_give_the_same_buckets(tmp_path_factory, data):
    cells = data.draw(
        st.dictionaries(
            st.tuples(st.sampled_from(["A", "B é", 'C "x", y']), st.integers(0, 40)),
            st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300)),
            min_size=2,
            max_size=40,
        )
    )
    rows = [
        ",".join(['"' + queue.replace('"', '""') + '"', str(900 * slot), *map(str, counts)]) + "\n"
        for (queue, slot), counts in cells.items()
    ]
    shuffled = data.draw(st.permutations(rows))
    folder = tmp_path_factory.mktemp("rows")
    first, second = (
        read_past(file_of(folder, SHORT + "".join(lines), name))
        for name, lines in (("one.csv", rows), ("two.csv", shuffled))
    )
    np.testing.assert_array_equal(first.history.starts, second.history.starts)
    step = first.history.bucket_seconds
    for (queue, slot), counts in cells.items():
        row = (900 * slot - int(first.history.starts[0])) // step
        for past in (first, second):
            column = [key.queue_id for key in past.keys].index(queue)
            found = tuple(
                int(past.history.counts[name][row, column]) for name in ("offered", "abandoned", "sla_breached")
            )
            assert found == counts
    assert int(first.history.counts["offered"].sum()) == sum(counts[0] for counts in cells.values())


def test_a_chunk_ends_anywhere(tmp_path):
    rows = reading_module.CHUNK_ROWS + 1
    past = read_past(file_of(tmp_path, SHORT + "".join(f"A,{900 * row},{row % 7},0,0\n" for row in range(rows))))
    assert past.history.counts["offered"][:, 0].tolist() == [row % 7 for row in range(rows)]
