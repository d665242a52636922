"""Small answers that leave together.

A client that has gone to sleep is woken by every write that finds it so, and on a virtual machine
that costs more than the write. What is answered in one turn of the event loop is therefore written
in one go: the first write wakes, the others find a client that is awake.

Not for what has to be waited for: a large answer is written piece by piece as the client takes it.
"""

from __future__ import annotations

import asyncio

# The first answer of a batch waits for this many requests of the same turn at most.
BATCH_WRITES_MAX = 8


class WriteBatch:
    """What is still to be handed to transports, in order. Of one event loop."""

    __slots__ = ("_loop", "_writes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writes: list[tuple[asyncio.Transport, bytes]] = []

    def add(self, transport: asyncio.Transport, piece: bytes) -> None:
        """Write `piece` before the next turn of the loop ends."""
        writes = self._writes
        writes.append((transport, piece))
        if len(writes) >= BATCH_WRITES_MAX:
            self.flush()
        elif len(writes) == 1:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand everything to the transports: needed before anything else is written to one of
        them, and before one is closed.
        """
        writes, self._writes = self._writes, []
        for transport, piece in writes:
            if not transport.is_closing():
                transport.write(piece)
