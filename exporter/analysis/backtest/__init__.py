"""`backtest`: what would have been flagged, had the exporter run on these past buckets?

    CSV ──read──▶ Past ──run──▶ Report ──▶ text · CSV of scores · chart

`reading` knows the files (`opening`, `forms`, `cells`, `rows` and `room` are its parts), `running` walks them,
`summary` counts alarms, `report` puts them into words, `chart` draws one queue by `shapes` that are vectors (`svg`) or
pixels (`png`, `font`). Pure but for the files that are named; cli.py alone talks to people.
"""

from __future__ import annotations

from exporter.analysis.backtest.chart import Track, require_chart, write_chart
from exporter.analysis.backtest.opening import BacktestError
from exporter.analysis.backtest.reading import Past, read_past
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
    "require_chart",
    "run_backtest",
    "write_chart",
]
