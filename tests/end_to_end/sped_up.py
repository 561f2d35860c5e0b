"""`python -m tests.end_to_end.sped_up`: an exporter process in a time that runs faster, for tests that kill it.

SPED_UP_BEGIN is a moment of real time (epoch seconds), SPED_UP_FACTOR how many seconds pass in one. Processes with the
same two agree on what time it is. All other settings are the exporter's own, from the environment.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exporter.app import running
from exporter.settings import load_settings


@dataclass(frozen=True)
class SpedUpClock:
    """Time that ran like everybody's until `begin`, and has run `factor` times as fast since."""

    begin: float
    factor: float

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.begin, UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return (time.time() - self.begin) * self.factor

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.factor)


async def main() -> None:
    clock = SpedUpClock(float(os.environ["SPED_UP_BEGIN"]), float(os.environ["SPED_UP_FACTOR"]))
    async with running(load_settings(), clock) as exporter:
        print(f"{exporter.url}/metrics", flush=True)
        await exporter.work


if __name__ == "__main__":
    asyncio.run(main())
