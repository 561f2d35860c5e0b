"""A Snapshot as Prometheus reads it: text 0.0.4 and OpenMetrics 1.0, each with its gzip, made once per snapshot.

In comes a Snapshot and the datasets that are fresh; out go two `Body` values. Both formats hold the same sample
lines and differ in their metadata lines alone, so every family is formatted and compressed once, and its deflate
block stands in both. Only the compressed text is kept: it is what Prometheus asks for, and an eighth of the size.
The exporter's own metrics come last, at scrape time, as the final deflate block of the same gzip member: some
clients stop at the first member. Nothing here does I/O; `Renderer.render` is for a worker thread.

    # HELP genesys_queue_offered_contacts Contacts offered to the queue in the current window.
    # TYPE genesys_queue_offered_contacts gauge
    genesys_queue_offered_contacts{queue_id="q1",queue_name="Sales",media_type="voice"} 12

Formats: prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics 1.0 (openmetrics.io), RFC 1951 and 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import compress

import numpy as np
from isal import isal_zlib

from exporter.models import FloatColumn, Scores, Snapshot
from exporter.publish.cells import doubled, texts
from exporter.publish.families import (
    AGENT_LABELS,
    FAMILIES,
    INFO_LABELS,
    ORG_LABELS,
    ROW_LABELS,
    Family,
    Source,
)
from exporter.publish.kept import KeptTexts
from exporter.publish.sheets import SLICE_ROWS

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Deflate, no flags, no time, fastest compressor, unknown system (RFC 1952): the start of every gzip member here.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_RAW_DEFLATE = -15
#: Compressed bytes of one of `Body.pieces`.
_PIECE_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The snapshot's part of one format: an unfinished gzip member, the CRC and length of the text in it."""

    member: bytes
    crc: int
    length: int

    def plain(self) -> bytes:
        """The text itself; takes milliseconds per 10 MB, so keep it while it is asked for."""
        return isal_zlib.decompressobj(_RAW_DEFLATE).decompress(self.member[len(_GZIP_HEADER) :])

    def pieces(self) -> Iterator[bytes]:
        """The same in pieces of some 300 kB, made one after the other: for somebody who looks once."""
        inflater, member = isal_zlib.decompressobj(_RAW_DEFLATE), memoryview(self.member)
        for start in range(len(_GZIP_HEADER), len(member), _PIECE_BYTES):
            yield inflater.decompress(member[start : start + _PIECE_BYTES])

    def gzip_tail(self, last: bytes) -> bytes:
        """What must follow `member` so that both are one gzip file of the text and `last`."""
        compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _RAW_DEFLATE)
        crc = zlib.crc32(last, self.crc)
        length = (self.length + len(last)) & 0xFFFFFFFF
        trailer = crc.to_bytes(4, "little") + length.to_bytes(4, "little")
        return compressor.compress(last) + compressor.flush() + trailer


