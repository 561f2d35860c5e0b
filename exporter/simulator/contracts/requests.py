"""Reading JSON requests as the service does: every fault is a 400 that names the value.

In: decoded JSON. Out: the typed parts of a query, or `ApiError`. Unknown fields are let through, unknown enum values
are not. Nothing here knows queues or contacts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson

from exporter.simulator.api_errors import ApiError, bad_request, invalid_value

#: The service's `request.bytes.max`.
MOST_BODY_BYTES = 512_000

_OPERATORS = ("matches", "exists", "notExists")
_JOINS = ("and", "or")
_PREDICATE_TYPES = ("dimension", "property", "metric")
_RANGE_KEYS = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True)
class Predicate:
    dimension: str
    operator: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter or a clause of one; `is_or` joins predicates and clauses."""

    is_or: bool
    predicates: tuple[Predicate, ...]
    clauses: tuple[Filter, ...] = ()

    def predicate_count(self) -> int:
        return len(self.predicates) + sum(clause.predicate_count() for clause in self.clauses)


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object, or 413 or 400."""
    if len(body) > MOST_BODY_BYTES:
        raise ApiError(413)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400) from error
    if not isinstance(value, dict):
        raise ApiError(400)
    return value


def required_text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise bad_request(f"{name} is required")
    if not isinstance(value, str):
        raise bad_request(f"{name} must be a string")
    return value


def names_of(body: dict[str, Any], name: str, field_type: str, known: Collection[str]) -> list[str]:
    """A list of enum values, each once, in the order given; absent is empty."""
    values = body.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise bad_request(f"{name} must be an array")
    for value in values:
        if not isinstance(value, str) or value not in known:
            raise invalid_value(value, field_type, sorted(known))
    return list(dict.fromkeys(values))


def read_filter(value: object, dimensions: Collection[str], nested: bool = False) -> Filter:
    """A filter with up to two levels: clauses hold predicates only."""
    if not isinstance(value, dict):
        raise bad_request("filter must be an object")
    join = value.get("type")
    if join not in _JOINS:
        raise invalid_value("" if join is None else join, "QueryFilterType", _JOINS)
    clauses = value.get("clauses") or []
    if nested and clauses:
        raise bad_request("clauses may not hold clauses")
    if nested and value.get("predicates") is None:
        raise bad_request("predicates is required")
    predicates = value.get("predicates") or []
    if not isinstance(clauses, list) or not isinstance(predicates, list):
        raise bad_request("clauses and predicates must be arrays")
    return Filter(
        join == "or",
        tuple(_predicate(predicate, dimensions) for predicate in predicates),
        tuple(read_filter(clause, dimensions, nested=True) for clause in clauses),
    )


def _predicate(value: object, dimensions: Collection[str]) -> Predicate:
    if not isinstance(value, dict):
        raise bad_request("a predicate must be an object")
    kind = value.get("type", "dimension")
    if kind not in _PREDICATE_TYPES:
        raise invalid_value(kind, "QueryPredicateType", _PREDICATE_TYPES)
    dimension = value.get("dimension")
    if kind != "dimension" or not isinstance(dimension, str) or dimension not in dimensions:
        raise invalid_value(dimension if kind == "dimension" else kind, "QueryDimension", sorted(dimensions))
    operator = value.get("operator") or "matches"
    if operator not in _OPERATORS:
        raise invalid_value(operator, "QueryPredicateOperator", _OPERATORS)
    if value.get("range") is not None:
        _check_range(value["range"])
    elif operator == "matches" and not isinstance(value.get("value"), str):
        raise bad_request(f"a predicate on {dimension} needs a value")
    return Predicate(dimension, operator, value.get("value"))


def _check_range(value: object) -> None:
    if not isinstance(value, dict) or not all(isinstance(value.get(key, 0), int | float) for key in _RANGE_KEYS):
        raise bad_request("range must hold numbers gt, gte, lt, lte")
