"""A real Prometheus and a real Alertmanager for a test: started in a folder of their own, ended with their context."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

ALERTMANAGER_CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"

PROMETHEUS_CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}/*.yml"]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: ["{target}"]}}]
"""


class Server:
    """A program that answers JSON on loopback."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self._log = log

    def get(self, path: str, **parameters: object) -> Any:
        """The answer's `data` where it has one; parameters are sent as a form."""
        form = urlencode(parameters).encode() if parameters else None
        try:
            with urlopen(f"http://{self.address}{path}", form, timeout=20) as answer:
                body = json.load(answer)
        except HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error
        return body["data"] if isinstance(body, dict) and "data" in body else body

    def ready(self) -> bool:
        with urlopen(f"http://{self.address}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    def wait(self, until: Callable[[], Any], seconds: float = 30.0) -> Any:
        """The first value of `until` that is something."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := until():
                    return found
            except (URLError, ConnectionError):
                pass
            assert time.monotonic() < deadline, self._log.read_text("utf-8")[-3000:]
            time.sleep(0.1)


@contextmanager
def started(program: str, folder: Path, *options: str) -> Iterator[Server]:
    """`program` at work on a free port, ready; both programs take the same option for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = folder / f"{Path(program).name}.log"
    with log.open("wb") as output:
        command = [program, f"--web.listen-address={address}", *options]
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        server = Server(address, log)
        server.wait(server.ready)
        yield server
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def alertmanager(program: str, folder: Path) -> Iterator[Server]:
    config = folder / "alertmanager.yml"
    config.write_text(ALERTMANAGER_CONFIG, "utf-8")
    options = (f"--config.file={config}", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address=")
    with started(program, folder, *options) as server:
        yield server


@contextmanager
def prometheus(program: str, folder: Path, **settings: object) -> Iterator[Server]:
    """`settings` fill PROMETHEUS_CONFIG; blocks that stand in folder/data are its past."""
    config = folder / "prometheus.yml"
    config.write_text(PROMETHEUS_CONFIG.format(**settings), "utf-8")
    options = (
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=1d",
        # Alerts of the first seconds find no Alertmanager yet; they are sent again after this.
        "--rules.alert.resend-delay=1s",
    )
    with started(program, folder, *options) as server:
        yield server


Sample = tuple[Mapping[str, str], list[float]]


def queried(server: Server, expr: str, *, instant: bool, seconds: int = 7200) -> list[Sample]:
    """What an expression gives now, or at every minute of the last two hours: labels and values."""
    now = time.time()
    if instant:
        found = server.get("/api/v1/query", query=expr, time=now)["result"]
    else:
        found = server.get("/api/v1/query_range", query=expr, start=now - seconds, end=now, step=60)["result"]
    return [(each["metric"], [float(value) for _, value in each.get("values") or [each["value"]]]) for each in found]
