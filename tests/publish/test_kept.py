"""Texts that are kept: one for each key, as small as it is."""

from __future__ import annotations

import tracemalloc

import numpy as np

from exporter.models import Queue, Rows, SeriesKey
from exporter.publish.filters import ALL
from exporter.publish.json_rows import RowWriter
from exporter.publish.kept import KeptTexts, Key
from exporter.publish.shown import Shown
from tests.publish.samples import snapshot


def test_a_text_is_written_once_for_all_that_have_its_key_and_kept_while_they_change_their_places() -> None:
    written: list[Key] = []

    def write(key: Key) -> bytes:
        written.append(key)
        return b"" if key == ("",) else f"text of {key[0]}".encode()

    kept = KeptTexts(write)
    first = kept.of(("one",), lambda: [("a",), ("b",), ("a",), ("",), ("",)])
    assert first == [b"text of a", b"text of b", b"text of a", b"", b""]
    assert first[0] is first[2]
    later = kept.of(("two",), lambda: [("b",), ("c",), ("a",)])
    assert later == [b"text of b", b"text of c", b"text of a"]
    assert written == [("a",), ("b",), ("",), ("c",)]
    assert kept.of(("two",), list) is later


def test_the_texts_of_many_rows_take_little_more_memory_than_their_letters() -> None:
    queues = 2_000
    rows = Rows(tuple(SeriesKey(f"q{n}", "voice") for n in range(queues)), ("Sales",) * queues)
    listed = tuple(Queue(f"q{n}", "Sales", f"Division {n}") for n in range(queues))
    shown = Shown(snapshot(rows=rows, columns={"offered": np.ones(queues)}, scores=None, queues=listed), frozenset())
    writer, everything = RowWriter(), ALL.select(rows, np.zeros(queues))
    tracemalloc.start()
    try:
        writer.metrics(shown, everything)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 700 * queues
