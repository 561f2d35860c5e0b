"""Events that reach analytics after their bucket has closed: history is corrected, and the counters with it."""

from __future__ import annotations

from datetime import timedelta

from exporter.simulator import Lateness, OrgConfig
from tests.end_to_end.conftest import Starter
from tests.end_to_end.reading import history_counts

MOST = timedelta(minutes=70)
LATENESS = Lateness(usual_ms=20_000, late_ratio=0.3, late_ms=MOST.seconds * 1000 - 20_000)
TOTALS = ("offered", "abandoned", "sla_breached")


async def test_late_events_are_merged_into_closed_buckets_and_counted_once(start: Starter) -> None:
    at_work = await start(OrgConfig(queues=3, lateness=LATENESS), EXPORTER_POLL_INTERVAL="300")
    samples = await at_work.filled()
    for _ in range(40):
        later = await at_work.polls()
        for name in TOTALS:
            metric = f"genesys_queue_{name}_contacts_total"
            before, after = samples.by_series(metric), later.by_series(metric)
            assert {series for series in before if after[series] < before[series]} == set()
        samples = later

    rows = await at_work.history()
    closed = samples.total("genesys_exporter_data_end_timestamp_seconds", dataset="history")
    starts = sorted({row.start for row in rows})
    complete = [start for start in starts if start.timestamp() + 900 <= closed - MOST.total_seconds()]
    assert len(complete) > 96
    truth = {
        (cell.queue_id, cell.media_type, cell.start): (counts.offered, counts.abandoned, counts.sla_breached)
        for cell, counts in at_work.org.truth(complete[0], complete[-1] + timedelta(minutes=15), 900).items()
    }
    history = history_counts(rows)
    told = {key: counts for key, counts in history.items() if key[2] <= complete[-1]}
    assert told == {key: counts for key, counts in truth.items() if any(counts)}
    for place, name in enumerate(TOTALS):
        total = samples.total(f"genesys_queue_{name}_contacts_total")
        assert total == sum(counts[place] for counts in history.values())
