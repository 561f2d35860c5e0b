"""Settings: what is read from where, what is refused and how, and that secrets stay hidden."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter.analysis.scoring import ScoreOptions
from exporter.errors import SettingsError
from exporter.settings import DEFAULT_THRESHOLDS, VARIABLES, Settings, load_settings, sources

SECRET = "kJ8-very_Secret-x2"
CLIENT = {"GENESYS_CLIENT_ID": "0a1b-client", "GENESYS_CLIENT_SECRET": SECRET}
QUEUE = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where nothing is set: no variables, no `.env`, an empty home."""
    for name in (*os.environ,):
        if name.startswith(("GENESYS_", "EXPORTER_", "XDG_", "STATE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(**variables: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load_settings(CLIENT | variables)
    return refused.value.faults


# Defaults and values


def test_two_credentials_are_all_that_is_needed(home: Path) -> None:
    made = load_settings(CLIENT)
    assert made.read_credentials() == ("0a1b-client", SECRET)
    assert (made.login_url, made.api_url) == ("https://login.mypurecloud.com", "https://api.mypurecloud.com")
    assert (made.host, made.port) == ("127.0.0.1", 10420)
    assert (made.bucket, made.bucket_seconds) == ("PT15M", 900)
    assert made.stale_after_seconds == 180
    assert made.history_path == home / ".local/state/genesys-cloud-exporter/history.sqlite3"
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("variable", "text", "attribute", "value"),
    [
        ("GENESYS_ENVIRONMENT", "MyPureCloud.de", "api_url", "https://api.mypurecloud.de"),
        ("GENESYS_ENVIRONMENT", "new-region.pure.cloud", "login_url", "https://login.new-region.pure.cloud"),
        ("GENESYS_CONTRACT", "Summary", "api_url", "https://mypurecloud.com"),
        ("GENESYS_CONTRACT", "summary", "login_url", "https://mypurecloud.com"),
        ("GENESYS_API_URL", "https://Gateway.example:8443/genesys/", "api_url", "https://gateway.example:8443/genesys"),
        ("GENESYS_LOGIN_URL", "http://[::1]:9000", "login_url", "http://[::1]:9000"),
        ("GENESYS_QUEUE_IDS", f" {QUEUE} , b,{QUEUE},", "queue_ids", (QUEUE, "b")),
        ("GENESYS_MEDIA_TYPES", "Voice,chat", "media_types", ("voice", "chat")),
        ("EXPORTER_HOST", "[::]", "host", "::"),
        ("EXPORTER_PORT", "0", "port", 0),
        ("EXPORTER_POLL_INTERVAL", "90", "stale_after_seconds", 270),
        ("EXPORTER_BUCKET", "P1D", "bucket_seconds", 86_400),
        ("EXPORTER_BUCKET", "pt1h", "bucket", "PT1H"),
        ("EXPORTER_BASELINE_DAYS", "60", "retention_days", 60),
        ("EXPORTER_HISTORY", ":memory:", "history_path", None),
        ("EXPORTER_HISTORY", " :MEMORY: ", "history_path", None),
        ("EXPORTER_LOG_LEVEL", "WARN", "log_level", "warning"),
        ("EXPORTER_LOG_FORMAT", "JSON", "log_format", "json"),
        ("EXPORTER_TIMEZONE", "", "stale_after_seconds", 180),
    ],
)
def test_a_value_is_understood(variable: str, text: str, attribute: str, value: object) -> None:
    assert getattr(load_settings(CLIENT | {variable: text}), attribute) == value


@pytest.mark.parametrize(("method", "threshold"), DEFAULT_THRESHOLDS.items())
def test_the_default_threshold_follows_the_method(method: str, threshold: float) -> None:
    assert load_settings(CLIENT | {"EXPORTER_SCORE_METHOD": method}).anomaly_threshold == threshold
    both = CLIENT | {"EXPORTER_SCORE_METHOD": method, "EXPORTER_ANOMALY_THRESHOLD": "4.5"}
    assert load_settings(both).anomaly_threshold == 4.5


@pytest.mark.parametrize(
    ("text", "abandonment", "sla_breach", "offered"),
    [
        ("", "high", "high", "both"),
        ("both", "both", "both", "both"),
        ("Low", "low", "low", "low"),
        ("offered_contacts=low", "high", "high", "low"),
        ("abandonment=both, sla_breach_ratio = low ,offered=high", "both", "low", "high"),
        ("offered=low,OFFERED=low,offered_contacts=low,", "high", "high", "low"),
    ],
)
def test_the_side_that_raises_a_flag_is_set_for_all_metrics_or_by_metric(
    text: str, abandonment: str, sla_breach: str, offered: str
) -> None:
    sides = dict(load_settings(CLIENT | {"EXPORTER_ANOMALY_DIRECTION": text}).anomaly_direction)
    assert sides == {"abandonment_ratio": abandonment, "sla_breach_ratio": sla_breach, "offered_contacts": offered}


def test_the_defaults_of_the_scores_are_the_defaults_of_their_settings() -> None:
    made = load_settings(CLIENT).score_options
    assert ScoreOptions(**made) == ScoreOptions(threshold=DEFAULT_THRESHOLDS["seasonal"])
    assert made.keys() == {each.name for each in fields(ScoreOptions)}


def test_every_default_passes_its_own_checks() -> None:
    made = load_settings(CLIENT)
    texts = {variable: value for variable, value, _ in made.describe() if value and value != "(set)"}
    again = load_settings(CLIENT | texts)
    assert (
        again.describe()[4:] == [(name, value, "set" if value else "default") for name, value, _ in made.describe()][4:]
    )


# Faults


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("GENESYS_CLIENT_ID", "two words", "white space"),
        ("GENESYS_CLIENT_SECRET", "two words", "white space"),
        ("GENESYS_ENVIRONMENT", "https://mypurecloud.de", "is an address"),
        ("GENESYS_ENVIRONMENT", "login.mypurecloud.de", "names a host of the region"),
        ("GENESYS_ENVIRONMENT", "eu-central-1", "whose domain is mypurecloud.de"),
        ("GENESYS_ENVIRONMENT", "mypurecloud", "is not a domain"),
        ("GENESYS_ENVIRONMENT", "my_pure cloud.com", "is not a domain"),
        ("GENESYS_CONTRACT", "aggregate", "none of the choices; write aggregates or summary"),
        ("GENESYS_LOGIN_URL", "login.mypurecloud.de", "does not begin with https://"),
        ("GENESYS_LOGIN_URL", "https://login.mypurecloud.de/oauth/token", "adds by itself"),
        ("GENESYS_API_URL", "https://api.mypurecloud.de/api/v2/", "adds by itself"),
        ("GENESYS_API_URL", "https://api.mypurecloud.de/API/V2", "adds by itself"),
        ("GENESYS_API_URL", "https://", "no valid host"),
        ("GENESYS_API_URL", "https://api.example:0", "no valid port"),
        ("GENESYS_API_URL", "https://api.example:99999", "no valid port"),
        ("GENESYS_API_URL", "https://api.example/?a=b", "a query"),
        ("GENESYS_API_URL", f"https://me:{SECRET}@api.example", "the value holds a user name or a password"),
        ("GENESYS_API_URL", "ftp://api.example", "does not begin with https://"),
        ("GENESYS_API_URL", "https://[::1", "is not an address"),
        ("GENESYS_QUEUE_IDS", '["a","b"]', "brackets or quotation marks"),
        ("GENESYS_QUEUE_IDS", ",", "no entry"),
        ("GENESYS_QUEUE_INCLUDE", '"^Sales"', "has quotation marks around it"),
        ("GENESYS_CLIENT_ID", "'0a1b-client'", "the value has quotation marks around it"),
        ("EXPORTER_PORT", '"10420"', "has quotation marks around it"),
        ("GENESYS_QUEUE_IDS", "a;b", "not split by commas"),
        ("GENESYS_QUEUE_IDS", "a b", "not split by commas"),
        ("GENESYS_QUEUE_INCLUDE", "(", "is not a regular expression (missing )"),
        ("GENESYS_QUEUE_EXCLUDE", "*", "is not a regular expression (nothing to repeat"),
        ("GENESYS_MEDIA_TYPES", "voice chat", "not split by commas"),
        ("GENESYS_MEDIA_TYPES", "voice,42", "entries that are no words"),
        ("GENESYS_REQUESTS_PER_MINUTE", "0", "is too small; write a whole number from 1"),
        ("EXPORTER_HOST", "http://127.0.0.1", "neither an IP address nor a host name"),
        ("EXPORTER_HOST", "127.0.0.1:80", "neither an IP address nor a host name"),
        ("EXPORTER_HOST", "256.0.0.1", "neither an IP address nor a host name"),
        ("EXPORTER_PORT", "abc", '"abc" is not a whole number; write a whole number from 0 to 65535'),
        ("EXPORTER_PORT", "65536", "is too large"),
        ("EXPORTER_PORT", "-1", "is too small"),
        ("EXPORTER_PORT", "1" * 30, "is too large"),
        ("EXPORTER_PORT", "1" * 5_000, "is too large"),
        ("EXPORTER_PORT", "tcp://10.0.0.1:8080", "enableServiceLinks: false"),
        ("EXPORTER_POLL_INTERVAL", "0.5", "is too small"),
        ("EXPORTER_POLL_INTERVAL", "60s", "is not a number; write seconds"),
        ("EXPORTER_POLL_INTERVAL", "nan", "is not a finite number"),
        ("EXPORTER_BUCKET", "PT5M", "is not a bucket; write PT15M, PT30M, PT1H, PT4H or PT1D"),
        ("EXPORTER_SETTLE", "-1", "is too small"),
        ("EXPORTER_BASELINE_DAYS", "0", "is too small"),
        ("EXPORTER_BASELINE_DAYS", "7.5", "is not a whole number"),
        ("EXPORTER_SCORE_METHOD", "z-score", "write seasonal, robust or zscore"),
        ("EXPORTER_ANOMALY_THRESHOLD", "0", "is too small"),
        ("EXPORTER_ANOMALY_THRESHOLD", "inf", "is not a finite number"),
        ("EXPORTER_BASELINE_MIN_SAMPLES", "0", "is too small"),
        ("EXPORTER_ANOMALY_MIN_EVENTS", "-1", "is too small"),
        ("EXPORTER_ANOMALY_MIN_EVENTS", "nan", "is not a finite number"),
        ("EXPORTER_ANOMALY_MIN_DIFFERENCE", "2", "is too large; write a share from 0 to 1, such as 0.02 for 2 perc"),
        ("EXPORTER_ANOMALY_MIN_DIFFERENCE", "2%", "is not a number; write a share"),
        ("EXPORTER_ANOMALY_DIRECTION", "up", "gives abandonment_ratio a side that is none of high, low, both"),
        ("EXPORTER_ANOMALY_DIRECTION", "abandonment=high,low", "a metric that is not scored"),
        ("EXPORTER_ANOMALY_DIRECTION", "abandonmnet_ratio=low", "did you mean abandonment_ratio?"),
        ("EXPORTER_ANOMALY_DIRECTION", "offered_contacts=", "gives offered_contacts a side that is none of"),
        ("EXPORTER_ANOMALY_DIRECTION", "high,low", "a metric that is not scored"),
        ("EXPORTER_ANOMALY_DIRECTION", "offered=low,offered=high", "gives offered_contacts two sides"),
        ("EXPORTER_ANOMALY_DIRECTION", "Offered_Contacts=both, offered=LOW", "gives offered_contacts two sides"),
        ("EXPORTER_TIMEZONE", "Europe/Berln", "did you mean Europe/Berlin?"),
        ("EXPORTER_TIMEZONE", "../../etc/passwd", "is not a time zone"),
        ("EXPORTER_STALE_AFTER", "59", "is less than EXPORTER_POLL_INTERVAL; write 60 or more"),
        ("EXPORTER_STALE_AFTER", "1e12", "is too large; write seconds from the poll interval to 31536000"),
        ("EXPORTER_HISTORY", "/dev/null/history.sqlite3", "cannot be kept (not a directory)"),
        ("EXPORTER_HISTORY", "~nobody-of-this-name/h", "without a home folder"),
        ("EXPORTER_HISTORY", ".", "is a folder"),
        ("EXPORTER_HISTORY", "new/", "is a folder"),
        ("EXPORTER_HISTORY", "memory", "is not :memory:"),
        ("EXPORTER_HISTORY", ":Memory", "is not :memory:"),
        ("EXPORTER_HISTORY", "sqlite:///var/lib/h.sqlite3", "is an address, not a path"),
        ("EXPORTER_HISTORY", "file:h.sqlite3", "is an address, not a path"),
        ("EXPORTER_HISTORY", '"/var/lib/h.sqlite3"', "has quotation marks around it"),
        ("EXPORTER_RETENTION_DAYS", "6", "is less than EXPORTER_BASELINE_DAYS; write 7 or more"),
        ("EXPORTER_MAX_SERIES", "0", "is too small"),
        ("EXPORTER_WEB_CONFIG", "absent.yml", "cannot be read (no such file or directory)"),
        ("EXPORTER_WEB_CONFIG", ".", "cannot be read (is a directory)"),
        ("EXPORTER_LOG_LEVEL", "loud", "write debug, info, warning or error"),
        ("EXPORTER_LOG_FORMAT", "xml", "write text or json"),
        ("EXPORTER_SECRETS_DIR", "absent", "is not a folder that can be read"),
    ],
)
def test_a_bad_value_gets_its_own_line(variable: str, text: str, words: str) -> None:
    (line,) = faults(**{variable: text})
    assert line.startswith(f"{variable}: ")
    assert words in line
    assert "; write " in line
    assert SECRET not in line


