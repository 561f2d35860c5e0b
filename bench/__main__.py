"""`python -m bench`: everything side by side in one run, written to bench/RESULTS.md and into docs/operations.md.

--sizes 1000 5000      numbers of queues (default 100 1000 5000 20000); at 1000, 5000 and 20000 there are targets
--rounds 5             rounds of every comparison
--parts program poll   some parts alone (default: all of program, poll, scrape, prometheus)
--out FILE             where the tables go; docs/operations.md is left alone then

The tables are written anew after every part of every size: what breaks off costs itself alone, and is named.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import costs, measuring, poll, program, prometheus, scrape
from bench.tables import by_size, shown, table
from bench.targets import Figures, against

__all__ = ["main", "shown", "table"]

RESULTS = Path(__file__).parent / "RESULTS.md"
PLAIN_MOST = 5_000  # the plain way takes minutes above, but for its scores
METHODS = ("seasonal", "zscore")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    run = Run(options.sizes, options.rounds, options.out)
    for name in options.parts:
        for size in options.sizes:
            run.part(name, size)
    if options.out == RESULTS and run.figures.program:
        costs.write(run.machine, run.figures.program)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 5_000, 20_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


class Run:
    """One run: the figures so far, and the file that tells them."""

    def __init__(self, sizes: Sequence[int], rounds: int, out: Path) -> None:
        self.figures, self.rounds, self.machine = Figures(), rounds, measuring.machine()
        self._sizes, self._out, self._broken = sizes, out, list[str]()
        self._began = time.monotonic()

    def part(self, name: str, size: int) -> None:
        """Measures one part at one size, whatever comes of it, and writes the file."""
        sys.stderr.write(f"{time.monotonic() - self._began:5.0f} s  {name}, {size:,} queues\n")
        try:
            PARTS[name](self, size)
        except Exception as error:
            traceback.print_exc()
            self._broken.append(f"{name} at {size:,} queues broke off: {type(error).__name__}")
        self._out.write_text(self.text(), "utf-8")

    def text(self) -> str:
        """All of the file."""
        minutes = (time.monotonic() - self._began) / 60
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {minutes:.0f} minutes"
        made = f"{when}. {self.machine}; at the end {measuring.load()}."
        parts = ["# Measured", f"{made} Medians; made by `make bench`.", *self._broken]
        parts += ["## Against the targets", against(self.figures), *_sections(self.figures, self._sizes)]
        return "\n\n".join(parts) + "\n"


def _program(run: Run, size: int) -> None:
    run.figures.program[size] = program.measured(size)


def _poll(run: Run, size: int) -> None:
    rounds = min(run.rounds, 3)
    for method in METHODS:
        run.figures.polls.setdefault(method, {})[size] = poll.phases(size, rounds, method)
    run.figures.plain[size] = poll.plain_phases(size) if size <= PLAIN_MOST else poll.plain_score(size)


def _scrape(run: Run, size: int) -> None:
    run.figures.scrapes[size], run.figures.memory[size] = scrape.compare(size, run.rounds)


def _prometheus(run: Run, size: int) -> None:
    found = prometheus.durations(size)
    if found is not None:
        run.figures.prometheus[size] = found


PARTS: dict[str, Callable[[Run, int], None]] = {
    "program": _program,
    "poll": _poll,
    "scrape": _scrape,
    "prometheus": _prometheus,
}


def _sections(figures: Figures, sizes: Sequence[int]) -> list[str]:
    parts = []
    if figures.program:
        said = (
            "`python -m exporter`, all defaults, a full week of history with kept scores, an API that answers at once."
        )
        parts += ["## The whole program", said, by_size(sizes, figures.program)]
    for method, polls in figures.polls.items():
        parts += [f"## A poll, `{method}`", "CPU milliseconds; a week of history.", by_size(sizes, polls)]
    if figures.plain:
        said = "json, a loop over the queues, prometheus_client: CPU milliseconds."
        parts += ["## A poll, the plain way", said, by_size(sizes, figures.plain)]
    if figures.scrapes:
        parts += ["## The scrape", "Fifteen series a queue; all servers up at once, paired rounds.", _scraped(figures)]
        parts += ["Most memory that a server had, MB:", by_size(sizes, figures.memory)]
    if figures.prometheus:
        said = "Median `scrape_duration_seconds` of one Prometheus with both as targets, in ms; nginx: the same bytes."
        parts += ["## What Prometheus says", said, by_size(sizes, figures.prometheus)]
    return parts


def _scraped(figures: Figures) -> str:
    head = ["queues", "asked for", "scrapers", "server", "p50 ms", "p99 ms", "CPU ms", "p50 / ours", "lag p99 ms"]
    rows = [
        [
            each.queues,
            each.way,
            each.scrapers,
            each.server,
            each.p50_ms,
            each.p99_ms,
            each.cpu_ms,
            each.ratio,
            each.lag_ms,
        ]
        for taken in figures.scrapes.values()
        for each in taken
    ]
    return table(head, rows)


if __name__ == "__main__":
    main()
