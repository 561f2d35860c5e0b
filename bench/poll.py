"""The work of one poll by phase, in CPU milliseconds, and the plain way to the same end.

Comes in: a number of queues. Goes out: medians by phase. The plain way is what one writes first: json, a loop over the
queues with statistics of each, prometheus_client's gauges, its text, gzip.
"""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import islice

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from bench import org
from bench.measuring import median
from bench.peers.api import CORRECTED_BUCKETS, MAX_CELLS
from bench.targets import AT_START, ONCE_A_BUCKET
from exporter.analysis.analyst import Analyst
from exporter.analysis.baseline import BASELINE_COUNTS
from exporter.analysis.history import History
from exporter.analysis.scoring import ScoreOptions, method
from exporter.genesys import aggregates
from exporter.genesys.decode import Rejects
from exporter.genesys.selection import Selection
from exporter.models import DATASETS, BucketBatch, DatasetState, QueueTable, Snapshot, Window
from exporter.publish.exposition import Renderer

BUCKET = timedelta(seconds=org.BUCKET_SECONDS)
WINDOW = Window(org.NOW - BUCKET, org.NOW)
OPTIONS = {"threshold": 3.0, "min_samples": 20, "timezone": "UTC"}


def cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def filled_history(queues: int, buckets: int = org.WEEK_BUCKETS) -> History:
    """A week in memory, merged a few buckets at a time as the back-fill does."""
    history = History.open(
        None,
        scope="bench",
        selection="all",
        bucket_seconds=org.BUCKET_SECONDS,
        baseline_days=7,
        retention_days=7,
        now=org.NOW,
    )
    starts = org.week_starts()[-buckets:]
    for first in range(0, len(starts), 24):
        history.merge(org.batch(queues, starts[first : first + 24], seed=first))
    history.mark_backfilled()
    return history


