"""`python -m tests.end_to_end.leaping`: an exporter process whose wall clock a test may set forward, for all at once.

LEAP_FILE holds the seconds that the wall clock is ahead of the machine's; whoever reads the same file agrees on what
time it is. Monotonic time and sleep are the machine's own, as a lease is: only what closes by the clock closes sooner.
All other settings are the exporter's own, from the environment, and so is everything else that `run` does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.app import running
from exporter.clock import SystemClock
from exporter.logs import configure_logging
from exporter.settings import load_settings


class LeapingClock(SystemClock):
    """The machine's clocks, of which the wall clock is ahead."""

    def __init__(self, file: Path) -> None:
        self._file = file
        if not file.exists():
            self.set(0.0)

    @property
    def ahead_seconds(self) -> float:
        return float(self._file.read_text("utf-8"))

    def set(self, ahead_seconds: float) -> None:
        """For everybody, from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(repr(ahead_seconds), "utf-8")
        fresh.replace(self._file)

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC) + timedelta(seconds=self.ahead_seconds)


async def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    async with running(settings, LeapingClock(Path(os.environ["LEAP_FILE"]))) as exporter:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, exporter.work.cancel)
        print(f"{exporter.url}/metrics", flush=True)
        try:
            await exporter.work
        except asyncio.CancelledError:
            return


if __name__ == "__main__":
    asyncio.run(main())
