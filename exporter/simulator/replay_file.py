"""Reading a CSV of past buckets for replay.

In: a file with the columns `queue,t,offered,abandoned,sla_breach` (t = epoch seconds of the bucket's start), or those
of the exporter's own /export.csv. Out: `PastBuckets`, columns sorted by time. Every fault of the file is a
`ReplayError` that names the line and says what to write. Column order does not matter; further columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.simulator.replay_rows import ReplayError, Row, Series, reader_of

#: The bucket length of a plain file that holds a single time.
_USUAL_BUCKET_SECONDS = 900
_LEAST_BUCKET_SECONDS = 60

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PastBuckets:
    """Columns of equal length, by start; `series` indexes `keys`, `names` is by position of a key."""

    source: str
    bucket_seconds: int
    keys: tuple[Series, ...]
    names: tuple[str, ...]
    starts: Ints
    series: Ints
    offered: Ints
    answered: Ints
    abandoned: Ints
    breached: Ints


def read_past_buckets(path: Path) -> PastBuckets:
    """The buckets of a file, or `ReplayError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(csv.reader(file), path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise ReplayError(f"{path.name}: no rows below the header: write one line for each queue and bucket")
    _refuse_twins(rows, path.name)
    rows.sort(key=lambda row: (row.start, row.key))
    return _columns(rows, path.name, _bucket_seconds(rows, path.name))


def _rows(reader: Iterator[list[str]], source: str) -> Iterator[Row]:
    header = [name.strip() for name in next(reader, [])]
    try:
        read = reader_of(header)
    except ReplayError as error:
        raise ReplayError(f"{source}, line 1: {error}") from error
    for line, cells in enumerate(reader, start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise ReplayError(f"{source}, line {line}: {len(cells)} cells under a header of {len(header)}")
        try:
            yield read(line, dict(zip(header, cells, strict=True)))
        except ReplayError as error:
            raise ReplayError(f"{source}, line {line}: {error}") from error


def _refuse_twins(rows: Sequence[Row], source: str) -> None:
    lines: dict[tuple[Series, str, int], int] = {}
    for row in rows:
        first = lines.setdefault((row.key, row.name if not row.key.queue_id else "", row.start), row.line)
        if first != row.line:
            raise ReplayError(
                f"{source}, line {row.line}: the bucket {row.start} of {row.name!r} stands in line {first} already"
            )


def _bucket_seconds(rows: Sequence[Row], source: str) -> int:
    told = {row.bucket_seconds for row in rows}
    if told != {None}:
        if len(told) > 1:
            raise ReplayError(f"{source}: buckets of different lengths: write one length into every timeInterval")
        return next(iter(told)) or _USUAL_BUCKET_SECONDS
    starts = np.unique(np.array([row.start for row in rows], dtype=np.int64))
    if len(starts) == 1:
        return _USUAL_BUCKET_SECONDS
    seconds = int(np.gcd.reduce(np.diff(starts)))
    if seconds < _LEAST_BUCKET_SECONDS:
        raise ReplayError(f"{source}: the times have no common bucket length: write into t where each bucket starts")
    return seconds


def _columns(rows: Sequence[Row], source: str, bucket_seconds: int) -> PastBuckets:
    known: dict[tuple[Series, str], int] = {}
    names: list[str] = []
    series = []
    for row in rows:
        identity = (row.key, "" if row.key.queue_id else row.name)
        if identity not in known:
            known[identity] = len(known)
            names.append(row.name)
        names[known[identity]] = row.name
        series.append(known[identity])
    return PastBuckets(
        source=source,
        bucket_seconds=bucket_seconds,
        keys=tuple(key for key, _ in known),
        names=tuple(names),
        series=np.array(series, dtype=np.int64),
        **{
            column: np.array([getattr(row, field) for row in rows], dtype=np.int64)
            for column, field in (
                ("starts", "start"),
                ("offered", "offered"),
                ("answered", "answered"),
                ("abandoned", "abandoned"),
                ("breached", "breached"),
            )
        },
    )
