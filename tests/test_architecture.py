"""The shape of the code, read from its imports: what may know what, and that every module says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "exporter"
WINGS = ("genesys", "analysis", "publish", "replicas", "simulator")
SHARED = {"exporter.models", "exporter.errors", "exporter.clock"}


def module_name(path: Path) -> str:
    parts = ("exporter", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """The modules of this package that a module imports, anywhere in it; names of a module are the module."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively, which hides what it knows"
            for alias in node.names if node.module else ():
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in TREES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] == "exporter"}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def modules_of(wing: str) -> list[str]:
    return [module for module in TREES if within(module, f"exporter.{wing}")]


SETTINGS = {module for module in TREES if within(module, "exporter.settings")}


def test_the_tree_is_read() -> None:
    assert TREES.keys() >= SHARED
    assert "exporter.errors" in ours("exporter.settings.loading")
    assert "exporter.settings.model" in ours("exporter.settings.rules")
    assert all(modules_of(wing) for wing in WINGS)


@pytest.mark.parametrize("wing", ["genesys", "analysis", "publish", "replicas"])
def test_a_wing_knows_only_itself_and_what_all_share(wing: str) -> None:
    allowed = SHARED | {"exporter"}  # the version
    for module in modules_of(wing):
        strangers = {name for name in ours(module) - allowed if not within(name, f"exporter.{wing}")}
        assert not strangers, f"{module} imports {strangers}"


def test_the_simulated_org_knows_nothing_of_the_exporter() -> None:
    for module in modules_of("simulator"):
        strangers = {name for name in ours(module) if not within(name, "exporter.simulator")}
        assert not strangers, f"{module} would inherit the mistakes of {strangers}"


def test_what_all_share_knows_no_wing() -> None:
    for module in SHARED:
        assert ours(module) <= SHARED, module


def test_only_the_composition_root_its_helpers_and_the_commands_know_settings() -> None:
    knowing = {module for module in TREES if ours(module) & SETTINGS} - SETTINGS
    assert knowing <= {f"exporter.{name}" for name in ("app", "cli", "account", "budget", "reloading", "replication")}
    inner = {module for module in TREES if ours(module) & (SETTINGS - {"exporter.settings"})} - SETTINGS
    assert not inner, "settings have one door: exporter.settings"


@pytest.mark.parametrize("module", ["exporter.poller", "exporter.backfill", "exporter.logs", *sorted(SETTINGS)])
def test_what_is_joined_by_the_root_knows_no_wing(module: str) -> None:
    assert not {name for name in ours(module) for wing in WINGS if within(name, f"exporter.{wing}")}


def test_nobody_waits_by_what_forgets_cancellations() -> None:
    """Before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes with the result: `asyncio.timeout`."""
    waiting = [
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for"
    ]
    assert waiting == []


def test_no_modules_know_each_other_in_a_circle() -> None:
    """Also where an import is for types alone or stands in a function: it hides the circle, and does not end it."""
    sorter = TopologicalSorter({module: ours(module) - {module} for module in TREES})
    sorter.prepare()  # raises a CycleError that names the circle


@pytest.mark.parametrize("module", TREES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert len((ast.get_docstring(TREES[module]) or "").split()) >= 5
