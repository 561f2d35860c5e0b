"""Where settings are written besides the environment, and where the platform wants a program's files.

In: paths. Out: texts by variable. What cannot be read is a SettingsError that names the file, never what is in it.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from exporter.errors import SettingsError

#: Variables that may also be given as `…_FILE`.
CREDENTIALS = ("GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET")

#: Where containers find their secrets, by Docker's convention.
_CONTAINER_SECRETS = Path("/run/secrets")

_PROGRAM = "genesys-cloud-exporter"

#: What it would warn of is a fault here.
logging.getLogger("dotenv.main").disabled = True


class SecretsFolder(PydanticBaseSettingsSource):
    """A folder with a file for each variable, named like it in any case; it yields to every source before it.

    Client id and secret are taken by path, as if `…_FILE` named them, so that a rotated secret is read again.
    """

    def __init__(self, settings_cls: type[BaseSettings], folder: str | Path | None) -> None:
        super().__init__(settings_cls)
        self._folder = folder
        self._variables = {str(field.validation_alias) for field in settings_cls.model_fields.values()}

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Nothing: `__call__` reads the folder at once; the base class asks for this method."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, str] = {}
        for name, path in self._files().items():
            if name in CREDENTIALS:
                if not {name, f"{name}_FILE"} & self.current_state.keys():
                    found[f"{name}_FILE"] = str(path)
            elif f"{name}_FILE" not in self.current_state:
                found[name] = _read_text(name, path)
        return {name: text for name, text in found.items() if text.strip()}

    def _files(self) -> dict[str, Path]:
        """The files of variables, by variable; none may have two."""
        files: dict[str, Path] = {}
        for path in self._paths():
            name = path.name.upper()
            if name in self._variables and files.setdefault(name, path) != path:
                raise SettingsError([f"{name}: {files[name]} and {path} both hold it; remove one of them"])
        return files

    def _paths(self) -> list[Path]:
        """What stands in the folder; nothing where it cannot be looked into, which its own setting tells."""
        try:
            return [] if self._folder is None else sorted(Path(self._folder).expanduser().iterdir())
        except (OSError, ValueError, RuntimeError):
            return []


def _read_text(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fault = f'{variable}: its file "{path}" cannot be read; make it a text file that this user may read'
        raise SettingsError([fault]) from error


def read_env_file(path: str | Path | None) -> dict[str, str | None]:
    """What `.env` says; nothing where there is none."""
    try:
        return {} if path is None else dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fault = f"{path}: cannot be read; make it a text file that this user may read, or remove it"
        raise SettingsError([fault]) from error


def env_file_faults(path: str | Path | None) -> list[str]:
    """A line for each statement of a readable `.env` that is none; it is not shown, since it may hold a secret."""
    if path is None or not Path(path).is_file():
        return []
    with Path(path).open(encoding="utf-8") as text:
        lines = [statement.original.line for statement in parse_stream(text) if statement.error]
    return [f"{path}: line {line} cannot be read; write NAME=value, and close quotation marks" for line in lines]


def said_twice(path: str | Path | None) -> list[str]:
    """The names that a readable `.env` gives two values, of which the last counts."""
    if path is None or not Path(path).is_file():
        return []
    said: dict[str, set[str | None]] = {}
    with Path(path).open(encoding="utf-8") as text:
        for statement in parse_stream(text):
            if statement.key is not None:
                said.setdefault(statement.key, set()).add(statement.value)
    return [name for name, values in said.items() if len(values) > 1]


def default_secrets_dir() -> Path | None:
    """The container's secrets, where there are any."""
    return _CONTAINER_SECRETS if os.access(_CONTAINER_SECRETS, os.R_OK | os.X_OK) else None


def state_folder() -> Path:
    """The platform's folder for what a program must keep: systemd's, XDG's, or the user's own."""
    if under_systemd := os.environ.get("STATE_DIRECTORY"):
        return Path(under_systemd.split(":")[0])
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in many containers
        return Path("/var/lib") / _PROGRAM
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / _PROGRAM
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / _PROGRAM
    xdg = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (xdg if xdg.is_absolute() else home / ".local" / "state") / _PROGRAM