def test_all_faults_are_told_at_once_in_the_order_of_the_docs() -> None:
    wrong = dict.fromkeys(VARIABLES, "@ wrong @")
    told = [line.split(":")[0] for line in faults(**wrong)]
    free = {"GENESYS_QUEUE_INCLUDE", "GENESYS_QUEUE_EXCLUDE", "EXPORTER_HISTORY"}  # where such a text is right
    assert told == [name for name in VARIABLES if name not in free]


def test_faults_between_settings_are_told_beside_faults_of_one() -> None:
    lines = faults(GENESYS_CONTRACT="summary", EXPORTER_BUCKET="PT30M", EXPORTER_PORT="x", EXPORTER_RETENTION_DAYS="1")
    assert [line.split(":")[0] for line in lines] == ["EXPORTER_PORT", "EXPORTER_BUCKET", "EXPORTER_RETENTION_DAYS"]


def test_a_rule_between_settings_is_silent_where_one_of_them_is_faulty() -> None:
    (line,) = faults(EXPORTER_POLL_INTERVAL="often", EXPORTER_STALE_AFTER="10")
    assert line.startswith("EXPORTER_POLL_INTERVAL: ")


def test_missing_credentials_are_named_with_both_ways_to_give_them() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"GENESYS_CLIENT_SECRET": "  "})
    id_line, secret_line = refused.value.faults
    assert id_line.startswith("GENESYS_CLIENT_ID: is not set; write ")
    assert secret_line.endswith("or its file's path in GENESYS_CLIENT_SECRET_FILE")


