"""The container image, built and started: who it runs as, what lies in it, what it keeps.

It takes some minutes, the network and root's tools, so that `make image-check` asks for it and `make test` does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from packaging.utils import canonicalize_name

from exporter import __version__
from exporter.simulator import OrgConfig, SimulatedOrg, serve
from tests.end_to_end.image import Container, Images, missing_tools
from tests.end_to_end.pair import eventually
from tests.end_to_end.redis_server import free_port
from tests.test_docs import ROUTES
from tests.test_packaging import locked

pytestmark = pytest.mark.skipif(
    "IMAGE_CHECK" not in os.environ,
    reason="building and starting the image takes minutes and container tools: `make image-check`",
)

#: Of everything that compiles, installs or fetches.
BUILD_TOOLS = ("gcc", "cc", "g++", "as", "ld", "make", "cargo", "rustc", "pip", "pip3", "uv", "git", "curl", "wget")

_LIST = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
_HOLDS = re.compile(r"holds (\d+) buckets")


@pytest.fixture(scope="module")
def images() -> Images:
    if missing := missing_tools():
        pytest.fail(f"not installed (Debian: apt-get install): {' '.join(missing)}", pytrace=False)
    images = Images()
    images.build()
    return images


@pytest.fixture
def volume(images: Images) -> Iterator[str]:
    name = f"image-check-{time.monotonic_ns()}"
    yield name
    images.podman("volume", "rm", "--force", name)


@pytest.fixture(scope="module")
def demo(images: Images) -> Iterator[tuple[Container, str]]:
    """The demo at work, and where."""
    port = free_port()
    with Container(images, "demo", volume="image-check-demo", EXPORTER_PORT=str(port)) as container:
        yield container, f"http://127.0.0.1:{port}"
    images.podman("volume", "rm", "--force", "image-check-demo")


async def answered(url: str, within_seconds: float = 60.0) -> tuple[int, bytes]:
    """Status and body, as soon as somebody listens there."""
    deadline = time.monotonic() + within_seconds
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    return answer.status, await answer.read()
            except aiohttp.ClientConnectionError:
                assert time.monotonic() < deadline, f"nobody listens at {url}"
                await asyncio.sleep(0.1)


async def ready(url: str) -> None:
    async def says_so() -> bool:
        return (await answered(f"{url}/-/ready"))[0] == 200

    await eventually(says_so)


@pytest.fixture
async def org() -> AsyncIterator[tuple[SimulatedOrg, dict[str, str]]]:
    """An org on this machine, and what an exporter of it is told."""
    org = SimulatedOrg(OrgConfig(queues=3))
    async with serve(org) as url:
        yield (
            org,
            {
                "GENESYS_CLIENT_ID": org.config.client_id,
                "GENESYS_CLIENT_SECRET": org.config.client_secret,
                "GENESYS_LOGIN_URL": url,
                "GENESYS_API_URL": url,
                "GENESYS_REQUESTS_PER_MINUTE": "300",
                "EXPORTER_BASELINE_DAYS": "1",
            },
        )


async def test_every_route_answers_in_a_hardened_container(demo: tuple[Container, str]) -> None:
    _, url = demo
    await ready(url)
    plain = [route for route in ROUTES if "{" not in route and route not in ("/-/reload", "/-/replica")]
    assert len(plain) >= 7
    for route in plain:
        status, body = await answered(url + route)
        assert (status, bool(body)) == (200, True), route


async def test_it_runs_as_a_number_without_any_privilege(demo: tuple[Container, str]) -> None:
    container, url = demo
    await ready(url)
    status = container.status()
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
    assert {int(status[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"


async def test_it_can_write_to_its_volume_alone(demo: tuple[Container, str]) -> None:
    container, url = demo
    await ready(url)
    for place in ("/", "/tmp", "/opt/venv", "/home", "/etc", "/usr/local"):  # noqa: S108
        assert container.does("sh", "-c", f"echo x > {place}/x").returncode != 0, place
    assert container.does("sh", "-c", "echo x > /var/lib/genesys-cloud-exporter/x").returncode == 0


async def test_nothing_that_builds_or_fetches_lies_in_it(demo: tuple[Container, str]) -> None:
    container, _ = demo
    found = container.does("sh", "-c", f"for tool in {' '.join(BUILD_TOOLS)}; do command -v $tool; done; true")
    assert found.stdout == ""
    assert container.does("python3", "-m", "pip", "--version").returncode != 0


async def test_the_packages_are_the_locked_ones_and_say_so(demo: tuple[Container, str]) -> None:
    """By their own metadata, which inventories read."""
    container, _ = demo
    told = json.loads(container.does("python3", "-c", _LIST).stdout)
    inside = {canonicalize_name(name): version for name, version in told.items()}
    assert inside.pop("genesys-cloud-exporter") == __version__
    pins = {name: {str(pin.specifier)[2:] for pin in some} for name, some in locked("requirements.txt").items()}
    assert [name for name, version in inside.items() if version not in pins.get(name, ())] == []
    always = {name for name, some in locked("requirements.txt").items() if any(pin.marker is None for pin in some)}
    assert always <= inside.keys()


def test_it_describes_itself(images: Images) -> None:
    config = images.described()
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["genesys-cloud-exporter"]
    assert config["Volumes"] == {"/var/lib/genesys-cloud-exporter": {}}
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Healthcheck"]["Test"] == ["CMD", "python3", "-m", "exporter.healthcheck"]


async def test_its_health_check_tells_a_healthy_exporter(demo: tuple[Container, str]) -> None:
    container, url = demo
    await ready(url)
    assert container.does("python3", "-m", "exporter.healthcheck").returncode == 0
    assert container.does("sh", "-c", "EXPORTER_PORT=1 python3 -m exporter.healthcheck").returncode == 1


async def test_it_stops_in_time_and_its_history_outlives_it(
    images: Images, volume: str, org: tuple[SimulatedOrg, dict[str, str]]
) -> None:
    _, variables = org
    port = free_port()
    kept = []
    for _ in range(2):
        with Container(images, volume=volume, EXPORTER_PORT=str(port), **variables) as container:
            await ready(f"http://127.0.0.1:{port}")
            await eventually(lambda: filled(port))
            began = time.monotonic()
            assert await asyncio.to_thread(container.stop) == 0
            assert time.monotonic() - began < 5
            found = _HOLDS.search(container.output())
            assert found
            kept.append(int(found[1]))
    assert kept[0] == 0
    assert kept[1] >= 90


async def filled(port: int) -> bool:
    """Whether the exporter on this port has a day's 96 buckets, or nearly."""
    _, body = await answered(f"http://127.0.0.1:{port}/metrics")
    found = re.search(rb"^genesys_exporter_history_buckets (\S+)$", body, re.MULTILINE)
    return found is not None and float(found[1]) >= 90


async def test_its_other_commands_work(images: Images, volume: str, org: tuple[SimulatedOrg, dict[str, str]]) -> None:
    _, variables = org
    with Container(images, "check", volume=volume, **variables) as container:
        code, output = await asyncio.to_thread(container.wait), container.output()
        assert code == 0, output
    with Container(images, "check", volume=volume, EXPORTER_PORT="abc") as container:
        assert await asyncio.to_thread(container.wait) == 2
        assert "EXPORTER_PORT" in container.output()


async def test_it_tells_what_its_own_export_would_have_raised(demo: tuple[Container, str]) -> None:
    container, url = demo
    await ready(url)
    fetch = f"import urllib.request as u; open('past.csv', 'wb').write(u.urlopen('{url}/export.csv?from=-7d').read())"
    assert container.does("python3", "-c", fetch).returncode == 0
    told = container.does("genesys-cloud-exporter", "backtest", "past.csv")
    assert told.returncode == 0, told.stderr
    assert "Support Hotline 24/7" in told.stdout
