"""`backtest`: score a file of past buckets as the exporter would have lived them, and say what it would have flagged.

Paths and options come in from the command line, text goes to stdout, and, where asked for, every score into a CSV and
one queue into a chart. The statistics are `exporter.analysis.backtest`; this module only joins them to files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from exporter.analysis.backtest import (
    BacktestError,
    BacktestOptions,
    Past,
    ScoreSheet,
    Track,
    describe,
    read_past,
    require_chart,
    run_backtest,
    write_chart,
)
from exporter.analysis.backtest.running import Sink
from exporter.analysis.scoring import method
from exporter.progress import Progress


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where to write more than the summary, and of what: `queue` is the only one to score, None = all of them."""

    scores: Path | None = None
    plot: Path | None = None
    queue: str | None = None
    listed: int = 20


def backtest(file: Path, options: BacktestOptions, outputs: Outputs) -> str:
    """The summary as text, after writing what `outputs` asks for.

    Raises BacktestError for a file, a queue or an output that cannot be used; for an output before anything is read.
    """
    _require_places(file, outputs)
    past = read_past(file, Progress("reading"))
    past = past if outputs.queue is None else past.of_queue(outputs.queue)
    tracks = _tracks(past, options, outputs)
    try:
        with ExitStack() as stack:
            sinks: list[Sink] = list(tracks)
            if outputs.scores is not None:
                sheet = stack.enter_context(outputs.scores.open("w", encoding="utf-8", newline=""))
                sinks.append(ScoreSheet.to(sheet, past))
            report = run_backtest(past, options, Progress("scoring"), sinks)
        for track in tracks:
            write_chart(track, outputs.plot or Path())
    except OSError as error:
        raise BacktestError(f"{error.filename or outputs.scores}: {error.strerror or error}") from error
    return describe(report, outputs.listed)


def _require_places(file: Path, outputs: Outputs) -> None:
    """Refuses outputs that cannot be written, or that would overwrite what is read: minutes before they are due."""
    if outputs.plot is not None:
        require_chart(outputs.plot)
    for path in (outputs.scores, outputs.plot):
        if path is None:
            continue
        if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            raise BacktestError(f"{path}: cannot be written: name a file in a folder that can")
        if path.exists() and file.exists() and path.samefile(file):
            raise BacktestError(f"{path}: is the file that is read: name another")
    if outputs.scores and outputs.plot and outputs.scores.absolute() == outputs.plot.absolute():
        raise BacktestError(f"{outputs.plot}: --scores and --plot name the same file: name another")


def _tracks(past: Past, options: BacktestOptions, outputs: Outputs) -> Sequence[Track]:
    """The busiest series, by the first of the methods."""
    if outputs.plot is None:
        return ()
    chosen = method(options.methods[0])
    threshold = options.scores.threshold or chosen.default_threshold
    busiest = int(past.history.counts["offered"].sum(axis=0, dtype="int64").argmax())
    return (Track.of(past, busiest, chosen.name, threshold),)
