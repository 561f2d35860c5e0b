"""What systemd is told of a service with `Type=notify`: that it serves, reloads, stops, and is alive.

In: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the environment, as sd_notify(3) and sd_watchdog_enabled(3)
describe them. Out: datagrams to that socket; without one, nothing. Whoever does not listen is no reason to fail.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from exporter.clock import Clock

log = logging.getLogger(__name__)


class Systemd:
    """The service manager of this process, where there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._watchdog_seconds = _watchdog_seconds(environ)

    def ready(self, status: str) -> None:
        """It serves, whatever the first poll will bring."""
        self._tell("READY=1", _status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(_status(text))

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1", _status("stopping"))

    async def keep_watch(self, alive: Callable[[], bool], clock: Clock) -> None:
        """Say at half of the watchdog's time that all is well, while it is; without a watchdog, nothing."""
        while self._watchdog_seconds is not None:
            if alive():
                self._tell("WATCHDOG=1")
            await clock.sleep(self._watchdog_seconds / 2)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("systemd was not told %s: %s", lines[0], error)


def _address(name: str) -> str | None:
    """A path, or an abstract name, which is written with @ and begins with a null byte."""
    if not name.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return None
    return "\0" + name[1:] if name.startswith("@") else name


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The watchdog's time, if it watches this very process."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