def test_the_demo_needs_no_credentials() -> None:
    assert load_settings({}, require_credentials=False).read_credentials() == ("", "")


def test_a_history_folder_that_is_not_there_yet_is_fine(home: Path) -> None:
    wanted = home / "new" / "folder" / "history.sqlite3"
    assert load_settings(CLIENT | {"EXPORTER_HISTORY": str(wanted)}).history_path == wanted
    assert list(home.iterdir()) == []  # looking leaves nothing behind


def test_a_user_without_a_home_is_told_to_name_the_history_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    (line,) = faults()
    assert line.startswith("EXPORTER_HISTORY: ")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variable=st.sampled_from(sorted(VARIABLES)), text=st.text())
@example(variable="GENESYS_API_URL", text="https://[")
@example(variable="EXPORTER_HISTORY", text="a" * 300)
@example(variable="EXPORTER_HISTORY", text="a\0")
@example(variable="EXPORTER_WEB_CONFIG", text="a\0")
@example(variable="GENESYS_CLIENT_SECRET_FILE", text="a\0")
@example(variable="EXPORTER_SECRETS_DIR", text="a\0")
@example(variable="EXPORTER_SECRETS_DIR", text="a" * 300)
@example(variable="EXPORTER_SECRETS_DIR", text="~nobody-of-this-name/a")
@example(variable="EXPORTER_REDIS_URL_FILE", text="a\0")
@example(variable="EXPORTER_TIMEZONE", text="a" * 300)
@example(variable="GENESYS_QUEUE_INCLUDE", text="a{99999999999}")
def test_any_text_gives_settings_or_lines_that_name_the_variable(variable: str, text: str) -> None:
    try:
        load_settings(CLIENT | {variable: text})
    except SettingsError as refused:
        assert all(line.startswith(variable.removesuffix("_FILE")) and "\n" not in line for line in refused.faults)  # noqa: PT017
        assert SECRET not in str(refused)  # noqa: PT017


