"""Past buckets from a CSV file.

Comes in: a file with the columns of /export.csv, or its first seven alone, or `queue,t,offered,abandoned,sla_breach`
(`t` in epoch seconds, milliseconds or ISO 8601; `media_type` and `sla_contacts` may stand beside); gzip, semicolons and
tabs are understood. Goes out: `Past`, columns in time order. Rows may come in any order; an absent row is a bucket
without contacts, unless no queue has a row for three days: then nothing is known of that time. An export tells zeros,
too: what it leaves out nobody knows. A fault names its line and says what to write; a file that memory cannot hold is
refused before it is read to its end.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.backtest.cells import DURATIONS
from exporter.analysis.backtest.forms import form_of
from exporter.analysis.backtest.opening import BacktestError, Opened, opened
from exporter.analysis.backtest.room import CELL_BYTES, ROW_BYTES, require_room
from exporter.analysis.backtest.rows import Cells
from exporter.analysis.baseline import BASELINE_COUNTS, Baseline
from exporter.models import IntColumn, SeriesKey

#: A time this long without a row for any queue was not recorded; shorter ones are nights, weekends and holidays.
UNKNOWN_SECONDS = 3 * 86_400
#: Where more of the buckets than this are a day apart, the others are not hours but days of a clock change.
DAY_SECONDS, LOCAL_DAYS_SHARE = 86_400, 0.5
#: Rows read at once, and between two calls of the progress hook.
CHUNK_ROWS = 20_000
#: A first line longer than this is none.
LONGEST_HEADER = 64 * 1024

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A history and whose it is: `keys` and `names` by series."""

    history: Baseline
    keys: tuple[SeriesKey, ...]
    names: tuple[str, ...]

    def of_queue(self, queue: str) -> Past:
        """The series alone whose queue has this id or name."""
        names = zip(self.keys, self.names, strict=True)
        found = [column for column, (key, name) in enumerate(names) if queue in (key.queue_id, name)]
        if not found:
            known = ", ".join(sorted(set(self.names))[:10])
            raise BacktestError(f"no queue {queue!r} in the file; it holds {known}")
        counts = {name: column[:, found] for name, column in self.history.counts.items()}
        lost = None if self.history.lost is None else self.history.lost[:, found]
        keys = tuple(self.keys[column] for column in found)
        return Past(
            replace(self.history, counts=counts, lost=lost), keys, tuple(self.names[column] for column in found)
        )


def number_of_queues(keys: Collection[SeriesKey]) -> int:
    return len({key.queue_id for key in keys})


def queues_in_words(keys: Collection[SeriesKey]) -> str:
    """How many queues these are, and where some have several media types, how many pairs."""
    queues = number_of_queues(keys)
    told = f"{queues} queue{'s' * (queues != 1)}"
    if len(keys) == queues:
        return told
    return f"{told} with {len(keys)} {'media types' if queues == 1 else 'pairs of queue and media type'}"


def read_past(path: Path, progress: Progress = lambda done, total: None) -> Past:
    """Reads a file; `progress` is told bytes done and bytes in all."""
    try:
        with opened(path) as source:
            cells = _read(source, progress)
        return _past(cells)
    except BacktestError as error:
        raise error if str(error).startswith(str(path)) else BacktestError(f"{path}: {error}") from error


def _read(source: Opened, progress: Progress) -> Cells:
    line = source.text.readline(LONGEST_HEADER)
    cells = Cells(form_of(line))
    reader = csv.reader(source.text, delimiter=cells.form.delimiter)
    for rows, before in _chunks(reader):
        cells.take(rows, before + 1)
        done = source.done()
        progress(done, max(source.size, done))
        require_room(ROW_BYTES * len(cells) * max(1.0, source.size / max(1, done)), "its rows")
    if not len(cells):
        raise BacktestError("the file names columns but holds no bucket: export a longer time")
    progress(source.size, source.size)
    return cells


