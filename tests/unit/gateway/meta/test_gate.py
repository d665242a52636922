"""The gate of the index: one at a time, a waiting writer before readers, left from any thread."""

from __future__ import annotations

import threading

from gateway.meta.gate import Gate

JOIN_S = 10.0


def test_a_waiting_writer_goes_before_a_reader_that_comes_back() -> None:
    gate = Gate()
    order: list[str] = []

    def write() -> None:
        gate.enter_to_write()
        order.append("write")
        gate.leave()

    def read() -> None:
        with gate.reading():
            order.append("read")

    writer, reader = threading.Thread(target=write), threading.Thread(target=read)
    with gate.reading():
        writer.start()
        while not gate._writer_waits:
            pass
        reader.start()
    writer.join(JOIN_S)
    reader.join(JOIN_S)
    assert order == ["write", "read"]


def test_another_thread_may_leave() -> None:
    gate = Gate()
    gate.enter_to_write()
    blocked = threading.Thread(target=gate.enter_to_write)
    blocked.start()
    threading.Thread(target=gate.leave).start()
    blocked.join(JOIN_S)
    assert not blocked.is_alive()
    gate.leave()
    with gate.reading():
        pass
