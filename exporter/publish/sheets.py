"""Many rows of text out of columns, in one go. What JSON and CSV share.

For JSON a row is its kept prefix, a tail with one `%b` per cell, and the cells: a template over all rows is filled. For
CSV, which has few constant parts, pieces are joined: that is faster. Both in slices, since one slice is one stretch
during which no other thread can run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.publish.filters import Index

#: A text per row, or one for all rows.
Piece = bytes | Sequence[bytes]

#: Rows per slice: what is formatted then still stands in the processor's cache; measured a third faster than 8192.
SLICE_ROWS = 2048


def slices(prefixes: Sequence[bytes], tail: bytes, columns: Sequence[Sequence[bytes]]) -> Iterator[bytes]:
    """The rows, one slice after the other; prefixes and tail are template text (`%` doubled)."""
    for start in range(0, len(prefixes), SLICE_ROWS):
        part = slice(start, start + SLICE_ROWS)
        yield filled(prefixes[part], tail, [column[part] for column in columns])


def taken(column: list[bytes], index: Index) -> list[bytes]:
    """The texts at `index`; the list itself where that is all of it."""
    return column if len(index) == len(column) else [column[position] for position in index.tolist()]


def filled(prefixes: Sequence[bytes], tail: bytes, columns: Sequence[Sequence[bytes]]) -> bytes:
    """One text of all rows."""
    cells = [b""] * (len(prefixes) * len(columns))
    for position, column in enumerate(columns):
        cells[position :: len(columns)] = column
    template = tail.join(prefixes) + tail
    return template % tuple(cells)


def joined(rows: int, pieces: Sequence[Piece]) -> bytes:
    """One text of so many rows: of each its text in every piece."""
    present = [piece for piece in pieces if piece != b""]
    cells: list[bytes] = [b""] * (rows * len(present))
    for position, piece in enumerate(present):
        cells[position :: len(present)] = [piece] * rows if isinstance(piece, bytes) else piece
    return b"".join(cells)
