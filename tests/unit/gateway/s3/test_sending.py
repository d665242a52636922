"""Answers on their way out: a source that never waits does not keep the loop from others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import cast

from gateway.s3.connections import Exchange
from gateway.s3.responses import Reply
from gateway.s3.sending import send_answer

PIECE = bytes(1000)
COUNT = 100


class _Exchange:
    """Takes what is written, at once and without end."""

    def __init__(self) -> None:
        transport = SimpleNamespace(set_write_buffer_limits=lambda high: None)
        self.message = SimpleNamespace(method="GET")
        self.protocol = SimpleNamespace(transport=transport, writing_paused=False)
        self.bytes_out = 0
        self.writes = 0

    def write(self, piece: bytes) -> None:
        self.writes += 1

    async def wait_for_client(self, stall_s: float) -> None:
        return None


def test_a_body_at_hand_leaves_turns_to_others() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(COUNT - 1):
            yield PIECE

    async def main() -> None:
        exchange = _Exchange()
        seen: list[int] = []

        async def other() -> None:
            while exchange.writes <= COUNT:
                seen.append(exchange.writes)
                await asyncio.sleep(0)

        reply = Reply(first=PIECE, pieces=pieces(), length=COUNT * len(PIECE))
        task = asyncio.create_task(other())
        await send_answer(cast(Exchange, exchange), reply, b"head", stall_s=1.0)
        await task
        assert exchange.bytes_out == COUNT * len(PIECE)
        assert len(seen) >= COUNT // 2

    asyncio.run(main())
