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

    @property
    def made(self) -> T | None:
        """The value where it is there already."""
        task = self._task
        return task.result() if task and task.done() and not task.cancelled() and not task.exception() else None

    async def get(self) -> T:
        if self._task is None:
            self._task = asyncio.create_task(asyncio.to_thread(self._build))
        return await asyncio.shield(self._task)


class Document:
    """Bytes, and the same compressed, each made once. While nobody asks for the bytes themselves they are not kept:
    they are ten times as large."""

    def __init__(self, build: Callable[[], bytes]) -> None:
        self._build = build
        self._plain: Once[bytes] | None = None
        self._packed: Once[bytes] | None = None

    async def get(self, *, gzip: bool) -> bytes:
        return await (self._gzip() if gzip else self._text()).get()

    def _text(self) -> Once[bytes]:
        if self._plain is None:
            packed = self._packed.made if self._packed else None
            self._plain = Once(self._build if packed is None else lambda: isal_zlib.decompress(packed, _GZIP))
        return self._plain

    def _gzip(self) -> Once[bytes]:
        if self._packed is None:
            build, plain = self._build, self._plain.made if self._plain else None  # not self: that would be a cycle
            self._packed = Once(lambda: isal_zlib.compress(build() if plain is None else plain, 1, _GZIP))
        return self._packed
