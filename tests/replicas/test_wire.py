"""What one replica writes another reads back, to the last bit; whatever else stands there is refused in one way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.models import BUCKET_COUNTS, BucketBatch, Directory, Queue, SeriesKey
from exporter.replicas import wire
from exporter.replicas.frames import MAX_BYTES, FrameError, pack, unpack
from tests.publish.samples import org_scores, snapshot

SNAPSHOT = snapshot(org_scores=org_scores())
DECODERS: dict[str, Callable[[bytes], object]] = {
    "snapshot": wire.snapshot_of,
    "readings": wire.readings_of,
    "directory": wire.directory_of,
    "bucket": wire.bucket_of,
}


def assert_same(one: Any, other: Any) -> None:
    """Equal in every field, arrays bit by bit."""
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    elif is_dataclass(one):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    else:
        assert one == other


def test_a_snapshot_comes_back_as_it_was() -> None:
    assert_same(SNAPSHOT, wire.snapshot_of(wire.snapshot_bytes(SNAPSHOT)))


def test_rows_and_queues_that_stayed_the_same_are_the_same_objects() -> None:
    again = wire.snapshot_of(wire.snapshot_bytes(SNAPSHOT), SNAPSHOT)
    assert again.rows is SNAPSHOT.rows
    assert again.queues is SNAPSHOT.queues


def test_readings_that_were_never_had_come_back_as_none() -> None:
    assert_same(wire.Readings(None, None), wire.readings_of(wire.readings_bytes(wire.Readings(None, None))))


def test_a_directory_comes_back_with_targets() -> None:
    directory = Directory({"q1": Queue("q1", "Sales", "Home", {"voice": 0.8}), "q2": Queue("q2", "Ünïcode", None)})
    assert wire.directory_of(wire.directory_bytes(directory)).queues == directory.queues


counts = st.lists(st.integers(0, 2**40), min_size=3, max_size=3)


@given(st.fixed_dictionaries(dict.fromkeys(BUCKET_COUNTS, counts)))
@settings(max_examples=50, deadline=None)
def test_a_bucket_comes_back_without_the_series_that_are_silent_in_it(columns: dict[str, list[int]]) -> None:
    keys = tuple(SeriesKey(f"q{n}", "voice") for n in range(3))
    arrays = {name: np.array([column], np.int64) for name, column in columns.items()}
    batch = BucketBatch(900, np.array([900], np.int64), keys, arrays, {"q0": "Sales"})
    back = wire.bucket_of(wire.bucket_bytes(batch, 0))
    heard = [n for n in range(3) if any(column[n] for column in columns.values())]
    assert back.keys == tuple(keys[n] for n in heard)
    assert back.starts.tolist() == [900]
    assert {name: column[0].tolist() for name, column in back.counts.items()} == {
        name: [column[n] for n in heard] for name, column in columns.items()
    }


@pytest.mark.parametrize("kind", DECODERS)
@given(data=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_garbage_is_a_frame_error(kind: str, data: bytes) -> None:
    for each in (data, zstandard.compress(data)):
        with pytest.raises(FrameError):
            DECODERS[kind](each)


heads = st.recursive(st.none() | st.integers(-(2**63), 2**63) | st.text(), st.lists, max_leaves=5)


@pytest.mark.parametrize("kind", DECODERS)
@given(head=st.dictionaries(st.sampled_from(["id", "start", "window", "observations", "keys", "queues"]), heads))
@settings(max_examples=100, deadline=None)
def test_a_frame_of_anything_else_is_a_frame_error_at_the_most(kind: str, head: dict[str, Any]) -> None:
    with suppress(FrameError):
        DECODERS[kind](pack(kind, head, {}))


@pytest.mark.parametrize("flipped", range(0, 4000, 97))
def test_a_snapshot_with_a_flipped_byte_is_refused(flipped: int) -> None:
    data = bytearray(wire.snapshot_bytes(SNAPSHOT))
    data[flipped % len(data)] ^= 0x40
    with pytest.raises(FrameError):
        wire.snapshot_of(bytes(data))


def test_a_frame_of_another_version_or_kind_is_refused() -> None:
    with pytest.raises(FrameError, match="kind"):
        unpack("snapshot", pack("bucket", {}, {}))
    text = orjson.dumps({"version": 0, "kind": "snapshot", "layout": [], "head": {}})
    with pytest.raises(FrameError, match="version 0"):
        unpack("snapshot", zstandard.compress(len(text).to_bytes(4, "little") + text))


@pytest.mark.parametrize(
    "layout",
    [
        [["x", "<f8", [-1]]],
        [["x", "<f8", [2**40]]],
        [["x", "|O", [1]]],
        [["x", "<U9", [1]]],
        [["x", "<f8", [1]]],
        [[1]],
    ],
)
def test_a_layout_that_does_not_fit_its_bytes_is_refused(layout: list[Any]) -> None:
    text = orjson.dumps({"version": 1, "kind": "snapshot", "layout": layout, "head": {}})
    with pytest.raises(FrameError):
        unpack("snapshot", zstandard.compress(len(text).to_bytes(4, "little") + text + b"1234"))


def test_a_forged_length_costs_no_memory() -> None:
    bomb = zstandard.compress(bytes(1 << 20))
    forged = bytearray(bomb)
    assert zstandard.frame_content_size(bomb) == 1 << 20
    forged[5:9] = (MAX_BYTES + 1).to_bytes(4, "little")
    with pytest.raises(FrameError):
        unpack("snapshot", bytes(forged))
