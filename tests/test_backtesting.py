"""The command `backtest`: a file in, a summary out, scores and a picture where asked for."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from exporter.cli import main


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """Four days of one steady queue; on the last day an hour in which half of the contacts give up."""
    chance = random.Random(5)
    lines = ["queue,t,offered,abandoned,sla_breach"]
    for bucket in range(4 * 96):
        surge = 3 * 96 + 40 <= bucket < 3 * 96 + 44
        offered = 60 + chance.randrange(20)
        abandoned = sum(chance.random() < (0.5 if surge else 0.05) for _ in range(offered))
        lines.append(f"Sales,{1_767_225_600 + 900 * bucket},{offered},{abandoned},{abandoned + 3}")
    path = tmp_path / "past.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_incident_is_listed_with_its_numbers(past: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(past), "--list", "4", "--baseline-days", "2"]) == 0
    told = capsys.readouterr().out
    assert "method seasonal, threshold 3" in told
    assert "2026-01-04 10:00  Sales  abandonment_ratio" in told


def test_all_methods_are_compared(past: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(past), "--method", "all", "--baseline-days", "2"]) == 0
    told = capsys.readouterr().out
    assert [line.split(",")[0] for line in told.splitlines() if line.startswith("method ")] == [
        "method seasonal",
        "method robust",
        "method zscore",
    ]


def test_every_score_is_written_and_the_queue_is_drawn(past: Path, tmp_path: Path) -> None:
    scores, picture = tmp_path / "scores.csv", tmp_path / "sales.html"
    assert main(["backtest", str(past), "--scores", str(scores), "--plot", str(picture), "--queue", "Sales"]) == 0
    with scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} == {"abandonment_ratio", "sla_breach_ratio", "offered_contacts"}
    flagged = {row["t"] for row in rows if row["metric"] == "abandonment_ratio" and row["anomaly"] == "1"}
    assert {f"2026-01-04T10:{minute}:00Z" for minute in ("00", "15", "30", "45")} <= flagged
    assert "<svg" in picture.read_text()


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({"EXPORTER_ANOMALY_MIN_EVENTS": "1000"}, ["--min-events", "1000"]),
        ({"EXPORTER_ANOMALY_MIN_DIFFERENCE": "0.9"}, ["--min-difference", "0.9"]),
        ({"EXPORTER_ANOMALY_DIRECTION": "abandonment=low"}, ["--direction", "abandonment=low"]),
    ],
    ids=["events", "difference", "side"],
)
def test_a_guard_takes_flags_away_whether_set_or_asked_for(
    past: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    options: list[str],
) -> None:
    flagged = "2026-01-04 10:00  Sales  abandonment_ratio"
    asked = ["backtest", str(past), "--baseline-days", "2", "--list", "1000"]
    assert main(asked) == 0
    assert flagged in capsys.readouterr().out
    assert main([*asked, *options]) == 0
    assert flagged not in capsys.readouterr().out
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert main(asked) == 0
    assert flagged not in capsys.readouterr().out


def test_a_guard_that_makes_no_sense_is_refused_by_its_name(past: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(past), "--min-difference", "5"]) == 2
    assert "EXPORTER_ANOMALY_MIN_DIFFERENCE" in capsys.readouterr().err


def test_an_option_that_is_blank_leaves_its_setting(
    past: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORTER_ANOMALY_MIN_EVENTS", "1000")
    assert main(["backtest", str(past), "--baseline-days", "2", "--min-events", " "]) == 0
    assert ": 0 buckets flagged" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--queue", "--direction"])
def test_an_option_of_which_the_last_would_hold_alone_is_taken_once(
    past: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["backtest", str(past), option, "low", option, "high"])
    assert left.value.code == 2
    assert f"{option}: given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("queue,t,offered\n", "abandoned"),
        ("queue,t,offered,abandoned,sla_breach\nSales,1767225600,-3,0,0\n", "line 2"),
    ],
)
def test_a_bad_file_gets_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert main(["backtest", str(path)]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert words in told
    assert "Traceback" not in told


def test_one_queue_alone_is_scored_listed_and_drawn(
    past: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = past.with_name("two.csv")
    more.write_text(past.read_text() + "Other,1767225600,900,2,2\n")
    picture = tmp_path / "sales.png"
    asked = ["backtest", str(more), "--baseline-days", "2", "--queue", "Sales", "--list", "0"]
    assert main([*asked, "--plot", str(picture)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 queue, 384 buckets of 15 minutes")
    assert "Other" not in told
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*asked[:-3], "Nobody"]) == 2
    assert "no queue 'Nobody' in the file; it holds Other, Sales" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "chart.gif"], "chart.gif: a chart is written as .html or .svg or .png"),
        (["--plot", "nowhere/chart.png"], "chart.png: cannot be written: name a file in a folder that can"),
        (["--scores", "."], ".: cannot be written"),
        (["--scores", "past.csv"], "past.csv: is the file that is read: name another"),
        (["--scores", "a.png", "--plot", "./a.png"], "a.png: --scores and --plot name the same file: name another"),
        (["--timezone", "Mars/Olympus"], "EXPORTER_TIMEZONE"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_read(
    past: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(past.parent)
    before = past.read_bytes()
    assert main(["backtest", "past.csv", *options]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert "reading" not in told.err
    assert past.read_bytes() == before


def test_an_output_that_cannot_be_written_is_named(past: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(past), "--scores", str(past / "scores.csv")]) == 2
    assert "scores.csv" in capsys.readouterr().err