EMPTY = Body(_GZIP_HEADER, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Exposition:
    """Both formats of one snapshot; `series` counts the samples of queues and organisation."""

    text: Body
    openmetrics: Body
    series: int


NOTHING = Exposition(EMPTY, EMPTY, 0)


class Renderer:
    """Renders snapshots; keeps label text from one to the next, since labels rarely change and numbers always do."""

    def __init__(self) -> None:
        self._rows = KeptTexts(partial(_open_labels, ROW_LABELS))
        self._agents = KeptTexts(partial(_open_labels, AGENT_LABELS))
        self._queues = KeptTexts(partial(_open_labels, INFO_LABELS))

    def render(self, snapshot: Snapshot, fresh: frozenset[str]) -> Exposition:
        """Both formats, without the families whose dataset is not in `fresh`."""
        text, openmetrics, series = _Member(), _Member(), 0
        for family in FAMILIES:
            if family.dataset is not None and family.dataset not in fresh:
                continue
            slices = [part for samples in self._samples(family, snapshot) for part in _sample_lines(family, *samples)]
            lines = [part for part, _ in slices]
            if not lines:
                continue
            block = _deflated(lines)
            for member, header in ((text, _text_header(family)), (openmetrics, _openmetrics_header(family))):
                member.add([header], _deflated_header(header))
                member.add(lines, block)
            if family.dataset is not None:
                series += sum(count for _, count in slices)
        return Exposition(text.body(), openmetrics.body(), series)

    def _samples(self, family: Family, snapshot: Snapshot) -> Iterator[tuple[Sequence[bytes], bytes, FloatColumn]]:
        """Label text (open, without the closing brace), more label text for all of them, and the values."""
        match family.source:
            case Source.SNAPSHOT:
                yield [b""], b"", np.array([_SNAPSHOT_VALUES[family.column](snapshot)])
            case Source.QUEUE:
                if family.column in snapshot.columns:
                    yield self._rows.of_rows(snapshot.rows), b"", snapshot.columns[family.column]
            case Source.SCORE:
                columns = _score_columns(family, snapshot.scores)
                yield from _by_metric(columns, self._rows.of_rows(snapshot.rows))
            case Source.DISCOVERY:
                columns = snapshot.scores.discoveries if snapshot.scores else {}
                yield from _by_metric(columns, self._rows.of_rows(snapshot.rows))
            case Source.AGENTS:
                keys = snapshot.agent_keys
                yield self._agents.of((keys,), lambda: keys), b"", snapshot.agents
            case Source.INFO:
                queues = snapshot.queues
                labels = self._queues.of(
                    (queues,), lambda: ((queue.id, queue.name, queue.division) for queue in queues)
                )
                yield labels, b"", np.ones(len(queues))
            case Source.ORG:
                yield _org_labels(snapshot), b"", snapshot.org_offered
            case Source.ORG_SCORE:
                yield from _by_metric(_score_columns(family, snapshot.org_scores), _org_labels(snapshot))


_SNAPSHOT_VALUES: Mapping[str, Callable[[Snapshot], float]] = {
    "id": lambda snapshot: float(snapshot.id),
    "created": lambda snapshot: snapshot.created.timestamp(),
}


def _score_columns(family: Family, scores: Scores | None) -> Mapping[str, FloatColumn]:
    metrics = scores.metrics if scores else {}
    return {metric: getattr(columns, family.column) for metric, columns in metrics.items()}


def _by_metric(
    columns: Mapping[str, FloatColumn], labels: Sequence[bytes]
) -> Iterator[tuple[Sequence[bytes], bytes, FloatColumn]]:
    for metric, values in columns.items():
        yield labels, b"," + doubled(label_text("metric", metric)), values


def _org_labels(snapshot: Snapshot) -> list[bytes]:
    return [_open_labels(ORG_LABELS, (media,)) for media in snapshot.org_media]


def _sample_lines(
    family: Family, labels: Sequence[bytes], more: bytes, values: FloatColumn
) -> Iterator[tuple[bytes, int]]:
    """One line per value that is finite, in slices with their number of lines: a template filled in one go."""
    finite = np.isfinite(values)
    if not finite.all():
        labels, values = list(compress(labels, finite.tolist())), values[finite]
    name = family.name.encode()
    end = (more + b"}" if family.labels else b"") + b" %b\n"
    for start in range(0, len(labels), SLICE_ROWS):
        part = labels[start : start + SLICE_ROWS]
        template = name + (end + name).join(part) + end
        yield template % tuple(texts(values[start : start + SLICE_ROWS])), len(part)


def label_text(name: str, value: str) -> bytes:
    """`name="value"`, escaped as both formats demand; half a surrogate pair, which UTF-8 cannot write, becomes `?`."""
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{escaped}"'.encode("utf-8", "replace")


def _open_labels(names: Sequence[str], values: Sequence[str]) -> bytes:
    """The label set up to its closing brace, ready to stand in a template."""
    return doubled(b"{" + b",".join(map(label_text, names, values)))


class _Member:
    """A gzip member in the making."""

    def __init__(self) -> None:
        self._parts = [_GZIP_HEADER]
        self._crc = 0
        self._length = 0

    def add(self, plain: Sequence[bytes], block: bytes) -> None:
        self._parts.append(block)
        for part in plain:
            self._crc = isal_zlib.crc32(part, self._crc)
            self._length += len(part)

    def body(self) -> Body:
        return Body(b"".join(self._parts), self._crc, self._length)


def _deflated(plain: Sequence[bytes]) -> bytes:
    """Deflate blocks that end on a byte and refer to nothing before them, so that they can stand anywhere."""
    compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _RAW_DEFLATE)
    return b"".join([*map(compressor.compress, plain), compressor.flush(isal_zlib.Z_FULL_FLUSH)])


@cache
def _deflated_header(header: bytes) -> bytes:
    return _deflated([header])


@cache
def _text_header(family: Family) -> bytes:
    kind = "gauge" if family.type == "info" else family.type
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {family.name} {help_text}\n# TYPE {family.name} {kind}\n".encode()


@cache
def _openmetrics_header(family: Family) -> bytes:
    """The queue counters are of type unknown: as a counter, `…_contacts_total` would take the gauge's family name."""
    name, kind = family.name, family.type
    if kind == "info":
        name = name.removesuffix("_info")
    elif kind == "counter":
        kind = "unknown"
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n".encode()