def _chunks(reader: Iterator[list[str]]) -> Iterator[tuple[list[list[str]], int]]:
    """Rows, and the number of lines before them."""
    lines: int = 0
    while True:
        try:
            rows = list(islice(reader, CHUNK_ROWS))
        except csv.Error as error:
            raise BacktestError(
                f"line {reader.line_num + 1}: {error}: save the file as CSV UTF-8, and close every quote"  # type: ignore[attr-defined]
            ) from None
        if not rows:
            return
        yield rows, lines
        lines = reader.line_num  # type: ignore[attr-defined]


def _past(cells: Cells) -> Past:
    columns = {name: np.frombuffer(values, np.uint32) for name, values in cells.columns.items()}
    seen = np.unique(columns["start"]).astype(np.int64)
    step = cells.bucket_seconds or _bucket_seconds(seen)
    starts = _recorded(seen, step)
    shape = (len(starts), len(cells.series))
    require_room(CELL_BYTES * shape[0] * shape[1], f"{queues_in_words(cells.series)} in {shape[0]} buckets")
    _refuse_odd(columns, step)
    rows = np.searchsorted(starts, columns["start"])
    places = rows * shape[1] + columns["series"]
    told = _told(columns["line"], places, shape)
    counts = {name: _laid(columns[name], places, shape) for name in BASELINE_COUNTS}
    tells_zeros = cells.form.exported and bool((columns["offered"] == 0).any())
    lost = ~told if tells_zeros and not told.all() else None
    keys = tuple(cells.series)
    names = tuple(cells.names.get(key, key.queue_id) for key in keys)
    return Past(Baseline(step, starts, counts, lost), keys, names)


def _bucket_seconds(seen: IntColumn) -> int:
    """The length that all distances between buckets are multiples of."""
    apart = np.diff(seen)
    step = int(np.gcd.reduce(apart)) if len(apart) else 900
    if step < DAY_SECONDS and len(apart) and np.mean(apart == DAY_SECONDS) > LOCAL_DAYS_SHARE:
        raise BacktestError(
            "days that begin at a local midnight, so that they differ in length: write days of UTC, or hours"
        )
    fitting = [seconds for seconds in sorted(set(DURATIONS.values())) if step % seconds == 0]
    if not fitting:
        raise BacktestError(f"buckets begin {step} s apart: they must be 15, 30 or 60 minutes, 4 hours or a day long")
    return fitting[-1]


def _refuse_odd(columns: dict[str, NDArray[np.uint32]], step: int) -> None:
    odd = np.flatnonzero(columns["start"] % step != columns["start"][0] % step)
    if len(odd):
        raise BacktestError(
            f"line {columns['line'][odd[0]]}: this bucket does not begin a multiple of {step} s after the first"
        )


def _told(lines: NDArray[np.uint32], places: IntColumn, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which buckets of which queues have a row; none may have two."""
    told = np.zeros(shape[0] * shape[1], np.bool_)
    told[places] = True
    if np.count_nonzero(told) < len(places):
        order = np.lexsort((lines, places))
        line = lines[order][1:][np.diff(places[order]) == 0].min()
        raise BacktestError(f"line {line}: the same queue, media type and bucket for the second time: remove one")
    return told.reshape(shape)


def _recorded(seen: IntColumn, step: int) -> IntColumn:
    """Every bucket between those that were seen, but for the times that were not recorded."""

    def runs() -> Iterator[IntColumn]:
        breaks = np.flatnonzero(np.diff(seen) > max(UNKNOWN_SECONDS, step)) + 1
        for run in np.split(seen, breaks):
            yield np.arange(run[0], run[-1] + step, step)

    return np.concatenate(list(runs()))


def _laid(values: NDArray[np.uint32], places: IntColumn, shape: tuple[int, int]) -> NDArray[np.unsignedinteger]:
    narrow = values.max(initial=0) < 2**16
    laid: NDArray[np.unsignedinteger] = np.zeros(shape[0] * shape[1], np.uint16 if narrow else np.uint32)
    laid[places] = values
    return laid.reshape(shape)
