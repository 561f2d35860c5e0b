"""PromQL taken apart: the selectors and labels of an expression, by promql-parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, MatrixSelector, StringLiteral, VectorSelector

#: Attributes of nodes that hold further nodes.
_INNER = ("expr", "param", "lhs", "rhs", "vector_selector", "args")


def nodes(expr: str) -> list[tuple[Any, tuple[Any, ...]]]:
    """Every node of an expression with the nodes around it, outermost first."""
    return list(_walk(promql_parser.parse(expr), ()))


def _walk(node: Any, around: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    yield node, around
    for name in _INNER:
        inner = getattr(node, name, None)
        for each in inner if isinstance(inner, list) else [inner] if inner is not None else []:
            yield from _walk(each, (*around, node))


def selectors(expr: str) -> list[tuple[str, dict[str, str]]]:
    """Every metric of an expression with its matchers, written `op value`."""
    return [
        (node.name or "", {m.name: f"{_operator(m.op)}{m.value}" for m in node.matchers.matchers})
        for node, _ in nodes(expr)
        if isinstance(node, VectorSelector)
    ]


def _operator(op: Any) -> str:
    return {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}[str(op).rsplit(".", 1)[-1]]


def metrics(expr: str) -> set[str]:
    return {name for name, _ in selectors(expr)}


def grouping_labels(expr: str) -> set[str]:
    """Labels that an expression groups by, joins on or carries over."""
    found: set[str] = set()
    for node, _ in nodes(expr):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, AggregateExpr) and modifier:
            found |= set(modifier.labels)
        elif isinstance(node, BinaryExpr) and modifier:
            found |= set(modifier.matching.labels if modifier.matching else ()) | set(modifier.group_labels or ())
    return found


def made_labels(expr: str) -> set[str]:
    """Labels that an expression writes itself."""
    calls = [node for node, _ in nodes(expr) if isinstance(node, Call) and node.func.name == "label_replace"]
    return {node.args[1].val for node in calls if isinstance(node.args[1], StringLiteral)}


def ranges(expr: str) -> list[tuple[str, str, float]]:
    """(function, metric, seconds) of every range in an expression."""
    return [
        (around[-1].func.name, str(node.vector_selector.name), node.range.total_seconds())
        for node, around in nodes(expr)
        if isinstance(node, MatrixSelector)
    ]
