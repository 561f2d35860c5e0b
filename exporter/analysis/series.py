"""Every series that history knows: its position in the packed columns, its queue's name, its totals.

Comes in: keys, names, and by how much each closed bucket changed the counts. Goes out: positions, and the counters
that are published. A position is given once and stays: bytes on disk are read by it; it is free again when no kept
bucket holds a contact of its series. A counter is the highest value that the sum of all merged buckets ever had: a late
correction downward makes it wait, never fall. Not thread-safe; `history` takes care of that.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.analysis.codec import DamagedError, Packed, pack, trim, unpack
from exporter.analysis.store import SeriesRow
from exporter.models import Flags, IntColumn, SeriesKey

#: The counts that are also published as counters.
COUNTERS = ("offered", "abandoned", "sla_breached")

#: `last_contact` of a series without any.
NEVER = -1


class SeriesTable:
    """Keys by position and back. `last_contact` is the start of the newest bucket with a contact, or later than it
    where a correction took that contact away; a bucket whose counts were lost may have held one."""

    def __init__(self) -> None:
        self._positions: dict[SeriesKey, int] = {}
        self._keys: list[SeriesKey | None] = []
        self._names: list[str] = []
        self._told: Mapping[str, str] = {}  # queue names as last told, for series that come later
        self._free: list[int] = []
        self._running = np.zeros((len(COUNTERS), 0), np.int64)
        self._peak = np.zeros((len(COUNTERS), 0), np.int64)
        self.last_contact = np.zeros(0, np.int64)
        self._unsaved: set[int] = set()
        self.revision = 0  # grows when a series or a name comes or goes

    def __len__(self) -> int:
        """Length of a packed column: the highest position ever in use, plus one."""
        return len(self._keys)

    def known(self) -> Iterator[tuple[int, SeriesKey, str]]:
        """Position, key and queue name ("" = unknown) of every series."""
        return ((i, key, self._names[i]) for i, key in enumerate(self._keys) if key is not None)

    def key(self, position: int) -> SeriesKey:
        """The series at a position in use."""
        key = self._keys[position]
        if key is None:
            raise KeyError(position)
        return key

    def positions(self, keys: Sequence[SeriesKey]) -> IntColumn:
        """Position of each key, -1 where it is unknown."""
        return np.fromiter(map(self._positions.get, keys, repeat(-1)), np.int64, len(keys))

    def admit(self, keys: Sequence[SeriesKey], some: IntColumn) -> IntColumn:
        """Position of each of the keys at the places `some`; unknown ones get one."""
        positions = self.positions(keys)
        for each in some[positions[some] < 0].tolist():
            positions[each] = self._add(keys[each])
        self._extend()
        return positions[some]

    def of_other_queues(self, about: Container[str] | None) -> Flags:
        """By position, the series whose queues are not among these; none where all queues are meant."""
        if about is None:
            return np.zeros(len(self._keys), bool)
        return np.array([key is not None and key.queue_id not in about for key in self._keys], bool)

    def name(self, names: Mapping[str, str]) -> bool:
        """Takes over queue names by queue id; tells whether any changed."""
        self._told = names or self._told
        changed = [i for i, key, old in self.known() if names.get(key.queue_id, old) != old] if names else []
        for position in changed:
            self._names[position] = names[self.key(position).queue_id]
        self._unsaved.update(changed)
        self.revision += bool(changed)
        return bool(changed)

    def count(self, positions: IntColumn | slice, counts: Mapping[str, NDArray[Any]], sign: int = 1) -> None:
        """Adds a bucket's counts to the sums, or takes them off again; a later `settle` moves the counters."""
        for total, name in zip(self._running, COUNTERS, strict=True):
            if name in counts:
                total[positions] += sign * counts[name].astype(np.int64)

    def touch(self, positions: IntColumn, counts: Mapping[str, NDArray[Any]], start: int) -> None:
        """Notes the contacts of the bucket that starts at `start`."""
        contact = positions[np.any([column > 0 for column in counts.values()], axis=0)] if counts else positions[:0]
        self.keep_alive(contact, start)

    def keep_alive(self, positions: IntColumn, start: int) -> None:
        """These series had a contact in the bucket that starts at `start`, or may have had."""
        self.last_contact[positions] = np.maximum(self.last_contact[positions], start)

    def settle(self) -> None:
        """Lets the counters follow the sums, upward only."""
        np.maximum(self._peak, self._running, out=self._peak)

    def counters(self, keys: Sequence[SeriesKey]) -> dict[str, IntColumn]:
        """Counter values by name of COUNTERS; 0 for a series that no bucket has told of yet."""
        positions = self.positions(keys)
        if not len(self):
            return {name: np.zeros(len(keys), np.int64) for name in COUNTERS}
        return {
            name: np.where(positions >= 0, row[positions], 0) for name, row in zip(COUNTERS, self._peak, strict=True)
        }

    def raise_to(self, keys: Sequence[SeriesKey], totals: Mapping[str, NDArray[Any]]) -> None:
        """Raises sums and counters so that no counter is below `totals` (NaN: leave it); later changes add to that."""
        positions = self.positions(keys)
        known = positions >= 0
        for row, name in enumerate(COUNTERS):
            if name in totals:
                wanted = np.nan_to_num(totals[name][known]).astype(np.int64)
                more = np.maximum(wanted - self._peak[row, positions[known]], 0)
                self._peak[row, positions[known]] += more
                self._running[row, positions[known]] += more

    def expire(self, oldest_start: int, needed: IntColumn) -> list[int]:
        """Forgets the series without a contact since `oldest_start`, except `needed` ones; returns their positions.

        They are given out again only after `release`: the file must have forgotten them first.
        """
        old = self.last_contact < oldest_start
        old[needed] = False
        expired = [i for i in np.flatnonzero(old).tolist() if self._keys[i] is not None]
        for position in expired:
            del self._positions[self.key(position)]
            self._keys[position], self._names[position] = None, ""
        self._running[:, expired] = self._peak[:, expired] = 0
        self.last_contact[expired] = NEVER
        self._unsaved.difference_update(expired)
        self.revision += bool(expired)
        return expired

    def release(self, expired: Iterable[int]) -> None:
        """These positions may be given to other series."""
        self._free.extend(expired)

    def unsaved(self) -> list[SeriesRow]:
        """The rows that the file lacks or has under an older name."""
        return [SeriesRow(i, *self.key(i), self._names[i]) for i in sorted(self._unsaved)]

    def saved(self, rows: Iterable[SeriesRow]) -> None:
        """`rows` are in the file now; one that was renamed meanwhile is not."""
        self._unsaved.difference_update(row.position for row in rows if self._names[row.position] == row.queue_name)

    def unsave(self) -> None:
        """The file has lost everything."""
        self._unsaved = set(self._positions.values())

    def pack_totals(self) -> Packed:
        """Totals and last contacts as bytes."""
        columns: dict[str, NDArray[Any]] = {"last": self.last_contact - NEVER}
        for name, running, peak in zip(COUNTERS, self._running, self._peak, strict=True):
            columns |= {name: running, f"{name}_ahead": peak - running}
        return pack(trim(columns))

    def load(self, rows: Sequence[SeriesRow], totals: Packed | None) -> None:
        """Fills an empty table from the file; DamagedError where its parts contradict each other."""
        length = max((row.position for row in rows), default=-1) + 1
        self._keys, self._names = [None] * length, [""] * length
        for position, queue_id, media_type, name in rows:
            key = SeriesKey.of(queue_id, media_type)
            self._keys[position], self._names[position], self._positions[key] = key, intern(name), position
        self._free = [position for position, key in enumerate(self._keys) if key is None]
        self._extend()
        if totals is not None:
            self._load_totals(unpack(totals), totals.length)

    def _load_totals(self, columns: Mapping[str, NDArray[Any]], length: int) -> None:
        if length > len(self):
            raise DamagedError(f"totals of {length} series, but {len(self)} are known")
        try:
            self.last_contact[:length] = columns["last"].astype(np.int64) + NEVER
            for row, name in enumerate(COUNTERS):
                self._running[row, :length] = columns[name]
                self._peak[row, :length] = self._running[row, :length] + columns[f"{name}_ahead"].astype(np.int64)
        except KeyError as error:
            raise DamagedError(f"totals lack {error}") from error
        if any(self._keys[position] is None for position in np.flatnonzero(self.last_contact != NEVER).tolist()):
            raise DamagedError("totals speak of series that are not known")

    def _add(self, key: SeriesKey) -> int:
        if self._free:
            position = self._free.pop()
            self._keys[position], self._names[position] = key, self._told.get(key.queue_id, "")
        else:
            position = len(self._keys)
            self._keys.append(key)
            self._names.append(self._told.get(key.queue_id, ""))
        self._positions[key] = position
        self._unsaved.add(position)
        self.revision += 1
        return position

    def _extend(self) -> None:
        """Grows the arrays to the number of positions."""
        more = len(self) - len(self.last_contact)
        if more > 0:
            self._running = np.pad(self._running, ((0, 0), (0, more)))
            self._peak = np.pad(self._peak, ((0, 0), (0, more)))
            self.last_contact = np.pad(self.last_contact, (0, more), constant_values=NEVER)
