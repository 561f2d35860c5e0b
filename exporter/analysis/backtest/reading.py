"""Past buckets from a CSV file.

Comes in: a file with the columns of /export.csv, or `queue,t,offered,abandoned,sla_breach` (`t` in epoch seconds or
ISO 8601; `media_type` and `sla_contacts` may stand beside). Goes out: `Past`, columns in time order. Rows may come in
any order; an absent row is a bucket without contacts, unless no queue has a row for three days: then nothing is known
of that time. A fault names its line and says what to write.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.baseline import BASELINE_COUNTS, Baseline
from exporter.errors import ExporterError
from exporter.models import IntColumn, SeriesKey

#: A time this long without a row for any queue was not recorded; shorter ones are nights, weekends and holidays.
UNKNOWN_SECONDS = 3 * 86_400
DURATIONS = {"PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT4H": 14_400, "PT1D": 86_400, "P1D": 86_400}
#: Rows between two calls of the progress hook.
PROGRESS_ROWS = 20_000
#: The columns of each form: what is needed, by our own names.
EXPORT = {"queue": "queueId", "t": "timeInterval", "offered": "totalContacts", "abandoned": "abandonedContacts",
          "sla_breached": "slaBreaches"}  # fmt: skip
SHORT = {"queue": "queue", "t": "t", "offered": "offered", "abandoned": "abandoned", "sla_breached": "sla_breach"}
#: Columns that may stand beside, in either form.
OPTIONAL = {"media_type": ("mediaType", "media_type"), "name": ("queueName",),
            "sla_contacts": ("serviceLevelContacts", "sla_contacts")}  # fmt: skip

Progress = Callable[[int, int], None]


class BacktestError(ExporterError):
    """The file cannot be scored; the text says where and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A history and whose it is: `keys` and `names` by series."""

    history: Baseline
    keys: tuple[SeriesKey, ...]
    names: tuple[str, ...]

    @property
    def weeks(self) -> float:
        """Length of what is recorded."""
        return len(self.history.starts) * self.history.bucket_seconds / (7 * 86_400)


@dataclass(slots=True)
class _Cells:
    """What has been read: one entry a row, of a few machine words each."""

    series: dict[SeriesKey, int] = field(default_factory=dict)
    names: dict[SeriesKey, str] = field(default_factory=dict)
    columns: dict[str, array[int]] = field(
        default_factory=lambda: {name: array("q") for name in ("line", "series", "start", *BASELINE_COUNTS)}
    )
    bucket_seconds: int | None = None


def read_past(path: Path, progress: Progress = lambda done, total: None) -> Past:
    """Reads a file; `progress` is told bytes done and bytes in all."""
    try:
        size = path.stat().st_size
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = _read(file, size, progress)
    except OSError as error:
        raise BacktestError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BacktestError(f"{path}: not UTF-8 text ({error.reason}): save the file as CSV UTF-8") from error
    return _past(cells)


def _read(file: TextIO, size: int, progress: Progress) -> _Cells:
    reader = csv.reader(file)
    header = next(reader, None)
    if header is None:
        raise BacktestError("line 1: the file is empty: its first line must name the columns")
    columns = _columns_of([name.strip() for name in header])
    cells = _Cells()
    for row in reader:
        if row:
            _take(cells, reader.line_num, row, columns, len(header))
        if reader.line_num % PROGRESS_ROWS == 0:
            progress(min(size, file.buffer.tell() if hasattr(file, "buffer") else 0), size)
    if not cells.series:
        raise BacktestError("the file names columns but holds no bucket: export a longer time")
    progress(size, size)
    return cells


def _columns_of(header: Sequence[str]) -> dict[str, int]:
    """Position of each known column."""
    form = EXPORT if EXPORT["queue"] in header else SHORT
    missing = [name for name in form.values() if name not in header]
    if missing:
        raise BacktestError(
            f"line 1: no column {', '.join(missing)}: write the columns of /export.csv, or {','.join(SHORT.values())}"
        )
    columns = {ours: header.index(theirs) for ours, theirs in form.items()}
    beside = ((ours, each) for ours, spellings in OPTIONAL.items() for each in spellings if each in header)
    return columns | {ours: header.index(theirs) for ours, theirs in beside}


def _take(cells: _Cells, line: int, row: Sequence[str], columns: Mapping[str, int], width: int) -> None:
    if len(row) != width:
        raise BacktestError(
            f"line {line}: {len(row)} cells where the header has {width}: quote text that holds a comma"
        )
    key = SeriesKey(row[columns["queue"]], row[columns["media_type"]] if "media_type" in columns else "")
    if not key.queue_id:
        raise BacktestError(f"line {line}: the queue is empty: write its id or name")
    start, bucket_seconds = _moment(row[columns["t"]], line)
    if bucket_seconds is not None and cells.bucket_seconds not in (None, bucket_seconds):
        raise BacktestError(f"line {line}: a bucket of another length than before: export one length at a time")
    cells.bucket_seconds = bucket_seconds or cells.bucket_seconds
    counts = {name: _count(row[columns[name]], name, line) for name in BASELINE_COUNTS if name in columns}
    counts.setdefault("sla_contacts", counts["offered"])
    if "name" in columns and row[columns["name"]]:
        cells.names[key] = row[columns["name"]]
    values = {"line": line, "series": cells.series.setdefault(key, len(cells.series)), "start": start} | counts
    for name, value in values.items():
        cells.columns[name].append(value)


def _count(text: str, name: str, line: int) -> int:
    try:
        value = float(text) if text.strip() else 0.0
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**31 or value != int(value):
        raise BacktestError(f"line {line}: {name} is {text!r}: write a whole number, 0 or more")
    return int(value)


def _moment(text: str, line: int) -> tuple[int, int | None]:
    """Start in epoch seconds, and the bucket's length where the cell tells it."""
    start, _, duration = text.strip().partition("/")
    if duration and duration not in DURATIONS:
        raise BacktestError(f"line {line}: the interval {text!r} has a length other than {', '.join(DURATIONS)}")
    try:
        if start.lstrip("-").isdigit():
            return int(start), DURATIONS.get(duration)
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise BacktestError(
            f"line {line}: the time is {text!r}: write epoch seconds or ISO 8601 like 2026-03-01T09:00:00Z/PT15M"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()), DURATIONS.get(duration)


