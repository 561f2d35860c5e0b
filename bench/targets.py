"""What was asked of the exporter's speed, held against what was measured: one line each.

Comes in: `Figures`. Goes out: a table; a figure that is not there, because its part was left out or broke off, is a
dash and no verdict. The targets are those of the project's issue on speed; they hold on two cores that do nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from bench.scrape import OURS, Taken
from bench.tables import shown, table

SMALL, MIDDLE, LARGE = 1_000, 5_000, 20_000
#: What a phase is called that a poll does not have.
ONCE_A_BUCKET, AT_START = "once a bucket: ", "start: "


@dataclass
class Figures:
    """All that a run has found, by number of queues."""

    program: dict[int, dict[str, float]] = field(default_factory=dict)
    polls: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)  # by method
    plain: dict[int, dict[str, float]] = field(default_factory=dict)
    scrapes: dict[int, list[Taken]] = field(default_factory=dict)
    memory: dict[int, dict[str, float]] = field(default_factory=dict)
    prometheus: dict[int, dict[str, float]] = field(default_factory=dict)


def against(figures: Figures) -> str:
    """The table."""
    rows = [
        [what, f"{sign} {shown(wanted)}", found, _verdict(found, sign, wanted)]
        for what, sign, wanted, found in _all(figures)
    ]
    return table(["what", "target", "found", ""], rows)


def _verdict(found: float | None, sign: str, wanted: float) -> str:
    if found is None:
        return "not measured"
    met: Callable[[float, float], bool] = float.__le__ if sign == "≤" else float.__ge__
    return "met" if met(float(found), float(wanted)) else "**missed**"


def _all(figures: Figures) -> Iterator[tuple[str, str, float, float | None]]:
    yield from _of_scrapes(figures)
    yield from _of_polls(figures)
    yield from _of_the_program(figures)
    yield from _of_growth(figures)


def _of_scrapes(figures: Figures) -> Iterator[tuple[str, str, float, float | None]]:
    for way, client, golang in (("text, gzip", 500.0, 200.0), ("text, identity", 100.0, 40.0)):
        ratios = {
            each.server: each.ratio for each in figures.scrapes.get(MIDDLE, ()) if (each.way, each.scrapers) == (way, 1)
        }
        name = f"scrape p50 at 5,000 queues, {way}: "
        yield name + "prometheus_client / ours", "≥", client, ratios.get("prometheus_client")
        yield name + "client_golang / ours", "≥", golang, ratios.get("client_golang")
        yield name + "ours / nginx", "≤", 1.5, 1 / ratios["nginx"] if ratios.get("nginx") else None
    told = figures.prometheus.get(MIDDLE, {})
    yield "Prometheus' scrape duration at 5,000: ours / nginx", "≤", 1.2, told[OURS] / told["nginx"] if told else None
    yield "loop lag p99 at 20,000, poll and eight scrapers, ms", "≤", 25.0, _of(figures.program, "lag_p99_ms")


def _of_polls(figures: Figures) -> Iterator[tuple[str, str, float, float | None]]:
    for method, polls in figures.polls.items():
        phases = polls.get(LARGE, {})
        every = (
            sum(value for name, value in phases.items() if not name.startswith((ONCE_A_BUCKET, AT_START))) / 1000
            if phases
            else None
        )
        yield f"CPU of a poll at 20,000, `{method}`, no bucket closed, s", "≤", 0.5, every
        once = sum(value for name, value in phases.items() if name.startswith(ONCE_A_BUCKET)) / 1000 if phases else None
        yield f"CPU that a closed bucket costs at 20,000, `{method}`, s", "≤", 2.0, once
    phases, plain = figures.polls.get("zscore", {}).get(LARGE, {}), figures.plain.get(LARGE, {})
    scored, fitted = phases.get("score"), phases.get(f"{ONCE_A_BUCKET}fit")
    loop = plain.get("score")
    yield (
        "scores at 20,000, `zscore`: plain loop / ours, a poll",
        "≥",
        100.0,
        loop / scored if loop and scored else None,
    )
    both = scored + fitted if scored and fitted else None
    yield "the same with the fit, when a bucket has closed", "≥", 100.0, loop / both if loop and both else None


def _of_the_program(figures: Figures) -> Iterator[tuple[str, str, float, float | None]]:
    found = figures.program
    yield "first answer to scored metrics at 20,000, s", "≤", 2.0, _of(found, "first_answer_to_scored_s")
    yield "/export.csv of a week at 20,000: first byte, ms", "≤", 50.0, _of(found, "export_first_byte_ms")
    yield "… rows a second", "≥", 1e6, _of(found, "export_rows_per_s")
    yield "… memory growth, MB", "≤", 30.0, _of(found, "export_growth_mb")
    yield "… loop lag, worst, ms", "≤", 25.0, _of(found, "export_lag_max_ms")
    yield "resident memory at 5,000, MB", "≤", 130.0, _of(found, "rss_mb", MIDDLE)
    yield "resident memory at 20,000, MB", "≤", 350.0, _of(found, "rss_mb")


def _of_growth(figures: Figures) -> Iterator[tuple[str, str, float, float | None]]:
    """Times at 20,000 queues against twenty times those at 1,000: above 1 is worse than linear."""
    for method, polls in figures.polls.items():
        for name in polls.get(LARGE, {}):
            small, large = polls.get(SMALL, {}).get(name), polls[LARGE][name]
            growth = large / small / (LARGE / SMALL) if small else None
            yield f"growth from 1,000 to 20,000, `{method}`: {name}", "≤", 1.0, growth


def _of(found: Mapping[int, Mapping[str, float]], name: str, size: int = LARGE) -> float | None:
    return found.get(size, {}).get(name)
