"""Text that is made once per key and kept from one snapshot to the next: labels, JSON keys, CSV cells.

Names of 20,000 queues take a tenth of a second to escape, and almost never change; numbers change at every poll.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exporter.models import Rows

Key = tuple[str, ...]


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
        wanted = list(keys())
        found = [known.get(key) or self._write(key) for key in wanted]
        self._kept = (owners, wanted, found)
        return found

    def of_rows(self, rows: Rows) -> list[bytes]:
        """The texts of (queue id, queue name, media type) of each row."""
        return self.of((rows,), lambda: row_keys(rows))


def row_keys(rows: Rows) -> Iterable[Key]:
    """(queue id, queue name, media type) of each row, the order in which every format names them."""
    return ((key.queue_id, name, key.media_type) for key, name in zip(rows.keys, rows.names, strict=True))
