"""`backtest` on an export says what the exporter published while it lived through the same days."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.analysis.analyst import Analyst
from exporter.analysis.backtest import BacktestOptions, ScoreSheet, read_past, run_backtest
from exporter.analysis.scoring import METHODS, ScoreOptions, method
from exporter.models import SeriesKey, Window
from exporter.publish.csv_export import history_chunks
from tests.analysis.building import QUARTER, at, batch, cell, open_history, start_of, window_table
from tests.analysis.traffic import weeks

KEYS = (SeriesKey("quiet", "voice"), SeriesKey("busy", "voice"), SeriesKey("closed at night", "chat"))
BASELINE_DAYS, DAYS = 5, 6
#: Ten hours of the last day are polled: a night's end, an opening, a noon.
FIRST_POLL = DAYS * 96 - 72
LAST_POLL = FIRST_POLL + 40
#: What explains a score, as the sheet of a backtest names it and as a snapshot does.
COLUMNS = ("value", "mean", "stddev", "samples", "z", "anomaly")


def lived_through(name, path):
    """(start, queue, metric) → the columns of every score that was published on a window of exactly one bucket; and
    the export of all buckets."""
    counts, cells = traffic(), []
    history = open_history(path, now=at(0), baseline_days=BASELINE_DAYS)
    analyst = Analyst(
        history, method(name), ScoreOptions(timezone="Europe/Berlin"), contract="aggregates", bucket="PT15M",
        max_series=9999,
    )  # fmt: skip
    told = {}
    for quarter, (offered, abandoned) in enumerate(counts):
        cells = {key: cell(int(n), int(x), int(x)) for key, n, x in zip(KEYS, offered, abandoned, strict=True)}
        window = {key: dict(zip(("offered", "answered", "abandoned", "flow_out", "sla_breached", "sla_contacts"), each,
                                strict=True)) for key, each in cells.items()}  # fmt: skip
        if FIRST_POLL <= quarter < LAST_POLL:
            table = window_table(Window(at(quarter), at(quarter + 1)), window)
            snapshot = analyst.snapshot(
                now=at(quarter + 1.1), directory=None, window=table, observations=None, datasets={}
            )
            told |= published(start_of(quarter), snapshot)
        history.merge(batch({start_of(quarter): cells}))
    return told, b"".join(history_chunks(history.read(start_of(0), start_of(DAYS * 96))))


def traffic():
    offered, abandoned = weeks(21, [1.5, 60.0, 12.0], days=DAYS)
    hour = np.arange(len(offered)) // 4 % 24
    offered[(hour < 8) | (hour >= 20), 2] = 0
    return list(zip(offered, np.minimum(abandoned, offered), strict=True))


def published(start, snapshot):
    return {
        (start, key.queue_id, metric): [float(getattr(scores, column)[row]) for column in COLUMNS]
        for metric, scores in snapshot.scores.metrics.items()
        for row, key in enumerate(snapshot.rows.keys)
        if not np.isnan(scores.z[row])
    }


def backtested(path, name):
    past, sheet = read_past(path), io.StringIO()
    options = BacktestOptions((name,), ScoreOptions(timezone="Europe/Berlin"), BASELINE_DAYS * 86_400)
    report = run_backtest(past, options, sinks=[ScoreSheet.to(sheet, past)])
    rows = csv.DictReader(io.StringIO(sheet.getvalue()))
    begin = start_of(0)
    scored = {
        (begin + (np.datetime64(row["t"][:-1]) - np.datetime64("2026-03-02")).astype("timedelta64[s]").astype(int),
         row["queue"], row["metric"]): [float(row[column]) for column in COLUMNS]
        for row in rows
    }  # fmt: skip
    return scored, report.model_ages[0]


@pytest.mark.parametrize("name", METHODS)
def test_an_export_is_scored_as_it_was_in_operation(tmp_path, name):
    told, export = lived_through(name, tmp_path / "history.sqlite3")
    (tmp_path / "past.csv").write_bytes(export)
    scored, age = backtested(tmp_path / "past.csv", name)
    assert age == QUARTER  # a model for every bucket: nothing but rounding may differ
    polled = {key: columns for key, columns in scored.items() if start_of(FIRST_POLL) <= key[0] < start_of(LAST_POLL)}
    assert len(told) > 150
    assert polled.keys() == told.keys()
    for key, columns in told.items():
        np.testing.assert_allclose(polled[key], columns, rtol=1e-5, atol=1e-5, err_msg=str(key))


@settings(deadline=None, max_examples=8)
@given(st.sampled_from(list(METHODS)), st.integers(5, 50), st.integers(0, 2**32 - 1))
def test_what_comes_later_changes_no_score_before(tmp_path_factory, name, cut, seed):
    """The first rows of the sheet are the same, digit by digit, whatever the file holds after them."""
    chance = np.random.default_rng(seed)
    offered = chance.poisson(8, (60, 2))
    sheets = []
    for tail in (offered[cut:], chance.poisson(90, offered[cut:].shape)):
        counts = np.concatenate([offered[:cut], tail])
        lines = [f"q{column},{3600 * row},{n},{n // 3},{n // 2}\n" for (row, column), n in np.ndenumerate(counts)]
        path = tmp_path_factory.mktemp("past") / "past.csv"
        path.write_text("queue,t,offered,abandoned,sla_breach\n" + "".join(lines))
        past, sheet = read_past(path), io.StringIO()
        run_backtest(past, BacktestOptions(methods=(name,)), sinks=[ScoreSheet.to(sheet, past)])
        until = str(np.datetime64(3600 * cut, "s")) + "Z"
        sheets.append([row for row in csv.DictReader(io.StringIO(sheet.getvalue())) if row["t"] < until])
    assert sheets[0] == sheets[1]