# Sources


def test_the_environment_wins_over_env_file_and_env_file_over_the_secrets_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "secrets"
    folder.mkdir()
    for name, text in (("exporter_port", "1"), ("exporter_settle", "1"), ("EXPORTER_BASELINE_DAYS", "21\n")):
        (folder / name).write_text(text)
    (home / ".env").write_text(
        f"EXPORTER_PORT=2\nEXPORTER_SETTLE=2\nEXPORTER_SECRETS_DIR={folder}\n"
        f"GENESYS_CLIENT_ID=id-of-env-file\nGENESYS_CLIENT_SECRET={SECRET}\nEXPORTER_HOSTS=typo\n"
    )
    monkeypatch.setenv("EXPORTER_PORT", "3")
    made = load_settings()
    assert (made.port, made.settle_seconds, made.baseline_days) == (3, 2.0, 21)
    assert made.read_credentials() == ("id-of-env-file", SECRET)
    assert made.warnings == ("EXPORTER_HOSTS: no such setting, did you mean EXPORTER_HOST?",)
    assert load_settings(overrides={"EXPORTER_PORT": "4"}).port == 4


@pytest.mark.parametrize("blank", ["", "  ", "\t\n"])
def test_what_is_blank_is_absent_wherever_it_stands(home: Path, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    (home / "exporter_settle").write_text("3")
    (home / "exporter_retention_days").write_text(blank)
    (home / ".env").write_text(f'EXPORTER_SECRETS_DIR={home}\nEXPORTER_SETTLE="{blank}"\nEXPORTER_PORT=2\n')
    for name in ("EXPORTER_PORT", "EXPORTER_SETTLE", "EXPORTER_SECRETS_DIR", "EXPORTER_RETENTION_DAYS"):
        monkeypatch.setenv(name, blank)
    made = load_settings(require_credentials=False, defaults={"EXPORTER_RETENTION_DAYS": "40"})
    assert (made.port, made.settle_seconds, made.retention_days) == (2, 3, 40)


def test_a_variable_in_small_letters_is_none_and_warned_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("exporter_port", "1")
    (home / ".env").write_text("exporter_settle=2\n")
    made = load_settings(require_credentials=False)
    assert (made.port, made.settle_seconds) == (10420, 60)
    assert [line.split(":")[0] for line in made.warnings] == ["exporter_port", "exporter_settle"]


def test_an_env_file_that_says_something_twice_is_warned_of_and_the_last_counts(home: Path) -> None:
    path = home / "settings.env"
    path.write_text("EXPORTER_PORT=2\nEXPORTER_SETTLE=5\nEXPORTER_PORT=3\nEXPORTER_SETTLE='5'\nOTHER=1\nOTHER=2\n")
    made = load_settings(CLIENT, env_file=path)
    assert made.port == 3
    assert made.warnings == (f"EXPORTER_PORT: {path} says it twice; the last counts",)


def test_two_files_of_the_secrets_folder_for_one_variable_are_a_fault(home: Path) -> None:
    for name in ("EXPORTER_PORT", "exporter_port", "other", "OTHER"):
        (home / name).write_text("1")
    (line,) = faults(EXPORTER_SECRETS_DIR=str(home))
    assert line.startswith("EXPORTER_PORT: ")
    assert "both hold it; remove one of them" in line


def test_only_what_is_passed_is_read_when_something_is_passed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("EXPORTER_PORT=2\n")
    monkeypatch.setenv("EXPORTER_SETTLE", "3")
    made = load_settings(CLIENT)
    assert (made.port, made.settle_seconds) == (10420, 60)


def test_credentials_in_files_are_read_again(home: Path) -> None:
    path = home / "secret"
    path.write_text("first\n")
    made = load_settings({"GENESYS_CLIENT_ID": "id", "GENESYS_CLIENT_SECRET_FILE": str(path)})
    assert made.read_credentials() == ("id", "first")
    path.write_text("\ufeffrotated\r\n", encoding="utf-8")
    assert made.read_credentials() == ("id", "rotated")
    path.unlink()
    with pytest.raises(SettingsError, match=r"GENESYS_CLIENT_SECRET_FILE: .* cannot be read"):
        made.read_credentials()


def test_credentials_of_the_secrets_folder_are_read_again(home: Path) -> None:
    (home / "genesys_client_id").write_text("id-of-folder")
    (home / "GENESYS_CLIENT_SECRET").write_text("first")
    made = load_settings({"EXPORTER_SECRETS_DIR": str(home)})
    (home / "GENESYS_CLIENT_SECRET").write_text("rotated")
    assert made.read_credentials() == ("id-of-folder", "rotated")


def test_the_secrets_folder_yields_to_a_credential_given_elsewhere(home: Path) -> None:
    for name in sources.CREDENTIALS:
        (home / name.lower()).write_text("of-the-folder")
    by_file = {"GENESYS_CLIENT_SECRET_FILE": str(home / "genesys_client_secret")}  # the idiom of compose files
    made = load_settings({"EXPORTER_SECRETS_DIR": str(home), "GENESYS_CLIENT_ID": "given"} | by_file)
    assert made.read_credentials() == ("given", "of-the-folder")


def test_containers_find_their_secrets_without_a_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "genesys_client_secret").write_text("of-the-container")
    monkeypatch.setattr(sources, "_CONTAINER_SECRETS", home)
    made = load_settings({"GENESYS_CLIENT_ID": "id"})
    assert made.read_credentials() == ("id", "of-the-container")


