"""`python -m bench`: everything side by side in one run, written to bench/RESULTS.md.

--sizes 1000 5000      numbers of queues (default 100 1000 5000 20000)
--rounds 5             rounds of every comparison
--out FILE             where the tables go
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import history, measuring, poll, scrape

RESULTS = Path(__file__).parent / "RESULTS.md"
PLAIN_MOST = 5_000  # the plain way takes minutes above


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 5_000, 20_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    parts = [
        f"# Measured\n\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {measuring.machine()}. Medians; made by `make bench`."
    ]
    for title, part in (("History", histories), ("The poll", polls), ("The scrape", scrapes)):
        sys.stderr.write(f"{title} …\n")
        parts.append(f"## {title}\n\n" + part(options.sizes, options.rounds))
        options.out.write_text("\n\n".join(parts) + "\n")  # a run that is broken off has told something
    parts[0] += f" At the end: {measuring.machine()}."
    options.out.write_text("\n\n".join(parts) + "\n")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([shown(each) for each in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def histories(sizes: Sequence[int], rounds: int) -> str:
    taken = {size: history.measured(size) for size in sizes}
    names = list(next(iter(taken.values())))
    body = table(["", *(f"{size:,} queues" for size in sizes)], [[n, *(taken[s][n] for s in sizes)] for n in names])
    return f"A full week of quarter hours, `zscore`; each size in a process of its own.\n\n{body}"


def polls(sizes: Sequence[int], rounds: int) -> str:
    ours = {size: poll.phases(size, rounds, "zscore") for size in sizes}
    plain = {size: poll.plain_phases(size) for size in sizes if size <= PLAIN_MOST}
    rows = []
    for name in next(iter(ours.values())):
        rows.append([name, *(ours[size][name] for size in sizes)])
        theirs = [plain[s][name] / ours[s][name] if s in plain and name in plain[s] else None for s in sizes]
        if any(theirs):
            rows.append(["… the plain way, times ours", *theirs])
    return "CPU milliseconds, `zscore`, a week of history.\n\n" + table(["", *(f"{s:,} queues" for s in sizes)], rows)


def scrapes(sizes: Sequence[int], rounds: int) -> str:
    rows, memory, lags, pages = [], [], [], []
    for size in sizes:
        taken, most = scrape.compare(size, rounds)
        rows += [
            [t.queues, t.way, t.scrapers, t.server, t.p50_ms, t.p99_ms, t.cpu_ms, t.ratio, t.lag_ms] for t in taken
        ]
        memory += [[size, name, mb] for name, mb in most.items()]
        lags.append([size, *scrape.under_load(size, 10).values()])
        pages.append([size, *scrape.dashboard(size, rounds)])
    head = ["queues", "asked for", "scrapers", "server", "p50 ms", "p99 ms", "CPU ms", "p50 / ours", "lag p99 ms"]
    return "\n\n".join(
        (
            "Fifteen series a queue; all servers up at once, paired rounds.",
            table(head, rows),
            "Most memory that a server had, MB:",
            table(["queues", "server", "MB"], memory),
            "Event-loop lag in ms with ten polls (parse, render) and eight gzip scrapers under way:",
            table(["queues", "p50", "p99", "worst"], lags),
            "/dashboard, gzip:",
            table(["queues", "first ms", "later p50 ms", "MB plain"], pages),
        )
    )


if __name__ == "__main__":
    main()
