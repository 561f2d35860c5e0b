"""JSON bytes into typed structs, and rows that make no sense out of the way.

An answer is cut into rows first, and each row is decoded by itself when it is wanted: one bad row costs that row, the
interpreter is free for scrapes between two rows, and a large answer is never in memory as objects. A body that is not
JSON, or not of the promised shape, is a PayloadError.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import msgspec

from exporter.errors import PayloadError
from exporter.models import NOTHING_LOST, ApiHook, EntitiesRejected, Lost, SeriesKey

T = TypeVar("T")
P = ParamSpec("P")

#: Why rows are left out; the label values of the counter.
REJECT_REASONS = ("duplicate", "missing_id", "negative", "outside_window", "range", "type")

#: More contacts than this in one bucket of one queue is not a contact centre: it is a broken answer.
MAX_COUNT = 1e9
#: The same for a sum of times: the hours of a million contacts that each lasted four months.
MAX_SUM_MILLISECONDS = 1e16


#: A series in one bucket, by the bucket's place.
LostCell = tuple[int, SeriesKey]


class Rejects:
    """Counts what was left out of one answer, by reason, and tells the hook once.

    `lost` is the part of it that nothing else in the answer stands for: what it was about is unknown, not zero.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._nameless: Counter[str] = Counter()
        self._cells: dict[LostCell, str] = {}

    @property
    def lost(self) -> Counter[str]:
        """By reason: rows of which nobody knows whose they were, and cells of which that is known."""
        return self._nameless + Counter(self._cells.values())

    def add(self, reason: str, cells: Iterable[LostCell] | None = None) -> None:
        """Something was left out; `cells` are what it was about, None where that cannot be told."""
        self._counts[reason] += 1
        if cells is None:
            self._nameless[reason] += 1
        else:
            self._cells |= dict.fromkeys(cells, reason)

    def doubt(self, reason: str) -> None:
        """Something may be lost that the answer does not even name."""
        self._nameless[reason] += 1

    def found(self, cells: Iterable[LostCell]) -> None:
        """Another row of the answer tells these: they are not lost."""
        if self._cells:
            for cell in cells:
                self._cells.pop(cell, None)

    def what_is_lost(self) -> Lost:
        return Lost(frozenset(self._cells), bool(self._nameless)) if self._cells or self._nameless else NOTHING_LOST

    def tell(self, hook: ApiHook) -> None:
        for reason, count in self._counts.items():
            hook(EntitiesRejected(reason, count))


def decode(body: bytes, shape: type[T], endpoint: str) -> T:
    """`body` as `shape`; raises PayloadError that says where the answer departs from it."""
    try:
        decoded: T = _decoder(shape).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(
            f"{endpoint}: the answer is not what the contract promises: {_cause(error, body)}"
        ) from error
    return decoded


def good_rows(
    rows: Iterable[msgspec.Raw] | None,
    shape: type[T],
    rejects: Rejects,
    about: Callable[[msgspec.Raw], Iterable[LostCell] | None] = lambda raw: None,
) -> Iterator[T]:
    """Each row as `shape`; one that is not is rejected, and `about` says what it was about, None = nobody knows."""
    decoder = _decoder(shape)
    for raw in rows or ():
        row = _decoded(decoder, raw)
        if row is None:
            rejects.add("type", about(raw))
        else:
            yield row


def part_of(raw: msgspec.Raw, shape: type[T]) -> T | None:
    """What of a broken row still has this shape."""
    return _decoded(_decoder(shape), raw)


def _decoded(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def rows_or_none(body: bytes, rows: list[msgspec.Raw] | None, endpoint: str, *names: str) -> list[msgspec.Raw]:
    """`rows`. Where there are none an answer may leave them out; one that has other fields instead, none of `names`, is
    the answer to another question: PayloadError."""
    if rows is None:
        fields = decode(body, dict[str, msgspec.Raw], endpoint).keys()
        if fields and fields.isdisjoint(names):
            raise PayloadError(f"{endpoint}: the answer is to another question")
    return rows or []


_decoder: Callable[[Any], msgspec.json.Decoder[Any]] = cache(msgspec.json.Decoder)


def _cause(error: Exception, body: bytes) -> str:
    """The decoder's words name the place and the type, never the value. A page from a proxy has no such place."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    begin = bytes(body[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"<"):
        return "it is a page (HTML or XML), as proxies and gateways send them, and no JSON"
    return str(error) if body else "it is empty"


def uncollected(parse: Callable[P, T]) -> Callable[P, T]:
    """`parse` without garbage collections: its structs hold no cycles, and to look for some in 20,000 rows, again and
    again while they grow, takes twice as long as to decode them."""

    @wraps(parse)
    def parsed(*args: P.args, **kwargs: P.kwargs) -> T:
        enabled = gc.isenabled()
        gc.disable()
        try:
            return parse(*args, **kwargs)
        finally:
            if enabled:
                gc.enable()

    return parsed


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