def test_an_override_of_a_credential_drops_its_file(home: Path) -> None:
    (home / "secret").write_text("x")
    given = {"GENESYS_CLIENT_ID": "id", "GENESYS_CLIENT_SECRET_FILE": str(home / "secret")}
    assert load_settings(given, overrides={"GENESYS_CLIENT_SECRET": "demo"}).read_credentials() == ("id", "demo")


def test_a_command_brings_defaults_of_its_own_that_yield_to_every_source(home: Path) -> None:
    (home / ".env").write_text("EXPORTER_PORT=2\n")
    own = {"EXPORTER_PORT": "1", "EXPORTER_SETTLE": "5", "EXPORTER_HISTORY": ":memory:"}
    made = load_settings(CLIENT, env_file=home / ".env", defaults=own)
    assert (made.port, made.settle_seconds, made.history_path) == (2, 5.0, None)


def test_a_command_with_a_history_of_its_own_needs_no_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    assert load_settings(CLIENT, defaults={"EXPORTER_HISTORY": ":memory:"}).history_path is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "does not hold text"),
        (b"a" * 5_000, "too large"),
        (b"-----BEGIN KEY-----\nabc", "white space or control characters"),
        (b'"abc"\n', "quotation marks around it"),
        (None, "cannot be read (no such file or directory)"),
    ],
)
def test_a_credentials_file_that_cannot_serve_is_refused_at_start(
    home: Path, content: bytes | None, words: str
) -> None:
    path = home / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        load_settings({"GENESYS_CLIENT_ID": "id", "GENESYS_CLIENT_SECRET_FILE": str(path)})
    (line,) = [line for line in refused.value.faults if "SECRET_FILE: " in line]
    assert f'"{path}"' in line
    assert words in line


