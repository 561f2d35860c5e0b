"""Who may change what others read: one at a time, and never kept out by readers who come again and again."""

from __future__ import annotations

from threading import Event, Thread

from exporter.analysis.guard import Guard

PATIENCE_SECONDS = 30.0


def test_who_waits_to_write_goes_before_readers_who_come_later() -> None:
    guard, order, read = Guard(), list[str](), Event()

    def write() -> None:
        with guard.exclusive():
            order.append("writer")

    def read_later() -> None:
        with guard.shared():
            order.append("reader")
            read.set()

    writer, reader = Thread(target=write), Thread(target=read_later)
    with guard.shared():
        writer.start()
        while not guard.awaited:
            pass
        reader.start()
        assert not read.wait(0.2)
    for thread in (writer, reader):
        thread.join(PATIENCE_SECONDS)
    assert order == ["writer", "reader"]


def test_who_reads_may_read_on_inside_while_a_writer_waits() -> None:
    guard, waiting, done = Guard(), Event(), Event()

    def write() -> None:
        waiting.set()
        with guard.exclusive():
            done.set()

    def read() -> None:
        with guard.shared():
            writer.start()
            assert waiting.wait(PATIENCE_SECONDS)
            while not guard.awaited:
                pass
            with guard.shared():
                assert not done.is_set()

    writer, reader = Thread(target=write, daemon=True), Thread(target=read, daemon=True)
    reader.start()
    reader.join(PATIENCE_SECONDS)
    assert done.wait(PATIENCE_SECONDS)
