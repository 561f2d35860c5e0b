"""How fast `backtest` reads and scores: `python -m bench.backtest`, a table on stdout.

--sizes 50x35 200x35    queues × days of quarter hours (default 50x35 500x7)

CPU seconds of one process; rows are those of an /export.csv, scores those of the method's metrics.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.__main__ import table
from exporter.analysis.backtest import BacktestOptions, read_past, run_backtest
from exporter.analysis.scoring import METHODS

QUARTER, DAY = 900, 96
BEGIN = 1_772_409_600  # Monday, 2026-03-02
HEADER = "queueId,queueName,mediaType,timeInterval,totalContacts,abandonedContacts,slaBreaches,serviceLevelContacts\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.backtest")
    parser.add_argument("--sizes", nargs="+", default=["50x35", "500x7"])
    options = parser.parse_args(arguments)
    taken = {size: measured(*map(int, size.split("x"))) for size in options.sizes}
    names = list(next(iter(taken.values())))
    print(table(["", *(f"{size} days" for size in taken)], [[n, *(each[n] for each in taken.values())] for n in names]))


def measured(queues: int, days: int) -> dict[str, float]:
    """All figures of one size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "past.csv"
        write(path, queues, days)
        began = time.process_time()
        past = read_past(path)
        rows = queues * days * DAY
        figures = {"rows": rows, "read, rows per s": rows / (time.process_time() - began)}
    for name, method in METHODS.items():
        began = time.process_time()
        run_backtest(past, BacktestOptions(methods=(name,)))
        took = time.process_time() - began
        figures |= {f"{name}, s": took, f"{name}, scores per s": rows * len(method.metrics) / took}
    return figures


def write(path: Path, queues: int, days: int, seed: int = 1) -> None:
    """A file of a contact centre with a daily hump; 6 % give up, 20 % wait too long."""
    chance = np.random.default_rng(seed)
    hour = np.arange(days * DAY) % DAY / 4
    mean = np.exp(chance.normal(2, 1.3, queues)) * np.clip(np.sin((hour - 6) / 14 * np.pi), 0.02, None)[:, None]
    offered = chance.poisson(mean)
    abandoned, late = chance.binomial(offered, 0.06), chance.binomial(offered, 0.2)
    with path.open("w") as file:
        file.write(HEADER)
        for row, counts in enumerate(zip(offered.tolist(), abandoned.tolist(), late.tolist(), strict=True)):
            when = f"{np.datetime64(BEGIN + row * QUARTER, 's')}.000Z/PT15M"
            cells = enumerate(zip(*counts, strict=True))
            file.writelines(f"id-{queue},Queue {queue},voice,{when},{n},{x},{y},{n}\n" for queue, (n, x, y) in cells)


if __name__ == "__main__":
    main()
