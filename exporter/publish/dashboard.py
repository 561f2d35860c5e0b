"""The snapshot as JSON: /dashboard, and the seed contract's envelope at /api/dashboard/metrics.

In comes what may be shown of a snapshot and a row filter; out go bytes, written by columns. Rates are in percent
with four decimals and `null` where there is no value; only the envelope writes 0 there, as it was first described.
Scores keep full precision, so that they equal /metrics. For a worker thread; nothing here knows HTTP.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn, Scores
from exporter.publish.cells import NULL, doubled, percent, texts
from exporter.publish.filters import ALL, Index, RowFilter, anomalies_of, any_flag
from exporter.publish.kept import KeptTexts, Key
from exporter.publish.sheets import sheet, taken
from exporter.publish.shown import SUCCESS, Shown
from exporter.publish.times import interval, iso

COUNT, PERCENT, PLAIN, MOMENT = "count", "percent", "plain", "moment"

#: Key, column, how it is written. The seed contract's three come first.
SEED_FIELDS = (
    ("totalContacts", "offered", COUNT),
    ("abandonmentRate", "abandonment_ratio", PERCENT),
    ("slaBreachRate", "sla_breach_ratio", PERCENT),
)
FIELDS = (
    *SEED_FIELDS,
    ("answeredContacts", "answered", COUNT),
    ("abandonedContacts", "abandoned", COUNT),
    ("flowOutContacts", "flow_out", COUNT),
    ("slaBreaches", "sla_breached", COUNT),
    ("serviceLevelContacts", "sla_contacts", COUNT),
    ("serviceLevelTarget", "service_level_target_ratio", PERCENT),
    ("averageSpeedOfAnswerSeconds", "average_speed_of_answer_seconds", PLAIN),
    ("averageHandleTimeSeconds", "average_handle_time_seconds", PLAIN),
    ("averageWaitSeconds", "average_wait_seconds", PLAIN),
    ("waitingContacts", "waiting", COUNT),
    ("interactingContacts", "interacting", COUNT),
    ("alertingContacts", "alerting", COUNT),
    ("oldestWaitingTimestamp", "oldest_waiting_timestamp_seconds", MOMENT),
)

#: What the `metric` label of /metrics is called in JSON, in the order of alerts[].
ALERT_NAMES = {ABANDONMENT: "abandonmentRate", SLA_BREACH: "slaBreachRate", OFFERED: "offeredContacts"}


def _row_prefix(key: Key) -> bytes:
    """The open object up to its text keys: `{"queueId":"…","queueName":"…","mediaType":"…"`, as template text."""
    fields = dict(zip(("queueId", "queueName", "mediaType"), key, strict=True))
    return doubled(dumps(fields)[:-1])


def dumps(value: Any) -> bytes:
    """JSON; half a surrogate pair, which UTF-8 cannot write, becomes `?` as it does on /metrics."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_writable(value))


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _writable(inner) for key, inner in value.items()}
    return [_writable(inner) for inner in value] if isinstance(value, list | tuple) else value


