"""What came of a walk, and its text for a terminal.

Comes in: the options and the `MethodSummary` of each method. Goes out: a `Report`, and lines for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from exporter.analysis.backtest.reading import Past
from exporter.analysis.backtest.summary import Flagged, MethodSummary
from exporter.analysis.scoring import ScoreOptions
from exporter.models import OFFERED, SeriesKey

DAY_SECONDS = 86_400
#: Flagged buckets that the text lists, the farthest out first.
LISTED = 25


@dataclass(frozen=True, slots=True)
class BacktestOptions:
    """What to walk, and how; `scores.threshold` None = each method's own."""

    methods: tuple[str, ...] = ("seasonal",)
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    baseline_seconds: int = 7 * DAY_SECONDS
    thresholds: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What was found, method by method; `counted_weeks` is the time that alarms were counted in."""

    past: Past
    options: BacktestOptions
    counted_weeks: float
    methods: tuple[MethodSummary, ...]


def describe(report: Report, listed: int = LISTED) -> str:
    """The report as text for a terminal."""
    past, options = report.past, report.options
    begin, end = (f"{datetime.fromtimestamp(int(past.history.starts[row]), UTC):%Y-%m-%d %H:%M}" for row in (0, -1))
    minutes, days = past.history.bucket_seconds // 60, options.baseline_seconds / 86_400
    head = (
        f"{len(past.keys)} queues, {len(past.history.starts)} buckets of {minutes} minutes, {begin} to {end} UTC;"
        f" alarms counted over {report.counted_weeks:.1f} weeks, each bucket scored by the {days:g} days before it."
    )
    lines = [head]
    for summary in report.methods:
        lines += ["", *_method_lines(summary, report, listed)]
    return "\n".join(lines) + "\n"


def _method_lines(summary: MethodSummary, report: Report, listed: int) -> Iterator[str]:
    thresholds = sorted(summary.queues[0].alarms) if summary.queues else []
    yield f"method {summary.method}, threshold {summary.threshold:g}: {len(summary.flagged)} buckets flagged"
    yield "  alarms per week          " + "".join(f"{'|z| > ' + f'{each:g}':>10}" for each in thresholds)
    weeks = max(report.counted_weeks, 1e-9)
    for queue in summary.queues:
        if queue.scored:
            rates = "".join(f"{queue.alarms[each] / weeks:>10.2f}" for each in thresholds)
            yield f"  {_label(queue.key, queue.name)[:34]:<34} {queue.metric:<18}{rates}"
    rates = "".join(f"{summary.alarms(each) / weeks / max(1, len(report.past.keys)):>10.2f}" for each in thresholds)
    yield f"  {'a queue and week, all metrics':<53}{rates}"
    for found in sorted(summary.flagged, key=lambda each: -abs(each.z))[:listed]:
        yield "  " + _flagged_line(found)
    if len(summary.flagged) > listed:
        yield f"  … and {len(summary.flagged) - listed} more"


def _label(key: SeriesKey, name: str) -> str:
    return f"{name} ({key.media_type})" if key.media_type else name


def _flagged_line(found: Flagged) -> str:
    moment = f"{datetime.fromtimestamp(found.start_seconds, UTC):%Y-%m-%d %H:%M}"
    if found.metric == OFFERED:
        what = f"{found.contacts} contacts, expected {found.mean:.1f} ± {found.stddev:.1f}"
    else:
        what = f"{found.events} of {found.contacts} ({found.value:.1%}), expected {found.mean:.1%} ± {found.stddev:.1%}"
    return f"{moment}  {_label(found.key, found.name)}  {found.metric}  {what}  z {found.z:+.1f}"
