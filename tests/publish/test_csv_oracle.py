"""The CSV of closed buckets against a plain way of writing it: a row at a time, a cell at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, HistoryBucket, Rows, Scores, SeriesKey
from exporter.publish.csv_cells import WINDOW_COLUMNS
from exporter.publish.csv_export import BOM, HEADER, LINES_AT_A_TIME, CsvWriter, history_chunks
from exporter.publish.filters import ALL, RowFilter
from exporter.publish.shown import Shown
from tests.publish.samples import NOW, score, snapshot

NINE = 1772355600  # 2026-03-01T09:00:00Z
METRICS = (ABANDONMENT, SLA_BREACH, OFFERED)
COUNTS = ("offered", "answered", "abandoned", "flow_out", "sla_breached", "sla_contacts")
QUEUES = LINES_AT_A_TIME + 300  # more than one slice
NAMES = ("Sales", "=1+1", 'say "hi", null', "100%b", "Köln\r\n", "],[", "")
ROWS = Rows(
    tuple(SeriesKey(f"q{n}", "voice" if n % 3 else "chat") for n in range(QUEUES)),
    tuple(NAMES[n % len(NAMES)] for n in range(QUEUES)),
)


def text(value: Any) -> str:
    """A number as JSON has it; a whole count has no fraction, what is not finite is nothing."""
    if value is None or not np.isfinite(value):
        return ""
    return str(value) if isinstance(value, int) else orjson.dumps(float(value)).decode()


def named(text: str) -> str:
    text = "'" + text if text[:1] in tuple("=+-@\t\r\n") else text
    return '"' + text.replace('"', '""') + '"' if any(each in text for each in '",\r\n') else text


def rate(part: int, whole: int) -> str:
    return text(np.round(part / whole * 100.0, 4)) if whole > 0 else ""


def flag(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return "" if not known else "true" if 1.0 in known else "false"


def line(bucket: HistoryBucket, row: int, when: str) -> str:
    counts = {name: int(column[row]) for name, column in bucket.counts.items()}
    service_level = counts.get("sla_contacts", counts["offered"])
    z = [text(bucket.z[metric][row]) if metric in bucket.z else "" for metric in METRICS]
    cells = [
        *map(named, (bucket.rows.keys[row].queue_id, bucket.rows.names[row], bucket.rows.keys[row].media_type)),
        when,
        text(counts["offered"]),
        rate(counts["abandoned"], counts["offered"]),
        rate(counts["sla_breached"], service_level),
        text(counts.get("answered")),
        text(counts["abandoned"]),
        text(counts["sla_breached"]),
        *z[:2],
        flag([column[row] for column in bucket.anomaly.values()]),
        text(counts.get("sla_contacts")),
        z[2],
    ]
    return ",".join(cells) + "\r\n"


def wanted(bucket: HistoryBucket, row: int, rows: RowFilter) -> bool:
    """For the filters of these tests: a media type, and anomalies."""
    if bucket.lost is not None and bucket.lost[row]:
        return False
    if rows.media_types and bucket.rows.keys[row].media_type not in rows.media_types:
        return False
    return not rows.anomalous or any(column[row] == 1.0 for column in bucket.anomaly.values())


def plainly(buckets: Sequence[HistoryBucket], rows: RowFilter) -> bytes:
    found = [HEADER.decode()]
    for bucket in buckets:
        minute = (bucket.start_seconds - NINE) // 60
        when = f"2026-03-01T{9 + minute // 60:02}:{minute % 60:02}:00.000Z/PT15M"
        found += [line(bucket, row, when) for row in range(len(bucket.rows.keys)) if wanted(bucket, row, rows)]
    return "".join(found).encode()


@dataclass(frozen=True)
class Case:
    """What the buckets are made of."""

    most: int = 12
    without: tuple[str, ...] = ()
    unscored_share: float = 0.0
    metrics: tuple[str, ...] = METRICS
    great_share: float = 0.0  # of the counts, beyond what is kept
    lost: bool = False
    rows: RowFilter = ALL


CASES = {
    "few different counts": Case(),
    "hardly two rows alike": Case(most=4_000),
    "counts of a day": Case(most=3_000_000_000),
    "some alike, most not": Case(most=30),
    "most alike, a few very great": Case(most=3, great_share=0.05),
    "no contacts": Case(most=1),
    "some scores": Case(unscored_share=0.4),
    "no score of any row": Case(unscored_share=1.0),
    "no scores": Case(metrics=()),
    "one metric scored": Case(metrics=(OFFERED,)),
    "a contract without answers and service level": Case(without=("answered", "sla_contacts")),
    "a contract without answers, many counts": Case(most=4_000, without=("answered",)),
    "lost rows": Case(lost=True),
    "one media type": Case(rows=RowFilter(media_types=("chat",))),
    "anomalies": Case(unscored_share=0.2, rows=RowFilter(anomalous=True)),
    "anomalies among what is not lost": Case(lost=True, rows=RowFilter(media_types=("voice",), anomalous=True)),
}


def buckets_of(case: Case, rng: Generator, number: int = 4) -> list[HistoryBucket]:
    return [_bucket(case, rng, NINE + 900 * turn) for turn in range(number)]


def _bucket(case: Case, rng: Generator, start: int) -> HistoryBucket:
    offered = rng.integers(0, case.most, QUEUES)
    offered = np.where(rng.random(QUEUES) < case.great_share, rng.integers(4_000, 9_000, QUEUES), offered)
    counts = {name: rng.integers(0, offered + 1) for name in COUNTS if name not in case.without} | {"offered": offered}
    z = {metric: _scores(rng, case.unscored_share) for metric in case.metrics}
    anomaly = {metric: np.where(np.isnan(each), np.nan, each > 1.0) for metric, each in z.items()}
    lost = rng.random(QUEUES) < 0.1 if case.lost else None
    return HistoryBucket(start, 900, ROWS, counts, z, anomaly, lost)


def _scores(rng: Generator, unscored_share: float) -> NDArray[np.float64]:
    """As history keeps them, and any other number that there is."""
    z = rng.normal(size=QUEUES).astype(np.float32).astype(np.float64)
    strange = rng.integers(0, 1 << 64, QUEUES // 4, np.uint64).view(np.float64)
    z[: len(strange)] = strange
    z[-6:] = (0.0, -0.0, 1.0, -3.0, 1e300, np.inf)
    return np.where(rng.random(QUEUES) < unscored_share, np.nan, z)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_byte_is_that_of_the_plain_way(case: Case) -> None:
    buckets = buckets_of(case, np.random.default_rng(7))
    expected = plainly(buckets, case.rows)
    assert expected.count(b"\n") > 40
    assert b"".join(history_chunks(buckets, case.rows)) == expected
    assert b"".join(history_chunks(buckets, case.rows, bom=True)) == BOM + expected


def test_buckets_of_all_kinds_may_follow_each_other() -> None:
    """What is kept of one bucket must not show in another."""
    rng = np.random.default_rng(8)
    buckets = [_bucket(case, rng, NINE + 900 * turn) for turn, case in enumerate(CASES.values())]
    buckets += [_bucket(case, rng, NINE + 900 * (len(buckets) + turn)) for turn, case in enumerate(CASES.values())]
    assert b"".join(history_chunks(buckets)) == plainly(buckets, ALL)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"sla_breached": 1, "sla_contacts": 0}, {"sla_breached": 0, "sla_contacts": 4096}),
        ({"sla_breached": 1, "sla_contacts": 4094}, {"sla_breached": 1, "sla_contacts": 8190}),
        ({"abandoned": 0, "sla_breached": 4095}, {"abandoned": 1, "sla_breached": 0}),
        ({"offered": 9, "sla_contacts": 4095}, {"offered": 9}),
        ({"offered": 9}, {"offered": 9, "sla_contacts": 4095}),
    ],
)
def test_counts_about_the_greatest_that_is_kept_are_not_taken_for_others(
    first: dict[str, int], second: dict[str, int]
) -> None:
    buckets = []
    for turn, told in enumerate([first] * 4 + [second] * 4 + [first]):
        values = {"offered": 0, "abandoned": 0, "sla_breached": 0} | told
        counts = {name: np.full(QUEUES, value, np.int64) for name, value in values.items()}
        buckets.append(HistoryBucket(NINE + 900 * turn, 900, ROWS, counts, {}, {}))
    assert b"".join(history_chunks(buckets)) == plainly(buckets, ALL)


def test_the_window_is_written_as_a_bucket_with_the_same_values() -> None:
    """Its columns are floats, with ratios of their own."""
    rng = np.random.default_rng(9)
    (bucket,) = buckets_of(Case(unscored_share=0.3), rng, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = {
            "abandonment_ratio": bucket.counts["abandoned"] / bucket.counts["offered"],
            "sla_breach_ratio": bucket.counts["sla_breached"] / bucket.counts["sla_contacts"],
        }
    ratios["sla_breach_ratio"][bucket.counts["sla_contacts"] == 0] = np.nan
    columns = {name: column.astype(np.float64) for name, column in bucket.counts.items()} | ratios
    nothing = [np.nan] * QUEUES
    scores = {
        metric: score(nothing, bucket.z[metric], bucket.anomaly[metric], nothing, nothing, nothing)
        for metric in METRICS
    }
    told = snapshot(rows=ROWS, columns=columns, scores=Scores("zscore", 2.0, scores))
    assert set(WINDOW_COLUMNS) <= columns.keys()
    assert CsvWriter().window(Shown(told, told.fresh(NOW))) == plainly([bucket], ALL)
