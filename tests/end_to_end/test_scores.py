"""The classic score, computed again from the exported history by nothing but its formula."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pytest

from exporter.simulator import Incident, OrgConfig
from tests.end_to_end.conftest import Starter
from tests.end_to_end.moving import BEGIN, AtWork
from tests.end_to_end.reading import QUARTER, Row, Samples, Series, csv_rows

#: Label `metric` → columns of events and contacts in /export.csv.
METRICS = {
    "abandonment_ratio": ("abandonedContacts", "totalContacts"),
    "sla_breach_ratio": ("slaBreaches", "serviceLevelContacts"),
}
#: A surge that ends before the window: it belongs to the baseline. Another one is going on.
INCIDENTS = (
    Incident("abandonment_surge", 1, BEGIN - timedelta(hours=30), BEGIN - timedelta(hours=29)),
    Incident("sla_collapse", 0, BEGIN - timedelta(minutes=30), BEGIN + timedelta(hours=2)),
)


class Classic(NamedTuple):
    mean: float
    stddev: float
    samples: int
    z: float | None


def classic(history: list[Row], window: Row, events: str, contacts: str, days: int) -> Classic | None:
    """The formula of the first description, over the buckets that end before the window and begin `days` before its
    end or later."""
    oldest = window.start + QUARTER - timedelta(days=days)
    before = [row for row in history if oldest <= row.start and row.start + QUARTER <= window.start]
    n = np.array([row.count(contacts) for row in before], float)
    x = np.array([row.count(events) for row in before], float)
    ratios = x[n > 0] / n[n > 0]
    if len(ratios) < 3:
        return None
    mean, stddev = np.mean(ratios), np.std(ratios)
    if not window.count(contacts):
        return Classic(mean, stddev, len(ratios), None)
    value = window.count(events) / window.count(contacts)
    return Classic(mean, stddev, len(ratios), (value - mean) / stddev if stddev else 0.0)


async def compare(at_work: AtWork, samples: Samples, days: int) -> int:
    """Every score on /metrics against the formula; the number of scores."""
    windows = csv_rows((await at_work.get("/export.csv")).body)
    history = await at_work.history()
    compared = 0
    for window in windows:
        own = [row for row in history if row.series == window.series]
        for metric, columns in METRICS.items():
            labels = {"queue_id": window.series[0], "media_type": window.series[1], "metric": metric}
            told = [samples.get(f"genesys_queue_{name}", **labels) for name in ("zscore", "anomaly")]
            expected = classic(own, window, *columns, days)
            if expected is None or expected.z is None:
                assert told == [None, None], labels
                continue
            assert told[0] == pytest.approx(expected.z, abs=1e-9, rel=1e-9), labels
            assert told[1] == float(abs(expected.z) > 2.0), labels
            assert samples.get("genesys_queue_baseline_mean_ratio", **labels) == pytest.approx(expected.mean, abs=1e-9)
            stddev = samples.get("genesys_queue_baseline_stddev_ratio", **labels)
            assert stddev == pytest.approx(expected.stddev, abs=1e-9)
            assert samples.get("genesys_queue_baseline_samples", **labels) == expected.samples
            compared += 1
    return compared


@pytest.mark.parametrize(("contract", "days"), [("aggregates", 7), ("summary", 2)])
async def test_scores_equal_the_formula_over_the_exported_history(start: Starter, contract: str, days: int) -> None:
    config = OrgConfig(queues=12, incidents=INCIDENTS)
    at_work = await start(config, EXPORTER_BASELINE_DAYS=str(days), GENESYS_CONTRACT=contract)
    samples = await at_work.filled()
    assert await compare(at_work, samples, days) >= 16
    assert samples.total("genesys_queue_anomaly", metric="sla_breach_ratio", queue_id=at_work.org.queues[0].id) == 1


async def test_scores_follow_the_baseline_when_a_bucket_has_closed(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=4, incidents=INCIDENTS[1:]))
    before = await at_work.filled()
    closed = before.get("genesys_exporter_data_end_timestamp_seconds", dataset="history")
    assert closed is not None
    at_work.clock.advance(900)
    after = await at_work.until(
        lambda samples: samples.get("genesys_exporter_data_end_timestamp_seconds", dataset="history") == closed + 900
    )
    assert await compare(at_work, after, 1) >= 6
    assert after.by_series("genesys_queue_zscore", metric="sla_breach_ratio") != before.by_series(
        "genesys_queue_zscore", metric="sla_breach_ratio"
    )


async def test_buckets_of_the_back_fill_have_the_score_that_they_would_have_had_when_they_closed(
    start: Starter,
) -> None:
    at_work = await start(OrgConfig(queues=4, incidents=INCIDENTS))
    await at_work.filled()
    history = await at_work.history()
    newest = max(row.start for row in history)  # scored by the model in force when it closed
    expected = {(row.series, row.start): scores_of(history, row) for row in history if row.start < newest}
    scored = {key for key, pair in expected.items() if pair != [None, None]}
    assert len(scored) > 200
    told: dict[tuple[Series, datetime], Row] = {}
    while {key for key, row in told.items() if row.cells["isAnomaly"]} != scored:
        assert at_work.clock.now() < BEGIN + timedelta(minutes=30)
        await at_work.polls()
        told = {(row.series, row.start): row for row in await at_work.history() if row.start < newest}
    for key, row in told.items():
        for column, z in zip(("abandonmentZScore", "slaBreachZScore"), expected[key], strict=True):
            assert row.number(column) == (None if z is None else pytest.approx(z, rel=1e-6, abs=1e-6)), row
        assert (row.cells["isAnomaly"] == "true") == any(abs(z or 0.0) > 2.0 for z in expected[key]), row


def scores_of(history: list[Row], row: Row) -> list[float | None]:
    """Both z of a past bucket."""
    own = [other for other in history if other.series == row.series]
    scores = [classic(own, row, *columns, days=1) for columns in METRICS.values()]
    return [score.z if score else None for score in scores]


@pytest.mark.parametrize(("interval", "polls"), [(60, 15), (900, 2)])
async def test_an_outage_of_the_whole_org_is_flagged_before_a_window_is_over(
    start: Starter, interval: int, polls: int
) -> None:
    """Two polls where each sees a window of its own; with a poll a minute, once most of the window is silent."""
    outage = Incident("outage", None, BEGIN + timedelta(hours=2), BEGIN + timedelta(hours=6), 1.0)
    at_work = await start(
        OrgConfig(queues=12, incidents=(outage,)),
        EXPORTER_SCORE_METHOD="seasonal",
        EXPORTER_BASELINE_DAYS="5",
        GENESYS_REQUESTS_PER_MINUTE="3000",
        EXPORTER_POLL_INTERVAL=str(interval),
    )
    complete = "\ngenesys_queue_offered_contacts_total{"
    samples = await at_work.until(lambda samples: complete in samples.text, within_seconds=6 * 3600)
    needed = 0
    while samples.get("genesys_org_anomaly", media_type="voice", metric="offered_contacts") != 1:
        over = at_work.clock.now() - timedelta(seconds=60) > outage.start  # the window ends a minute before the poll
        needed += over
        assert needed <= polls
        if not over:
            assert not samples.total("genesys_org_anomaly", metric="offered_contacts")
        samples = await at_work.polls()
    (org,) = [each for each in (await at_work.get("/dashboard")).json["org"] if each["mediaType"] == "voice"]
    (score,) = [each for each in org["scores"] if each["metric"] == "offeredContacts"]
    assert (score["isAnomaly"], score["currentValue"]) == (True, org["offeredContacts"])
    assert score["baselineMean"] > 2 * score["currentValue"]
    assert score["zScore"] < -3
