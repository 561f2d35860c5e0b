"""The snapshot as JSON: /dashboard, and the seed contract's envelope at /api/dashboard/metrics.

In comes what may be shown of a snapshot and a row filter, out go bytes. `json_rows` writes the long lists; here
stand the few keys around them. For a worker thread; nothing here knows HTTP.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from exporter.models import OFFERED, ScoreColumns
from exporter.publish.cells import percent
from exporter.publish.filters import ALL, Index, RowFilter, anomalies_of, any_flag
from exporter.publish.json_rows import ALERT_NAMES, RowWriter, contacts, dumps
from exporter.publish.shown import SUCCESS, Shown
from exporter.publish.times import iso


class JsonWriter:
    """Writes both documents; the rows' text keys are kept from one snapshot to the next."""

    def __init__(self) -> None:
        self._rows = RowWriter()

    def dashboard(self, shown: Shown, rows: RowFilter = ALL, csv_link: str = "/export.csv") -> bytes:
        """The whole document of /dashboard."""
        index = _select(shown, rows)
        lists = {
            b"metrics": self._rows.metrics(shown, index),
            b"alerts": self._rows.alerts(shown, index, flagged_only=rows.anomalous),
        }
        links = {"csv": csv_link, "metrics": "/metrics", "envelope": "/api/dashboard/metrics"}
        return _document(_head(shown), lists, {"org": _org(shown), "datasets": _datasets(shown), "links": links})

    def envelope(self, shown: Shown, csv: bytes, rows: RowFilter = ALL) -> bytes:
        """The seed contract's five keys and no other; `csv` is the same data as /export.csv writes it."""
        index = _select(shown, rows)
        head = {"status": shown.status, "timestamp": iso(shown.snapshot.created)}
        lists = {
            b"metrics": self._rows.seed_metrics(shown, index),
            b"alerts": self._rows.alerts(shown, index, flagged_only=rows.anomalous, seed=True),
        }
        return _document(head, lists, {"csvExportBase64": base64.b64encode(csv).decode()})


def _select(shown: Shown, rows: RowFilter) -> Index:
    """The rows to write: none where the window is withdrawn."""
    if shown.status != SUCCESS:
        return np.empty(0, dtype=np.intp)
    return rows.select(shown.snapshot.rows, any_flag(anomalies_of(shown.scores).values(), shown.rows))


def _document(head: Mapping[str, Any], lists: Mapping[bytes, list[bytes]], foot: Mapping[str, Any]) -> bytes:
    """One JSON object: the head's keys, the lists whose rows are already written, the foot's keys."""
    parts = [dumps(head)[:-1]]
    for name, rows in lists.items():
        parts += [b',"%b":[' % name, *rows, b"]"]
    return b"".join([*parts, b",", dumps(foot)[1:]])


def _head(shown: Shown) -> dict[str, Any]:
    snapshot, scores, window = shown.snapshot, shown.scores, shown.snapshot.window
    head: dict[str, Any] = {"status": shown.status}
    if shown.message:
        head["message"] = shown.message
    return head | {
        "timestamp": iso(snapshot.created),
        "snapshotId": str(snapshot.id),
        "windowStart": iso(window.start) if window else None,
        "windowEnd": iso(window.end) if window else None,
        "bucket": snapshot.bucket,
        "contract": snapshot.contract,
        "scoreMethod": scores.method if scores else None,
        "anomalyThreshold": scores.threshold if scores else None,
    }


def _org(shown: Shown) -> list[dict[str, Any]]:
    """The organisation by media type: contacts, and the scores where the method knows them."""
    if shown.status != SUCCESS:
        return []
    metrics = shown.org_scores.metrics if shown.org_scores else {}
    return [
        {
            "mediaType": media,
            "offeredContacts": _number(shown.snapshot.org_offered[position]),
            "scores": [
                _org_score(shown, metric, score, position)
                for metric, score in metrics.items()
                if np.isfinite(score.z[position])
            ],
        }
        for position, media in enumerate(shown.snapshot.org_media)
    ]


def _org_score(shown: Shown, metric: str, score: ScoreColumns, position: int) -> dict[str, Any]:
    """As in alerts[]: rates in percent, volume in contacts."""
    in_unit = contacts if metric == OFFERED else percent
    value, mean, stddev = (float(in_unit(column)[position]) for column in (score.value, score.mean, score.stddev))
    return {
        "metric": ALERT_NAMES.get(metric, metric),
        "currentValue": _number(value),
        "baselineMean": _number(mean),
        "baselineStdDev": _number(stddev),
        "isAnomaly": bool(score.anomaly[position] == 1.0),
        "zScore": float(score.z[position]),
        "samples": _number(score.samples[position]),
        "method": shown.org_scores.method if shown.org_scores else None,
    }


def _datasets(shown: Shown) -> dict[str, Any]:
    return {
        name: {
            "up": state.up,
            "stale": state.last_success is not None and name not in shown.fresh,
            "lastSuccess": _iso_or_none(state.last_success),
            "dataEnd": _iso_or_none(state.data_end),
            "reason": state.reason,
            "message": state.message,
        }
        for name, state in shown.snapshot.datasets.items()
    }


def _number(value: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    return int(value) if value == int(value) else float(value)


def _iso_or_none(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None
