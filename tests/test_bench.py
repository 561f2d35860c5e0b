"""The bench works at a tiny size; its figures are for people, not for tests."""

from __future__ import annotations

from bench import backtest, history, poll, scrape
from bench.__main__ import table


def test_phases_of_a_poll_are_told_and_add_up() -> None:
    phases = poll.phases(20, 1, "zscore")
    assert phases["together"] == sum(each for name, each in phases.items() if name != "together")
    assert {"decode, normalise", "merge a closed bucket", "render, compress"} <= phases.keys()


def test_a_week_is_exported_row_by_row() -> None:
    taken = history.measured(3)
    assert taken["export_rows"] == 3 * 672
    assert taken["disk_mb"] > 0


def test_a_backtest_reads_every_row_and_tells_every_method() -> None:
    figures = backtest.measured(3, 2)
    assert figures["rows"] == 3 * 2 * 96
    assert all(figures[f"{name}, scores per s"] > 0 for name in ("seasonal", "robust", "zscore"))


def test_the_dashboard_is_asked() -> None:
    first, later, size = scrape.dashboard(10, 1)
    assert first > 0
    assert later > 0
    assert size > 0.001


def test_tables_align() -> None:
    assert table(["a", "b"], [[1000, 0.5], ["x", None]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1,000 | 0.5 |",
        "| x | – |",
    ]
