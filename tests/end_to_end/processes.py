"""The exporter as users start it: a process with an environment of its own, whose output says where it listens.

Nothing of the developer's machine gets in: no EXPORTER_ or GENESYS_ variable, no `.env`, no home folder. Warnings are
errors in these processes too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
_URL = re.compile(r"(http://127\.0\.0\.1:\d+)/metrics")


def environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What a process sees: a home and a scratch folder of its own, and `variables`."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    return own | dict.fromkeys(("HOME", "TMPDIR"), str(folder)) | dict(variables)


def command(*arguments: str, module: str = "exporter") -> list[str]:
    return [sys.executable, "-W", "error", "-m", module, *arguments]


def run_to_end(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(  # noqa: S603
        command(*arguments),
        env=environment(folder, variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Process:
    """A command at work; leaving the context kills what is left of it."""

    def __init__(self, folder: Path, *arguments: str, module: str = "exporter", **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / f"output-{time.monotonic_ns()}.txt"
        self.started = time.monotonic()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                command(*arguments, module=module),
                env=environment(folder, variables),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        return self._output.read_text("utf-8")

    def url(self, within_seconds: float = 60.0) -> str:
        """Where it listens, as soon as it says so."""
        return self.said(_URL, within_seconds)[1]

    def said(self, pattern: re.Pattern[str], within_seconds: float = 60.0) -> re.Match[str]:
        """The first match in what it has written."""
        deadline = time.monotonic() + within_seconds
        while not (found := pattern.search(self.output())):
            ended = self._process.poll()
            assert ended is None, f"ended with {ended}:\n{self.output()}"
            assert time.monotonic() < deadline, f"never said {pattern.pattern}:\n{self.output()}"
            time.sleep(0.02)
        return found

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, within_seconds: float = 5.0) -> int:
        """The exit code after a signal that asks to stop."""
        self.send(number)
        return self._process.wait(within_seconds)

    def kill(self) -> None:
        """kill -9: no clean-up of its own."""
        self._process.kill()
        self._process.wait(10)
