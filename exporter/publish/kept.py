"""Text that is made once per key and kept from one snapshot to the next: labels, JSON keys, CSV cells.

Names of 20,000 queues take a tenth of a second to escape, and almost never change; numbers change at every poll.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.models import IntColumn, Rows
from exporter.publish.filters import Index

Key = tuple[str, ...]

#: The code of what has none: its text is not kept.
NO_CODE = -1
_EMPTY = -2

#: Of so many rows one is learnt at most: where nearly all are new, keeping them costs more than it saves.
_LEARNT_OF = 32
#: 2^64 over the golden ratio: codes that are neighbours come to lie far apart (Knuth, volume 3, 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class KeptTexts:
    """A text per key, in the keys' order: kept whole while their owners are the same objects, else reused by key.

    Safe from several threads, as the kept state is one tuple, replaced whole.
    """

    def __init__(self, write: Callable[[Key], bytes]) -> None:
        self._write = write
        self._kept: tuple[tuple[object, ...], list[Key], list[bytes]] = ((), [], [])

    def of(self, owners: tuple[object, ...], keys: Callable[[], Iterable[Key]]) -> list[bytes]:
        """The texts of `keys()`, which is asked only when an owner is another object than last time."""
        kept_owners, kept_keys, kept_texts = self._kept
        if len(owners) == len(kept_owners) and all(a is b for a, b in zip(owners, kept_owners, strict=True)):
            return kept_texts
        known = dict(zip(kept_keys, kept_texts, strict=True))
        wanted, found = list(keys()), []
        for key in wanted:
            if (text := known.get(key)) is None:
                text = known[key] = self._write(key)
            found.append(text)
        self._kept = (owners, wanted, found)
        return found

    def of_rows(self, rows: Rows) -> list[bytes]:
        """The texts of (queue id, queue name, media type) of each row."""
        return self.of((rows,), lambda: row_keys(rows))


class TextTable:
    """A text per code, a number from 0 on: a slot for each code, in which the latest of those that share it stays.

    For one thread. Has 2^`bits` slots, however many codes there are; takes a third of the time of a dict.
    """

    def __init__(self, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._codes = np.full(1 << bits, _EMPTY, np.int64)
        self._texts = np.full(1 << bits, b"", object)

    def of(self, codes: IntColumn, write: Callable[[Index], list[bytes]]) -> list[bytes] | None:
        """The text of each code, None where most are not known; `write` makes the texts of some rows."""
        slots = (codes.view(np.uint64) * _SPREAD >> self._shift).view(np.int64)
        unknown = np.flatnonzero(self._codes[slots] != codes)
        learnt = unknown[: 1 + len(codes) // _LEARNT_OF]
        if 2 * len(unknown) > len(codes):
            self._learn(codes[learnt], slots[learnt], _objects(write(learnt)))
            return None
        found = self._texts[slots]
        if len(unknown):
            found[unknown] = written = _objects(write(unknown))
            self._learn(codes[learnt], slots[learnt], written[: len(learnt)])
        texts: list[bytes] = found.tolist()
        return texts

    def _learn(self, codes: IntColumn, slots: IntColumn, texts: NDArray[Any]) -> None:
        lasting = np.flatnonzero(codes != NO_CODE)
        self._codes[slots[lasting]] = codes[lasting]
        self._texts[slots[lasting]] = texts[lasting]


def _objects(texts: list[bytes]) -> NDArray[Any]:
    return np.array(texts, object)


def row_keys(rows: Rows) -> Iterable[Key]:
    """(queue id, queue name, media type) of each row, the order in which every format names them."""
    return ((key.queue_id, name, key.media_type) for key, name in zip(rows.keys, rows.names, strict=True))
