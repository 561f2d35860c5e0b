"""What a real Prometheus says that a scrape takes: ours, and nginx with the very same bytes, as two of its targets.

Comes in: a number of queues. Goes out: the median `scrape_duration_seconds` of both. Most of it is Prometheus' own work
on the bytes, and now and then, for either target, its own collection of garbage: an average would tell that.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import urllib.parse
from contextlib import ExitStack
from pathlib import Path

from bench.measuring import child, free_port, python_child
from bench.peers import others
from bench.scrape import OURS, ask

#: As Prometheus 2.42 asks.
ACCEPT = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5"
INTERVAL_SECONDS = 2
CONFIGURATION = """\
global: {{scrape_interval: {seconds}s}}
scrape_configs:
  - {{job_name: ours, static_configs: [{{targets: ["127.0.0.1:{ours}"]}}]}}
  - {{job_name: nginx, static_configs: [{{targets: ["127.0.0.1:{nginx}"]}}]}}
"""


def durations(queues: int, scrapes: int = 15) -> dict[str, float] | None:
    """Milliseconds by target; None, and a loud word, where Prometheus or nginx is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        others.missing("prometheus: apt-get install prometheus")
        return None
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        home = Path(place)
        ours, nginx, port = free_port(), free_port(), free_port()
        stack.enter_context(child(python_child("bench.peers.ours", ours, str(queues)), ours))
        headers = {"Accept": ACCEPT}
        packed = ask(ours, "/metrics", headers | {"Accept-Encoding": "gzip"})
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        command = others.nginx_command(home, nginx, ask(ours, "/metrics", headers), packed, kind)
        if command is None:
            return None
        stack.enter_context(child(command, nginx))
        (home / "prometheus.yml").write_text(CONFIGURATION.format(seconds=INTERVAL_SECONDS, ours=ours, nginx=nginx))
        options = [f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data", "--log.level=error"]
        stack.enter_context(child([program, f"--web.listen-address=127.0.0.1:{port}", *options], port))
        time.sleep(3 * INTERVAL_SECONDS)  # the first scrapes, which make the series, do not count
        seconds = scrapes * INTERVAL_SECONDS
        time.sleep(seconds)
        return {job: 1000 * _median(port, job, seconds) for job in (OURS, "nginx")}


def _median(port: int, job: str, seconds: int) -> float:
    query = f'quantile_over_time(0.5, scrape_duration_seconds{{job="{job}"}}[{seconds}s])'
    found = json.loads(ask(port, f"/api/v1/query?{urllib.parse.urlencode({'query': query})}"))["data"]["result"]
    return float(found[0]["value"][1])
