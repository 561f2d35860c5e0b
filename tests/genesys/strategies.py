"""Hypothesis strategies: JSON of every kind, and answers that are almost what the service sends."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

#: Properties say what must hold, not how fast: the machine that tests may be busy.
unhurried = settings(deadline=None, max_examples=60)

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["results", "entities", "group", "data", "metrics", "paging"]) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)

#: Numbers that a broken service may send; JSON has no NaN, but Python's writer (and others) write it all the same.
odd_numbers = st.one_of(
    st.integers(0, 2000),
    st.sampled_from([0, 1, -1, -0.0, 0.5, 1e9, 1e9 + 1, 1e15, 1e300, -1e300, 2**63, 2**64, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
)
odd_values: st.SearchStrategy[Any] = odd_numbers | st.sampled_from(["5", "", None, True, [], {}, "NaN"])

ids = st.sampled_from(["q-1", "q-2", "q-3", ""]) | st.text(max_size=3)
media = st.sampled_from(["voice", "chat", "email", "cobrowse", ""])


stats = st.dictionaries(
    st.sampled_from(
        ["count", "sum", "numerator", "denominator", "target", "current", "ratio", "calculatedMetricValue"]
    ),
    odd_values,
    max_size=4,
)
metric_names = st.sampled_from(
    [
        "nOffered",
        "tAnswered",
        "tAbandon",
        "tFlowOut",
        "tHandle",
        "tWait",
        "oServiceLevel",
        "oServiceTarget",
        "nError",
        "oWaiting",
        "oInteracting",
        "oAlerting",
        "oLongestWaiting",
        "oUserRoutingStatuses",
    ]
)
metric = st.fixed_dictionaries(
    {"metric": metric_names | any_json, "stats": stats | any_json}, optional={"qualifier": st.text(max_size=3)}
)
group = st.fixed_dictionaries({}, optional={"queueId": ids, "mediaType": media, "other": any_json})


def aggregate_answers(intervals: list[str]) -> st.SearchStrategy[bytes]:
    """Answers of the aggregates query, mostly well formed, with every number and text that can go wrong."""
    when = st.sampled_from([*intervals, "", "2026-03-02T09:00:00Z", "x/y"])
    cell = st.fixed_dictionaries({"interval": when, "metrics": st.lists(metric, max_size=5)})
    row = st.fixed_dictionaries({"group": group, "data": st.lists(cell | any_json, max_size=3)})
    return _bodies(st.fixed_dictionaries({"results": st.lists(row | any_json, max_size=6)}))


def observation_answers() -> st.SearchStrategy[bytes]:
    row = st.fixed_dictionaries({"group": group, "data": st.lists(metric, max_size=6)})
    return _bodies(st.fixed_dictionaries({"results": st.lists(row | any_json, max_size=6)}))


def summary_entities(intervals: list[str]) -> st.SearchStrategy[Any]:
    counts = odd_values
    return st.fixed_dictionaries(
        {
            "id": ids,
            "totalContacts": counts,
            "abandonedContacts": counts,
            "slaBreaches": counts,
            "timeInterval": st.sampled_from([*intervals, "", "x"]),
        },
        optional={"name": st.text(max_size=3) | st.none()},
    )


def summary_pages(intervals: list[str]) -> st.SearchStrategy[bytes]:
    rows = st.lists(summary_entities(intervals) | any_json, max_size=6)
    return _bodies(st.fixed_dictionaries({"entities": rows}, optional={"paging": any_json}))


def _bodies(answers: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return answers.map(lambda answer: json.dumps(answer).encode())
