"""What came of a walk, and its text for a terminal.

Comes in: the options and the `MethodSummary` of each method. Goes out: a `Report`, and lines for people: for each
method its alarms by queue and the farthest out of the flagged buckets; of several methods a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations

import numpy as np

from exporter.analysis.backtest.reading import Past
from exporter.analysis.backtest.summary import Flagged, MethodSummary, QueueSummary
from exporter.analysis.scoring import ScoreOptions
from exporter.models import OFFERED, SeriesKey

DAY_SECONDS = 86_400
#: Flagged buckets that the text lists, the farthest out first; queues that it sums up, the loudest first.
LISTED, SUMMED_QUEUES = 25, 100
LABEL_WIDTH = 40


@dataclass(frozen=True, slots=True)
class BacktestOptions:
    """What to walk, and how; `scores.threshold` None = each method's own; `kept` flagged buckets are remembered."""

    methods: tuple[str, ...] = ("seasonal",)
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    baseline_seconds: int = 7 * DAY_SECONDS
    thresholds: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0)
    kept: int = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What was found, method by method; `counted_weeks` is the time that alarms were counted in, `model_ages` how long
    one model of each method served, in seconds."""

    past: Past
    options: BacktestOptions
    counted_weeks: float
    methods: tuple[MethodSummary, ...]
    model_ages: tuple[int, ...]


def describe(report: Report, listed: int = LISTED) -> str:
    """The report as text for a terminal."""
    lines = [_head(report)]
    for summary, age in zip(report.methods, report.model_ages, strict=True):
        lines += ["", *_method_lines(summary, report, age, listed)]
    if len(report.methods) > 1:
        lines += ["", *_comparison(report)]
    return "\n".join(lines) + "\n"


def _head(report: Report) -> str:
    past, options = report.past, report.options
    begin, end = (f"{datetime.fromtimestamp(int(past.history.starts[row]), UTC):%Y-%m-%d %H:%M}" for row in (0, -1))
    days = options.baseline_seconds / DAY_SECONDS
    recorded = len(past.history.starts) * past.history.bucket_seconds
    note = (
        "" if recorded > options.baseline_seconds else " The file is no longer than that: the first scores know little."
    )
    return (
        f"{len(past.keys)} queue{'s' * (len(past.keys) != 1)},"
        f" {len(past.history.starts)} buckets of {_span(past.history.bucket_seconds)},"
        f" {begin} to {end} UTC; alarms counted over {report.counted_weeks:.1f} weeks,"
        f" each bucket scored by the {days:g} days before it.{note}"
    )


def _method_lines(summary: MethodSummary, report: Report, age: int, listed: int) -> Iterator[str]:
    thresholds, weeks = _thresholds(summary), _weeks(report)
    served = "" if age <= report.past.history.bucket_seconds else f"; a model serves up to {_span(age)}"
    yield f"method {summary.method}, threshold {summary.threshold:g}: {summary.flags} buckets flagged{served}"
    shares = ", ".join(f"{metric} {share:.2%}" for metric, share in summary.surprised.items())
    yield f"  |z| > 3 in {shares}"
    yield f"  {'alarms per week':<{LABEL_WIDTH + 19}}" + "".join(f"{'|z| > ' + f'{each:g}':>10}" for each in thresholds)
    scored = [queue for queue in summary.queues if queue.scored]
    shown = _loudest(scored, summary.threshold)
    for queue in scored:
        if queue.key in shown:
            label = _label(queue.key, _shortened(queue.name, LABEL_WIDTH - len(_label(queue.key, ""))))
            yield f"  {label:<{LABEL_WIDTH}} {queue.metric:<18}" + _rates(queue.alarms, weeks)
    if hidden := len({queue.key for queue in scored}) - len(shown):
        yield f"  … and {hidden} queues with fewer alarms"
    yield f"  {'a queue and week, all metrics':<{LABEL_WIDTH + 19}}" + _rates(
        _all_alarms(summary), weeks * len(report.past.keys)
    )
    for found in sorted(summary.flagged, key=lambda each: -abs(each.z))[:listed]:
        yield "  " + _flagged_line(found)
    if summary.flags > listed:
        yield f"  … and {summary.flags - listed} more"


def _comparison(report: Report) -> Iterator[str]:
    """One line a method, and for each pair how often they agree."""
    weeks = _weeks(report) * len(report.past.keys)
    thresholds = sorted({*report.options.thresholds}.intersection(*(_thresholds(each) for each in report.methods)))
    columns = "".join(f"{'|z| > ' + f'{each:g}':>10}" for each in thresholds)
    yield f"  {'alarms a queue and week':<26}{'own':>8}{columns}   buckets with |z| > 3, by metric"
    for summary in report.methods:
        alarms = _all_alarms(summary)
        rates = _rates({each: alarms[each] for each in thresholds}, weeks)
        shares = ", ".join(f"{share:.2%}" for share in summary.surprised.values())
        own = f"{alarms[summary.threshold] / weeks:>8.2f}"
        yield f"  {f'{summary.method} (threshold {summary.threshold:g})':<26}{own}{rates}   {shares}"
    for first, second in combinations(report.methods, 2):
        both, one, other = _agreement(first, second)
        yield (
            f"  {first.method} and {second.method}, abandonment and SLA breach: {both} buckets flagged by both,"
            f" {one} by {first.method} alone, {other} by {second.method} alone"
        )


def _agreement(first: MethodSummary, second: MethodSummary) -> tuple[int, int, int]:
    """Buckets flagged by both, by the first alone, by the second alone; of the metrics that both score."""
    both = one = other = 0
    for metric in first.places.keys() & second.places.keys():
        shared = len(np.intersect1d(first.places[metric], second.places[metric]))
        both += shared
        one += len(first.places[metric]) - shared
        other += len(second.places[metric]) - shared
    return both, one, other


def _loudest(queues: Sequence[QueueSummary], threshold: float) -> set[SeriesKey]:
    alarms: dict[SeriesKey, int] = {}
    for queue in queues:
        alarms[queue.key] = alarms.get(queue.key, 0) + queue.alarms[threshold]
    return set(sorted(alarms, key=lambda key: -alarms[key])[:SUMMED_QUEUES])


def _thresholds(summary: MethodSummary) -> list[float]:
    return sorted(summary.queues[0].alarms) if summary.queues else []


def _all_alarms(summary: MethodSummary) -> dict[float, int]:
    return {each: summary.alarms(each) for each in _thresholds(summary)}


def _weeks(report: Report) -> float:
    return max(report.counted_weeks, 1e-9)


def _rates(alarms: Mapping[float, int], weeks: float) -> str:
    return "".join(f"{alarms[each] / weeks:>10.2f}" for each in sorted(alarms))


def _span(seconds: int) -> str:
    return f"{seconds // 60} minutes" if seconds < 7200 else f"{seconds / 3600:g} hours"


def _label(key: SeriesKey, name: str) -> str:
    return f"{name} ({key.media_type})" if key.media_type else name


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else name[: max(1, width - 1)] + "…"


def _flagged_line(found: Flagged) -> str:
    moment = f"{datetime.fromtimestamp(found.start_seconds, UTC):%Y-%m-%d %H:%M}"
    if found.metric == OFFERED:
        what = f"{found.contacts} contacts, expected {found.mean:.1f} ± {found.stddev:.1f}"
    else:
        what = f"{found.events} of {found.contacts} ({found.value:.1%}), expected {found.mean:.1%} ± {found.stddev:.1%}"
    return f"{moment}  {_label(found.key, found.name)}  {found.metric}  {what}  z {found.z:+.1f}"
