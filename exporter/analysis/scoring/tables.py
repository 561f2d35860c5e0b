"""Tables of many series, filled a few series at a time.

A table is a frozen dataclass of float32 arrays whose last axis are the series: those named in `by_slot` have a row for
each slot of the next 24 hours, (slots, series), the others a value for each series. Comes in: the tables of some
series. Goes out: nothing new; they are laid into the tables of all, which are made once, so that a fit never holds
two copies. Threads may lay different series at the same time.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np


class Tables(Protocol):
    """What `RateTables` and `VolumeTables` are."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    by_slot: ClassVar[frozenset[str]]


T = TypeVar("T", bound=Tables)


def empty_tables(kind: type[T], slots: int, series: int) -> T:
    """Tables of this kind whose values are to be laid."""
    shapes = ((slots, series) if field.name in kind.by_slot else (series,) for field in fields(kind))
    return kind(*(np.empty(shape, np.float32) for shape in shapes))


def lay(part: T, whole: T, columns: slice) -> None:
    """Write the tables of some series into those of all, at `columns`."""
    for field in fields(part):
        getattr(whole, field.name)[..., columns] = getattr(part, field.name)
