"""The rows of metrics[] and alerts[] as JSON text, written by columns.

In comes what may be shown of a snapshot and the indices of the rows that are wanted; out go lists of parts of text,
to be joined once: each copy of 20 MB costs more than the formatting. Rates are in percent with four decimals, as the
seed contract has them, and `null` where there is no value; scores keep full precision, so that they equal /metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn, Scores
from exporter.publish.cells import NULL, doubled, percent, texts
from exporter.publish.filters import Index
from exporter.publish.kept import KeptTexts, Key
from exporter.publish.sheets import slices, taken
from exporter.publish.shown import Shown
from exporter.publish.times import interval

PLAIN, PERCENT, MOMENT = "plain", "percent", "moment"

#: Key, column, how it is written: the fields that the seed contract has too.
SEED_FIELDS = (
    ("totalContacts", "offered", PLAIN),
    ("abandonmentRate", "abandonment_ratio", PERCENT),
    ("slaBreachRate", "sla_breach_ratio", PERCENT),
)
FIELDS = (
    *SEED_FIELDS,
    ("answeredContacts", "answered", PLAIN),
    ("abandonedContacts", "abandoned", PLAIN),
    ("flowOutContacts", "flow_out", PLAIN),
    ("slaBreaches", "sla_breached", PLAIN),
    ("serviceLevelContacts", "sla_contacts", PLAIN),
    ("serviceLevelTarget", "service_level_target_ratio", PERCENT),
    ("averageSpeedOfAnswerSeconds", "average_speed_of_answer_seconds", PLAIN),
    ("averageHandleTimeSeconds", "average_handle_time_seconds", PLAIN),
    ("averageWaitSeconds", "average_wait_seconds", PLAIN),
    ("waitingContacts", "waiting", PLAIN),
    ("interactingContacts", "interacting", PLAIN),
    ("alertingContacts", "alerting", PLAIN),
    ("oldestWaitingTimestamp", "oldest_waiting_timestamp_seconds", MOMENT),
)

#: What the `metric` label of /metrics is called in JSON, in the order of alerts[].
ALERT_NAMES = {ABANDONMENT: "abandonmentRate", SLA_BREACH: "slaBreachRate", OFFERED: "offeredContacts"}
SEED_METRICS = (ABANDONMENT, SLA_BREACH)
ALERT_FIELDS = ("currentValue", "baselineMean", "baselineStdDev", "isAnomaly", "zScore")

_FLAG_TEXTS = np.array([b"false", b"true"], dtype=object)


def dumps(value: Any) -> bytes:
    """JSON; half a surrogate pair, which UTF-8 cannot write, becomes `?` as it does on /metrics."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_writable(value))


