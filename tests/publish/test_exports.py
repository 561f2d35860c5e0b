"""Walks through the history: in a thread of their own, one chunk ahead, ended when nobody reads on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import aclosing

import pytest

from exporter.publish.exports import MAX_EXPORTS, Busy, Exports, walked


class Walk:
    """Chunks with their number, and a memory of who asked for them."""

    def __init__(self, chunks: int = 10_000, fail_at: int = -1) -> None:
        self.chunks = chunks
        self.fail_at = fail_at
        self.made = 0
        self.threads: set[int] = set()
        self.ahead = threading.Event()
        self.closed = threading.Event()

    def __call__(self) -> Generator[bytes, None, None]:
        try:
            for number in range(self.chunks):
                self.threads.add(threading.get_ident())
                if number == self.fail_at:
                    raise OSError("the disk is gone")
                self.made += 1
                if self.made == 2:
                    self.ahead.set()
                yield b"%d" % number
        finally:
            self.threads.add(threading.get_ident())
            self.closed.set()


async def test_all_chunks_come_in_order_from_one_thread_that_is_not_the_loops() -> None:
    walk = Walk(100)
    assert [chunk async for chunk in walked(walk)] == [b"%d" % number for number in range(100)]
    assert walk.closed.is_set()
    assert len(walk.threads) == 1
    assert threading.get_ident() not in walk.threads


async def test_a_slow_reader_finds_one_chunk_made_ahead_and_no_more() -> None:
    walk = Walk()
    async with aclosing(walked(walk)) as chunks:
        async for chunk in chunks:
            if chunk == b"5":
                await asyncio.to_thread(walk.closed.wait, 0.05)
                break
    assert walk.made <= 7


async def test_a_reader_that_leaves_ends_the_walk_in_its_thread() -> None:
    walk = Walk()
    async with aclosing(walked(walk)) as chunks:
        async for _ in chunks:
            assert await asyncio.to_thread(walk.ahead.wait, 5)
            break
    assert await asyncio.to_thread(walk.closed.wait, 5)
    assert len(walk.threads) == 1


async def test_a_walk_that_fails_tells_its_reader() -> None:
    with pytest.raises(OSError, match="disk"):
        _ = [chunk async for chunk in walked(Walk(fail_at=3))]


def test_there_are_so_many_places_and_each_is_given_back() -> None:
    exports = Exports()
    with pytest.raises(RuntimeError, match="broke off"):
        _hold(exports, MAX_EXPORTS)
    with pytest.raises(Busy):
        _hold(exports, MAX_EXPORTS + 1)


def _hold(exports: Exports, places: int) -> None:
    if not places:
        raise RuntimeError("broke off")
    with exports.place():
        _hold(exports, places - 1)
