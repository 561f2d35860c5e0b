"""A blocking walk through the history, consumed by the event loop: a thread per export, one chunk ahead.

The thread makes the next chunk while the client takes this one, and not one more: memory stays constant however
slow the client is, and a client that goes away ends the walk. SQLite wants the same thread from first to last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

#: Exports at a time: each costs a thread, and most of a core while its client keeps up.
MAX_EXPORTS = 4


class Busy(Exception):
    """As many exports as allowed are under way."""


class Exports:
    """Counts the exports under way."""

    def __init__(self, limit: int = MAX_EXPORTS) -> None:
        self._free = limit

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, given back in the end; Busy if none is left."""
        if self._free == 0:
            raise Busy
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


async def walked(walk: Callable[[], Generator[bytes, None, None]]) -> AsyncGenerator[bytes, None]:
    """The chunks of `walk()`, which is called, advanced and closed in one thread of its own."""
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="export")
    loop = asyncio.get_running_loop()
    steps = walk()  # a generator function: nothing of it runs here
    ahead = loop.run_in_executor(thread, next, steps, None)
    try:
        while (chunk := await ahead) is not None:
            ahead = loop.run_in_executor(thread, next, steps, None)
            yield chunk
    finally:
        ahead.cancel()
        thread.submit(steps.close)
        thread.shutdown(wait=False)