def test_a_credential_given_twice_is_refused(home: Path) -> None:
    (home / "id").write_text("x")
    (line,) = faults(GENESYS_CLIENT_ID_FILE=str(home / "id"))
    assert line == "GENESYS_CLIENT_ID: is set, and GENESYS_CLIENT_ID_FILE too; write one of the two"


REDIS = f"redis://exporter:{SECRET}@redis:6379/0"


def test_the_url_of_redis_may_stand_in_a_file(home: Path) -> None:
    path = home / "redis-url"
    path.write_text(f"{REDIS}\n")
    made = load_settings(CLIENT | {"EXPORTER_REDIS_URL_FILE": str(path)})
    assert made.redis == REDIS
    path.unlink()
    assert made.redis == REDIS
    assert SECRET not in f"{made!r} {made.describe()}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://redis.default.svc.cluster.local.:6379/15",
        "REDIS://[::1]:6379/",
        "rediss://h?db=3&ssl_ca_certs=/path/ca.pem",
        f"unix:///run/redis.sock?db=1&password={SECRET}",
        f"unix://exporter:{SECRET}@/run/redis.sock",
        "redis://:a%23b%2Fc@h/0",
    ],
)
def test_a_url_of_redis_is_taken_as_it_is_written(url: str) -> None:
    assert load_settings(CLIENT | {"EXPORTER_REDIS_URL": url}).redis == url


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("/abc", "names no database"),
        ("/-1", "names no database"),
        ("/+1", "names no database"),
        ("/1_0", "names no database"),
        ("/1/2", "names no database"),
        ("//1", "names no database"),
        ("/1/", "names no database"),
        ("/%31", "names no database"),
        ("/\u0663", "names no database"),
        ("/1;2", "names no database"),
        ("/9999999999", "names no database"),
        ("?db=x", "names no database"),
        ("?db=-1", "names no database"),
        ("?db=", "has no value, or two"),
        ("?db", "has no value, or two"),
        ("?db=1&db=2", "has no value, or two"),
        ("/1?db=1", "twice, before the ? and after it"),
        ("/0?password=other", "twice, before the ? and after it"),
        ("?host=other", "holds host, port, path or decode_responses"),
        ("?port=1", "holds host, port, path or decode_responses"),
        ("?decode_responses=true", "holds host, port, path or decode_responses"),
        ("/0#1", "holds a #, which ends a URL (in a password : / ? # @ are written %3A %2F %3F %23 %40)"),
        (",h2/0", "no valid host name"),
    ],
)
def test_a_url_of_redis_that_would_be_misread_is_refused_and_not_shown(home: Path, tail: str, words: str) -> None:
    url = f"redis://exporter:{SECRET}@h{tail}"
    (line,) = faults(EXPORTER_REDIS_URL=url)
    assert line.startswith("EXPORTER_REDIS_URL: the value ")
    assert words in line
    (home / "redis-url").write_text(url, encoding="utf-8")
    (of_the_file,) = faults(EXPORTER_REDIS_URL_FILE=str(home / "redis-url"))
    assert words in of_the_file
    assert SECRET not in line + of_the_file


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"unix://run/{SECRET}.sock", "three slashes"),
        (f"redis://user/{SECRET}@h/0", "names no database"),
        (f"redis://:{SECRET}#b@h/0", "is no URL of a Redis server (in a password"),
        (f"redis://user#{SECRET}@h/0", "a #"),
        (f"redis://user?{SECRET}@h/0", "has no value"),
    ],
)
def test_a_password_that_splits_the_url_of_redis_is_not_shown(url: str, words: str) -> None:
    (line,) = faults(EXPORTER_REDIS_URL=url)
    assert words in line
    assert SECRET not in line


def test_the_url_of_redis_is_none_unless_it_is_written(home: Path) -> None:
    assert load_settings(CLIENT).redis is None
    assert load_settings(CLIENT | {"EXPORTER_REDIS_URL": REDIS}).redis == REDIS
    (home / "EXPORTER_REDIS_URL").write_text(f"{REDIS}\n")
    assert load_settings(CLIENT | {"EXPORTER_SECRETS_DIR": str(home)}).redis == REDIS


