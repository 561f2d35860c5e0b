"""NumPy columns as text, one `bytes` per value, fast: orjson writes the whole column, a split cuts it.

Shared by the exposition, the JSON and the CSV, so that a value reads the same in all three: the shortest decimal
that gives the same float64 back; whole numbers without a fraction where the column counts something.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from exporter.models import FloatColumn

NULL = b"null"


def dumped(column: NDArray[Any]) -> list[bytes]:
    """Each value as JSON writes it; a value that is not finite is `null`."""
    inner = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return inner.split(b",") if inner else []


def finite_texts(column: FloatColumn, *, integral: bool) -> list[bytes]:
    """Each value of a column in which all are finite; integers only where every value is one that int64 can hold."""
    if integral:
        with np.errstate(invalid="ignore"):
            whole = column.astype(np.int64)
        if np.array_equal(whole, column):
            return dumped(whole)
    return dumped(column)


def texts(column: FloatColumn, *, integral: bool, missing: bytes = NULL) -> list[bytes]:
    """Each value, `missing` where there is none."""
    absent = np.flatnonzero(~np.isfinite(column))
    if absent.size == 0:
        return finite_texts(column, integral=integral)
    filled = column.copy()
    filled[absent] = 0.0
    out = finite_texts(filled, integral=integral)
    for index in absent.tolist():
        out[index] = missing
    return out


def percent(ratio: FloatColumn) -> FloatColumn:
    """A ratio in percent with the four decimals of the seed contract."""
    return np.round(ratio * 100.0, 4)


def doubled(text: bytes) -> bytes:
    """Text that is to stand in a template: `%` means itself when doubled."""
    return text.replace(b"%", b"%%")
