"""`backtest`: what would have been flagged, had the exporter run on these past buckets?

    CSV ──read──▶ Past ──run──▶ Report ──▶ text · CSV of scores · chart

`reading` knows the files, `running` walks them, `summary` counts alarms, `report` puts them into words, `chart`
draws one queue. Pure but for the files that are named; cli.py alone talks to people.
"""

from __future__ import annotations

from exporter.analysis.backtest.chart import Track, write_chart
from exporter.analysis.backtest.reading import BacktestError, Past, read_past
from exporter.analysis.backtest.report import BacktestOptions, Report, describe
from exporter.analysis.backtest.running import ScoreSheet, run_backtest
from exporter.analysis.backtest.summary import Flagged, MethodSummary, QueueSummary

__all__ = [
    "BacktestError",
    "BacktestOptions",
    "Flagged",
    "MethodSummary",
    "Past",
    "QueueSummary",
    "Report",
    "ScoreSheet",
    "Track",
    "describe",
    "read_past",
    "run_backtest",
    "write_chart",
]
