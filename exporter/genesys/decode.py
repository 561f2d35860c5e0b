"""JSON bytes into typed structs, and rows that make no sense out of the way.

The fast path decodes a whole answer straight into structs. Only when a value has the wrong type is the answer
taken apart row by row, so that one bad row costs that row. A body that is not JSON, or not of the promised
shape, is a PayloadError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec

from exporter.errors import PayloadError
from exporter.models import ApiHook, EntitiesRejected

T = TypeVar("T")

#: Why rows are left out; the label values of the counter.
REJECT_REASONS = ("duplicate", "missing_id", "negative", "outside_window", "range", "type")

#: More contacts than this in one bucket of one queue is not a contact centre: it is a broken answer.
MAX_COUNT = 1e9
#: The same for a sum of times: the hours of a million contacts that each lasted four months.
MAX_SUM_MILLISECONDS = 1e16


class Rejects:
    """Counts what was left out of one answer, by reason, and tells the hook once.

    `lost` is the part of it that nothing else in the answer stands for: what it was about now looks like zero.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def add(self, reason: str, *, lost: bool = True) -> None:
        self._counts[reason] += 1
        if lost:
            self.lost[reason] += 1

    def tell(self, hook: ApiHook) -> None:
        for reason, count in self._counts.items():
            hook(EntitiesRejected(reason, count))


def decode(body: bytes, shape: type[T], endpoint: str) -> T:
    """`body` as `shape`; raises PayloadError that says where the answer departs from it."""
    try:
        decoded: T = _decoder(shape).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"{endpoint}: the answer is not what the contract promises: {_cause(error)}") from error
    return decoded


def decode_rows(body: bytes, envelope: type[T], rows_field: str, row: type, endpoint: str, rejects: Rejects) -> T:
    """`body` as `envelope`, whose list `rows_field` holds `row` structs; those of the wrong type are rejected."""
    try:
        decoded: T = _decoder(envelope).decode(body)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _decode_row_by_row(body, envelope, rows_field, row, endpoint, rejects)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise PayloadError(f"{endpoint}: the answer is not what the contract promises: {_cause(error)}") from error
    return decoded


def _decode_row_by_row(
    body: bytes, envelope: type[T], rows_field: str, row: type, endpoint: str, rejects: Rejects
) -> T:
    outer: Any = decode(body, dict[str, msgspec.Raw], endpoint)
    raw_rows = outer.pop(rows_field, msgspec.Raw(b"[]"))
    rows = [] if raw_rows == b"null" else decode(raw_rows, list[msgspec.Raw], endpoint)
    rest = {name: decode(value, Any, endpoint) for name, value in outer.items()}
    good = []
    for raw in rows:
        try:
            good.append(_decoder(row).decode(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            rejects.add("type")
    try:
        return msgspec.convert({**rest, rows_field: good}, envelope)
    except msgspec.ValidationError as error:
        raise PayloadError(f"{endpoint}: the answer is not what the contract promises: {_cause(error)}") from error


_decoder: Callable[[Any], msgspec.json.Decoder[Any]] = cache(msgspec.json.Decoder)


def _cause(error: Exception) -> str:
    """The decoder's words name the place and the type, never the value."""
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def is_count(value: float) -> bool:
    """A whole number of contacts that a contact centre can have."""
    return 0 <= value <= MAX_COUNT and value == int(value)


def is_sum(value: float) -> bool:
    """A sum of milliseconds that can be."""
    return 0 <= value <= MAX_SUM_MILLISECONDS


def fault_of(number: float | None) -> str:
    """Why a number cannot be. A metric that is there must have its number: only one that is absent means zero."""
    if number is None:
        return "type"
    return "negative" if number < 0 else "range"
