"""`backtest`: score a file of past buckets as the exporter would have lived them, and say what it would have flagged.

Paths and options come in from the command line, text goes to stdout, and, where asked for, every score into a CSV and
one queue into a chart. The statistics are `exporter.analysis.backtest`; this module only joins them to files.
"""

from __future__ import annotations

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
    run_backtest,
    write_chart,
)
from exporter.analysis.backtest.running import Sink
from exporter.analysis.scoring import method
from exporter.progress import Progress


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where to write more than the summary; `queue` is the one to draw, None = the busiest."""

    scores: Path | None = None
    plot: Path | None = None
    queue: str | None = None
    listed: int = 20


def backtest(file: Path, options: BacktestOptions, outputs: Outputs) -> str:
    """The summary as text, after writing what `outputs` asks for.

    Raises BacktestError for a file, a queue or an output that cannot be used.
    """
    past = read_past(file, Progress("reading"))
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
        raise BacktestError(f"{error.filename}: {error.strerror or error}") from error
    return describe(report, outputs.listed)


def _tracks(past: Past, options: BacktestOptions, outputs: Outputs) -> Sequence[Track]:
    """The queue to draw, by the first of the methods."""
    if outputs.plot is None:
        return ()
    chosen = method(options.methods[0])
    threshold = options.scores.threshold or chosen.default_threshold
    return (Track.of(past, outputs.queue or _busiest(past), chosen.name, threshold),)


def _busiest(past: Past) -> str:
    return past.names[int(past.history.counts["offered"].sum(axis=0).argmax())]
