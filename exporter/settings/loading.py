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
    environ = os.environ if environ is None else environ
    kind = _reading(environ, written, defaults or {})
    top: dict[str, Any] = dict(overrides or {})
    top |= {f"{name}_FILE": "" for name in sources.CREDENTIALS if name in top}
    folders = [(texts.get("EXPORTER_SECRETS_DIR") or "").strip() for texts in (top, environ, written)]
    settings, bad = _validated(kind, top, {"_secrets_dir": next(filter(None, folders), None)})
    faults = bad | rules.cross_faults(settings, bad.keys(), require_credentials)
    if faults or unread:
        raise SettingsError([*unread, *(line for name in VARIABLES for line in faults.get(name, ()))])
    settings._redis = _redis_of(settings)
    twice = [f"{name}: {env_file} says it twice; the last counts" for name in sources.said_twice(env_file)]
    unknown = rules.unknown_variables([*environ, *written], VARIABLES)
    settings._warnings = (
        *unknown,
        *(line for line in twice if line.split(":")[0] in VARIABLES),
        *rules.doubts(settings),
    )
    return settings


def _redis_of(settings: Settings) -> str | None:
    if settings.redis_url_file is not None:
        return secret_in("EXPORTER_REDIS_URL_FILE", settings.redis_url_file)
    return None if settings.redis_url is None else settings.redis_url.get_secret_value()


def _reading(
    environ: Mapping[str, str], written: Mapping[str, str | None], defaults: Mapping[str, str]
) -> type[Settings]:
    """Settings that read `environ`, then what is `written` in `.env`, then the secrets folder, and `defaults` last."""

    class Given(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            init, _, _, folder = super().settings_customise_sources(settings_cls, *args, **named)
            process, dotenv, last = (
                InitSettingsSource(settings_cls, _set(each)) for each in (environ, written, defaults)
            )
            return init, process, dotenv, folder, last

    Given.__name__ = Given.__qualname__ = Settings.__name__
    return Given


def _set(texts: Mapping[str, str | None]) -> dict[str, Any]:
    """The variables among them that are not blank."""
    return {name: text for name, text in texts.items() if name in VARIABLES and text and text.strip()}


def _validated(
    kind: type[Settings], top: dict[str, Any], places: dict[str, Any]
) -> tuple[Settings, dict[str, list[str]]]:
    """The settings and the faults by variable; what was faulty has its default, so that the rest can be judged."""
    try:
        return kind(**places, **top), {}
    except ValidationError as error:
        faults = value_faults(error, Settings.model_fields, VARIABLES)
    return kind(**places, **(top | dict.fromkeys(faults, ""))), faults
