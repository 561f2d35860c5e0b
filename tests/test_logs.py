"""Log lines: one line a record, as text or JSON, that nobody can forge."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from exporter.logs import JsonFormatter, TextFormatter, configure_logging

#: 2026-03-01T09:00:00.250Z
CREATED = 1772355600.25


def record(message: str, *arguments: object, level: int = logging.WARNING, error: bool = False) -> logging.LogRecord:
    caught = sys.exc_info() if error else None
    made = logging.LogRecord("exporter.poller", level, "poller.py", 1, message, arguments, caught)
    made.created = CREATED
    return made


def test_text_is_time_level_and_message() -> None:
    assert TextFormatter().format(record("window: %s", "gone")) == "2026-03-01T09:00:00.250Z warning window: gone"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\nb", "a\\x0d\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x7f\x9bz\x00", "\\x7f\\x9bz\\x00"),
        ("a\u2028b\u2029c\u0085d", "a\\u2028b\\u2029c\\x85d"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("half a pair \ud800", "half a pair \\ud800"),
        ("Kündigung サポート", "Kündigung サポート"),
    ],
)
def test_text_of_a_stranger_stays_on_one_line_and_harmless(sent: str, shown: str) -> None:
    line = TextFormatter().format(record("queue %s", sent))
    assert line == f"2026-03-01T09:00:00.250Z warning queue {shown}"
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("sent", ["a\nb", 'quo"te', "\x1b[31m", "a\u2028b", "half a pair \ud800", "サポート"])
def test_json_is_one_object_a_line_with_the_message_whole(sent: str) -> None:
    line = JsonFormatter().format(record("queue %s", sent))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-03-01T09:00:00.250Z",
        "level": "warning",
        "logger": "exporter.poller",
        "message": f"queue {sent}".encode("utf-8", "replace").decode(),
    }


def test_a_traceback_follows_the_line_of_text_and_is_a_field_of_json() -> None:
    try:
        raise KeyError("lost \ud800")
    except KeyError:
        made = record("a defect", level=logging.ERROR, error=True)
    entry = json.loads(JsonFormatter().format(made))
    first, *trace = TextFormatter().format(made).splitlines()
    assert first == "2026-03-01T09:00:00.250Z error a defect"
    assert "\n".join(line.removeprefix("  ") for line in trace) == entry["traceback"]
    assert entry["traceback"].startswith("Traceback")
    assert entry["traceback"].endswith("KeyError: 'lost \\ud800'")


def test_an_exception_cannot_forge_a_line_of_text() -> None:
    try:
        raise ValueError("bad\n2026-03-01T09:00:00.250Z info all is well\x1b[2K")
    except ValueError:
        made = record("a defect", error=True)
    lines = TextFormatter().format(made).splitlines()
    assert [line for line in lines[1:] if not line.startswith("  ")] == []
    assert "\x1b" not in TextFormatter().format(made)


@pytest.mark.parametrize(("style", "begins"), [("text", "2"), ("json", "{")])
def test_everything_from_the_level_up_goes_to_stderr_in_the_style(
    own_logging: logging.Logger, capsys: pytest.CaptureFixture[str], style: str, begins: str
) -> None:
    configure_logging("warning", style)
    log = logging.getLogger("exporter.somewhere")
    log.info("not told")
    log.warning("told")
    out, err = capsys.readouterr()
    assert out == ""
    assert [line[:1] for line in err.splitlines()] == [begins]
    assert "told" in err


def test_every_request_that_is_served_stays_out_of_the_log(
    own_logging: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("debug", "text")
    logging.getLogger("aiohttp.access").info("GET /metrics 200")
    assert capsys.readouterr().err == ""
