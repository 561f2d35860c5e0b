"""`python -m exporter.healthcheck`: exit 0 while the exporter beside it answers /-/healthy, 1 otherwise.

For a container's HEALTHCHECK, which has no curl. It reads EXPORTER_HOST and EXPORTER_PORT from the environment, and
tries TLS where plain HTTP is not spoken: a web configuration may ask for it, and its certificate names another host.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

_TIMEOUT_SECONDS = 4.0

#: Where to reach an exporter that listens on all addresses (asyncio's IPv6 sockets serve no IPv4).
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def is_healthy(host: str, port: int) -> bool:
    """Whether the exporter that listens there says that it is healthy."""
    host = _LOOPBACK.get(host, host)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return any(
        _answers(connection)
        for connection in (
            http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS),
            http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context),
        )
    )


def _answers(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/-/healthy")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    healthy = is_healthy(os.environ.get("EXPORTER_HOST", ""), int(os.environ.get("EXPORTER_PORT") or 10_420))
    sys.exit(0 if healthy else 1)
