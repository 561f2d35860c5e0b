"""The web configuration: what it takes, what it refuses and in which words, and what a change of its files does."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import SettingsError
from exporter.publish.watched_config import WatchedConfig
from exporter.publish.web_config import load_web_config
from tests.publish.certificates import Authority

#: Always the same, since a hash is a part of the names of tests, and several processes must agree on these.
SALT = b"$2b$04$abcdefghijklmnopqrstuu"
HASH, OTHER_HASH = (bcrypt.hashpw(password, SALT).decode() for password in (b"right", b"other"))
SERVER = "tls_server_config:\n  cert_file: server.pem\n  key_file: server-key.pem\n"
USERS = f"basic_auth_users:\n  prometheus: {HASH}\n"
CLIENTS = "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"

GOOD = {
    "empty": "",
    "comments": "# nothing\n---\n",
    "nothing in it": "tls_server_config:\nbasic_auth_users: {}\nhttp_server_config: ~\n",
    "users": USERS,
    "a number as a name": f"basic_auth_users:\n  123: {HASH}\n  yes: {HASH}\n",
    "other makers of hashes": f"basic_auth_users:\n  a: $2y{HASH[3:]}\n  b: $2a{HASH[3:]}\n",
    "tls": SERVER,
    "tls and users": SERVER + USERS,
    "client certificates": SERVER + CLIENTS,
    "client certificates, if given": SERVER + "  client_ca_file: ca.pem\n  client_auth_type: VerifyClientCertIfGiven\n",
    "no client certificates": SERVER + "  client_auth_type: NoClientCert\n",
    "versions": SERVER + "  min_version: TLS10\n  max_version: TLS12\n",
    "1.3 alone": SERVER + "  min_version: TLS13\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
    "suites": SERVER + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n",
    "preference": SERVER + "  prefer_server_cipher_suites: false\n",
    "headers": "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n"
    "    Strict-Transport-Security: max-age=31536000\n    Content-Security-Policy: \"default-src 'self'\"\n"
    "    X-Content-Type-Options: nosniff\n    X-XSS-Protection: '0'\n",
}


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, require_server: Callable[[str], str]) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    Authority(require_server("openssl"), folder).certificate("server")
    Authority(require_server("openssl"), folder, "other-ca").certificate("other")
    return folder


@pytest.fixture
def folder(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / "etc"))


def write(folder: Path, text: str) -> Path:
    """The file as an editor saves it: another one in its place."""
    path, new = folder / "web.yml", folder / "web.yml.new"
    new.write_text(text, "utf-8")
    new.replace(path)
    return path


def faults(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load_web_config(write(folder, text))
    assert all(line.startswith("EXPORTER_WEB_CONFIG: ") for line in refused.value.faults)
    return refused.value.faults


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_files_are_good_for_promtool_too(folder: Path, text: str, require_server: Callable[[str], str]) -> None:
    path = write(folder, text)
    load_web_config(path)
    judged = subprocess.run(  # noqa: S603
        [require_server("promtool"), "check", "web-config", str(path)], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stderr


def test_every_key_is_understood(folder: Path) -> None:
    tls = "  client_allowed_sans: [scraper, '::1']\n  min_version: TLS13\n  max_version: TLS13\n"
    config = load_web_config(write(folder, SERVER + CLIENTS + tls + USERS + GOOD["headers"]))
    assert config.users == {"prometheus": HASH.encode()}
    assert config.headers["X-Frame-Options"] == "deny"
    assert config.tls is not None
    assert config.tls.client_allowed_sans == ("scraper", "::1")
    context = config.tls.context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
    assert HASH not in repr(config)


def test_the_suites_named_are_the_only_ones_of_tls_1_2(folder: Path) -> None:
    tls = load_web_config(write(folder, GOOD["suites"])).tls
    assert tls is not None
    names = {suite["name"] for suite in tls.context().get_ciphers() if suite["protocol"] != "TLSv1.3"}
    assert names == {"ECDHE-ECDSA-AES128-GCM-SHA256"}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("- a\n", None, "the file: write a mapping"),
        ("basic_auth_users: []\n", 1, "basic_auth_users: write a mapping"),
        ("basic_auth_users: false\n", 1, "basic_auth_users: write a mapping"),
        ("basic_auth_users: ''\n", 1, "basic_auth_users: write a mapping"),
        ("tls_server_config: []\n", 1, "tls_server_config: write a mapping"),
        ("basic_auth_user:\n  a: b\n", 1, "unknown key; known are tls_server_config, http_server_config, basic_auth"),
        ("\nbasic_auth_users:\n  alice: s3cret\n", 3, "no bcrypt hash"),
        ("basic_auth_users:\n  alice: [s3cret]\n", 2, "no bcrypt hash"),
        ("basic_auth_users:\n  alice:\n", 2, "no bcrypt hash"),
        (f"basic_auth_users: {{alice:{HASH}}}\n", 1, "no bcrypt hash"),
        (f"basic_auth_users:\n  a: $2b$04${'z' * 22}{'.' * 31}\n", 2, "no bcrypt hash"),
        (f"basic_auth_users:\n  a: $2b$18${HASH[7:]}\n", 2, "too costly; the cost is 17 at most"),
        (f"basic_auth_users:\n  'a:b': {HASH}\n", 2, "cannot be a user's name"),
        (f"basic_auth_users:\n  a: {HASH}\n  a: {OTHER_HASH}\n", 3, "a key stands twice"),
        (USERS + "basic_auth_users: {}\n", 3, "a key stands twice"),
        ("http_server_config:\n  headers:\n    X-Evil: s3cret\n", 3, "unknown key; known are Content-Security"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: s3cret\n", 3, "write deny or sameorigin"),
        ('http_server_config:\n  headers:\n    Content-Security-Policy: "a\\r\\nb"\n', 3, "one line of text"),
        ("http_server_config:\n  http2: s3cret\n", 2, "write true or false"),
        (SERVER + "  client_auth_type: RequestClientCert\n", 4, "cannot be had here"),
        (SERVER + "  client_auth_type: RequireAnyClientCert\n", 4, "cannot be had here"),
        (SERVER + "  client_auth_type: [s3cret]\n", 4, "write one of NoClientCert, "),
        (SERVER + "  client_auth_type: RequireAndVerifyClientCert\n", None, "client_ca_file: is needed"),
        (SERVER + "  client_ca_file: ca.pem\n", None, "client_auth_type: write RequireAndVerifyClientCert"),
        (SERVER + "  client_allowed_sans: [a]\n", None, "client_auth_type: write RequireAndVerifyClientCert"),
        (SERVER + CLIENTS + "  client_allowed_sans: a\n", 6, "write a list of texts"),
        (SERVER + CLIENTS + "  client_allowed_sans: ''\n", 6, "write a list of texts"),
        (SERVER + "  min_version: TLS9\n", 4, "write one of TLS10"),
        (SERVER + "  min_version: TLS13\n  max_version: TLS12\n", 4, "is above max_version"),
        (SERVER + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n", 4, "write some of TLS_ECDHE"),
        (SERVER + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", 4, "min_version: TLS13"),
        (SERVER + "  curve_preferences: [X25519]\n", 4, "unknown key"),
        (SERVER + "  prefer_server_cipher_suites: s3cret\n", 4, "write true or false"),
        ("tls_server_config:\n  cert_file: server.pem\n", None, "key_file: write the path of a PEM file"),
        ("tls_server_config:\n  cert_file: server.pem\n  key_file: none.pem\n", 3, "none.pem is not a file"),
        ("tls_server_config:\n  cert_file: server.pem\n  key_file: other-key.pem\n", None, "KEY_VALUES_MISMATCH"),
        ("tls_server_config:\n  cert_file: server.pem\n  key_file: web.yml\n", None, "cannot be used"),
        (SERVER + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: web.yml\n", None, "cannot be used"),
        ("a: [\n", 2, "is not YAML"),
        ("a: !!timestamp s3cret\n", None, "is not YAML"),
        ("a: !!timestamp 2026-99-99\n", None, "is not YAML"),
        ("[" * 5000, None, "is not YAML"),
        ("a: !!python/object/apply:os.system [s3cret]\n", 1, "is not YAML"),
        ("a: \0\n", None, "is not YAML"),
        ("a: !!int ''\n", 1, "is not YAML"),
        ("&a [*a]\n", None, "write a mapping"),
        ("&a {a: *a}\n", 1, "is not YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, text: str, line: int | None, part: str) -> None:
    (told,) = faults(folder, text)
    assert part in told
    assert line is None or f"line {line}" in told
    assert "s3cret" not in told
    assert "$2" not in told


def test_all_faults_are_told_at_once(folder: Path) -> None:
    told = faults(folder, "tls_server_config:\n  cert_file: x\n  min_version: TLS9\nbasic_auth_users:\n  a: b\nc: d\n")
    places = [fault.split("web.yml: ")[1].partition(":")[0] for fault in told]
    assert places == ["line 6", "line 3", "line 2", "tls_server_config.key_file", "line 5"]


@pytest.mark.parametrize("name", ["cert_file", "key_file", "client_ca_file"])
def test_a_key_written_where_its_path_belongs_is_not_told(folder: Path, name: str) -> None:
    key = (folder / "server-key.pem").read_text("utf-8")
    inline = "".join(f"    {line}\n" for line in key.splitlines())
    told = "\n".join(faults(folder, f"tls_server_config:\n  {name}: |\n{inline}"))
    assert not any(line in told for line in key.splitlines())
    one_line = "".join(key.splitlines()[1:-1]) * 3
    assert one_line not in "\n".join(faults(folder, f"tls_server_config:\n  {name}: {one_line}\n"))


def test_a_key_with_a_pass_phrase_is_refused_without_asking_for_it(
    folder: Path, require_server: Callable[[str], str]
) -> None:
    command = [
        require_server("openssl"),
        "ec",
        "-in",
        "server-key.pem",
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        "e.pem",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603
    (told,) = faults(folder, "tls_server_config:\n  cert_file: server.pem\n  key_file: e.pem\n")
    assert "cannot be used" in told


def test_a_file_that_is_not_there_or_no_text_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: No such file"):
        load_web_config(tmp_path / "none.yml")
    (tmp_path / "web.yml").write_bytes(b"a: \xfa\x80")
    with pytest.raises(SettingsError, match="is not YAML"):
        load_web_config(tmp_path / "web.yml")


@settings(max_examples=50)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_but_a_settings_error_comes_out(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yml"
    path.write_bytes(content)
    with contextlib.suppress(SettingsError):
        load_web_config(path)


# A change of the files


@pytest.fixture
def told() -> list[str]:
    return []


def test_a_change_is_taken_up(folder: Path, told: list[str]) -> None:
    watched = WatchedConfig(write(folder, USERS), told.append)
    write(folder, f"basic_auth_users:\n  viewer: {OTHER_HASH}\n")
    assert watched.refresh().users == {"viewer": OTHER_HASH.encode()}
    assert told == []


@pytest.mark.parametrize(
    "broken",
    [
        "basic_auth_users: [\n",
        "basic_auth_users:\n  a: s3cret\n",
        "",  # as a file is for a moment while it is written in place
        "http_server_config:\n  http2: true\n",
        SERVER + USERS,
    ],
)
def test_a_broken_change_keeps_the_old_and_is_told_once(folder: Path, told: list[str], broken: str) -> None:
    watched = WatchedConfig(write(folder, USERS), told.append)
    write(folder, broken)
    assert [watched.refresh().users for _ in range(3)] == [{"prometheus": HASH.encode()}] * 3
    assert len(told) == 1
    assert "not used" in told[0]
    assert "s3cret" not in told[0]
    write(folder, f"basic_auth_users:\n  viewer: {OTHER_HASH}\n")
    assert watched.refresh().users == {"viewer": OTHER_HASH.encode()}
    assert len(told) == 1


@pytest.mark.parametrize(
    "weaker", [SERVER, SERVER + CLIENTS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")]
)
def test_client_certificates_do_not_become_optional_by_a_change(folder: Path, told: list[str], weaker: str) -> None:
    watched = WatchedConfig(write(folder, SERVER + CLIENTS), told.append)
    write(folder, weaker)
    assert watched.context_now().verify_mode is ssl.CERT_REQUIRED
    assert len(told) == 1


def test_a_file_that_goes_keeps_the_old(folder: Path, told: list[str]) -> None:
    watched = WatchedConfig(write(folder, USERS), told.append)
    (folder / "web.yml").unlink()
    assert watched.refresh().users
    assert len(told) == 1


def test_a_renewed_certificate_is_taken_up_when_its_key_has_come_too(folder: Path, told: list[str]) -> None:
    watched = WatchedConfig(write(folder, SERVER), told.append)
    before = watched.context_now()
    os.replace(folder / "other.pem", folder / "server.pem")  # noqa: PTH105
    assert watched.context_now() is before
    assert len(told) == 1
    os.replace(folder / "other-key.pem", folder / "server-key.pem")  # noqa: PTH105
    assert watched.context_now() is not before
    assert not watched.is_of_now(before)
    assert len(told) == 1


def test_a_file_that_was_missing_when_the_configuration_changed_may_come_later(folder: Path, told: list[str]) -> None:
    watched = WatchedConfig(write(folder, SERVER), told.append)
    before = watched.context_now()
    write(folder, "tls_server_config:\n  cert_file: new.pem\n  key_file: other-key.pem\n")
    assert watched.context_now() is watched.context_now() is before
    assert len(told) == 1
    (folder / "other.pem").rename(folder / "new.pem")
    assert watched.context_now() is not before
    assert len(told) == 1


def test_a_client_ca_is_replaced(folder: Path, told: list[str]) -> None:
    def authorities(context: Any) -> list[Any]:
        return [dict(each["subject"][0])["commonName"] for each in context.get_ca_certs()]

    watched = WatchedConfig(write(folder, SERVER + CLIENTS), told.append)
    assert authorities(watched.context_now()) == ["ca"]
    (folder / "other-ca.pem").rename(folder / "ca.pem")
    assert authorities(watched.context_now()) == ["other-ca"]
