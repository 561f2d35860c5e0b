"""Takes the pictures of the live page for the README: `python -m tests.end_to_end.pictures docs/images`.

Starts the demo and a headless Chromium, waits until the incident is on the page with its history, and writes page.png
and page-dark.png. No test: people run it when the page has changed (`make pictures`).
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.browser import Browser, started
from tests.end_to_end.processes import Process

WIDTH, HEIGHT = 1280, 800
READY = (
    "document.documentElement.dataset.standing === 'live' && !!document.querySelector('#findings svg .band')"
    " && document.querySelectorAll('#queues tbody svg .line').length > 5"
)


async def take(browser: Browser, url: str, file: Path, *, dark: bool) -> None:
    """One picture of the first screen."""
    tab = await browser.tab(WIDTH, HEIGHT)
    await tab.look(WIDTH, HEIGHT, dark=dark)
    await tab.open(url)
    await tab.until(READY, within_seconds=120)
    await tab.run("new Promise(done => setTimeout(done, 1500))")
    await asyncio.to_thread(file.write_bytes, await tab.picture())


async def main(folder: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed (Debian: apt-get install chromium fonts-inter)")
    arguments = ("demo", "--port", "0", "--queues", "60")
    with (
        tempfile.TemporaryDirectory() as home,
        Process(Path(home), *arguments, EXPORTER_SCORE_METHOD="seasonal") as demo,
    ):
        url = await asyncio.to_thread(demo.url)
        await asyncio.sleep(40)  # the back-fill's end, and an incident that has lasted for some polls
        async with started(chromium) as browser:
            for name, dark in (("page.png", False), ("page-dark.png", True)):
                await take(browser, url, folder / name, dark=dark)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
