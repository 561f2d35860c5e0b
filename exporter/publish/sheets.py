"""Many rows of text out of columns: a template over all rows, filled in one go. What JSON and CSV share.

A row is its kept prefix, a separator-free tail with one `%b` per cell, and the cells; columns come as lists of
`bytes`. Works in slices: one slice is one stretch during which no other thread can run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.publish.filters import Index

#: Rows per slice: about 2 ms of formatting and half a megabyte.
SLICE_ROWS = 4096


def sheet(prefixes: Sequence[bytes], tail: bytes, columns: Sequence[Sequence[bytes]], separator: bytes) -> bytes:
    """Rows joined by `separator`; prefixes and tail are template text (`%` doubled), the tail with a `%b` a column."""
    return separator.join(slices(prefixes, tail, columns, separator))


def slices(
    prefixes: Sequence[bytes], tail: bytes, columns: Sequence[Sequence[bytes]], separator: bytes
) -> Iterator[bytes]:
    """The same, slice by slice, without the separators between slices."""
    for start in range(0, len(prefixes), SLICE_ROWS):
        part = slice(start, start + SLICE_ROWS)
        yield _filled(prefixes[part], tail, [column[part] for column in columns], separator)


def taken(column: list[bytes], index: Index) -> list[bytes]:
    """The texts at `index`; the list itself where that is all of it."""
    return column if len(index) == len(column) else [column[position] for position in index.tolist()]


def _filled(prefixes: Sequence[bytes], tail: bytes, columns: Sequence[Sequence[bytes]], separator: bytes) -> bytes:
    cells = [b""] * (len(prefixes) * len(columns))
    for position, column in enumerate(columns):
        cells[position :: len(columns)] = column
    template = (tail + separator).join(prefixes) + tail
    return template % tuple(cells)
