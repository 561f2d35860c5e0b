"""The web and the access configuration as their files have them now, and TLS that follows with every connection.

In: the paths of the files. Out: the configuration in force, and a context for the listener. A rotated certificate or a
changed password holds from the next connection or request on; a change for the worse is told, and holds nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.publish import access_config, web_config
from exporter.publish.access_config import AccessConfig
from exporter.publish.watched_file import WatchedFile, nobody
from exporter.publish.web_config import WebConfig


class WatchedAccess(WatchedFile[AccessConfig]):
    """The access configuration as the file has it now."""

    setting, noun = access_config.SETTING, "access configuration"

    def parsed(self, path: Path) -> tuple[AccessConfig, tuple[Path, ...]]:
        return access_config.parsed(path)


class WatchedConfig(WatchedFile[WebConfig]):
    """The web configuration as the file has it now.

    Not taken, too, is a change that takes a guard away altogether, as a file does for a moment while an editor writes
    it.
    """

    setting, noun = web_config.SETTING, "web configuration"

    def __init__(self, path: Path, complain: Callable[[str], None], tell: Callable[[str, bool], None] = nobody) -> None:
        super().__init__(path, complain, tell)
        self._context = self.current.tls.context() if self.current.tls else None

    def parsed(self, path: Path) -> tuple[WebConfig, tuple[Path, ...]]:
        return web_config.parsed(path)

    def judge(self, new: WebConfig) -> None:
        if any(was and not is_now for was, is_now in zip(self.current.guards, new.guards, strict=True)):
            raise self.fault("a guard cannot be taken away without a restart")
        if (new.tls is None) != (self._context is None):
            raise self.fault("TLS cannot be switched without a restart")

    def take(self, new: WebConfig) -> None:
        self._context = new.tls.context() if new.tls else None
        super().take(new)

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

    def still_trusts(self, context: ssl.SSLContext) -> bool:
        """Whether every authority is trusted still that was when a connection was made."""
        now = self._context
        if context is now or now is None:
            return True
        return set(context.get_ca_certs(binary_form=True)) <= set(now.get_ca_certs(binary_form=True))


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
