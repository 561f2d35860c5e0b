"""Where the other replicas find this one, as it is told to them through Redis."""

from __future__ import annotations

import pytest

from exporter.replicas.peers import reachable_url

REDIS = "redis://exporter:secret@{}:6379/0"


@pytest.mark.parametrize("host", ["10.1.2.3", "exporter-0.example", "::1"])
def test_an_exporter_with_an_address_of_its_own_is_found_there(host: str) -> None:
    url = "https://exporter-0.example:10420"
    assert reachable_url(url, host, REDIS.format("127.0.0.1")) == url


def test_who_listens_on_all_addresses_is_found_at_the_one_that_faces_redis() -> None:
    # Loopback networks are the only ones that every machine has: 127.0.0.0/8 is reached from 127.0.0.1.
    found = reachable_url("https://127.0.0.1:10420", "0.0.0.0", REDIS.format("127.9.9.9"))  # noqa: S104
    assert found == "https://127.0.0.1:10420"


def test_no_address_is_told_while_redis_has_no_name() -> None:
    """It would be this machine's own to whoever reads it, and each would ask itself."""
    assert reachable_url("http://127.0.0.1:10420", "0.0.0.0", REDIS.format("no-such-host.invalid")) == ""  # noqa: S104


@pytest.mark.parametrize(("host", "redis"), [("0.0.0.0", "[::1]"), ("::", "127.0.0.1")])  # noqa: S104
def test_an_address_that_is_not_listened_on_is_not_told(host: str, redis: str) -> None:
    assert reachable_url("http://127.0.0.1:10420", host, REDIS.format(redis)) == ""


def test_replicas_that_share_a_socket_are_on_one_machine() -> None:
    url = "http://127.0.0.1:10420"
    assert reachable_url(url, "0.0.0.0", "unix:///run/redis.sock") == url  # noqa: S104
