"""A real Redis for each test of what stands in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from exporter.replicas.shared import Shared
from tests.end_to_end.redis_server import RedisServer

PASSWORD = "s3cret-of-redis"


@pytest.fixture(scope="session")
def server(require_server: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(require_server("redis-server"), tmp_path_factory.mktemp("redis"), PASSWORD) as server:
        yield server


@pytest.fixture
async def open_shared(server: RedisServer) -> AsyncIterator[Callable[..., Shared]]:
    """One replica's view of an empty Redis, by the name of its owner."""
    server.ask("CONFIG", "SET", "maxmemory", "0")
    server.ask("FLUSHALL")
    async with AsyncExitStack() as stack:

        def opened(owner: str, *, password: str = PASSWORD) -> Shared:
            url = f"redis://:{password}@127.0.0.1:{server.port}/0"
            shared = Shared(url, "scope", owner, timeout_seconds=5.0, data_seconds=86_400)
            stack.push_async_callback(shared.close)
            return shared

        yield opened
