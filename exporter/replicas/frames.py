"""Named columns and a little text as one block of bytes, and back: what replicas hand each other.

    zstandard( length of head · head as JSON · columns, one after the other )

Comes in: a head (JSON values) and arrays by name. Goes out: bytes, and from them the same again. What was not written
here raises FrameError, whatever it is: a store that several programs write to is not to be believed. No code is ever
made of data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

#: Grows when a reader of the old kind would misread the new; replicas of another kind ignore each other's frames.
VERSION = 1
COMPRESSION_LEVEL = 1
#: More than any snapshot (a million rows of 60 columns): a forged length must not exhaust memory.
MAX_BYTES = 1 << 29
_LENGTH_BYTES = 4

Arrays = dict[str, NDArray[Any]]


class FrameError(Exception):
    """Bytes that are no frame, or one of another version."""


def pack(kind: str, head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A frame; arrays of floats and integers, of any shape."""
    columns = [np.ascontiguousarray(column) for column in arrays.values()]
    layout = [[name, each.dtype.str, list(each.shape)] for name, each in zip(arrays, columns, strict=True)]
    text = orjson.dumps({"version": VERSION, "kind": kind, "layout": layout, "head": head}, default=_as_list)
    raw = b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *(each.tobytes() for each in columns)])
    return zstandard.ZstdCompressor(COMPRESSION_LEVEL, write_checksum=True).compress(raw)


def _as_list(value: Any) -> list[Any]:
    """A named tuple as what it is."""
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be told")


def unpack(kind: str, data: bytes) -> tuple[dict[str, Any], Arrays]:
    """Head and arrays of a frame of this kind; arrays may be written to."""
    try:
        if zstandard.frame_content_size(data) > MAX_BYTES:
            raise ValueError("too large")
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_BYTES)
        length = int.from_bytes(raw[:_LENGTH_BYTES], "little")
        whole = orjson.loads(raw[_LENGTH_BYTES : _LENGTH_BYTES + length])
        if (whole["version"], whole["kind"]) != (VERSION, kind):
            raise ValueError(f"version {whole['version']!r} of {whole['kind']!r}")
        return whole["head"], _arrays(whole["layout"], raw, _LENGTH_BYTES + length)
    except (zstandard.ZstdError, ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
        raise FrameError(f"no frame of kind {kind!r} of version {VERSION}: {error}") from error


def _arrays(layout: list[Any], raw: bytes, offset: int) -> Arrays:
    found: Arrays = {}
    for name, kind, shape in layout:
        dtype = np.dtype(kind)
        if dtype.kind not in "fiu":
            raise ValueError(f"a column of {kind!r}")
        count = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(raw, dtype, count, offset).reshape(shape).copy()
        offset += count * dtype.itemsize
    if offset != len(raw):
        raise ValueError(f"{len(raw) - offset} bytes too many")
    return found
