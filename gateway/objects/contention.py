"""Who may try again first: writers of one row queue up once they have collided.

Not for safety: the check on the row's revision is what keeps two writers apart. Without the queue,
n writers of one key would each lose up to n − 1 times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RowQueues:
    """One queue per contended row; bounded by the requests that are open."""

    def __init__(self) -> None:
        self._queues: dict[bytes, tuple[asyncio.Lock, list[None]]] = {}

    def is_contended(self, row_key: bytes) -> bool:
        """Whether somebody is queueing for the row."""
        return row_key in self._queues

    @asynccontextmanager
    async def turn(self, row_key: bytes) -> AsyncIterator[None]:
        """Wait for one's turn, first come first served."""
        queue = self._queues.setdefault(row_key, (asyncio.Lock(), []))
        lock, inside = queue
        inside.append(None)
        try:
            async with lock:
                yield
        finally:
            inside.pop()
            if not inside:
                del self._queues[row_key]
