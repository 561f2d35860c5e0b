"""The interpreter is set for the exporter's work before anything else, by the commands that serve."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from exporter import machine

READ = "import gc, sys; print(gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count() > 0)"


def printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def test_threads_give_way_and_collections_are_rare() -> None:
    settled = printed(f"from exporter import machine; machine.settle(); machine.keep_what_is_there(); {READ}")
    assert settled == f"{machine.COLLECT_AFTER} {machine.SWITCH_SECONDS} True"


@pytest.mark.parametrize("command", ["run", "demo"])
def test_the_commands_that_serve_settle_before_they_read_settings(command: str) -> None:
    code = f"from exporter.cli import main; main([{command!r}]); {READ}"
    faulty = f"import os; os.environ['EXPORTER_PORT'] = 'x'; {code}"
    assert printed(faulty).startswith(str(machine.COLLECT_AFTER))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_what_a_poll_needs_no_more_goes_back() -> None:
    code = """
from pathlib import Path
from exporter import machine
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
machine.settle()
blocks = [bytearray(10_000) for _ in range(10_000)]
del blocks[:-1]  # the last one holds up the heap below it
before = resident()
machine.give_back()
print(before - resident() > 50_000_000)
"""
    assert printed(code) == "True"
