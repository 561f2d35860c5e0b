"""How the interpreter and the C library share the machine with what the exporter does: set once, before anything else.

In: nothing. Out: nothing; what cannot be set on this system stays as it is. Measured by bench/ at 20,000 queues, where
a poll works in threads beside the event loop: without this the loop stood still for a tenth of a second at each full
garbage collection, and memory that a poll had used and given back stayed with the process.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from functools import cache

#: A worker thread lets the event loop in after this time, not after the interpreter's 5 ms.
SWITCH_SECONDS = 0.001

#: Collections look for cycles, of which polls make next to none: rarely, and hardly ever among all objects.
COLLECT_AFTER = (10_000, 20, 100)

#: glibc's mallopt(3): no heap of its own for every thread, and large blocks straight from the system and back to it.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
MALLOC = ((_ARENA_MAX, 2), (_MMAP_THRESHOLD, 1 << 20), (_TRIM_THRESHOLD, 4 << 20))


def settle() -> None:
    """Takes effect on everything that is allocated or started later."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*COLLECT_AFTER)
    if (mallopt := _of_libc("mallopt")) is not None:
        for option, value in MALLOC:
            mallopt(option, value)


def keep_what_is_there() -> None:
    """What lives now will live on: later collections pass over it."""
    gc.freeze()


def give_back() -> None:
    """Memory that is free, but stands between what is not, goes back to the system. Takes milliseconds."""
    if (trim := _of_libc("malloc_trim")) is not None:
        trim(0)


@cache
def _of_libc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where another library stands in its place."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found
