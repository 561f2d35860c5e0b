"""Whether a file fits into memory, told before it fills it.

Comes in: bytes that are needed. Goes out: nothing, or a BacktestError in words of a user. Where the system does not
tell what is free, nothing is refused.
"""

from __future__ import annotations

from pathlib import Path

from exporter.analysis.backtest.opening import BacktestError

GIGABYTE = 1e9
#: A row while it is read (28), copied into its bucket (up to 16), and sorted out (12); found by measuring.
ROW_BYTES, CELL_BYTES = 56, 12
#: Smaller needs are not looked at.
SMALL_BYTES = 256 * 1024**2

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def require_room(needed_bytes: float, what: str, free_bytes: float | None = None) -> None:
    """Refuses what does not fit; `free_bytes` None = ask the system."""
    if needed_bytes <= SMALL_BYTES:
        return
    free = free_bytes if free_bytes is not None else free_memory()
    if free is not None and needed_bytes > free:
        raise BacktestError(
            f"{what} need about {needed_bytes / GIGABYTE:.1f} GB of memory and {free / GIGABYTE:.1f} GB are free:"
            " export a shorter time, or some of the queues (/export.csv?queue=…)"
        )


def free_memory() -> float | None:
    """Bytes that can be used, of the machine and of the container; None = unknown."""
    known = [free for free in (_of_the_machine(_MEMINFO), _of_the_container(_CGROUP)) if free is not None]
    return min(known, default=None)


def _of_the_machine(meminfo: Path) -> float | None:
    try:
        lines = meminfo.read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _of_the_container(folder: Path) -> float | None:
    try:
        limit, used = (float((folder / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # "max" where there is no limit
        return None
    return limit - used
