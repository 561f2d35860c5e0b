"""The JSON that the live page reads: who the queues are, and how they stand.

Two documents, since names are most of the bytes and almost never change: `queues` (ids, names, media types, divisions,
and their order by name) and `numbers` (a list per column, in the order of the same rows, and what to make of them).
Both carry the digest of the former as `rows`, so that the page never joins numbers to the wrong names. Rates are in
percent, times milliseconds since the epoch, `null` where there is no value. /dashboard is the interface for programs;
this one may change with the page. For a worker thread.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from exporter.models import OFFERED, FloatColumn, Rows, ScoreColumns
from exporter.publish.cells import texts
from exporter.publish.json_rows import dumps
from exporter.publish.live_agents import AgentColumns
from exporter.publish.live_failures import is_stale, ordered, standing, title
from exporter.publish.live_findings import METRICS, Finding, Ranking, findings, headline, rank
from exporter.publish.once import Document
from exporter.publish.shown import Shown

#: Key of the document → column and the factor that brings it into the page's unit.
COLUMNS: Mapping[str, tuple[str, float, int]] = {
    "offered": ("offered", 1, 0),
    "abandoned": ("abandoned", 1, 0),
    "abandonedPercent": ("abandonment_ratio", 100, 2),
    "slaBreached": ("sla_breached", 1, 0),
    "slaContacts": ("sla_contacts", 1, 0),
    "slaBreachedPercent": ("sla_breach_ratio", 100, 2),
    "waiting": ("waiting", 1, 0),
    "waitingSince": ("oldest_waiting_timestamp_seconds", 1000, 0),
}


_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True, eq=False)
class Queues:
    """The document of names; `tag` is its digest."""

    tag: str
    document: Document


@dataclass(frozen=True, slots=True, eq=False)
class LivePage:
    """Both documents of one view, and what they were made from."""

    shown: Shown
    queues: Queues
    numbers: Document


class LiveWriter:
    """Makes the documents; names are written again only when they change. Not thread-safe."""

    def __init__(self) -> None:
        self._agents = AgentColumns()
        self._kept: tuple[tuple[object, object], Queues] | None = None

    def write(self, shown: Shown) -> LivePage:
        """Both documents of what may be shown."""
        queues = self._queues(shown)
        numbers = self._numbers(shown, queues.tag)
        return LivePage(shown, queues, Document(lambda: numbers))

    def _queues(self, shown: Shown) -> Queues:
        rows, directory = shown.snapshot.rows, shown.snapshot.queues
        if self._kept is None or self._kept[0][0] is not rows or self._kept[0][1] is not directory:
            divisions = {queue.id: queue.division for queue in directory}
            lists = {
                "ids": [key.queue_id for key in rows.keys],
                "names": rows.names,
                "media": [key.media_type for key in rows.keys],
                "divisions": [divisions.get(key.queue_id, "") for key in rows.keys],
                "byName": _by_name(rows),
            }
            tag = hashlib.blake2b(dumps(lists), digest_size=9).hexdigest()
            body = dumps({"rows": tag, **lists})
            self._kept = (rows, directory), Queues(tag, Document(lambda: body))
        return self._kept[1]

    def _numbers(self, shown: Shown, rows_tag: str) -> bytes:
        ranking = rank(shown)
        columns = {key: _scaled(shown, *how) for key, how in COLUMNS.items()}
        columns["agentsFree"], columns["agentsOnQueue"] = self._agents.of(shown)
        lists = {
            "order": _list(ranking.order.astype(np.float64)),
            "grade": _list(ranking.grade.astype(np.float64)),
            "worst": _list(ranking.worst.astype(np.float64)),
            "columns": _object({key: _list(column) for key, column in columns.items()}),
            "scores": _object(
                {metric: _scores(shown, ranking, metric) for metric in METRICS if _scored(shown, metric)}
            ),
        }
        return dumps(_head(shown, ranking, rows_tag))[:-1] + b"," + _object(lists)[1:]


def _by_name(rows: Rows) -> list[int]:
    """The rows as people look names up: without regard to case and accents, numbers by their value."""
    names = [(_sortable(name), key.media_type) for name, key in zip(rows.names, rows.keys, strict=True)]
    return sorted(range(len(names)), key=names.__getitem__)


def _sortable(name: str) -> list[tuple[int, int | str]]:
    plain = "".join(each for each in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(each))
    parts = _DIGITS.split(plain)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def _head(shown: Shown, ranking: Ranking, rows_tag: str) -> dict[str, Any]:
    snapshot, scores, window = shown.snapshot, shown.scores, shown.snapshot.window
    return {
        "tag": shown.tag,
        "snapshot": str(snapshot.id),
        "rows": rows_tag,
        "status": shown.status,
        "message": shown.message,
        "created": milliseconds(snapshot.created),
        "window": [milliseconds(window.start), milliseconds(window.end)] if window else None,
        "method": scores.method if scores else None,
        "threshold": scores.threshold if scores else None,
        "metrics": METRICS,
        "headline": headline(shown, ranking),
        "findings": [_told(each) for each in findings(shown, ranking)],
    }


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "row": finding.row,
        "name": finding.name,
        "media": finding.media_type,
        "text": finding.text,
        "more": finding.more,
    }


def _scored(shown: Shown, metric: str) -> bool:
    return shown.scores is not None and metric in shown.scores.metrics


def _scores(shown: Shown, ranking: Ranking, metric: str) -> bytes:
    assert shown.scores is not None  # noqa: S101 (see _scored)
    score: ScoreColumns = shown.scores.metrics[metric]
    factor = 1 if metric == OFFERED else 100
    return _object(
        {
            "z": _list(np.round(score.z, 2)),
            "mean": _list(np.round(score.mean * factor, 2)),
            "stddev": _list(np.round(score.stddev * factor, 2)),
            "samples": _list(np.round(score.samples, 1)),
            "grade": _list(ranking.grades[METRICS.index(metric)].astype(np.float64)),
        }
    )


def _scaled(shown: Shown, column: str, factor: float, digits: int) -> FloatColumn:
    return np.round(shown.column(column) * factor, digits)


def _list(column: FloatColumn) -> bytes:
    return b"[" + b",".join(texts(column)) + b"]"


def _object(members: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), text) for name, text in members.items()) + b"}"


def milliseconds(moment: datetime) -> int:
    """Since the epoch, as the page's own clock counts."""
    return int(moment.timestamp() * 1000)


def dataset_states(shown: Shown) -> Sequence[dict[str, Any]]:
    """How each dataset stands, for people."""
    return [
        {
            "name": name,
            "title": title(name),
            "standing": standing(shown, name),
            "up": state.up,
            "stale": is_stale(shown, name),
            "fetched": milliseconds(state.last_success) if state.last_success else None,
            "until": milliseconds(state.data_end) if state.data_end else None,
            "staleAt": milliseconds(state.stale_at) if state.stale_at else None,
        }
        for name, state in ordered(shown)
    ]
