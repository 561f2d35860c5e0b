"""Markdown tables of figures."""

from __future__ import annotations

from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([shown(each) for each in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def by_size(sizes: Iterable[int], figures: dict[int, dict[str, float]]) -> str:
    """A row per figure, a column per number of queues; what was not measured is a dash."""
    sizes = list(sizes)
    names = list(dict.fromkeys(name for size in sizes for name in figures.get(size, {})))
    rows = [[name, *(figures.get(size, {}).get(name) for size in sizes)] for name in names]
    return table(["", *(f"{size:,} queues" for size in sizes)], rows)
