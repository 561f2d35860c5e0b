"""Whether the exporter is open to others than this machine, or lets secrets cross a network in the clear.

In: the address to listen on, and the guard. Out: one line for the log where an operator should think twice, or None.
"""

from __future__ import annotations

import ipaddress
import ssl

from exporter.publish.access import Access


def exposure(host: str, guard: Access | None) -> str | None:
    """The one thing to be said about listening on `host` behind `guard`."""
    if _is_loopback(host):
        return None
    web, access = (guard.web_config, guard.access_config) if guard else (None, None)
    tls = web.tls if web else None
    secrets = bool(web and web.users) or bool(access and access.tokens)
    if not secrets and not access and not (tls and tls.client_auth is ssl.CERT_REQUIRED):
        return (
            f"EXPORTER_HOST: whoever can reach {host} may read everything; name users or client certificates in"
            " EXPORTER_WEB_CONFIG, or tokens in EXPORTER_ACCESS_CONFIG, or listen on 127.0.0.1"
        )
    if secrets and not tls:
        return (
            f"EXPORTER_HOST: passwords and tokens are sent unencrypted to {host}; write tls_server_config into"
            " EXPORTER_WEB_CONFIG, or listen on 127.0.0.1 behind a proxy that speaks TLS"
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
