"""Every setting: its variable, what it means, what may be written, what it is when left out.

In: texts by variable, from the sources that `loading` joins. Out: one frozen `Settings`; pydantic's errors where a text
is none of its kind. Names and defaults are a contract with operators: docs/configuration.md is their copy, and a test
compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from exporter.errors import SettingsError
from exporter.settings import addresses, defaults, files, sources, values
from exporter.settings.telling import for_people

MEMORY = files.MEMORY


def _variable(name: str, default: Any = None, *, write: str, **constraints: Any) -> Any:
    """A field read from the variable `name`; `write` says what to put there, for whoever put something else."""
    if callable(default):
        constraints["default_factory"] = default
    else:
        constraints["default"] = default
    return Field(validation_alias=name, description=write, **constraints)


_Credential = Annotated[SecretStr | None, BeforeValidator(files.credential)]
_SecretFile = Annotated[Path | None, BeforeValidator(files.secret_file)]
_RedisFile = Annotated[Path | None, BeforeValidator(files.redis_url_file)]
_Url = Annotated[str, BeforeValidator(addresses.base_url)]
_Pattern = Annotated[re.Pattern[str] | None, BeforeValidator(values.pattern)]
_History = Annotated[str, BeforeValidator(files.history)]


class Settings(BaseSettings):
    """The settings of one run. Attributes carry their unit; the variable's name is the field's alias."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        enable_decoding=False,
        hide_input_in_errors=True,
        validate_default=False,
    )

    client_id: _Credential = _variable(
        "GENESYS_CLIENT_ID", write="the id of an OAuth client that uses the client credentials grant"
    )
    client_id_file: _SecretFile = _variable(
        "GENESYS_CLIENT_ID_FILE", write="the path of a file that holds the client id alone"
    )
    client_secret: _Credential = _variable("GENESYS_CLIENT_SECRET", write="the secret of that OAuth client")
    client_secret_file: _SecretFile = _variable(
        "GENESYS_CLIENT_SECRET_FILE", write="the path of a file that holds the client secret alone"
    )
    environment: Annotated[str, BeforeValidator(addresses.domain)] = _variable(
        "GENESYS_ENVIRONMENT",
        "mypurecloud.com",
        write="the region's domain alone, such as mypurecloud.de or usw2.pure.cloud",
    )
    contract: Annotated[Literal["aggregates", "summary"], BeforeValidator(values.lower)] = _variable(
        "GENESYS_CONTRACT", "aggregates", write="aggregates or summary"
    )
    login_url: _Url = _variable(
        "GENESYS_LOGIN_URL",
        defaults.login_url,
        write="the address that /oauth/token is appended to, such as https://login.mypurecloud.de",
    )
    api_url: _Url = _variable(
        "GENESYS_API_URL",
        defaults.api_url,
        write="the address that /api/v2 is appended to, such as https://api.mypurecloud.de",
    )
    queue_ids: Annotated[tuple[str, ...], BeforeValidator(values.words)] = _variable(
        "GENESYS_QUEUE_IDS", (), write="queue ids split by commas, or leave it out for all visible queues"
    )
    queue_include: _Pattern = _variable(
        "GENESYS_QUEUE_INCLUDE", write="a regular expression that the names of wanted queues match, such as ^Sales"
    )
    queue_exclude: _Pattern = _variable(
        "GENESYS_QUEUE_EXCLUDE", write="a regular expression that the names of unwanted queues match, such as -test$"
    )
    media_types: Annotated[tuple[str, ...], BeforeValidator(values.media_types)] = _variable(
        "GENESYS_MEDIA_TYPES", (), write="media types split by commas, such as voice,chat, or leave it out for all"
    )
    requests_per_minute: int = _variable(
        "GENESYS_REQUESTS_PER_MINUTE", 100, write="a whole number from 1 to 10000", ge=1, le=10_000
    )
    host: Annotated[str, BeforeValidator(addresses.listen_host)] = _variable(
        "EXPORTER_HOST", "127.0.0.1", write="an address to listen on, such as 127.0.0.1, 0.0.0.0 or ::"
    )
    port: Annotated[int, BeforeValidator(addresses.listen_port)] = _variable(
        "EXPORTER_PORT", 10_420, write="a whole number from 0 to 65535", ge=0, le=65_535
    )
    poll_interval_seconds: float = _variable(
        "EXPORTER_POLL_INTERVAL", 60.0, write="seconds from 1 to 86400", ge=1, le=86_400, allow_inf_nan=False
    )
    bucket: Annotated[str, BeforeValidator(values.bucket)] = _variable(
        "EXPORTER_BUCKET", "PT15M", write="PT15M, PT30M, PT1H, PT4H or PT1D"
    )
    settle_seconds: float = _variable(
        "EXPORTER_SETTLE", 60.0, write="seconds from 0 to 86400", ge=0, le=86_400, allow_inf_nan=False
    )
    baseline_days: int = _variable("EXPORTER_BASELINE_DAYS", 7, write="whole days from 1 to 366", ge=1, le=366)
    score_method: Annotated[Literal["seasonal", "robust", "zscore"], BeforeValidator(values.lower)] = _variable(
        "EXPORTER_SCORE_METHOD", defaults.SCORE_METHOD, write="seasonal, robust or zscore"
    )
    anomaly_threshold: float = _variable(
        "EXPORTER_ANOMALY_THRESHOLD",
        defaults.threshold,
        write="standard deviations above 0, such as 3",
        gt=0,
        allow_inf_nan=False,
    )
    baseline_min_samples: int = _variable(
        "EXPORTER_BASELINE_MIN_SAMPLES", 3, write="a whole number from 1 to 100000", ge=1, le=100_000
    )
    anomaly_min_events: float = _variable(
        "EXPORTER_ANOMALY_MIN_EVENTS",
        2.0,
        write="a number of events from 0 to 1000000, such as 2",
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
    )
    anomaly_min_difference: float = _variable(
        "EXPORTER_ANOMALY_MIN_DIFFERENCE",
        0.02,
        write="a share from 0 to 1, such as 0.02 for 2 percentage points",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )
    anomaly_direction: Annotated[values.Directions, BeforeValidator(values.directions)] = _variable(
        "EXPORTER_ANOMALY_DIRECTION",
        values.DIRECTIONS,
        write="high, low or both for all metrics, or a comma list such as abandonment_ratio=high,offered_contacts=both",
    )
    timezone: Annotated[ZoneInfo, BeforeValidator(values.time_zone)] = _variable(
        "EXPORTER_TIMEZONE", ZoneInfo("UTC"), write="an IANA name such as UTC or Europe/Berlin"
    )
    stale_after_seconds: float = _variable(
        "EXPORTER_STALE_AFTER",
        defaults.stale_after_seconds,
        write="seconds from the poll interval to 31536000, a year",
        ge=1,
        le=31_536_000,
        allow_inf_nan=False,
    )
    history: _History = _variable(
        "EXPORTER_HISTORY",
        defaults.history,
        write="the path of a file in a folder that can be written, or :memory: to keep none",
    )
    retention_days: int = _variable(
        "EXPORTER_RETENTION_DAYS",
        defaults.retention_days,
        write="whole days from EXPORTER_BASELINE_DAYS to 3660",
        ge=1,
        le=3_660,
    )
    max_series: int = _variable("EXPORTER_MAX_SERIES", 250_000, write="a whole number from 1 up", ge=1, le=10**9)
    redis_url: Annotated[SecretStr | None, BeforeValidator(addresses.redis_url)] = _variable(
        "EXPORTER_REDIS_URL", write="a URL such as redis://redis:6379/0 or rediss://user:password@redis:6380/0"
    )
    redis_url_file: _RedisFile = _variable(
        "EXPORTER_REDIS_URL_FILE", write="the path of a file that holds that URL alone"
    )
    web_config: Annotated[Path | None, BeforeValidator(files.readable_file)] = _variable(
        "EXPORTER_WEB_CONFIG", write="the path of a file in the exporter-toolkit web-config format"
    )
    access_config: Annotated[Path | None, BeforeValidator(files.readable_file)] = _variable(
        "EXPORTER_ACCESS_CONFIG", write="the path of a file that gives users and bearer tokens their roles"
    )
    enable_reload: bool = _variable("EXPORTER_ENABLE_RELOAD", False, write="true or false")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(values.log_level)] = _variable(
        "EXPORTER_LOG_LEVEL", "info", write="debug, info, warning or error"
    )
    log_format: Annotated[Literal["text", "json"], BeforeValidator(values.lower)] = _variable(
        "EXPORTER_LOG_FORMAT", defaults.log_format, write="text or json"
    )
    secrets_dir: Annotated[Path | None, BeforeValidator(files.folder)] = _variable(
        "EXPORTER_SECRETS_DIR", sources.default_secrets_dir, write="the path of a folder with a file for each variable"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_quoted(cls, value: Any) -> Any:
        """Docker's --env-file and files of secrets take quotation marks for a part of the value."""
        if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            raise ValueError("has quotation marks around it, which would be a part of it")
        return value

    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _redis: str | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, given: dict[str, Any]) -> dict[str, Any]:
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
        return {name: value for name, value in stripped.items() if value != ""}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        folder = getattr(file_secret_settings, "secrets_dir", None) or sources.default_secrets_dir()
        return init_settings, env_settings, dotenv_settings, sources.SecretsFolder(settings_cls, folder)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works but is probably not meant, one line each, for the log."""
        return self._warnings

    @property
    def redis(self) -> str | None:
        """The URL of Redis, with its password, as it was written at the start; None where replicas are not joined."""
        return self._redis

    @property
    def bucket_seconds(self) -> int:
        return values.BUCKET_SECONDS[self.bucket]

    @property
    def history_path(self) -> Path | None:
        """The file that history is kept in; None for memory alone."""
        return None if self.history == MEMORY else Path(self.history)

    @property
    def score_options(self) -> dict[str, Any]:
        """What a scoring method may be told, by the names of `ScoreOptions`."""
        return {
            "threshold": self.anomaly_threshold,
            "min_samples": self.baseline_min_samples,
            "timezone": self.timezone.key,
            "min_events": self.anomaly_min_events,
            "min_difference": self.anomaly_min_difference,
            "directions": dict(self.anomaly_direction),
        }

    def is_set(self, variable: str) -> bool:
        """Whether the operator gave this variable a value."""
        return VARIABLES[variable] in self.model_fields_set

    def read_credentials(self) -> tuple[str, str]:
        """Client id and secret as they are now: files are read again, since a secret may have been rotated."""
        return self._credential("client_id"), self._credential("client_secret")

    def _credential(self, field: str) -> str:
        path, secret = getattr(self, f"{field}_file"), getattr(self, field)
        if path is not None:
            return secret_in(f"GENESYS_{field.upper()}_FILE", path)
        return "" if secret is None else str(secret.get_secret_value())

    def describe(self) -> list[tuple[str, str, str]]:
        """(variable, value, "set" or "default") for every setting, without secrets, for people."""
        return [
            (variable, for_people(getattr(self, field)), "set" if field in self.model_fields_set else "default")
            for variable, field in VARIABLES.items()
        ]


def secret_in(variable: str, path: Path) -> str:
    try:
        return files.read_secret(path)
    except ValueError as error:
        raise SettingsError([f'{variable}: "{path}" {error}']) from error


#: Every variable, in the order of the docs, and the attribute that holds it.
VARIABLES: Mapping[str, str] = {str(field.validation_alias): name for name, field in Settings.model_fields.items()}
