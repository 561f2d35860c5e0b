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

from exporter.analysis.backtest.reading import Past, number_of_queues, queues_in_words
from exporter.analysis.backtest.summary import Flagged, MethodSummary, QueueSummary
from exporter.analysis.scoring import ScoreOptions
from exporter.models import OFFERED, SeriesKey

DAY_SECONDS, WEEK_SECONDS = 86_400, 7 * 86_400
#: Shorter than this, nothing is said of a week: one bad evening would be seven of them.
SHORTEST_FOR_RATES_SECONDS = 2 * DAY_SECONDS
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
    """What was found, method by method; `counted_seconds` is the time that alarms were counted in, `model_ages` how
    long one model of each method served, in seconds."""

    past: Past
    options: BacktestOptions
    counted_seconds: int
    methods: tuple[MethodSummary, ...]
    model_ages: tuple[int, ...]

    @property
    def tells_rates(self) -> bool:
        """Whether the alarms were counted for long enough to say how many a week there are; else counts alone."""
        return self.counted_seconds >= SHORTEST_FOR_RATES_SECONDS


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
    buckets = len(past.history.starts)
    return (
        f"{queues_in_words(past.keys)}, {buckets} bucket{'s' * (buckets != 1)} of {_span(past.history.bucket_seconds)},"
        f" {begin} to {end} UTC; alarms counted over {_long_span(report.counted_seconds)},"
        f" each bucket scored by the {days:g} days before it.{note}"
    )


def _method_lines(summary: MethodSummary, report: Report, age: int, listed: int) -> Iterator[str]:
    thresholds = _thresholds(summary)
    served = "" if age <= report.past.history.bucket_seconds else f"; a model serves up to {_span(age)}"
    yield f"method {summary.method}, threshold {summary.threshold:g}: {summary.flags} buckets flagged{served}"
    shares = ", ".join(f"{metric} {share:.2%}" for metric, share in summary.surprised.items())
    yield f"  |z| > 3 in {shares}"
    head = "alarms per week" if report.tells_rates else f"alarms in {_long_span(report.counted_seconds)}"
    yield f"  {head:<{LABEL_WIDTH + 19}}" + "".join(f"{'|z| > ' + f'{each:g}':>10}" for each in thresholds)
    scored = [queue for queue in summary.queues if queue.scored]
    shown = _loudest(scored, summary.threshold)
    for queue in scored:
        if queue.key in shown:
            label = _label(queue.key, _shortened(queue.name, LABEL_WIDTH - len(_label(queue.key, ""))))
            yield f"  {label:<{LABEL_WIDTH}} {queue.metric:<18}" + _told(queue.alarms, report)
    if hidden := {queue.key for queue in scored} - shown:
        one = number_of_queues(report.past.keys) == len(report.past.keys)
        yield f"  … and {len(hidden)} {'queues' if one else 'pairs of queue and media type'} with fewer alarms"
    foot = "a queue and week, all metrics" if report.tells_rates else "all queues and metrics"
    yield f"  {foot:<{LABEL_WIDTH + 19}}" + _told(_all_alarms(summary), report, number_of_queues(report.past.keys))
    for found in sorted(summary.flagged, key=lambda each: -abs(each.z))[:listed]:
        yield "  " + _flagged_line(found)
    if summary.flags > listed:
        yield f"  … and {summary.flags - listed} more"


def _comparison(report: Report) -> Iterator[str]:
    """One line a method, and for each pair how often they agree."""
    queues = number_of_queues(report.past.keys)
    thresholds = sorted({*report.options.thresholds}.intersection(*(_thresholds(each) for each in report.methods)))
    columns = "".join(f"{'|z| > ' + f'{each:g}':>10}" for each in thresholds)
    head = "alarms a queue and week" if report.tells_rates else f"alarms in {_long_span(report.counted_seconds)}"
    yield f"  {head:<26}{'own':>10}{columns}   buckets with |z| > 3, by metric"
    for summary in report.methods:
        alarms = _all_alarms(summary)
        rates = _told({each: alarms[each] for each in thresholds}, report, queues)
        shares = ", ".join(f"{share:.2%}" for share in summary.surprised.values())
        own = _told({summary.threshold: alarms[summary.threshold]}, report, queues)
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


def _told(alarms: Mapping[float, int], report: Report, queues: int = 1) -> str:
    """By threshold: alarms a week of one of so many queues; all that were counted where that says nothing of a week."""
    if not report.tells_rates:
        return "".join(f"{alarms[each]:>10}" for each in sorted(alarms))
    weeks = report.counted_seconds / WEEK_SECONDS * queues
    return "".join(f"{alarms[each] / weeks:>10.2f}" for each in sorted(alarms))


def _span(seconds: int) -> str:
    return f"{seconds // 60} minutes" if seconds < 7200 else f"{seconds / 3600:g} hours"


def _long_span(seconds: int) -> str:
    if seconds < SHORTEST_FOR_RATES_SECONDS:
        return _span(seconds)
    return f"{seconds / DAY_SECONDS:.1f} days" if seconds < 2 * WEEK_SECONDS else f"{seconds / WEEK_SECONDS:.1f} weeks"


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
