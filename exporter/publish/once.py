"""Values that are built in a worker thread when they are first asked for, and kept while their view lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from isal import isal_zlib

T = TypeVar("T")

_GZIP = 31  # zlib's window bits for a gzip header and trailer


class Once(Generic[T]):
    """Everyone who asks while it is being built waits for the same build; one who goes away does not stop it."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._task: asyncio.Task[T] | None = None

    async def get(self) -> T:
        if self._task is None:
            self._task = asyncio.create_task(asyncio.to_thread(self._build))
        return await asyncio.shield(self._task)


class Document:
    """Bytes, and the same compressed, each built once."""

    def __init__(self, build: Callable[[], bytes]) -> None:
        self._plain = Once(build)
        self._gzip: Once[bytes] | None = None

    async def get(self, *, gzip: bool) -> bytes:
        plain = await self._plain.get()
        if not gzip:
            return plain
        if self._gzip is None:
            self._gzip = Once(lambda: isal_zlib.compress(plain, 1, _GZIP))
        return await self._gzip.get()
