"""YAML that can be read in one way only, for the files that say who may come in.

In: a file, and the setting that names it. Out: texts, lists, and mappings that know the line of each of their keys; or
a SettingsError. `Reader` is what the readers of both files share: it gathers faults, so that all are told at once. A
fault repeats nothing of the file but a path: a slip of the pen can put a hash or a key anywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from exporter.errors import SettingsError


class Refused(SettingsError):
    """Faults, and the files that may mend them."""

    def __init__(self, faults: list[str], files: tuple[Path, ...]) -> None:
        super().__init__(faults)
        self.files = files


class Section(dict[str, Any]):
    """A mapping that knows the line of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class Reader:
    """Checks a parsed file, gathering faults and the files that it names."""

    def __init__(self, setting: str, path: Path) -> None:
        self._setting, self._path = setting, path
        self.faults: list[str] = []
        self.files: list[Path] = []

    def content(self) -> Any:
        """What stands in the file; raises SettingsError where that is no YAML, or more than texts."""
        try:
            return yaml.load(self._path.read_bytes(), _Loader)  # noqa: S506 (a SafeLoader)
        except OSError as error:
            raise SettingsError([f"{self._setting}: {self._path} cannot be read: {reason(error)}"]) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # the cause would show what stands there
            raise SettingsError([f"{self._setting}: {self._path} is not YAML{_place(error)}"]) from None

    def fault(self, key: str, text: str, line: int | None = None) -> None:
        place = f"line {line}: " if line else ""
        self.faults.append(f"{self._setting}: {self._path}: {place}{key}: {text}")

    def section(self, parent: Section, key: str) -> Section:
        return self.checked(key, parent.get(key), parent.lines.get(key))

    def checked(self, key: str, value: Any, line: int | None = None) -> Section:
        """`value` where it is a mapping; an empty one where it is nothing, or a fault."""
        if value is not None and not isinstance(value, Section):
            self.fault(key, "write a mapping of names to values", line)
        return value if isinstance(value, Section) else Section()

    def known(self, key: str, value: Section, names: Collection[str]) -> None:
        for name in value:
            if name not in names:
                self.fault(key, f"an unknown key; known are {', '.join(names)}", value.lines[name])

    def end(self) -> tuple[Path, ...]:
        """The files that were named; raises all faults."""
        if self.faults:
            raise Refused(self.faults, tuple(self.files))
        return tuple(self.files)


def reason(error: Exception) -> str:
    """Why a file cannot be used, without what it holds."""
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__)


def _place(error: Exception) -> str:
    """Where the fault is; never what stands there, which may be a secret."""
    mark = getattr(error, "problem_mark", None)
    return f", or a key stands twice: line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


class _Loader(yaml.SafeLoader):
    """Texts, lists and mappings: 123 is a user's name, not a number, and a key that stands twice is a fault."""

    def mapping(self, node: yaml.MappingNode) -> Section:
        made = Section()
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in made:
                raise yaml.constructor.ConstructorError(None, None, None, key_node.start_mark)
            made[key] = self.construct_object(value_node, deep=True)
            made.lines[key] = key_node.start_mark.line + 1
        return made


_NULL = "tag:yaml.org,2002:null"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# No dates and numbers by tag either: their constructors raise whatever comes.
_Loader.yaml_constructors = {
    _NULL: yaml.SafeLoader.construct_yaml_null,
    "tag:yaml.org,2002:str": yaml.SafeLoader.construct_yaml_str,
    "tag:yaml.org,2002:seq": yaml.SafeLoader.construct_yaml_seq,
    "tag:yaml.org,2002:map": _Loader.mapping,
    None: yaml.SafeLoader.construct_undefined,
}
