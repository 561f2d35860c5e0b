"""What the Kubernetes manifests start, started here: a real Redis and two exporters, each with its configuration."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator import OrgConfig, SimulatedOrg, serve
from tests.end_to_end.pair import eventually
from tests.end_to_end.processes import Process
from tests.end_to_end.reading import Served
from tests.end_to_end.redis_server import free_port
from tests.manifests import REDIS, container, environment, secret_files, the

PLACEHOLDER = "REPLACE-WITH-A-PASSWORD"
PASSWORD = "0123456789abcdef"


def asked(cli: str, port: int, *words: str, user: bool = True) -> subprocess.CompletedProcess[str]:
    """redis-cli's answer."""
    who = ["--no-auth-warning", "--user", "exporter", "--pass", PASSWORD] if user else []
    return subprocess.run([cli, "-p", str(port), *who, *words], capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture
def redis(tmp_path: Path, require_server: Callable[[str], str]) -> Iterator[int]:
    """The port of a Redis that reads redis.conf and users.acl of the manifests."""
    program, cli, port = require_server("redis-server"), require_server("redis-cli"), free_port()
    acl = tmp_path / "users.acl"
    acl.write_text(the("Secret", REDIS)["stringData"]["users.acl"].replace(PLACEHOLDER, PASSWORD))
    text = the("ConfigMap", REDIS)["data"]["redis.conf"].replace("/run/secrets/redis/users.acl", str(acl))
    configuration = tmp_path / "redis.conf"
    configuration.write_text(f"{text}port {port}\nbind 127.0.0.1\n")
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen([program, configuration], cwd=tmp_path, stdout=log, stderr=log)  # noqa: S603
    try:
        deadline = time.monotonic() + 20
        while asked(cli, port, "ping").stdout != "PONG\n":
            assert process.poll() is None, (tmp_path / "redis.log").read_text("utf-8")
            assert time.monotonic() < deadline, (tmp_path / "redis.log").read_text("utf-8")
        yield port
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
async def replicas(tmp_path: Path, redis: int, http: aiohttp.ClientSession) -> AsyncIterator[list[Served]]:
    """Both replicas, each with the manifests' variables and secrets, but for names and ports that are the test's."""
    org = SimulatedOrg(OrgConfig(queues=3))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    own = {
        "GENESYS_CLIENT_ID": org.config.client_id,
        "GENESYS_CLIENT_SECRET": org.config.client_secret,
        "EXPORTER_REDIS_URL": secret_files()["EXPORTER_REDIS_URL"]
        .replace(PLACEHOLDER, PASSWORD)
        .replace(f"{REDIS}:6379", f"127.0.0.1:{redis}"),
    }
    assert own.keys() == secret_files().keys()
    for name, text in own.items():
        (secrets / name).write_text(f"{text}\n")
    with ExitStack() as processes:
        async with serve(org) as url:
            here = {"GENESYS_LOGIN_URL": url, "GENESYS_API_URL": url, "EXPORTER_POLL_INTERVAL": "2"}
            here |= {"EXPORTER_PORT": "0", "EXPORTER_HISTORY": ":memory:", "EXPORTER_BASELINE_DAYS": "1"}
            here |= {"EXPORTER_SECRETS_DIR": str(secrets), "GENESYS_REQUESTS_PER_MINUTE": "300"}
            started = [
                processes.enter_context(Process(tmp_path / name, "run", **(environment() | here)))
                for name in ("a", "b")
            ]
            yield [Served(process.url(), http) for process in started]
        for process in started:
            assert PASSWORD not in process.output()
            assert "not foreseen" not in process.output()


async def test_two_replicas_serve_one_snapshot_through_a_redis_that_lets_them_do_nothing_else(
    replicas: list[Served], redis: int, require_server: Callable[[str], str]
) -> None:
    async def agreed() -> bool:
        samples = [await served.metrics() for served in replicas]
        leads = [each.get("genesys_exporter_leader") for each in samples]
        ids = {each.get("genesys_exporter_snapshot_id") for each in samples}
        return sorted(each or 0.0 for each in leads) == [0.0, 1.0] and len(ids) == 1 and None not in ids

    await eventually(agreed)
    cli = require_server("redis-cli")
    for words in (("set", "somebody:else", "1"), ("flushall",), ("keys", "*"), ("config", "get", "*"), ("acl", "list")):
        assert asked(cli, redis, *words).stdout.startswith("NOPERM"), words


async def test_the_probe_of_redis_needs_no_password_and_gets_nothing_else(
    redis: int, require_server: Callable[[str], str]
) -> None:
    program, *words = container(REDIS)["livenessProbe"]["exec"]["command"]
    cli = require_server(program)
    assert asked(cli, redis, *words, user=False).returncode == 0
    assert asked(cli, redis, "get", "genesys-exporter:lease", user=False).stdout.startswith("NOAUTH")
    assert asked(cli, free_port(), *words, user=False).returncode != 0
