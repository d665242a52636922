"""Small answers leave together, in order, and never after something that was written later."""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.s3.write_batch import BATCH_WRITES_MAX, WriteBatch


class _Transport:
    def __init__(self, log: list[bytes]) -> None:
        self.log = log
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, piece: bytes) -> None:
        self.log.append(piece)


def _transport(log: list[bytes]) -> asyncio.Transport:
    return cast(asyncio.Transport, _Transport(log))


def test_what_is_answered_in_one_turn_is_written_after_it_in_order() -> None:
    async def main() -> None:
        log: list[bytes] = []
        batch = WriteBatch(asyncio.get_running_loop())
        for number in range(3):
            batch.add(_transport(log), b"%d" % number)
        assert log == []
        await asyncio.sleep(0)
        assert log == [b"0", b"1", b"2"]

    asyncio.run(main())


def test_a_full_batch_does_not_wait_for_the_turn_to_end() -> None:
    async def main() -> None:
        log: list[bytes] = []
        batch = WriteBatch(asyncio.get_running_loop())
        for number in range(BATCH_WRITES_MAX + 1):
            batch.add(_transport(log), b"%d" % number)
        assert log == [b"%d" % number for number in range(BATCH_WRITES_MAX)]
        await asyncio.sleep(0)
        assert log[-1] == b"%d" % BATCH_WRITES_MAX

    asyncio.run(main())


def test_a_flush_writes_once_and_a_later_batch_is_written_by_itself() -> None:
    async def main() -> None:
        log: list[bytes] = []
        batch = WriteBatch(asyncio.get_running_loop())
        batch.add(_transport(log), b"a")
        batch.flush()
        assert log == [b"a"]
        batch.add(_transport(log), b"b")
        await asyncio.sleep(0)
        assert log == [b"a", b"b"]

    asyncio.run(main())


def test_a_connection_that_is_gone_keeps_nothing_from_the_others() -> None:
    async def main() -> None:
        log: list[bytes] = []
        gone = _Transport(log)
        batch = WriteBatch(asyncio.get_running_loop())
        batch.add(cast(asyncio.Transport, gone), b"lost")
        batch.add(_transport(log), b"kept")
        gone.closing = True
        await asyncio.sleep(0)
        assert log == [b"kept"]

    asyncio.run(main())
