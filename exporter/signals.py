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
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

#: Well below the 5 s that are promised, above what draining takes (`app.DRAIN_SECONDS`).
STOP_SECONDS = 4.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: None on Windows.
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)


class Signals:
    """What signals ask for; made before anything that takes time, so that no SIGHUP is lost or deadly.

    Without `hangups` a SIGHUP ends the process, as is usual.
    """

    def __init__(self, *, hangups: bool) -> None:
        #: Set by SIGHUP; whoever reloads clears it.
        self.hangup = asyncio.Event()
        self._in_terminal = _terminal()
        self._hangup_signal = HANGUP if hangups else None
        if self._hangup_signal is not None:
            signal.signal(self._hangup_signal, lambda *_: self.hangup.set())

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` until it ends or a signal asks to stop; a stop is a success."""
        last_resort = threading.Timer(STOP_SECONDS, _end)
        last_resort.daemon = True
        try:
            asyncio.run(self._until_stopped(work, last_resort))
        finally:
            last_resort.cancel()

    async def _until_stopped(self, work: Callable[[], Coroutine[Any, Any, None]], last_resort: threading.Timer) -> None:
        task, loop = asyncio.create_task(work()), asyncio.get_running_loop()

        def stop() -> None:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, _end_at_once)
            last_resort.start()
            task.cancel()

        def hang_up() -> None:
            gone = self._in_terminal and not _terminal()
            if not gone:
                self.hangup.set()
            elif not task.cancelling():
                stop()

        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
            for number in STOP_SIGNALS:
                loop.add_signal_handler(number, stop)
            if self._hangup_signal is not None:
                loop.add_signal_handler(self._hangup_signal, hang_up)
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _terminal() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _end_at_once(number: int, frame: object) -> None:
    """As a shell tells it. The default action would not do: a container's first process is deaf to it."""
    os._exit(128 + number)


def _end() -> None:
    """Something has hung for too long; nothing that is kept on disk suffers."""
    log.warning("stopping took too long: ended without waiting any longer")
    os._exit(0)
