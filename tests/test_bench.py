"""The bench works at a tiny size; its figures are for people, not for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import backtest, costs, org, poll, program
from bench.__main__ import METHODS, Run, table
from bench.targets import AT_START, ONCE_A_BUCKET, Figures, against


@pytest.mark.parametrize("method", METHODS)
def test_phases_of_a_poll_are_told(method: str) -> None:
    phases = poll.phases(20, 1, method)
    assert {"decode, normalise", "score", "render, compress", f"{ONCE_A_BUCKET}fit", f"{AT_START}fit"} <= phases.keys()
    assert poll.plain_phases(20).keys() <= phases.keys()


def test_the_whole_program_is_started_watched_and_asked() -> None:
    taken = program.measured(3, polls=1, poll_seconds=1)
    assert taken["export_rows"] >= 3 * 670  # of 672 buckets: a quarter of an hour may end meanwhile
    assert 0 < taken["first_answer_to_scored_s"] < taken["start_to_scored_s"]
    assert min(taken[name] for name in ("disk_mb", "poll_cpu_s", "rss_mb", "lag_max_ms", "dashboard_first_ms")) > 0


def test_a_backtest_reads_every_row_and_tells_every_method() -> None:
    figures = backtest.measured(3, 2)
    assert figures["rows"] == 3 * 2 * 96
    assert all(figures[f"{name}, scores per s"] > 0 for name in ("seasonal", "robust", "zscore"))


def test_a_target_is_met_missed_or_not_measured() -> None:
    figures = Figures(program={20_000: {"rss_mb": 349.0, "lag_p99_ms": 26.0}})
    lines = against(figures).splitlines()
    found = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ") for line in lines}
    assert found["resident memory at 20,000, MB"] == "met"
    assert found["loop lag p99 at 20,000, poll and eight scrapers, ms"] == "**missed**"
    assert found["resident memory at 5,000, MB"] == "not measured"


def test_a_poll_is_charged_with_neither_closed_buckets_nor_the_start() -> None:
    phases = {"score": 400.0, f"{ONCE_A_BUCKET}fit": 900.0, f"{AT_START}fit": 5000.0}
    lines = against(Figures(polls={"zscore": {20_000: phases}})).splitlines()
    found = {line.split(" | ")[0].strip("| "): line.split(" | ")[2] for line in lines}
    assert found["CPU of a poll at 20,000, `zscore`, no bucket closed, s"] == "0.4"
    assert found["CPU that a closed bucket costs at 20,000, `zscore`, s"] == "0.9"


def test_a_run_of_polls_is_one_bucket_after_the_other() -> None:
    """Every run fits to a week that is a bucket later, with the last two hours corrected."""
    each = poll.Poll(3, "zscore")
    first = each.window
    each.run()
    assert each.window.start == first.end
    assert each._history.newest() == each.window.start_seconds
    starts = [start for batch in each.close() for start in batch.starts.tolist()]
    assert starts == [each.window.end_seconds - back * org.BUCKET_SECONDS for back in range(8, 0, -1)]


def test_a_part_that_breaks_off_is_named_and_costs_itself_alone(tmp_path: Path) -> None:
    run = Run([20], 1, tmp_path / "results.md")
    run.part("poll", 20)
    run.part("poll", 0)
    text = (tmp_path / "results.md").read_text("utf-8")
    assert "poll at 0 queues broke off: " in text
    assert "| decode, normalise | " in text


def test_the_costs_are_written_into_the_document(tmp_path: Path) -> None:
    document = tmp_path / "operations.md"
    document.write_text(f"before\n{costs.BEGIN}\nold\n{costs.END}\nafter", "utf-8")
    figures = {"poll_cpu_s": 0.5, "rss_mb": 9.0, "rss_most_mb": 10.0, "start_to_scored_s": 1.0, "disk_mb": 3.0}
    costs.write("a machine", {1_000: figures}, document)
    text = document.read_text("utf-8")
    assert text.startswith(f"before\n{costs.BEGIN}\nTaken on a machine.")
    assert "| 1,000 | 0.50 s | 9 MB | 10 MB | 1.0 s | 3 MB |" in text
    assert "| 1,000 | 12.3 | 6.3 | 3.3 |" in text
    assert "old" not in text
    assert costs.BEGIN in costs.DOCUMENT.read_text("utf-8")


def test_tables_align() -> None:
    assert table(["a", "b"], [[1000, 0.5], ["x", None]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1,000 | 0.5 |",
        "| x | – |",
    ]
