"""The exposition, byte by byte and as its readers read it."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter.models import ABANDONMENT, DATASETS, HISTORY, WINDOW, Queue, Rows, Scores, SeriesKey, Snapshot
from exporter.publish.exposition import Renderer
from exporter.publish.families import FAMILIES
from exporter.publish.self_metrics import SelfMetrics
from tests.conftest import FakeClock
from tests.publish.samples import NAN, NOW, col, org_scores, score, snapshot

EOF = b"# EOF\n"


def rendered(snapshot: Snapshot, openmetrics: bool = False) -> str:
    exposition = Renderer().render(snapshot, snapshot.fresh(NOW))
    return (exposition.openmetrics if openmetrics else exposition.text).plain().decode()


def small() -> Snapshot:
    """Two rows, one count, one ratio with a gap, one counter, one score, one queue in the directory."""
    return snapshot(
        rows=Rows((SeriesKey("q1", "voice"), SeriesKey("q2", "")), ("Sales", 'He said "100%\\n"\nand left')),
        columns={"offered": col(12, 0), "abandonment_ratio": col(0.25, NAN), "offered_total": col(1e16, 7)},
        scores=Scores("zscore", 2.0, {ABANDONMENT: score([0.25, NAN], [-0.1, NAN], *[[NAN, NAN]] * 4)}),
        agent_keys=(),
        agents=col(),
        queues=(Queue("q1", "Sales", "Home"),),
        org_media=("voice",),
        org_offered=col(12),
    )


TEXT = r"""# HELP genesys_exporter_snapshot_id Id of the snapshot that all routes answer from.
# TYPE genesys_exporter_snapshot_id gauge
genesys_exporter_snapshot_id 1772356565250
# HELP genesys_exporter_snapshot_timestamp_seconds When the snapshot was built, in seconds since the epoch.
# TYPE genesys_exporter_snapshot_timestamp_seconds gauge
genesys_exporter_snapshot_timestamp_seconds 1772356565.25
# HELP genesys_queue_offered_contacts Contacts offered to the queue in the current window.
# TYPE genesys_queue_offered_contacts gauge
genesys_queue_offered_contacts{queue_id="q1",queue_name="Sales",media_type="voice"} 12
genesys_queue_offered_contacts{queue_id="q2",queue_name="He said \"100%\\n\"\nand left",media_type=""} 0
# HELP genesys_queue_abandonment_ratio Abandoned by offered contacts in the current window; 1 means all.
# TYPE genesys_queue_abandonment_ratio gauge
genesys_queue_abandonment_ratio{queue_id="q1",queue_name="Sales",media_type="voice"} 0.25
# HELP genesys_queue_zscore Deviations of the window's value from the queue's own baseline.
# TYPE genesys_queue_zscore gauge
genesys_queue_zscore{queue_id="q1",queue_name="Sales",media_type="voice",metric="abandonment_ratio"} -0.1
# HELP genesys_queue_offered_contacts_total Contacts offered in closed buckets.
# TYPE genesys_queue_offered_contacts_total counter
genesys_queue_offered_contacts_total{queue_id="q1",queue_name="Sales",media_type="voice"} 10000000000000000
genesys_queue_offered_contacts_total{queue_id="q2",queue_name="He said \"100%\\n\"\nand left",media_type=""} 7
# HELP genesys_queue_info The queue directory: name and division of a queue.
# TYPE genesys_queue_info gauge
genesys_queue_info{queue_id="q1",queue_name="Sales",division="Home"} 1
# HELP genesys_org_offered_contacts Contacts offered in the current window, all queues together.
# TYPE genesys_org_offered_contacts gauge
genesys_org_offered_contacts{media_type="voice"} 12
"""


def test_text_is_exactly_this() -> None:
    assert rendered(small()) == TEXT


def test_openmetrics_is_the_same_but_for_the_metadata_of_counters_and_info() -> None:
    expected = TEXT.replace(
        "# TYPE genesys_queue_offered_contacts_total counter", "# TYPE genesys_queue_offered_contacts_total unknown"
    )
    expected = expected.replace("# HELP genesys_queue_info", "# HELP genesys_queue")
    expected = expected.replace("# TYPE genesys_queue_info gauge", "# TYPE genesys_queue info")
    assert rendered(small(), openmetrics=True) == expected


def test_the_strict_parser_reads_the_same_samples_as_the_text_parser() -> None:
    whole = snapshot(org_scores=org_scores())
    strict = [s for f in openmetrics_families(rendered(whole, openmetrics=True) + "# EOF\n") for s in f.samples]
    plain = [s for f in text_families(rendered(whole)) for s in f.samples]
    assert [(s.name, s.labels, s.value) for s in strict] == [(s.name, s.labels, s.value) for s in plain]
    assert len(plain) == Renderer().render(whole, whole.fresh(NOW)).series + 2


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("own", [b"", EOF, b"x 1\n" * 20_000])
def test_gzip_is_one_member_of_the_snapshots_part_and_the_exporters_own(openmetrics: bool, own: bytes) -> None:
    exposition = Renderer().render(snapshot(), snapshot().fresh(NOW))
    body = exposition.openmetrics if openmetrics else exposition.text
    compressed = body.member + body.gzip_tail(own)
    reader = zlib.decompressobj(31)
    assert reader.decompress(compressed) == body.plain() + own
    assert reader.eof
    assert reader.unused_data == b""
    assert gzip.decompress(compressed) == body.plain() + own


def test_gzip_itself_has_nothing_to_complain_about() -> None:
    program = shutil.which("gzip")
    assert program
    body = Renderer().render(snapshot(), snapshot().fresh(NOW)).text
    done = subprocess.run([program, "-dc"], input=body.member + body.gzip_tail(EOF), capture_output=True, check=True)  # noqa: S603
    assert (done.stdout, done.stderr) == (body.plain() + EOF, b"")


def test_promtool_has_no_finding(require_server: Callable[[str], str]) -> None:
    metrics = SelfMetrics(FakeClock(NOW), version="0.1.0", contract="aggregates")
    whole = snapshot(org_scores=org_scores())
    metrics.on_snapshot(whole)
    text = rendered(whole).encode() + metrics.exposition(openmetrics=False)
    command = [require_server("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("withdrawn", DATASETS)
def test_a_stale_dataset_takes_its_families_and_no_other(withdrawn: str) -> None:
    whole = snapshot(org_scores=org_scores())
    text = Renderer().render(whole, frozenset(DATASETS) - {withdrawn}).text.plain().decode()
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert shown == {family.name for family in FAMILIES if family.dataset != withdrawn}


def test_nothing_fresh_leaves_the_snapshots_id_alone() -> None:
    exposition = Renderer().render(snapshot(), frozenset())
    assert exposition.series == 0
    assert exposition.text.plain().count(b"\n") == 6


def test_values_come_through_to_the_last_bit() -> None:
    values = [5e-324, 1.7976931348623157e308, 0.1 + 0.2, -2.5e-9, 2.0**53 + 2, 1 / 3]
    rows = Rows(tuple(SeriesKey(f"q{n}", "") for n in range(6)), ("",) * 6)
    text = rendered(snapshot(rows=rows, columns={"average_wait_seconds": np.array(values)}, scores=None))
    read = [s.value for f in text_families(text) for s in f.samples if s.name == "genesys_queue_average_wait_seconds"]
    assert np.array(read).tobytes() == np.array(values).tobytes()


# Every character that UTF-8 can write: a real Prometheus reads them all back, NUL too.
names = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["%", "%b", "%%s", "\\", "\\n", '"', '\\"', "\n", "a\nb\\", "}", '"} 1\n# EOF\n', "<img src=x onerror=alert(1)>"]
)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(names, names, names), min_size=1, max_size=5, unique_by=lambda row: (row[0], row[2])))
def test_hostile_names_come_back_from_both_parsers_as_they_were(rows: list[tuple[str, str, str]]) -> None:
    keys = tuple(SeriesKey(queue, media) for queue, _, media in rows)
    ones = np.ones(len(rows))
    hostile = replace(
        small(),
        rows=Rows(keys, tuple(name for _, name, _ in rows)),
        columns={"waiting": ones},
        scores=Scores("zscore", 2.0, {ABANDONMENT: score(*[ones] * 6)}),
        agent_keys=tuple(rows),
        agents=ones,
        queues=tuple(Queue(*row) for row in rows),
    )
    for text, parse in (
        (rendered(hostile), text_families),
        (rendered(hostile, openmetrics=True) + "# EOF\n", openmetrics_families),
    ):
        read = {f.samples[0].name: [s.labels for s in f.samples] for f in parse(text)}
        rows_read = [(r["queue_id"], r["queue_name"], r["media_type"]) for r in read["genesys_queue_waiting_contacts"]]
        assert rows_read == rows
        assert [r["metric"] for r in read["genesys_queue_zscore"]] == [ABANDONMENT] * len(rows)
        assert [(r["queue_id"], r["queue_name"], r["status"]) for r in read["genesys_queue_agents"]] == rows
        assert [(r["queue_id"], r["queue_name"], r["division"]) for r in read["genesys_queue_info"]] == rows


def test_half_a_surrogate_pair_is_replaced_rather_than_fatal() -> None:
    odd = snapshot(rows=Rows((SeriesKey("q1", "voice"),), ("a\ud800b",)), columns={"offered": col(1)}, scores=None)
    assert 'queue_name="a?b"' in rendered(odd)


def test_labels_are_kept_while_rows_stay_and_follow_them_when_they_change() -> None:
    renderer, fresh = Renderer(), frozenset({WINDOW, HISTORY})
    first = renderer.render(snapshot(), fresh).text.plain()
    assert renderer.render(snapshot(id=1), fresh).text.plain().splitlines()[3:] == first.splitlines()[3:]
    rows = snapshot().rows
    renamed = snapshot(rows=Rows(rows.keys[::-1], ("New name", "Sales", "Sales")))
    assert renderer.render(renamed, fresh).text.plain() == Renderer().render(renamed, fresh).text.plain() != first
