"""A scraper that costs next to nothing: one connection, raw socket, bytes read into one buffer and counted."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Scraper:
    """Asks one address again and again over one connection."""

    def __init__(self, port: int, *, gzip: bool, openmetrics: bool = False, path: str = "/metrics") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        encoding = "gzip" if gzip else "identity"
        accept = OPENMETRICS if openmetrics else "text/plain"
        lines = (f"GET {path} HTTP/1.1", "Host: bench", f"Accept: {accept}", f"Accept-Encoding: {encoding}")
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self._buffer = bytearray(1 << 20)

    def scrape(self) -> tuple[float, int]:
        """Seconds that it took, and bytes of the body."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._more()
        headers, _, body = head.partition(b"\r\n\r\n")
        if not headers.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(headers[:80])
        length = self._length(headers.lower())
        size = self._rest(len(body), length) if length is not None else self._chunked(body)
        return time.perf_counter() - began, size

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        got = self._socket.recv_into(self._buffer)
        if not got:
            raise ConnectionError("the server hung up")
        return bytes(self._buffer[:got])

    @staticmethod
    def _length(headers: bytes) -> int | None:
        for line in headers.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return int(line[15:])
        return None

    def _rest(self, size: int, length: int) -> int:
        while size < length:
            got = self._socket.recv_into(self._buffer)
            if not got:
                raise ConnectionError("the server hung up")
            size += got
        return size

    def _chunked(self, body: bytes) -> int:
        size, end = len(body), body[-5:]
        while end != b"0\r\n\r\n":
            more = self._more()
            size, end = size + len(more), (end + more)[-5:]
        return size


def scraped(scrapers: list[Scraper]) -> list[float]:
    """All at once; seconds of each."""
    if len(scrapers) == 1:
        return [scrapers[0].scrape()[0]]
    with ThreadPoolExecutor(len(scrapers)) as pool:
        return [seconds for seconds, _ in pool.map(Scraper.scrape, scrapers)]