class RowWriter:
    """Writes rows; keeps their text keys from one snapshot to the next."""

    def __init__(self) -> None:
        self._prefixes = KeptTexts(_prefix)
        self._divisions = KeptTexts(_division)

    def metrics(self, shown: Shown, index: Index) -> list[bytes]:
        """metrics[]: every field, then the queue's division."""
        columns = [_cells(shown.column(column)[index], kind) for _, column, kind in FIELDS]
        columns.append(taken(self._division_texts(shown), index))
        names = [name for name, _, _ in FIELDS]
        return self._rows(shown, index, _interval(shown) + _template([*names, "division"]), columns)

    def seed_metrics(self, shown: Shown, index: Index) -> list[bytes]:
        """metrics[] with the seed contract's fields alone, and 0 where there is no value."""
        columns = [_cells(_or_zero(shown.column(column)[index]), kind) for _, column, kind in SEED_FIELDS]
        return self._rows(shown, index, _interval(shown) + _template([name for name, _, _ in SEED_FIELDS]), columns)

    def alerts(self, shown: Shown, index: Index, *, flagged_only: bool, seed: bool = False) -> list[bytes]:
        """alerts[]: a row per score, flagged or not: all of the first metric, then all of the next.

        The seed contract knows rates alone: whoever reads it would take contacts for percent.
        """
        scores = shown.scores
        parts: list[bytes] = []
        for metric in SEED_METRICS if seed else ALERT_NAMES:
            if scores is not None and metric in scores.metrics:
                rows = self._alerts_of(shown, scores, metric, index, flagged_only=flagged_only, seed=seed)
                parts += [b",", *rows] if parts and rows else rows
        return parts

    def _alerts_of(
        self, shown: Shown, scores: Scores, metric: str, index: Index, *, flagged_only: bool, seed: bool
    ) -> list[bytes]:
        score = scores.metrics[metric]
        index = index[np.isfinite(score.z[index])]
        if flagged_only:
            index = index[score.anomaly[index] == 1.0]
        in_unit = contacts if metric == OFFERED else percent
        columns = [texts(in_unit(column[index])) for column in (score.value, score.mean, score.stddev)]
        columns.append(_FLAG_TEXTS[(score.anomaly[index] == 1.0).astype(np.intp)].tolist())
        columns.append(texts(score.z[index]))
        tail = b',"metric":"%b"' % ALERT_NAMES[metric].encode() + _template(ALERT_FIELDS)
        if not seed:
            columns.append(texts(score.samples[index]))
            columns.append(_stands(scores, metric, index))
            tail += b',"samples":%b,"isAnomalyFdr":%b,"method":' + doubled(dumps(scores.method))
        return self._rows(shown, index, tail, columns)

    def _rows(self, shown: Shown, index: Index, tail: bytes, columns: list[list[bytes]]) -> list[bytes]:
        """Parts of text: objects with commas between them."""
        prefixes = taken(self._prefixes.of_rows(shown.snapshot.rows), index)
        parts = list(slices(prefixes, tail + b"},", columns))
        if parts:
            parts[-1] = parts[-1][:-1]
        return parts

    def _division_texts(self, shown: Shown) -> list[bytes]:
        snapshot = shown.snapshot
        divisions = {queue.id: queue.division for queue in snapshot.queues}
        keys = ((divisions.get(key.queue_id, ""),) for key in snapshot.rows.keys)
        return self._divisions.of((snapshot.rows, snapshot.queues), lambda: keys)


def _prefix(key: Key) -> bytes:
    """The open object up to its text keys: `{"queueId":"…","queueName":"…","mediaType":"…"`, as template text."""
    fields = dict(zip(("queueId", "queueName", "mediaType"), key, strict=True))
    return doubled(dumps(fields)[:-1])


def _division(key: Key) -> bytes:
    """A text of its own: what orjson returns holds on to 4 kB."""
    return b"%b" % dumps(key[0] or None)


def _interval(shown: Shown) -> bytes:
    window = shown.snapshot.window
    return doubled(b',"timeInterval":' + dumps(interval(window, shown.snapshot.bucket) if window else None))


def _template(names: Sequence[str]) -> bytes:
    return b"".join(b',"%b":%%b' % name.encode() for name in names)


def _cells(column: FloatColumn, kind: str) -> list[bytes]:
    if kind == MOMENT:
        return _moments(column)
    return texts(percent(column) if kind == PERCENT else column)


def _stands(scores: Scores, metric: str, index: Index) -> list[bytes]:
    """Whether each score stands among all of the poll's; null where the method cannot tell."""
    if metric not in scores.discoveries:
        return [NULL] * len(index)
    texts_of: list[bytes] = _FLAG_TEXTS[(scores.discoveries[metric][index] == 1.0).astype(np.intp)].tolist()
    return texts_of


def contacts(contacts: FloatColumn) -> FloatColumn:
    return np.round(contacts, 4)


def _or_zero(column: FloatColumn) -> FloatColumn:
    return np.where(np.isfinite(column), column, 0.0)


def _moments(seconds: FloatColumn) -> list[bytes]:
    """Epoch seconds as quoted ISO 8601; few queues have someone waiting, so only those are worked on."""
    out = [NULL] * len(seconds)
    present = np.flatnonzero(np.isfinite(seconds))
    milliseconds = np.rint(seconds[present] * 1000).astype("datetime64[ms]")
    for position, text in zip(present.tolist(), np.datetime_as_string(milliseconds).tolist(), strict=True):
        out[position] = b'"%bZ"' % text.encode()
    return out


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _writable(inner) for key, inner in value.items()}
    return [_writable(inner) for inner in value] if isinstance(value, list | tuple) else value
