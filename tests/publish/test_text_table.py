"""Texts kept by number: always the right one, learnt little by little, and no more of them than there are slots."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.publish.kept import NO_CODE, TextTable


class Reader:
    """Reads texts of codes and counts how many had to be written."""

    def __init__(self, bits: int) -> None:
        self.table = TextTable(bits)
        self.written = 0

    def texts(self, codes: NDArray[np.int64]) -> list[bytes] | None:
        def write(rows: NDArray[np.intp]) -> list[bytes]:
            self.written += len(rows)
            return [b"<%d>" % code for code in codes[rows].tolist()]

        return self.table.of(codes, write)


def expected(codes: NDArray[np.int64]) -> list[bytes]:
    return [b"<%d>" % code for code in codes.tolist()]


@pytest.mark.parametrize("bits", [1, 4, 15])
@pytest.mark.parametrize("different", [3, 40, 5_000])
def test_a_text_is_that_of_its_code_or_there_is_none(bits: int, different: int) -> None:
    reader, rng = Reader(bits), np.random.default_rng(1)
    found = []
    for _ in range(60):
        codes = rng.integers(0, different, 300) * 1_000_003
        texts = reader.texts(codes)
        assert texts is None or texts == expected(codes)
        found.append(texts is not None)
    assert any(found) or different > 40 or bits < 15


def test_what_comes_again_is_not_written_again() -> None:
    reader, codes = Reader(10), np.arange(100, dtype=np.int64)
    while reader.texts(codes) is None:
        pass
    for _ in range(100):
        reader.texts(codes)
    before = reader.written
    assert reader.texts(codes) == expected(codes)
    assert reader.written == before < 1_500


def test_where_all_is_new_little_is_written_for_it() -> None:
    reader = Reader(10)
    for turn in range(50):
        assert reader.texts(np.arange(1_000, dtype=np.int64) + 1_000 * turn) is None
    assert reader.written < 50 * 50


def test_what_has_no_code_is_written_each_time() -> None:
    reader, codes = Reader(4), np.array([7, 7, 7, NO_CODE, 7], np.int64)
    names = iter(range(1_000))

    def write(rows: NDArray[np.intp]) -> list[bytes]:
        return [b"%d" % (next(names) if codes[row] == NO_CODE else -7) for row in rows]

    while (first := reader.table.of(codes, write)) is None:
        pass
    second = reader.table.of(codes, write)
    assert second is not None
    assert first[0] == second[0] == b"-7"
    assert first[3] != second[3]