def _two_hours(queues: int) -> list[tuple[Window, int]]:
    """The spans that a poll asks for when a bucket has closed, and their buckets."""
    usual, spans = max(1, min(CORRECTED_BUCKETS, MAX_CELLS // queues)), []
    for first in range(0, CORRECTED_BUCKETS, usual):
        count = min(usual, CORRECTED_BUCKETS - first)
        start = first * org.BUCKET_SECONDS
        spans.append((Window.of_epoch(start, start + count * org.BUCKET_SECONDS), count))
    return spans


class Poll:
    """One exporter's state between polls; each phase may be run again and again. Each run is a bucket later:
    one has closed, and the others of the last two hours are corrected in every queue, the most that late events do."""

    def __init__(self, queues: int, score: str) -> None:
        self._queues = queues
        self._body = org.aggregates_body(queues, WINDOW)
        self._answers = [(org.aggregates_body(queues, span, count), span) for span, count in _two_hours(queues)]
        self._history, self._method = filled_history(queues), method(score)
        self._analyst = self.started()
        state = DatasetState(True, org.NOW, org.NOW, org.NOW + timedelta(days=1))
        self._states = dict.fromkeys(DATASETS, state)
        self._renderer = Renderer()
        self._now = org.NOW

    @property
    def window(self) -> Window:
        """The bucket that closes now."""
        return Window(self._now - BUCKET, self._now)

    def started(self) -> Analyst:
        """An analyst who knows nothing yet but the history."""
        options = ScoreOptions(**OPTIONS)
        return Analyst(self._history, self._method, options, contract="aggregates", bucket="PT15M", max_series=10**9)

    def parse(self) -> QueueTable:
        return replace(aggregates.parse_window([self._body], WINDOW, Selection(), Rejects()), window=self.window)

    def read_buckets(self) -> BucketBatch:
        """The last two hours, which a poll asks for again when a bucket has closed; in as many answers as there are."""
        return [
            aggregates.parse_buckets([each], span, org.BUCKET_SECONDS, Selection(), Rejects())
            for each, span in self._answers
        ][-1]

    def snapshot(self, table: QueueTable) -> Snapshot:
        return self._analyst.snapshot(
            now=self._now, directory=None, window=table, observations=None, datasets=self._states
        )

    def score(self, table: QueueTable) -> object:
        """The scores of the window alone, by the model that is there."""
        fitted = self._analyst._fit(self.window)
        return fitted.scores(self.window, table.keys, {name: table.columns[name] for name in BASELINE_COUNTS})

    def close(self) -> list[BucketBatch]:
        """A bucket later: the last two hours with other counts than last time, in as many batches as a poll merges."""
        self._now += BUCKET
        starts = iter(org.week_starts(self._now)[-CORRECTED_BUCKETS:])
        parts = [list(islice(starts, count)) for _, count in _two_hours(self._queues)]
        return [org.batch(self._queues, part, seed=part[0]) for part in parts]

    def run(self) -> dict[str, float]:
        """Every phase, once."""
        kept: list[object] = []
        batches = self.close()
        phases = {"decode, normalise": cpu_ms(lambda: kept.append(self.parse()))}
        table = kept.pop()
        assert isinstance(table, QueueTable)
        phases[f"{ONCE_A_BUCKET}decode the last two hours"] = cpu_ms(self.read_buckets)
        phases[f"{ONCE_A_BUCKET}merge"] = cpu_ms(lambda: [self._history.merge(each) for each in batches])
        phases[f"{ONCE_A_BUCKET}fit"] = cpu_ms(lambda: self._analyst.prepare(self.window))
        self.snapshot(table)  # keeps the scores of the closed bucket
        phases["rows, columns"] = cpu_ms(lambda: kept.append(self.snapshot(table)))
        phases["score"] = cpu_ms(lambda: self.score(table))
        phases["rows, columns"] = max(0.0, phases["rows, columns"] - phases["score"])
        shot = kept.pop()
        assert isinstance(shot, Snapshot)
        phases["render, compress"] = cpu_ms(lambda: self._renderer.render(shot, frozenset(DATASETS)))
        return phases


def phases(queues: int, rounds: int, score: str) -> dict[str, float]:
    """Medians by phase; the first round, which makes label text, is not counted."""
    poll = Poll(queues, score)
    first_fits = [cpu_ms(lambda: poll.started().prepare(poll.window)) for _ in range(rounds)]
    poll.run()
    taken = [poll.run() for _ in range(rounds)]
    return {f"{AT_START}fit": median(first_fits)} | {name: median([each[name] for each in taken]) for name in taken[0]}


def plain_score(queues: int) -> dict[str, float]:
    """The scores by a loop over the queues, once."""
    week = org.batch(queues, org.week_starts()).counts
    counts = [week[name].T for name in ("offered", "abandoned", "sla_breached")]
    return {"score": cpu_ms(lambda: _plain_scores(*counts))}


def plain_phases(queues: int) -> dict[str, float]:
    """The same with json, loops and prometheus_client, once."""
    body = org.aggregates_body(queues, WINDOW)
    found: dict[str, list[Mapping[str, float]]] = {}
    gauges, registry = {}, CollectorRegistry()
    for name in org.COLUMNS:
        gauges[name] = Gauge(f"queue_{name}", "x", ("queue_id", "queue_name", "media_type"), registry=registry)
    phases = {"decode, normalise": cpu_ms(lambda: found.update(rows=_plain_rows(body)))}
    phases |= plain_score(queues)
    keys = org.keys(queues)

    def show() -> None:
        for key, row in zip(keys, found["rows"], strict=True):
            for name in org.COLUMNS:
                gauges[name].labels(key.queue_id, key.queue_id, key.media_type).set(row.get(name, 0.0))
        gzip.compress(generate_latest(registry))

    phases["render, compress"] = cpu_ms(show)
    return phases


def _plain_rows(body: bytes) -> list[Mapping[str, float]]:
    rows = []
    for row in json.loads(body)["results"]:
        metrics = {each["metric"]: each["stats"] for each in row["data"][0]["metrics"]}
        level = metrics["oServiceLevel"]
        counts = {"offered": metrics["nOffered"]["count"], "abandoned": metrics.get("tAbandon", {}).get("count", 0)}
        counts["sla_breached"] = level["denominator"] - level["numerator"]
        rows.append(counts | {"abandonment_ratio": counts["abandoned"] / counts["offered"]})
    return rows


def _plain_scores(offered: np.ndarray, abandoned: np.ndarray, breached: np.ndarray) -> list[float]:
    scores = []
    for part in (abandoned, breached):
        for mine, whole in zip(part, offered, strict=True):
            ratios = [a / b for a, b in zip(mine.tolist(), whole.tolist(), strict=True) if b]
            mean = sum(ratios) / len(ratios)
            deviation = math.sqrt(sum((each - mean) ** 2 for each in ratios) / len(ratios))
            scores.append((0.1 - mean) / deviation if deviation else 0.0)
    return scores
