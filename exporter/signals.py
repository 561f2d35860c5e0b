"""Signals: SIGTERM and SIGINT stop, a second one ends at once, SIGHUP reloads.

In: a command's work as a coroutine. Out: it runs until it ends or is asked to stop, which cancels it; whatever hangs
then, the process is gone within STOP_SECONDS: history survives a crash, and so a hard end. SIGHUP also says that the
terminal has gone, which stops a command that was started in one. Windows has no SIGHUP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

log = logging.getLogger(__name__)

#: Well below the 5 s that are promised, above what draining takes (`app.DRAIN_SECONDS`).
STOP_SECONDS = 4.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: None on Windows.
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)


class Signals:
    """What signals ask for; made before anything that takes time, so that no SIGHUP is lost or deadly.

    Without `hangups` a SIGHUP ends the process, as is usual. The handlers are Python's own and not the event loop's, so
    that the time of a stop begins even while something holds up the loop.
    """

    def __init__(self, *, hangups: bool) -> None:
        #: Set by SIGHUP; whoever reloads clears it.
        self.hangup = asyncio.Event()
        self._in_terminal = _terminal()
        self._asked = threading.Event()
        self._stop: Callable[[], object] | None = None  # while there is a loop
        self._wake: Callable[[], object] = self.hangup.set
        if hangups and HANGUP is not None:
            signal.signal(HANGUP, self._hang_up)

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` until it ends or a signal asks to stop; a stop is a success."""
        threading.Thread(target=self._last_resort, name="last resort", daemon=True).start()
        asyncio.run(self._until_stopped(work))

    async def _until_stopped(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task, loop = asyncio.create_task(work()), asyncio.get_running_loop()
        self._stop = partial(loop.call_soon_threadsafe, task.cancel)
        self._wake = partial(loop.call_soon_threadsafe, self.hangup.set)
        for number in STOP_SIGNALS:
            signal.signal(number, self._ask_to_stop)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def _ask_to_stop(self, number: int, frame: object) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, _end_at_once)
        self._asked.set()
        if self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._stop()

    def _hang_up(self, number: int, frame: object) -> None:
        if not (self._in_terminal and not _terminal()):
            with contextlib.suppress(RuntimeError):
                self._wake()
        elif not self._asked.is_set():
            self._ask_to_stop(number, frame)

    def _last_resort(self) -> None:
        """A thread of its own, to the very end of the process: something may hang for ever."""
        self._asked.wait()
        time.sleep(STOP_SECONDS)
        log.warning("stopping took too long: ended without waiting any longer")
        os._exit(0)


def _terminal() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _end_at_once(number: int, frame: object) -> None:
    """As a shell tells it. The default action would not do: a container's first process is deaf to it."""
    os._exit(128 + number)
