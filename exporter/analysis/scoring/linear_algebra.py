"""Matrix products work in the thread that asks for them.

OpenBLAS, which NumPy brings, starts a thread for each processor once a product is large enough, where "enough" depends
on the processor. These threads wait for each other by spinning. A fit runs its own threads, each over matrices that fit
into a processor's cache; with the two kinds in each other's way, and other programs on the machine, it took ten to
thirty times as long. Set for the whole process and for good: who also runs large products in it gets one thread.
"""

from __future__ import annotations

import numpy  # noqa: F401 - its library can be told only once it is loaded
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


def one_thread() -> None:
    """Takes effect at once, whoever imported NumPy first; nothing happens where the library is another one."""
    ThreadpoolController().limit(limits=1, user_api="blas")