def test_a_file_with_the_url_of_redis_wins_over_the_secrets_folder_and_not_over_a_variable(home: Path) -> None:
    (home / "exporter_redis_url").write_text("redis://of-the-folder")
    (home / "elsewhere").write_text(REDIS)
    by_file = {"EXPORTER_SECRETS_DIR": str(home), "EXPORTER_REDIS_URL_FILE": str(home / "elsewhere")}
    assert load_settings(CLIENT | by_file).redis == REDIS
    (line,) = faults(**by_file, EXPORTER_REDIS_URL=REDIS)
    assert line == "EXPORTER_REDIS_URL: is set, and EXPORTER_REDIS_URL_FILE too; write one of the two"


def test_a_file_without_a_url_of_redis_is_refused_and_not_shown(home: Path) -> None:
    (home / "password").write_text(SECRET)
    (line,) = faults(EXPORTER_REDIS_URL_FILE=str(home / "password"))
    assert "holds text that is no URL of a Redis server" in line
    (other,) = faults(EXPORTER_REDIS_URL_FILE=REDIS)  # the URL itself, in the wrong place
    assert SECRET not in line + other


@pytest.mark.parametrize("content", [b"\xff\xff", None])
def test_an_unreadable_env_file_is_one_fault(home: Path, content: bytes | None) -> None:
    path = home / "settings.env"
    path.write_bytes(content) if content else path.mkdir()
    if content is None:
        assert load_settings(CLIENT, env_file=path).port == 10420  # a folder of that name is no env file
        return
    with pytest.raises(SettingsError, match="cannot be read; make it a text file"):
        load_settings(CLIENT, env_file=path)


def test_a_line_of_the_env_file_that_says_nothing_is_a_fault_beside_the_others_and_not_shown(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = home / "settings.env"
    path.write_text(f'# fine\nEXPORTER_PORT=x\nGENESYS_CLIENT_SECRET="{SECRET}\nexport EXPORTER_BUCKET=PT1H\n')
    with pytest.raises(SettingsError) as refused:
        load_settings({"GENESYS_CLIENT_ID": "id"}, env_file=path)
    broken, secret, port = refused.value.faults
    assert broken == f"{path}: line 3 cannot be read; write NAME=value, and close quotation marks"
    assert secret.startswith("GENESYS_CLIENT_SECRET: is not set; ")
    assert port.startswith("EXPORTER_PORT: ")
    assert (caplog.text, *capsys.readouterr()) == ("", "", "")


def test_an_unreadable_file_of_the_secrets_folder_names_its_variable(home: Path) -> None:
    (home / "EXPORTER_PORT").write_bytes(b"\xff")
    (line,) = faults(EXPORTER_SECRETS_DIR=str(home))
    assert line.startswith("EXPORTER_PORT: its file ")


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"XDG_STATE_HOME": "/var/xdg"}, "/var/xdg/genesys-cloud-exporter"),
        ({"XDG_STATE_HOME": "relative"}, "{home}/.local/state/genesys-cloud-exporter"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/var/xdg"}, "/var/lib/a"),
    ],
)
def test_state_is_kept_where_the_platform_wants_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], path: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(sources.state_folder()) == path.format(home=home)


# Warnings


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("EXPORTER_PROT", "1", "no such setting, did you mean EXPORTER_PORT?"),
        ("GENESYS_REGION", "us", "no such setting"),
        ("GENESYS_API_URL", "http://gateway.example", "is not encrypted"),
        ("GENESYS_QUEUE_IDS", "sales", "does not look like a Genesys Cloud queue id"),
        (
            "GENESYS_QUEUE_IDS",
            f"{QUEUE},{QUEUE.upper()}",
            "does not look like a Genesys Cloud queue id, a UUID in small l",
        ),
        ("exporter_port", "1", "no such setting, did you mean EXPORTER_PORT?"),
        (
            "EXPORTER_BASELINE_MIN_SAMPLES",
            "673",
            "nothing will be scored, since EXPORTER_BASELINE_DAYS hold 672 buckets",
        ),
        ("EXPORTER_HISTORY", "$HOME/h.sqlite3", 'the $ in "$HOME/h.sqlite3" is taken as it stands'),
        ("GENESYS_MEDIA_TYPES", "vioce", "no known media type, did you mean voice?"),
        ("GENESYS_REQUESTS_PER_MINUTE", "301", "grants a client 300 calls a minute"),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(variable: str, text: str, words: str) -> None:
    (line,) = load_settings(CLIENT | {variable: text}).warnings
    assert line.startswith(f"{variable}: ")
    assert words in line


