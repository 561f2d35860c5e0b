"""The web configuration as its file has it now, and TLS that follows it from connection to connection.

In: the path of the file. Out: the `WebConfig` in force, and a context for the listener. A rotated certificate or a
changed password holds from the next connection or request on; a change for the worse is told, and holds nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.errors import SettingsError
from exporter.publish.web_config import WebConfig, parsed


class WatchedConfig:
    """The configuration as the file has it now: read again when it, or a file that it names, has changed.

    A change that makes no sense is told once and changes nothing: whoever was kept out stays out. So does one that
    takes a guard away altogether, as a file does for a moment while an editor writes it.
    """

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        """Raises SettingsError when the file is no good at the start."""
        self._path = path
        self._complain = complain
        self.current, self._files = parsed(path)
        self._context = self.current.tls.context() if self.current.tls else None
        self._seen = self._stamps()

    def refresh(self) -> WebConfig:
        """The configuration in force, after a look at the files; blocks for some microseconds."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            self._reload()
        return self.current

    def check(self) -> None:
        """Raises SettingsError where the files, as they are now, would not be taken; changes nothing."""
        try:
            self._check(parsed(self._path)[0])
        except OSError as error:
            raise SettingsError([f"EXPORTER_WEB_CONFIG: {self._path}: {error.strerror or error}"]) from error

    def ssl_context(self) -> ssl.SSLContext | None:
        """For the listener: every connection is met with the certificates, and the client CA, of its moment."""
        return _Fresh.of(self) if self._context is not None else None

    def context_now(self) -> ssl.SSLContext:
        self.refresh()
        if self._context is None:
            raise ssl.SSLError("TLS is not configured")
        return self._context

    def is_of_now(self, context: ssl.SSLContext) -> bool:
        """Whether a connection was made under the configuration in force."""
        return context is self._context

    def _reload(self) -> None:
        before = self._files
        try:
            config, self._files = parsed(self._path)
            self._check(config)
            self._context = config.tls.context() if config.tls else None
            self.current = config
        except (SettingsError, OSError) as error:
            self._files = getattr(error, "files", before)  # a file that was missing may come yet
            self._complain(f"the changed web configuration is not used: {error}")
        self._seen = (self._seen[0], *map(_stamp, self._files)) if self._files != before else self._seen

    def _check(self, config: WebConfig) -> None:
        if any(was and not is_now for was, is_now in zip(self.current.guards, config.guards, strict=True)):
            raise SettingsError([f"EXPORTER_WEB_CONFIG: {self._path}: a guard cannot be taken away without a restart"])
        if (config.tls is None) != (self._context is None):
            raise SettingsError([f"EXPORTER_WEB_CONFIG: {self._path}: TLS cannot be switched without a restart"])

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, (self._path, *self._files)))


class _Fresh(ssl.SSLContext):
    """A context that makes every connection from the watched configuration's present one.

    Certificates could be loaded into a living context, but a client CA could not be taken out of it again.
    """

    _watched: WatchedConfig

    @classmethod
    def of(cls, watched: WatchedConfig) -> _Fresh:
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._watched = watched
        return context

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        return self._watched.context_now().wrap_bio(*args, **named)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
