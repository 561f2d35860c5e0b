"""A real Redis for a test, which may die, fall asleep and come back empty, and a wire to it that may be cut.

`RedisServer` is the program on a free port, with nothing on disk. `Wire` is a TCP proxy in the test's loop: the way of
one replica to Redis, which the test cuts and mends.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

_CHUNK_BYTES = 1 << 16


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _command(*words: str) -> bytes:
    parts = (f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{''.join(parts)}".encode()


class RedisServer:
    """`program` at work; leaving the context kills it."""

    def __init__(self, program: str, folder: Path, password: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._program, self._folder, self._password = program, folder, password
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Begin, empty, on the same port as before, and wait until it answers."""
        options = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--requirepass",
            self._password,
        ]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [self._program, *options, "--dir", str(self._folder)], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "redis.log").read_text("utf-8")
            time.sleep(0.02)

    def ask(self, *words: str) -> bytes:
        """The raw answer to one command, such as `ask("DBSIZE")`: its first 64 kB."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            client.sendall(_command("AUTH", self._password))
            assert client.recv(_CHUNK_BYTES) == b"+OK\r\n"
            client.sendall(_command(*words))
            return client.recv(_CHUNK_BYTES)

    def pause(self) -> None:
        """It keeps its connections and answers nobody."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _answers(self) -> bool:
        assert self._running().poll() is None, (self._folder / "redis.log").read_text("utf-8")
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False


class Wire:
    """A way to `port` of this machine that can be cut: `async with Wire(port) as wire`, then `wire.port`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._refusing = False
        self._open.set()
        self.port = 0

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def cut(self, *, silent: bool) -> None:
        """Nothing passes any more; where that is not `silent`, connections break and new ones break at once."""
        self._open.clear()
        self._refusing = not silent
        if not silent:
            for task in self._passing:
                task.cancel()

    def mend(self) -> None:
        self._refusing = False
        self._open.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            if not self._refusing:
                await self._open.wait()
                back, there = await asyncio.open_connection("127.0.0.1", self._target)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, there))
                    group.create_task(self._pump(back, writer))
        except (OSError, ExceptionGroup):
            pass
        except asyncio.CancelledError:  # cut: the connection breaks, the test goes on
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()
            self._passing.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
