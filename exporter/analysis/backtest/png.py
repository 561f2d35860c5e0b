"""A drawing as pixels: PNG, written with nothing but arrays and zlib, so that a chart needs no further package.

Comes in: a `Drawing`. Goes out: the bytes of a PNG of twice its size, sharp on any screen. Lines and areas
run from left to right, so a column of pixels crosses each of them once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.backtest.font import ROWS, dots
from exporter.analysis.backtest.shapes import Area, Dot, Drawing, Line, Point, Text

SCALE = 2
#: Pixels a side of a dot of a letter, and half the thickness of a line.
LETTER_DOT, HALF_LINE = 2, 1.0
ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}

Canvas = NDArray[np.float32]


def png(drawing: Drawing) -> bytes:
    """The file."""
    canvas = np.full((drawing.height * SCALE, drawing.width * SCALE, 3), 255, np.float32)
    for shape in drawing.shapes:
        if isinstance(shape, Text):
            _write(canvas, shape)
        elif isinstance(shape, Area):
            _fill(canvas, shape)
        elif isinstance(shape, Line):
            _draw(canvas, shape)
        else:
            _dot(canvas, shape)
    return _file(np.round(canvas).astype(np.uint8))


def _colour(text: str) -> Canvas:
    return np.array([int(text[place : place + 2], 16) for place in (1, 3, 5)], np.float32)


def _blend(part: Canvas, cover: NDArray[np.floating], colour: str) -> None:
    """Lays colour over part of a canvas, as much as `cover` (0 to 1) says."""
    part += (_colour(colour) - part) * np.clip(cover, 0, 1)[..., None].astype(np.float32)


def _write(canvas: Canvas, shape: Text) -> None:
    marks = np.kron(dots(shape.text), np.ones((LETTER_DOT, LETTER_DOT)))
    left = round(shape.x * SCALE - ANCHORS[shape.anchor] * marks.shape[1])
    top = round(shape.y * SCALE) - (ROWS - 1) * LETTER_DOT
    left, top = max(0, left), max(0, top)
    part = canvas[top : top + marks.shape[0], left : left + marks.shape[1]]
    _blend(part, marks[: part.shape[0], : part.shape[1]], shape.colour)


def _fill(canvas: Canvas, shape: Area) -> None:
    columns, high = _crossings(shape.high)
    _, low = _crossings(shape.low)
    _between(canvas, columns, high - 0.5, low + 0.5, shape.colour)


def _draw(canvas: Canvas, shape: Line) -> None:
    columns, y = _crossings(shape.points)
    after = np.append(y[1:], y[-1:])  # a steep line covers all rows up to the next column's
    _between(canvas, columns, np.minimum(y, after) - HALF_LINE, np.maximum(y, after) + HALF_LINE, shape.colour)


def _crossings(points: Sequence[Point]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The columns of pixels that a line passes, and where."""
    x, y = np.array(points).T * SCALE
    columns = np.arange(int(np.floor(x[0])), int(np.ceil(x[-1])) + 1)
    return columns, np.interp(columns, x, y)


def _between(
    canvas: Canvas, columns: NDArray[np.int64], top: NDArray[np.float64], bottom: NDArray[np.float64], colour: str
) -> None:
    first, last = max(0, int(top.min()) - 1), min(len(canvas), int(np.ceil(bottom.max())) + 1)
    rows = np.arange(first, last)[:, None]
    cover = np.minimum(rows + 1, bottom) - np.maximum(rows, top)
    inside = (columns >= 0) & (columns < canvas.shape[1])
    part = canvas[first:last, columns[inside]]
    _blend(part, cover[:, inside], colour)
    canvas[first:last, columns[inside]] = part


def _dot(canvas: Canvas, shape: Dot) -> None:
    x, y, radius = shape.x * SCALE, shape.y * SCALE, shape.radius * SCALE
    reach = int(radius) + 2
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    part = canvas[top : int(y) + reach + 1, left : int(x) + reach + 1]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    _blend(part, radius + 0.5 - np.hypot(rows + 0.5 - y, columns + 0.5 - x), shape.colour)


def _file(pixels: NDArray[np.uint8]) -> bytes:
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # 0 = no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(kind, data) for kind, data in parts)


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
