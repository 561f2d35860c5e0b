"""Columns to bytes and back: how one bucket lies in the history file.

Comes in: named arrays of one length. Goes out: a `Packed`: each column in the narrowest type that holds it, its bytes
shuffled (all low bytes, then all high bytes: they compress far better apart), one zstandard frame with a checksum over
all of them. The layout is kept as text, so that the file explains itself: "offered:u2 abandoned:u1".
Equal columns give equal bytes, whatever the type they came in; trailing zeros of counts are cut first, so that a bucket
does not change because a new series joined.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

#: Level 1: higher levels cost a poll several milliseconds for a few percent.
COMPRESSION_LEVEL = 1

#: More than any bucket can hold (16 columns × 8 bytes × a million series): a damaged header must not exhaust memory.
MAX_BYTES = 1 << 27


class DamagedError(Exception):
    """Bytes that are not what `pack` wrote."""


class Packed(NamedTuple):
    """Columns as bytes; `length` is the number of rows in every column."""

    layout: str
    length: int
    data: bytes


def pack(columns: Mapping[str, NDArray[Any]]) -> Packed:
    """Packs unsigned counts (any integer type, none negative) and float32 columns of one length."""
    length = len(next(iter(columns.values()))) if columns else 0
    narrow = {name: _narrow(column) for name, column in columns.items()}
    layout = " ".join(f"{name}:{column.dtype.str[1:]}" for name, column in narrow.items())
    raw = b"".join(_shuffled(column) for column in narrow.values())
    return Packed(layout, length, zstandard.ZstdCompressor(COMPRESSION_LEVEL, write_checksum=True).compress(raw))


def trim(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns without the rows at the end that are zero in all of them."""
    used = [int(np.flatnonzero(column)[-1]) + 1 for column in columns.values() if column.any()]
    return {name: column[: max(used, default=0)] for name, column in columns.items()}


def unpack(packed: Packed, only: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The columns again (or `only` those), in their narrow types; DamagedError where bytes and layout do not fit."""
    try:
        fields = [entry.rsplit(":", 1) for entry in packed.layout.split()]
        types = {name: np.dtype(f"<{kind}") for name, kind in fields}
        return _split(_decompressed(packed.data), types, packed.length, types if only is None else only)
    except (zstandard.ZstdError, ValueError, TypeError, MemoryError) as error:
        raise DamagedError(f"packed columns cannot be read: {error}") from error


def _narrow(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind == "f":
        return np.ascontiguousarray(column, "<f4")
    most = int(column.max()) if column.size else 0
    return np.ascontiguousarray(column, np.min_scalar_type(most).newbyteorder("<"))


def _shuffled(column: NDArray[Any]) -> bytes:
    return column.view(np.uint8).reshape(len(column), column.itemsize).T.tobytes()


def _decompressed(data: bytes) -> bytes:
    if zstandard.frame_content_size(data) > MAX_BYTES:
        raise ValueError("larger than any bucket")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_BYTES)


def _split(
    raw: bytes, types: Mapping[str, np.dtype[Any]], length: int, only: Collection[str]
) -> dict[str, NDArray[Any]]:
    if len(raw) != length * sum(each.itemsize for each in types.values()):
        raise ValueError(f"{len(raw)} bytes do not hold {length} rows of {len(types)} columns")
    columns, offset = {}, 0
    for name, each in types.items():
        if name in only:
            columns[name] = _unshuffled(raw, offset, length, each)
        offset += length * each.itemsize
    return columns


def _unshuffled(raw: bytes, offset: int, length: int, each: np.dtype[Any]) -> NDArray[Any]:
    """Shifts whole planes together: twenty times faster than copying bytes to every second place."""
    planes = np.frombuffer(raw, np.uint8, length * each.itemsize, offset).reshape(each.itemsize, length)
    column: NDArray[Any] = planes[-1].astype(f"<u{each.itemsize}")
    for plane in planes[-2::-1]:
        column <<= 8
        column |= plane
    return column.view(each)
