"""Commands of the peers that are not Python; None, and a loud word, where one is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NGINX = """
daemon off; master_process off; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; default_type '{kind}'; tcp_nodelay on; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{ listen 127.0.0.1:{port}; root {home}/www; gzip_static on; }}
}}
"""


def missing(what: str) -> None:
    sys.stderr.write(f"\n*** SKIPPED: {what} ***\n\n")


def go_binary(home: Path) -> str | None:
    """The Go exporter, built with Debian's golang-go and golang-github-prometheus-client-golang-dev."""
    if not shutil.which("go") or not Path("/usr/share/gocode/src/github.com/prometheus/client_golang").is_dir():
        missing("client_golang: apt-get install golang-go golang-github-prometheus-client-golang-dev")
        return None
    home.mkdir(parents=True, exist_ok=True)
    target = home / "client_golang"
    if not target.exists():
        settings = {
            "GO111MODULE": "off",
            "GOPATH": "/usr/share/gocode",
            "GOFLAGS": "",
            "GOCACHE": str(home / "gocache"),
        }
        source = str(HERE / "client_golang" / "main.go")
        subprocess.run(["go", "build", "-o", str(target), source], check=True, env={**os.environ, **settings})
    return str(target)


def nginx_command(home: Path, port: int, plain: bytes, packed: bytes, kind: str = "text/plain") -> list[str] | None:
    """nginx with our own bytes as /metrics, `packed` for those who accept gzip."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        missing("nginx: apt-get install nginx-light")
        return None
    (home / "www").mkdir(parents=True, exist_ok=True)
    (home / "www" / "metrics").write_bytes(plain)
    (home / "www" / "metrics.gz").write_bytes(packed)
    configuration = home / "nginx.conf"
    configuration.write_text(NGINX.format(home=home, port=port, kind=kind))
    return [nginx, "-p", str(home), "-c", str(configuration)]
