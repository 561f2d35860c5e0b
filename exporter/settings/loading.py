"""Settings from where they are written: every source, then every fault at once.

In: environment variables, then `.env` in the working folder, then a secrets folder (a file for each variable); the
first that has a value wins, and blank is the same as absent. Out: `Settings` that are right each and together, with
their warnings, or a `SettingsError` that lists all that is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from exporter.errors import SettingsError
from exporter.settings import rules, sources
from exporter.settings.model import VARIABLES, Settings, secret_in
from exporter.settings.telling import value_faults


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    env_file: str | Path | None = None,
    overrides: Mapping[str, str] | None = None,
    defaults: Mapping[str, str] | None = None,
    require_credentials: bool = True,
) -> Settings:
    """The settings of this run, or a SettingsError with all faults.

    Without `environ`: the process' environment and `.env` in the working folder. With it (tests): only what is passed.
    `overrides` (command line) win over every source; overriding a credential also drops its `…_FILE`. `defaults` are a
    command's own and yield to every source.
    """
    env_file = ".env" if environ is None and env_file is None else env_file
    written = sources.read_env_file(env_file)
    unread = sources.env_file_faults(env_file)
    kind = _reading(environ, defaults or {})
    environ = os.environ if environ is None else environ
    top: dict[str, Any] = dict(overrides or {})
    top |= {f"{name}_FILE": "" for name in sources.CREDENTIALS if name in top}
    folder = (
        top.get("EXPORTER_SECRETS_DIR") or environ.get("EXPORTER_SECRETS_DIR") or written.get("EXPORTER_SECRETS_DIR")
    )
    settings, bad = _validated(kind, top, {"_env_file": env_file, "_secrets_dir": folder or None})
    faults = bad | rules.cross_faults(settings, bad.keys(), require_credentials)
    if faults or unread:
        raise SettingsError([*unread, *(line for name in VARIABLES for line in faults.get(name, ()))])
    settings._redis = _redis_of(settings)
    settings._warnings = (*rules.unknown_variables([*environ, *written], VARIABLES), *rules.doubts(settings))
    return settings


def _redis_of(settings: Settings) -> str | None:
    if settings.redis_url_file is not None:
        return secret_in("EXPORTER_REDIS_URL_FILE", settings.redis_url_file)
    return None if settings.redis_url is None else settings.redis_url.get_secret_value()


def _reading(environ: Mapping[str, str] | None, defaults: Mapping[str, str]) -> type[Settings]:
    """Settings that read `environ` in place of the process' environment, and `defaults` last."""

    class Given(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            init, process, *rest = super().settings_customise_sources(settings_cls, *args, **named)
            if environ is not None:
                given = {name: text for name, text in environ.items() if name in VARIABLES and text.strip()}
                process = InitSettingsSource(settings_cls, given)
            return init, process, *rest, InitSettingsSource(settings_cls, dict(defaults))

    Given.__name__ = Given.__qualname__ = Settings.__name__
    return Given


def _validated(
    kind: type[Settings], top: dict[str, Any], places: dict[str, Any]
) -> tuple[Settings, dict[str, list[str]]]:
    """The settings and the faults by variable; what was faulty has its default, so that the rest can be judged."""
    try:
        return kind(**places, **top), {}
    except ValidationError as error:
        faults = value_faults(error, Settings.model_fields, VARIABLES)
    return kind(**places, **(top | dict.fromkeys(faults, ""))), faults
