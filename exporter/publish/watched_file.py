"""A configuration as its file has it now: read again when it, or a file that it names, has changed.

In: the path of the file. Out: what it says. A change that makes no sense is told once and changes nothing: whoever was
kept out stays out.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from exporter.errors import SettingsError

logger = logging.getLogger(__name__)

Config = TypeVar("Config")


def nobody(setting: str, good: bool) -> None:
    """For whoever need not know."""


#: What changes when a file does: its time, its size, its place on the disk.
Stamp = tuple[int, int, int] | None


class WatchedFile(ABC, Generic[Config]):
    """`complain` is told why a change is not used, `tell` of every change whether it is, with the file's setting."""

    #: The variable that names the file, and what the file is called.
    setting: str
    noun: str

    def __init__(self, path: Path, complain: Callable[[str], None], tell: Callable[[str, bool], None] = nobody) -> None:
        """Raises SettingsError when the file is no good at the start."""
        self.path = path
        self._complain = complain
        self._tell = tell
        self.current, self._files = self.parsed(path)
        self._seen = self._stamps()
        tell(self.setting, True)

    @abstractmethod
    def parsed(self, path: Path) -> tuple[Config, tuple[Path, ...]]:
        """What the file says, and the files that it names; SettingsError, or OSError, where it is no good."""

    def judge(self, new: Config) -> None:
        """Raises SettingsError where `new` cannot follow what is in force."""

    def take(self, new: Config) -> None:
        """`new` is in force from now on; SettingsError or OSError if that fails, and then nothing has changed."""
        self.current = new

    def refresh(self) -> Config:
        """The configuration in force, after a look at the files; blocks for some microseconds."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            self._reload()
        return self.current

    def check(self) -> Config:
        """What the files say now; raises SettingsError where that would not be taken. Changes nothing."""
        try:
            new, _ = self.parsed(self.path)
        except OSError as error:
            raise SettingsError([f"{self.setting}: {self.path}: {error.strerror or error}"]) from error
        self.judge(new)
        return new

    def fault(self, text: str) -> SettingsError:
        return SettingsError([f"{self.setting}: {self.path}: {text}"])

    def _reload(self) -> None:
        before = self._files
        try:
            new, self._files = self.parsed(self.path)
            self.judge(new)
            self.take(new)
            self._tell(self.setting, True)
            logger.info("the %s has changed and is in force", self.noun)
        except (SettingsError, OSError) as error:
            self._files = getattr(error, "files", before)  # a file that was missing may come yet
            self._tell(self.setting, False)
            self._complain(f"the changed {self.noun} is not used: {error}")
        self._seen = (self._seen[0], *map(_stamp, self._files)) if self._files != before else self._seen

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(map(_stamp, (self.path, *self._files)))


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
