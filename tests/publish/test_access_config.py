"""The access configuration: what it takes, what it refuses and in which words, and what a change of it does."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import SettingsError
from exporter.publish import access_config
from exporter.publish.access_config import AccessConfig, Token, digest_of, faults_together, parsed
from exporter.publish.roles import ROLES
from exporter.publish.watched_config import WatchedAccess
from exporter.publish.web_config import TlsConfig, WebConfig

TOKEN = "5bd1e995" * 8
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
OTHER = "0" * 64
USERS = "users:\n  anna: [viewer, exporter]\n"


def token(**keys: str) -> str:
    lines = {"sha256": DIGEST, "roles": "[scraper]"} | keys
    return "tokens:\n  prometheus:\n" + "".join(f"    {key}: {value}\n" for key, value in lines.items() if value)


def write(folder: Path, text: str) -> Path:
    path, new = folder / "access.yml", folder / "access.yml.new"
    new.write_text(text, "utf-8")
    return new.replace(path)


def load(folder: Path, text: str) -> AccessConfig:
    return parsed(write(folder, text))[0]


def faults(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load(folder, text)
    assert all(line.startswith("EXPORTER_ACCESS_CONFIG: ") for line in refused.value.faults)
    return refused.value.faults


def test_every_key_is_understood(tmp_path: Path) -> None:
    config = load(tmp_path, USERS + token(expires="2027-06-30") + "certificates:\n  '::1': [admin]\n")
    assert config.users == {"anna": {"viewer", "exporter"}}
    assert config.tokens == (
        Token("prometheus", bytes.fromhex(DIGEST), frozenset({"scraper"}), datetime(2027, 7, 1, tzinfo=UTC)),
    )
    assert config.certificates == {"::1": {"admin"}}
    assert DIGEST not in repr(config)
    assert repr(bytes.fromhex(DIGEST)) not in repr(config)


@pytest.mark.parametrize("text", [USERS, token(), "certificates:\n  a: [scraper]\n", f"{token()}users: {{}}\n"])
def test_one_who_may_come_in_is_enough(tmp_path: Path, text: str) -> None:
    load(tmp_path, text)


@pytest.mark.parametrize(
    ("written", "good_until", "no_more_from"),
    [
        ("2027-06-30", "2027-06-30T23:59:59.999999+00:00", "2027-07-01T00:00:00+00:00"),
        ("'2027-06-30'", "2027-06-30T23:59:59+00:00", "2027-07-01T00:00:00+00:00"),
        ("2027-06-30T18:00:00Z", "2027-06-30T17:59:59+00:00", "2027-06-30T18:00:00+00:00"),
        ("2027-06-30T18:00+02:00", "2027-06-30T15:59:59+00:00", "2027-06-30T16:00:00+00:00"),
    ],
)
def test_a_token_is_good_until_it_expires(tmp_path: Path, written: str, good_until: str, no_more_from: str) -> None:
    (read,) = load(tmp_path, token(expires=written)).tokens
    assert read.is_good(datetime.fromisoformat(good_until))
    assert not read.is_good(datetime.fromisoformat(no_more_from))


def test_a_token_without_an_end_stays_good() -> None:
    assert Token("t", b"", frozenset()).is_good(datetime(9999, 12, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", None, "names nobody"),
        ("users: {}\ntokens:\n", None, "names nobody"),
        ("- s3cret\n", None, "the file: write a mapping"),
        (USERS + "user:\n", 3, "an unknown key; known are users, tokens, certificates"),
        (USERS + "tokens: []\n", 3, "tokens: write a mapping"),
        ("users:\n  anna: viewer\n", 2, "users: write a list of roles, some of scraper, viewer, exporter, admin"),
        ("users:\n  anna: []\n", 2, "write a list of roles"),
        ("users:\n  anna:\n", 2, "write a list of roles"),
        ("users:\n  anna: [s3cret]\n", 2, "write a list of roles"),
        ("users:\n  anna: [viewer, [admin]]\n", 2, "write a list of roles"),
        ("users:\n  anna: [viewer]\n  anna: [admin]\n", 3, "a key stands twice"),
        ("certificates:\n  a: {viewer: true}\n", 2, "certificates: write a list of roles"),
        ("tokens:\n  prometheus: s3cret\n", 2, "tokens: write a mapping"),
        (token(sha256=""), 2, "sha256: write the 64 hex digits"),
        (token(sha256="s3cret"), 3, "sha256: write the 64 hex digits"),
        (token(sha256=f"{DIGEST}s3cret"), 3, "sha256: write the 64 hex digits"),
        (token(sha256=f"[{DIGEST}]"), 3, "sha256: write the 64 hex digits"),
        (token(sha256=hashlib.sha256(b"").hexdigest()), 3, "digest of an empty token"),
        (token(sha256=hashlib.sha256(b"\n").hexdigest()), 3, "digest of an empty token"),
        (token(roles=""), 2, "tokens: write a list of roles"),
        (token(roles="[s3cret]"), 4, "tokens: write a list of roles"),
        (token(expires="s3cret"), 5, "expires: write a day such as"),
        (token(expires="2027-02-30"), 5, "expires: write a day such as"),
        (token(expires="9999-12-31"), 5, "expires: write a day such as"),
        (token(expires="2027-06-30T18:00:00"), 5, "a time with its offset"),
        (token(expires="[]"), 5, "expires: write a day such as"),
        (token(token="s3cret"), 5, "an unknown key; known are sha256, roles, expires"),
        (token() + f"  other:\n    sha256: {DIGEST.upper()}\n    roles: [viewer]\n", 5, "the same digest"),
        ("users: [\n", 2, "is not YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, line: int | None, part: str) -> None:
    told = faults(tmp_path, text)
    assert part in told[0]
    assert line is None or f"line {line}" in told[0]
    for each in told:
        assert "s3cret" not in each
        assert DIGEST not in each.lower()


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    told = faults(tmp_path, token(sha256="x", roles="y", expires="z") + "users:\n  a: b\nc: d\n")
    places = [fault.split("access.yml: ")[1].partition(":")[0] for fault in told]
    assert places == ["line 8", "line 7", "line 4", "line 3", "line 5"]


@settings(max_examples=50)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_but_a_settings_error_comes_out(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed-access.yml"
    path.write_bytes(content)
    with contextlib.suppress(SettingsError):
        parsed(path)


@pytest.mark.parametrize(
    ("text", "web", "part"),
    [
        (USERS, WebConfig(users={"anna": b"x"}), None),
        (USERS, WebConfig(users={"Anna": b"x"}), "'anna' is not in basic_auth_users"),
        (USERS, None, "'anna' is not in basic_auth_users"),
        (token(), None, None),
        ("certificates:\n  a: [viewer]\n", None, "certificates: EXPORTER_WEB_CONFIG asks for none"),
        ("certificates:\n  a: [viewer]\n", WebConfig(tls=TlsConfig(Path(), Path())), "asks for none"),
        ("certificates:\n  a: [viewer]\n", WebConfig(tls=TlsConfig(Path(), Path(), client_ca_file=Path())), None),
    ],
)
def test_names_that_can_never_come_in_are_a_fault(
    tmp_path: Path, text: str, web: WebConfig | None, part: str | None
) -> None:
    told = list(faults_together(tmp_path, load(tmp_path, text), web))
    assert len(told) == (part is not None)
    assert part is None or part in told[0]


def test_a_token_is_found_by_its_digest_alone_and_looked_for_among_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number}" for number in range(5)]
    digests = {name: digest_of(name * 20) or b"" for name in names}
    config = AccessConfig(tokens=tuple(Token(name, digests[name], frozenset(ROLES)) for name in names))
    compared: list[bytes] = []
    real = access_config.hmac.compare_digest
    monkeypatch.setattr(
        access_config.hmac, "compare_digest", lambda mine, given: compared.append(mine) or real(mine, given)
    )
    for name in [*names, "none"]:
        compared.clear()
        found = config.token(digests.get(name, bytes(32)))
        assert (found.name if found else "none") == name
        assert compared == list(digests.values())


def test_a_token_that_could_be_guessed_is_no_token() -> None:
    assert digest_of("x" * 22) == hashlib.sha256(b"x" * 22).digest()
    assert digest_of("x" * 21) is None
    assert digest_of("\udcff" * 30) == hashlib.sha256(b"\xff" * 30).digest()


def test_a_change_is_taken_up_and_a_broken_one_is_told_once_and_changes_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    used: list[tuple[str, bool]] = []
    watched = WatchedAccess(write(tmp_path, USERS), told.append, lambda setting, good: used.append((setting, good)))
    write(tmp_path, token())
    assert [each.name for each in watched.refresh().tokens] == ["prometheus"]
    for broken in ("", "users: [", "users:\n  anna: s3cret\n"):
        told.clear()
        write(tmp_path, broken)
        assert [len(watched.refresh().tokens) for _ in range(3)] == [1, 1, 1]
        assert len(told) == 1
        assert told[0].startswith("the changed access configuration is not used: EXPORTER_ACCESS_CONFIG: ")
        assert "s3cret" not in told[0]
    write(tmp_path, USERS)
    assert watched.refresh().users
    assert used == [("EXPORTER_ACCESS_CONFIG", good) for good in (True, True, False, False, False, True)]
