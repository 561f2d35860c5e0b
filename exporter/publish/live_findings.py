"""Which rows are in trouble, how much, and why: the order of the live page, and its sentences.

In comes what may be shown of a snapshot, out go a ranking of its rows and the worst of them in words. A flag says that
a value is beyond the threshold; a row is *in trouble* only where that also matters to somebody: on the bad side, and
by enough contacts. One abandoned contact at a quiet queue has a great z-score and is nobody's incident, so
flags of that kind come after every trouble. For a worker thread; nothing here knows HTML or JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn, ScoreColumns, Scores
from exporter.publish.filters import Index
from exporter.publish.shown import Shown

#: In the order in which rows tell their worst metric by number.
METRICS = (ABANDONMENT, SLA_BREACH, OFFERED)

#: Grades of a row.
ORDINARY, FLAGGED, TROUBLE = 0, 1, 2

#: Below this many contacts and percentage points more than usual nobody would act on a rate.
MATTERS_CONTACTS = 3.0
MATTERS_RATIO = 0.02
#: The same for the contacts themselves: fewer may mean that nobody gets through, more are trouble only when many.
MATTERS_FEWER = 5.0
MATTERS_MORE = 10.0

#: Sentences above the list; whoever has more troubles than this reads the list.
MOST_FINDINGS = 3

_VOLUMES = {ABANDONMENT: "offered", SLA_BREACH: "sla_contacts"}
_GRADE_WEIGHT = 1e9  # above any z-score
_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """`order` holds the rows, most unusual first; `worst` the place in METRICS of what is most unusual, -1 for none."""

    order: Index
    grade: NDArray[np.int64]
    worst: NDArray[np.int64]
    grades: NDArray[np.int64]  # by metric and row


@dataclass(frozen=True, slots=True)
class Finding:
    """One row in trouble, or a media type of the whole org (`row` None)."""

    row: int | None
    name: str
    media_type: str
    text: str  # 43 % abandoned, usually 3.9 % ± 2.6
    more: str  # 26 of 60 contacts · 12 waiting


def rank(shown: Shown) -> Ranking:
    """All rows of the snapshot in order."""
    grades, harms = np.zeros((len(METRICS), shown.rows), np.int64), np.full((len(METRICS), shown.rows), -np.inf)
    offered = shown.column("offered")
    for place, metric in enumerate(METRICS):
        if shown.scores is not None and metric in shown.scores.metrics:
            score = shown.scores.metrics[metric]
            volume = shown.column(_VOLUMES[metric]) if metric in _VOLUMES else None
            grades[place], harms[place] = _graded(score, volume), _harm(metric, score)
    weighed = np.where(np.isfinite(harms), grades * _GRADE_WEIGHT + harms, -np.inf)
    key = weighed.max(axis=0)
    worst = np.where(np.isfinite(key), weighed.argmax(axis=0), -1)
    order = np.lexsort((-np.nan_to_num(offered), -key))
    return Ranking(order, grades.max(axis=0), worst, grades)


def _graded(score: ScoreColumns, volume: FloatColumn | None) -> NDArray[np.int64]:
    flagged = score.anomaly == 1.0
    difference = score.value - score.mean
    with np.errstate(invalid="ignore"):
        if volume is None:
            matters = (difference >= MATTERS_MORE) | (difference <= -MATTERS_FEWER)
        else:
            matters = (difference >= MATTERS_RATIO) & (difference * volume >= MATTERS_CONTACTS)
    return np.where(flagged, np.where(matters, TROUBLE, FLAGGED), ORDINARY)


def _harm(metric: str, score: ScoreColumns) -> FloatColumn:
    """z where more is worse; a rate below its baseline is unusual too, but last."""
    harm = np.abs(score.z) if metric == OFFERED else score.z
    return np.where(np.isfinite(harm), harm, -np.inf)


def headline(shown: Shown, ranking: Ranking) -> str:
    """How things stand, in a few words."""
    keys = shown.snapshot.rows.keys
    queues = len({keys[row].queue_id for row in np.flatnonzero(ranking.grade == TROUBLE).tolist()})
    if queues:
        return f"{queues} queue{'s' if queues > 1 else ''} in trouble"
    if _org_findings(shown, outage=True) or _org_findings(shown, outage=False):
        return "No single queue is in trouble, all together are"
    if not (ranking.worst >= 0).any():
        return "Nothing can be scored yet: there is too little history"
    return "No queue is in trouble"


def findings(shown: Shown, ranking: Ranking, most: int = MOST_FINDINGS) -> list[Finding]:
    """The worst, `most` of them: an outage of the org, then rows in trouble, then what else is true of the org.

    One large queue in trouble shows in the org's rates as well; people want to know which one it is.
    """
    troubled = ranking.order[ranking.grade[ranking.order] == TROUBLE]
    rows = [_row_finding(shown, ranking, row) for row in troubled[:most].tolist()]
    outages, others = _org_findings(shown, outage=True), _org_findings(shown, outage=False)
    return [*outages, *rows, *others][:most]


def _row_finding(shown: Shown, ranking: Ranking, row: int) -> Finding:
    scores = shown.scores
    assert scores is not None  # noqa: S101 (a row without scores is not in trouble)
    worst = int(ranking.worst[row])
    places = [
        worst,
        *(place for place in range(len(METRICS)) if place != worst and ranking.grades[place, row] == TROUBLE),
    ]
    sentences = [sentence(METRICS[place], scores, row) for place in places]
    rows = shown.snapshot.rows
    more = [*sentences[1:], *_circumstances(shown, METRICS[worst], row)]
    return Finding(row, rows.names[row], rows.keys[row].media_type, sentences[0], " · ".join(more))


def _org_findings(shown: Shown, *, outage: bool) -> list[Finding]:
    """Media types of the whole org in trouble: those with far fewer contacts than usual, or where more is worse.

    A rate matters by the contacts offered; those that the service level counts are not summed for the org.
    """
    scores, media, offered = shown.org_scores, shown.snapshot.org_media, shown.snapshot.org_offered
    found = []
    for metric in METRICS:
        if scores is None or metric not in scores.metrics:
            continue
        score = scores.metrics[metric]
        for place in np.flatnonzero(_graded(score, None if metric == OFFERED else offered) == TROUBLE).tolist():
            if _wanted(metric, score.z[place], outage=outage):
                more = "" if metric == OFFERED else f"{offered[place]:,.0f} contacts offered"
                found.append(Finding(None, "All queues together", media[place], sentence(metric, scores, place), more))
    return found


def _wanted(metric: str, z: float, *, outage: bool) -> bool:
    """Fewer contacts are the outage; every other score counts where it is high."""
    return (metric == OFFERED and z < 0) if outage else z > 0


def sentence(metric: str, scores: Scores, row: int) -> str:
    """A score in words: `43 % abandoned, usually 3.9 % ± 2.6`."""
    score = scores.metrics[metric]
    value, mean, stddev = (float(column[row]) for column in (score.value, score.mean, score.stddev))
    if metric == OFFERED:
        digits = 0 if mean >= 10 else 1
        what = "contact" if value == 1 else "contacts"
        return f"{value:,.0f} {what} offered, usually {mean:,.{digits}f} ± {stddev:,.{digits}f}"
    what = "abandoned" if metric == ABANDONMENT else "missed the service level"
    digits = 0 if mean >= 0.0995 and stddev >= 0.00995 else 1
    usual = f"{100 * mean:.{digits}f}{_SPACE}% ± {100 * stddev:.{digits}f}"
    return f"{percent_text(value)} {what}, usually {usual}"


def percent_text(ratio: float) -> str:
    """`3.9 %`, `43 %`, `0 %`."""
    digits = 0 if ratio >= 0.0995 or ratio == 0 else 1
    return f"{100 * ratio:.{digits}f}{_SPACE}%"


def _circumstances(shown: Shown, metric: str, row: int) -> list[str]:
    """What else a supervisor would ask: how many contacts these are, and who is waiting."""
    told = []
    if metric in _VOLUMES:
        events = shown.column("abandoned" if metric == ABANDONMENT else "sla_breached")[row]
        told.append(f"{events:,.0f} of {shown.column(_VOLUMES[metric])[row]:,.0f} contacts")
    waiting, since = shown.column("waiting")[row], shown.column("oldest_waiting_timestamp_seconds")[row]
    if waiting > 0:
        longest = f", the longest {duration_text(_seconds_since(shown.snapshot.created, since))}" if since > 0 else ""
        told.append(f"{waiting:,.0f} waiting{longest}")
    return told


def _seconds_since(now: datetime, moment_seconds: float) -> float:
    return max(0.0, now.timestamp() - moment_seconds)


def duration_text(seconds: float) -> str:
    """`45 s`, `4 min`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f}{_SPACE}s"
    minutes = int(seconds // 60)
    hours = f"{minutes // 60}{_SPACE}h " if minutes >= 60 else ""
    return f"{hours}{minutes % 60}{_SPACE}min"
