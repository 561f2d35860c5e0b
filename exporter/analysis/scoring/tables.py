"""Tables of many series, filled a few series at a time.

A table is a frozen dataclass of arrays whose last axis are the series: those named in `by_slot` have a row for each
slot ahead (see `Calendar`), (slots, series), the others a value for each series; those in `rough` are float16, the
others float32. Comes in: the tables of some series. Goes out: nothing new; they are laid into the tables of all, which
are made once, so that a fit never holds two copies. Threads may lay different series at the same time.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from exporter.analysis.scoring.calendar import Grid


class Tables(Protocol):
    """What `RateTables` and `VolumeTables` are."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    by_slot: ClassVar[frozenset[str]]
    rough: ClassVar[frozenset[str]]


T = TypeVar("T", bound=Tables)


def empty_tables(kind: type[T], slots: int, series: int) -> T:
    """Tables of this kind whose values are to be laid."""

    def empty(name: str) -> Grid:
        return np.empty((slots, series) if name in kind.by_slot else (series,), _width(kind, name))

    return kind(*(empty(field.name) for field in fields(kind)))


def _width(kind: type[Tables], name: str) -> type[np.floating[Any]]:
    return np.float16 if name in kind.rough else np.float32


def lay(part: T, whole: T, columns: slice) -> None:
    """Write the tables of some series into those of all, at `columns`."""
    for field in fields(part):
        getattr(whole, field.name)[..., columns] = getattr(part, field.name)