@pytest.mark.parametrize(("days", "warnings"), [("6", 1), ("7", 0), ("35", 0), ("36", 1)])
@pytest.mark.parametrize("method", DEFAULT_THRESHOLDS)
def test_a_baseline_that_is_too_short_or_too_long_to_be_sensible_is_warned_of(
    method: str, days: str, warnings: int
) -> None:
    made = load_settings(CLIENT | {"EXPORTER_SCORE_METHOD": method, "EXPORTER_BASELINE_DAYS": days})
    assert [line.split(":")[0] for line in made.warnings] == ["EXPORTER_BASELINE_DAYS"] * warnings


@pytest.mark.parametrize(("method", "warnings"), [("seasonal", 0), ("robust", 0), ("zscore", 1)])
def test_a_guard_that_binds_nothing_is_warned_of(method: str, warnings: int) -> None:
    made = load_settings(CLIENT | {"EXPORTER_SCORE_METHOD": method, "EXPORTER_ANOMALY_MIN_EVENTS": "5"})
    assert [line.split(":")[0] for line in made.warnings] == ["EXPORTER_ANOMALY_MIN_EVENTS"] * warnings


@pytest.mark.parametrize(
    "variables",
    [
        {"EXPORTER_SERVICE_HOST": "10.0.0.1", "EXPORTER_PORT_10420_TCP_ADDR": "10.0.0.1"},
        {"GENESYS_CLOUD_EXPORTER_PORT": "tcp://10.0.0.1:80", "GENESYS_CLOUD_EXPORTER_SERVICE_PORT_HTTP": "80"},
        {"GENESYS_API_URL": "http://127.0.0.1:8080", "GENESYS_LOGIN_URL": "http://localhost"},
        {"GENESYS_QUEUE_IDS": QUEUE, "GENESYS_MEDIA_TYPES": "voice,callback"},
        {"GENESYS_CONTRACT": "summary", "GENESYS_QUEUE_IDS": "sales"},
        {"PATH": "/bin", "GENESYSCLOUD_REGION": "other programs' names"},
    ],
)
def test_what_is_meant_is_not_warned_of(variables: dict[str, str]) -> None:
    assert load_settings(CLIENT | variables).warnings == ()


# Secrets


def test_no_secret_in_any_text_of_the_settings(caplog: pytest.LogCaptureFixture) -> None:
    made = load_settings(CLIENT)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%s %r", made, made)
    texts = [repr(made), str(made), caplog.text, str(made.describe()), made.model_dump_json(), repr(made.model_dump())]
    assert not [text for text in texts if SECRET in text or CLIENT["GENESYS_CLIENT_ID"] in text]


def test_no_secret_in_pydantics_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", f"{SECRET} and more")
    monkeypatch.setenv("GENESYS_API_URL", f"https://me:{SECRET}@example.test")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(refused.value)


def test_no_secret_in_any_fault_also_when_it_stands_in_the_wrong_place(home: Path) -> None:
    (home / "multiline").write_text(f"{SECRET}\n{SECRET}")
    wrong = [
        faults(GENESYS_CLIENT_SECRET=f"{SECRET} {SECRET}"),
        faults(GENESYS_CLIENT_SECRET_FILE=SECRET, GENESYS_CLIENT_SECRET=""),
        faults(GENESYS_CLIENT_SECRET_FILE=str(home / "multiline"), GENESYS_CLIENT_SECRET=""),
        faults(GENESYS_LOGIN_URL=f"user:{SECRET}@login.example"),
    ]
    assert all(lines and SECRET not in "".join(lines) for lines in wrong)


def test_settings_cannot_be_changed() -> None:
    made = load_settings(CLIENT)
    with pytest.raises(ValidationError):
        made.port = 1  # type: ignore[misc]


# The rest of the interface


def test_describe_tells_what_was_set_and_what_is_a_default(make_settings: Callable[..., Settings]) -> None:
    rows = {variable: (value, origin) for variable, value, origin in make_settings(EXPORTER_PORT="1").describe()}
    assert list(rows) == list(VARIABLES)
    assert rows["EXPORTER_PORT"] == ("1", "set")
    assert rows["EXPORTER_BUCKET"] == ("PT15M", "default")
    assert rows["GENESYS_CLIENT_SECRET"] == ("(set)", "set")


def test_is_set_tells_a_default_from_a_choice(make_settings: Callable[..., Settings]) -> None:
    made = make_settings(EXPORTER_PORT="10420")
    assert made.is_set("EXPORTER_PORT")
    assert not made.is_set("EXPORTER_HOST")


def test_log_lines_are_for_people_on_a_terminal_and_for_machines_elsewhere() -> None:
    script = "from exporter.settings import load_settings as l; print(l(require_credentials=False).log_format)"
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "json"