def _past(cells: _Cells) -> Past:
    columns = {name: np.frombuffer(values, np.int64) for name, values in cells.columns.items()}
    step = cells.bucket_seconds or _bucket_seconds(columns["start"])
    _refuse_odd(columns, step)
    starts = _recorded(np.unique(columns["start"]), step)
    rows = np.searchsorted(starts, columns["start"])
    counts = {
        name: _laid(columns[name], rows, columns["series"], (len(starts), len(cells.series)))
        for name in BASELINE_COUNTS
    }
    keys = tuple(cells.series)
    return Past(Baseline(step, starts, counts), keys, tuple(cells.names.get(key, key.queue_id) for key in keys))


def _bucket_seconds(starts: IntColumn) -> int:
    """The length that all distances between buckets are multiples of."""
    apart = np.diff(np.unique(starts))
    step = int(np.gcd.reduce(apart)) if len(apart) else 900
    fitting = [seconds for seconds in sorted(set(DURATIONS.values())) if step % seconds == 0]
    if not fitting:
        raise BacktestError(f"buckets begin {step} s apart: they must be 15, 30 or 60 minutes, 4 hours or a day long")
    return fitting[-1]


def _refuse_odd(columns: Mapping[str, IntColumn], step: int) -> None:
    odd = np.flatnonzero((columns["start"] - columns["start"][0]) % step)
    if len(odd):
        raise BacktestError(
            f"line {columns['line'][odd[0]]}: this bucket does not begin a multiple of {step} s after the first"
        )
    order = np.lexsort((columns["line"], columns["start"], columns["series"]))
    same = (np.diff(columns["start"][order]) == 0) & (np.diff(columns["series"][order]) == 0)
    if same.any():
        line = columns["line"][order][1:][same].min()
        raise BacktestError(f"line {line}: the same queue, media type and bucket for the second time: remove one")


def _recorded(seen: IntColumn, step: int) -> IntColumn:
    """Every bucket between those that were seen, but for the times that were not recorded."""

    def runs() -> Iterator[IntColumn]:
        breaks = np.flatnonzero(np.diff(seen) > UNKNOWN_SECONDS) + 1
        for run in np.split(seen, breaks):
            yield np.arange(run[0], run[-1] + step, step)

    return np.concatenate(list(runs()))


def _laid(
    values: IntColumn, rows: NDArray[np.intp], series: IntColumn, shape: tuple[int, int]
) -> NDArray[np.unsignedinteger]:
    narrow = values.max(initial=0) < 2**16
    laid: NDArray[np.unsignedinteger] = np.zeros(shape, np.uint16 if narrow else np.uint32)
    laid[rows, series] = values
    return laid
