"""NumPy columns as text, one `bytes` per value, fast: orjson writes the whole column, a split cuts it.

Shared by the exposition, the JSON and the CSV, so that all three hold the same value: the shortest decimal that
gives the same float64 back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from exporter.models import FloatColumn

NULL = b"null"


def texts(column: FloatColumn) -> list[bytes]:
    """Each value as JSON writes it, without a fraction where it is whole; one that is not finite is `null`."""
    inner = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return inner.replace(b".0,", b",").removesuffix(b".0").split(b",") if inner else []


def grouped(columns: Sequence[NDArray[Any]], *, counts: bool = False) -> list[bytes]:
    """Neighbouring CSV columns of one type: each row's values as one text with commas, which saves half the work.

    A value that is not finite is empty. `counts`: whole numbers lose their fraction also where the columns are floats.
    """
    matrix = np.column_stack(columns)
    inner = orjson.dumps(matrix, option=orjson.OPT_SERIALIZE_NUMPY)[2:-1]
    if counts and matrix.dtype.kind == "f":
        inner = inner.replace(b".0,", b",").replace(b".0]", b"]")
    if NULL in inner:
        inner = inner.replace(NULL, b"")
    return inner[:-1].split(b"],[") if len(matrix) else []


def percent(ratio: FloatColumn) -> FloatColumn:
    """A ratio in percent with the four decimals of the seed contract."""
    return np.round(ratio * 100.0, 4)


def doubled(text: bytes) -> bytes:
    """Text that is to stand in a template: `%` means itself when doubled."""
    return text.replace(b"%", b"%%")
