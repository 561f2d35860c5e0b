"""Progress: a line that is rewritten on a terminal, a log line for every tenth elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from exporter.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_rewritten_and_ended_at_the_end() -> None:
    terminal = Terminal()
    progress = Progress("back-fill", terminal)
    for done in (0, 3, 6):
        progress(done, 6)
    lines = terminal.getvalue().split("\r")
    assert lines == [
        "",
        f"back-fill [{'.' * 30}] 0/6",
        f"back-fill [{'#' * 15}{'.' * 15}] 3/6",
        f"back-fill [{'#' * 30}] 6/6\n",
    ]


def test_elsewhere_there_is_one_log_line_for_every_tenth(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("back-fill", io.StringIO())
    with caplog.at_level(logging.INFO):
        for done in range(1001):
            progress(done, 1000)
    assert len(caplog.messages) == 11
    assert caplog.messages[0] == "back-fill: 0 of 1000 (0 %)"
    assert caplog.messages[5] == "back-fill: 500 of 1000 (50 %)"
    assert caplog.messages[-1] == "back-fill: 1000 of 1000 (100 %)"


def test_nothing_to_do_is_done(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Progress("back-fill", io.StringIO())(0, 0)
    assert caplog.messages == ["back-fill: 0 of 0 (100 %)"]


def test_work_that_grows_again_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("back-fill", io.StringIO())
    with caplog.at_level(logging.INFO):
        for done, total in ((10, 10), (0, 4), (4, 4)):
            progress(done, total)
    assert len(caplog.messages) == 3


def test_on_a_terminal_the_time_that_is_left_is_told_once_it_can_be_known() -> None:
    terminal, now = Terminal(), [0.0]
    progress = Progress("scoring", terminal, lambda: now[0])
    for seconds, done in ((0.0, 0), (1.0, 10), (10.0, 100), (90.0, 900), (100.0, 1000)):
        now[0] = seconds
        progress(done, 1000)
    lines = terminal.getvalue().split("\r")
    assert [line.partition("] ")[2] for line in lines[2:]] == [
        "10/1000",
        "100/1000, 1:30 left",
        "900/1000, 0:10 left",
        "1000/1000          \n",  # nothing of the last line stays
    ]


def test_the_time_that_is_left_follows_the_work_that_is_going_on() -> None:
    terminal, now = Terminal(), [0.0]
    progress = Progress("scoring", terminal, lambda: now[0])
    for seconds, done in ((0.0, 0), (100.0, 90), (100.0, 0), (104.0, 50)):
        now[0] = seconds
        progress(done, 100)
    assert terminal.getvalue().rpartition("] ")[2].strip() == "50/100, 0:04 left"