class JsonWriter:
    """Writes both documents; keeps the rows' text keys from one snapshot to the next."""

    def __init__(self) -> None:
        self._prefixes = KeptTexts(_row_prefix)
        self._divisions = KeptTexts(lambda key: dumps(key[0] or None))

    def dashboard(self, shown: Shown, rows: RowFilter = ALL, csv_link: str = "/export.csv") -> bytes:
        """The whole document of /dashboard."""
        index = self._select(shown, rows)
        parts = {
            b"metrics": self._metrics(shown, index),
            b"alerts": self._alerts(shown, index, flagged_only=rows.anomalous),
        }
        links = {"csv": csv_link, "metrics": "/metrics", "envelope": "/api/dashboard/metrics"}
        return _document(_head(shown), parts, {"org": _org(shown), "datasets": _datasets(shown), "links": links})

    def envelope(self, shown: Shown, csv: bytes, rows: RowFilter = ALL) -> bytes:
        """The seed contract's five keys; `csv` is the same data as /export.csv writes it."""
        index = self._select(shown, rows)
        head = {"status": shown.status, "timestamp": iso(shown.snapshot.created)}
        parts = {
            b"metrics": self._seed_metrics(shown, index),
            b"alerts": self._alerts(shown, index, flagged_only=rows.anomalous, seed=True),
        }
        return _document(head, parts, {"csvExportBase64": base64.b64encode(csv).decode()})

    def _select(self, shown: Shown, rows: RowFilter) -> Index:
        if shown.status != SUCCESS:
            return np.empty(0, dtype=np.intp)
        return rows.select(shown.snapshot.rows, any_flag(anomalies_of(shown.scores).values(), shown.rows))

    def _metrics(self, shown: Shown, index: Index) -> bytes:
        columns = [_cells(shown.column(column)[index], kind) for _, column, kind in FIELDS]
        columns.append(taken(self._division_texts(shown), index))
        names = [name for name, _, _ in FIELDS] + ["division"]
        return self._rows(shown, index, _tail(shown, names), columns)

    def _seed_metrics(self, shown: Shown, index: Index) -> bytes:
        columns = [_cells(_or_zero(shown.column(column)[index]), kind) for _, column, kind in SEED_FIELDS]
        return self._rows(shown, index, _tail(shown, [name for name, _, _ in SEED_FIELDS]), columns)

    def _rows(self, shown: Shown, index: Index, tail: bytes, columns: list[list[bytes]]) -> bytes:
        return sheet(taken(self._prefixes.of_rows(shown.snapshot.rows), index), tail, columns, b",")

    def _division_texts(self, shown: Shown) -> list[bytes]:
        snapshot = shown.snapshot
        divisions = {queue.id: queue.division for queue in snapshot.queues}
        keys = ((divisions.get(key.queue_id, ""),) for key in snapshot.rows.keys)
        return self._divisions.of((snapshot.rows, snapshot.queues), lambda: keys)

    def _alerts(self, shown: Shown, index: Index, *, flagged_only: bool, seed: bool = False) -> bytes:
        """One object per score: all of the first metric, then all of the next."""
        scores = shown.scores
        if scores is None:
            return b""
        parts = [
            self._alerts_of(shown, scores, metric, index, flagged_only=flagged_only, seed=seed)
            for metric in ALERT_NAMES
            if metric in scores.metrics
        ]
        return b",".join(part for part in parts if part)

    def _alerts_of(
        self, shown: Shown, scores: Scores, metric: str, index: Index, *, flagged_only: bool, seed: bool
    ) -> bytes:
        score = scores.metrics[metric]
        index = index[np.isfinite(score.z[index])]
        if flagged_only:
            index = index[score.anomaly[index] == 1.0]
        in_unit = _contacts if metric == OFFERED else percent
        columns = [
            texts(in_unit(score.value[index]), integral=False),
            texts(in_unit(score.mean[index]), integral=False),
            texts(in_unit(score.stddev[index]), integral=False),
            [b"true" if flag == 1.0 else b"false" for flag in score.anomaly[index].tolist()],
            texts(score.z[index], integral=False),
        ]
        tail = b',"metric":"%s"' % ALERT_NAMES[metric].encode() + _ALERT_TAIL
        if not seed:
            columns.append(texts(score.samples[index], integral=True))
            tail += b',"samples":%b,"method":' + doubled(dumps(scores.method))
        return sheet(taken(self._prefixes.of_rows(shown.snapshot.rows), index), tail + b"}", columns, b",")


_ALERT_TAIL = b',"currentValue":%b,"baselineMean":%b,"baselineStdDev":%b,"isAnomaly":%b,"zScore":%b'


def _tail(shown: Shown, names: list[str]) -> bytes:
    window = shown.snapshot.window
    when = dumps(interval(window, shown.snapshot.bucket) if window else None)
    return b',"timeInterval":' + doubled(when) + b"".join(b',"%s":%%b' % name.encode() for name in names) + b"}"


def _cells(column: FloatColumn, kind: str) -> list[bytes]:
    if kind == MOMENT:
        return _moments(column)
    return texts(percent(column) if kind == PERCENT else column, integral=kind == COUNT)


def _contacts(contacts: FloatColumn) -> FloatColumn:
    return np.round(contacts, 4)


def _or_zero(column: FloatColumn) -> FloatColumn:
    return np.where(np.isfinite(column), column, 0.0)


def _moments(seconds: FloatColumn) -> list[bytes]:
    """Epoch seconds as quoted ISO 8601; few queues have someone waiting, so only those are worked on."""
    out = [NULL] * len(seconds)
    present = np.flatnonzero(np.isfinite(seconds))
    milliseconds = np.rint(seconds[present] * 1000).astype("datetime64[ms]")
    for position, text in zip(present.tolist(), np.datetime_as_string(milliseconds).tolist(), strict=True):
        out[position] = b'"%sZ"' % text.encode()
    return out


def _document(head: Mapping[str, Any], lists: Mapping[bytes, bytes], foot: Mapping[str, Any]) -> bytes:
    """One JSON object: the head's keys, the lists whose rows are already written, the foot's keys."""
    middle = b"".join(b',"%b":[%b]' % item for item in lists.items())
    return dumps(head)[:-1] + middle + b"," + dumps(foot)[1:]


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
    snapshot, metrics = shown.snapshot, shown.org_scores.metrics if shown.org_scores else {}
    rows: list[dict[str, Any]] = []
    for position, media in enumerate(snapshot.org_media):
        row: dict[str, Any] = {"mediaType": media, "offeredContacts": _number(snapshot.org_offered[position])}
        row["scores"] = [
            {
                "metric": ALERT_NAMES.get(metric, metric),
                "isAnomaly": bool(score.anomaly[position] == 1.0),
                "zScore": float(score.z[position]),
            }
            for metric, score in metrics.items()
            if np.isfinite(score.z[position])
        ]
        rows.append(row)
    return rows


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
