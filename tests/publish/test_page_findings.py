"""Which rows the live page puts first, and its sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, Rows, ScoreColumns, Scores, SeriesKey
from exporter.publish.live_findings import (
    FLAGGED,
    METRICS,
    ORDINARY,
    TROUBLE,
    duration_text,
    findings,
    headline,
    percent_text,
    rank,
    sentence,
)
from exporter.publish.shown import Shown
from tests.publish.samples import NAN, NOW, col, columns, org_scores, score, snapshot


def shown(**changes: Any) -> Shown:
    made = snapshot(**changes)
    return Shown(made, made.fresh(NOW))


def one_metric(metric: str, **values: Any) -> dict[str, ScoreColumns]:
    """Scores of one metric; what is not told is ordinary."""
    size = len(values["value"])
    usual = {
        "z": [0.0] * size,
        "anomaly": [0] * size,
        "mean": [0.1] * size,
        "stddev": [0.05] * size,
        "samples": [9] * size,
    }
    return {metric: score(**(usual | values))}


def rows(size: int) -> dict[str, Any]:
    """That many voice queues with ten contacts each."""
    keys = tuple(SeriesKey(f"q{number}", "voice") for number in range(size))
    flat = {name: np.full(size, 10.0) for name in columns()}
    return {"rows": Rows(keys, tuple(f"Queue {number}" for number in range(size))), "columns": flat}


@pytest.mark.parametrize(
    ("metric", "value", "mean", "z", "flag", "grade"),
    [
        (ABANDONMENT, 0.5, 0.1, 8.0, 1, TROUBLE),  # 4 contacts of 10 more than usual
        (ABANDONMENT, 0.5, 0.1, 8.0, 0, ORDINARY),
        (ABANDONMENT, 0.3, 0.1, 8.0, 1, FLAGGED),  # 2 contacts more: nobody would act
        (ABANDONMENT, 0.0, 0.5, -8.0, 1, FLAGGED),  # unusually good
        (SLA_BREACH, 0.9, 0.1, 8.0, 1, TROUBLE),
        (OFFERED, 0.0, 40.0, -8.0, 1, TROUBLE),  # nobody gets through
        (OFFERED, 80.0, 40.0, 8.0, 1, TROUBLE),
        (OFFERED, 5.0, 0.5, 8.0, 1, FLAGGED),
        (OFFERED, 0.0, 4.0, -8.0, 1, FLAGGED),
        (OFFERED, NAN, 40.0, NAN, NAN, ORDINARY),
    ],
)
def test_a_flag_is_trouble_only_where_it_matters(
    metric: str, value: float, mean: float, z: float, flag: float, grade: int
) -> None:
    metrics = one_metric(metric, value=[value], mean=[mean], z=[z], anomaly=[flag])
    ranking = rank(shown(scores=Scores("zscore", 3.0, metrics), **rows(1)))
    assert ranking.grade.tolist() == [grade]


def test_trouble_comes_first_then_flags_then_z_then_volume() -> None:
    metrics = one_metric(
        ABANDONMENT,
        value=[0.2, 0.2, 0.3, 0.9, NAN, 0.2],
        z=[1.0, 1.0, 9.0, 4.0, NAN, -2.0],
        anomaly=[0, 0, 1, 1, NAN, 0],
    )
    made = rows(6)
    made["columns"]["offered"][1] = 500
    ranking = rank(shown(scores=Scores("zscore", 3.0, metrics), **made))
    assert ranking.order.tolist() == [3, 2, 1, 0, 5, 4]
    assert ranking.worst.tolist() == [0, 0, 0, 0, -1, 0]


def test_the_worst_metric_is_the_one_in_trouble_not_the_one_with_the_greatest_z() -> None:
    metrics = one_metric(ABANDONMENT, value=[0.3], z=[9.0], anomaly=[1]) | one_metric(
        SLA_BREACH, value=[0.9], z=[4.0], anomaly=[1]
    )
    ranking = rank(shown(scores=Scores("zscore", 3.0, metrics), **rows(1)))
    assert METRICS[ranking.worst[0]] == SLA_BREACH
    assert ranking.grades.tolist() == [[FLAGGED], [TROUBLE], [ORDINARY]]


def test_without_scores_the_largest_queue_comes_first() -> None:
    ranking = rank(shown(scores=None))
    assert ranking.order.tolist() == [0, 2, 1]
    assert set(ranking.worst.tolist()) == {-1}


@pytest.mark.parametrize(
    ("metric", "value", "mean", "stddev", "told"),
    [
        (ABANDONMENT, 0.4286, 0.0391, 0.026, "43 % abandoned, usually 3.9 % ± 2.6"),
        (ABANDONMENT, 0.099, 0.0, 0.0, "9.9 % abandoned, usually 0.0 % ± 0.0"),
        (ABANDONMENT, 0.0999, 0.0999, 0.004, "10 % abandoned, usually 10.0 % ± 0.4"),
        (SLA_BREACH, 1.0, 0.228, 0.069, "100 % missed the service level, usually 23 % ± 7"),
        (OFFERED, 0.0, 1234.4, 98.6, "0 contacts offered, usually 1,234 ± 99"),
        (OFFERED, 1.0, 40.0, 5.0, "1 contact offered, usually 40 ± 5"),
    ],
)
def test_sentences(metric: str, value: float, mean: float, stddev: float, told: str) -> None:
    scores = Scores("zscore", 3.0, one_metric(metric, value=[value], mean=[mean], stddev=[stddev]))
    assert sentence(metric, scores, 0).replace("\N{NO-BREAK SPACE}", " ") == told


def test_a_finding_tells_why_and_what_goes_with_it() -> None:
    made = columns() | {"offered": col(40, 0, 10), "abandoned": col(10, 0, 1), "sla_contacts": col(40, 0, 10)}
    found = findings(shown(columns=made), rank(shown(columns=made)))
    (finding,) = found
    assert (finding.row, finding.name, finding.media_type) == (0, "Sales", "voice")
    assert finding.text.replace("\N{NO-BREAK SPACE}", " ") == "25 % abandoned, usually 7.0 % ± 4.0"
    more = "10 of 40 contacts · 2 waiting, the longest 1 min"
    assert finding.more.replace("\N{NO-BREAK SPACE}", " ") == more


def test_an_outage_of_the_whole_org_is_told_although_no_queue_stands_out() -> None:
    made = shown(org_scores=org_scores())
    assert headline(made, rank(made)) == "No single queue is in trouble, all together are"
    (finding,) = findings(made, rank(made))
    assert (finding.row, finding.name, finding.media_type) == (None, "All queues together", "voice")
    assert finding.text == "22 contacts offered, usually 80 ± 9"


def test_an_outage_comes_before_the_queues_and_the_orgs_rates_after_them() -> None:
    org = Scores(
        "seasonal",
        3.0,
        one_metric(ABANDONMENT, value=[0.3, 0.1], z=[5.0, 0.0], anomaly=[1, 0])
        | one_metric(OFFERED, value=[80.0, 22.0], mean=[40.0, 80.0], z=[6.0, -6.5], anomaly=[1, 1]),
    )
    metrics = one_metric(ABANDONMENT, value=[0.9], z=[5.0], anomaly=[1])
    scores = Scores("seasonal", 3.0, metrics)
    made = shown(scores=scores, org_scores=org, org_offered=col(80, 22), **rows(1))
    told = [(found.row, found.media_type, found.text.split(",")[0]) for found in findings(made, rank(made), 9)]
    assert told == [
        (None, "voice", "22 contacts offered"),
        (0, "voice", "90\N{NO-BREAK SPACE}% abandoned"),
        (None, "chat", "30\N{NO-BREAK SPACE}% abandoned"),
        (None, "chat", "80 contacts offered"),
    ]
    assert len(findings(made, rank(made))) == 3
    assert [found.more for found in findings(made, rank(made), 9) if found.row is None] == [
        "",
        "80 contacts offered",
        "",
    ]


@pytest.mark.parametrize(
    ("offered", "value", "told"), [(3, 0.667, False), (60, 0.21, False), (60, 0.26, True), (5, 0.9, True)]
)
def test_a_flag_of_the_org_is_trouble_by_as_many_contacts_as_one_of_a_queue(
    offered: float, value: float, told: bool
) -> None:
    org = Scores(
        "seasonal", 3.0, one_metric(ABANDONMENT, value=[0.0, value], mean=[0.0, 0.2], z=[0, 5], anomaly=[0, 1])
    )
    calm = Scores("seasonal", 3.0, one_metric(ABANDONMENT, value=[0.1], z=[0.5], anomaly=[0]))
    made = shown(scores=calm, org_scores=org, org_offered=col(0, offered), **rows(1))
    assert bool(findings(made, rank(made))) is told
    assert ("all together are" in headline(made, rank(made))) is told


@pytest.mark.parametrize(
    ("troubled", "told"), [(0, "No queue is in trouble"), (1, "1 queue in trouble"), (4, "4 queues in trouble")]
)
def test_the_headline_counts_queues(troubled: int, told: str) -> None:
    metrics = one_metric(ABANDONMENT, value=[0.9] * 5, z=[5.0] * 5, anomaly=[1] * troubled + [0] * (5 - troubled))
    made = shown(scores=Scores("zscore", 3.0, metrics), **rows(5))
    assert headline(made, rank(made)) == told
    assert len(findings(made, rank(made))) == min(troubled, 3)


@pytest.mark.parametrize(
    ("ratio", "told"), [(0.0, "0 %"), (0.004, "0.4 %"), (0.0994, "9.9 %"), (0.0996, "10 %"), (1.0, "100 %")]
)
def test_percentages(ratio: float, told: str) -> None:
    assert percent_text(ratio).replace("\N{NO-BREAK SPACE}", " ") == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "59 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, told: str) -> None:
    assert duration_text(seconds).replace("\N{NO-BREAK SPACE}", " ") == told
