"""The docs say what the code does: settings and their defaults, routes, modules, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.errors import SettingsError
from exporter.publish import access_config
from exporter.publish.roles import ROLES
from exporter.publish.roles import ROUTES as ROLE_ROUTES
from exporter.reloading import LIVE
from exporter.settings import VARIABLES, Settings, load_settings

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CONFIGURATION = (ROOT / "docs/configuration.md").read_text("utf-8")
ACCESS = (ROOT / "docs/access.md").read_text("utf-8")
ROUTES = re.findall(
    r"""add_(?:get|post)\(\s*["']([^"']+)["']""", (ROOT / "exporter/publish/server.py").read_text("utf-8")
)


def documented_settings() -> dict[str, str]:
    """Variable → its default, as the tables of docs/configuration.md tell it."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| .+ \|$", CONFIGURATION, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a setting stands in the tables twice"
    return dict(rows)


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    monkeypatch.setenv("HOME", str(tmp_path))
    return {variable: value for variable, value, _ in load_settings({}, require_credentials=False).describe()}


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert documented_settings().keys() == VARIABLES.keys()


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_documented_default_is_the_default(variable: str, defaults: dict[str, str]) -> None:
    told = documented_settings()[variable]
    if Settings.model_fields[VARIABLES[variable]].default_factory is None:
        assert told == (f"`{defaults[variable]}`" if defaults[variable] else told)
        assert defaults[variable] or told in ("–", "all", "all visible")
    elif variable != "EXPORTER_SECRETS_DIR":  # hangs on the machine
        text = told.replace("{environment}", defaults["GENESYS_ENVIRONMENT"])
        assert Path(defaults[variable]).name in text


def test_the_documented_faults_are_the_faults() -> None:
    shown = re.search(r"^```\n(.+?)^```", CONFIGURATION, re.MULTILINE | re.DOTALL)
    assert shown
    with pytest.raises(SettingsError) as refused:
        load_settings({"EXPORTER_PORT": "abc", "GENESYS_ENVIRONMENT": "eu-central-1"}, require_credentials=False)
    assert sorted(shown[1].splitlines()) == sorted(str(refused.value).splitlines())


def test_the_settings_that_change_without_a_restart_are_named() -> None:
    section = CONFIGURATION.split("\n## A change without a restart\n")[1].split("\nThese change without")[1]
    named = set(re.findall(r"`((?:GENESYS|EXPORTER)_[A-Z_]+)`", section.split("\n## ")[0].split("All others need")[0]))
    assert named == LIVE


def test_variables_named_anywhere_in_the_docs_exist() -> None:
    for path in DOCS:
        named = set(re.findall(r"\b(?:GENESYS|EXPORTER)_[A-Z_]+\b", path.read_text("utf-8")))
        assert named <= VARIABLES.keys(), path.name


def test_every_route_is_in_the_readme() -> None:
    assert "/metrics" in ROUTES
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [route for route in ROUTES if f"| `{route}` |" not in readme] == []


def test_every_command_and_its_options_are_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^ {4}([a-z]+) ", _help(capsys), re.MULTILINE)
    assert {"run", "demo", "simulate", "check"} <= set(commands)
    for command in commands:
        (row,) = re.findall(rf"^\| `{command}\b.*$", readme, re.MULTILINE)
        options = re.findall(r"--[a-z-]+", _help(capsys, command).split("options:")[1])
        assert [option for option in options if option not in (*row.replace("`", " ").split(), "--help")] == []


def _help(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def test_every_part_of_the_package_is_in_the_architecture() -> None:
    told = (ROOT / "docs/architecture.md").read_text("utf-8")
    parts = {
        path.name for path in (ROOT / "exporter").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    parts -= {"__init__.py", "__main__.py"}
    assert [part for part in sorted(parts) if part not in told] == []


def test_the_roles_are_documented_with_their_routes() -> None:
    table = ACCESS.split("\n## Roles\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.+) \|$", table, re.MULTILINE))
    assert rows.keys() == {*ROLES}
    assert rows.pop("admin").startswith("everything")
    assert {role: tuple(re.findall(r"`([^`]+)`", told)) for role, told in rows.items()} == {
        role: routes for role, routes in ROLE_ROUTES.items() if routes
    }


def test_the_documented_access_configuration_is_taken(tmp_path: Path) -> None:
    _, example = re.findall(r"^```yaml\n(.+?)^```", ACCESS, re.MULTILINE | re.DOTALL)
    (tmp_path / "access.yml").write_text(example, "utf-8")
    config, _ = access_config.parsed(tmp_path / "access.yml")
    assert config.users
    assert config.tokens
    assert config.certificates


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_to_headings_find_them(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", path.read_text("utf-8"))
    assert [f"{name}#{anchor}" for name, anchor in links if anchor not in anchors(path.parent / name, path)] == []


def anchors(target: Path, itself: Path) -> set[str]:
    """What a link to a heading of the file ends in, by GitHub's rule."""
    text = (itself if target.is_dir() else target).read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_readme_begins_with_the_two_commands() -> None:
    first_block = re.search(r"```\n(.+?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert first_block
    assert [line.split()[:2] for line in first_block[1].splitlines()] == [["make", "demo"], ["make", "test"]]
