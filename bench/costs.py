"""The tables of docs/operations.md: what an exporter costs by number of queues, written between two marks.

Comes in: what `bench.program` measured. The calls a minute are not measured but those of the exporter's own plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import org
from bench.measuring import ROOT
from bench.tables import table
from exporter.genesys.selection import Selection
from exporter.genesys.source import AggregatesSource
from exporter.models import Directory, Queue

DOCUMENT = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- written by python -m bench -->", "<!-- end -->"
INTERVALS = (30, 60, 120)


def write(machine: str, program: dict[int, dict[str, float]], document: Path = DOCUMENT) -> None:
    """Puts the tables in place of those that are there."""
    text = document.read_text("utf-8")
    body = f"{BEGIN}\n{costs(machine, program)}\n\n{calls(program)}\n{END}"
    document.write_text(re.sub(f"{BEGIN}.*{END}", lambda found: body, text, flags=re.DOTALL), "utf-8")


def costs(machine: str, program: dict[int, dict[str, float]]) -> str:
    head = ["queues", "CPU of a poll", "resident memory", "at most", "start to scored metrics", "disk, a week"]
    rows = [
        [
            size,
            f"{each['poll_cpu_s']:.2f} s",
            f"{each['rss_mb']:.0f} MB",
            f"{each['rss_most_mb']:.0f} MB",
            f"{each['start_to_scored_s']:.1f} s",
            f"{each['disk_mb']:.0f} MB",
        ]
        for size, each in program.items()
    ]
    return f"Taken on {machine}.\n\n{table(head, rows)}"


def calls(sizes: Iterable[int]) -> str:
    rows = [[size, *(round(calls_per_minute(size, seconds), 1) for seconds in INTERVALS)] for size in sizes]
    said = "API calls a minute of the aggregates contract, all queues, `EXPORTER_BUCKET=PT15M`, without the back-fill:"
    return f"{said}\n\n{table(['queues', *(f'every {seconds} s' for seconds in INTERVALS)], rows)}"


def calls_per_minute(queues: int, interval_seconds: float) -> float:
    nothing: Any = type("Nobody", (), {"hook": None})
    source = AggregatesSource(nothing, Selection(), "PT15M", 60.0, nothing)
    directory = Directory({str(number): Queue(str(number), "", "") for number in range(queues)})
    return source.plan(directory).per_minute(interval_seconds, org.BUCKET_SECONDS, 600.0)
