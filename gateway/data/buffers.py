"""Stripe buffers that are used again: fresh large memory costs more than coding what goes in.

Not for small things. The number of buffers is the gateway's bound on body memory, and an empty pool
is its back-pressure: who holds no buffer waits in line; who holds one only tries for a second
(`try_acquire`), so nobody waits while holding and the pool cannot dead-lock.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
from collections import deque

from storaged.base.errors import Kind, StorageError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
# The largest that glibc takes: blocks below it come from memory that is kept and used again.
MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024
TRIM_THRESHOLD_BYTES = 256 * 1024 * 1024
TOP_PAD_BYTES = 4 * 1024 * 1024


class BufferTooLarge(StorageError):
    """A stripe does not fit into a pooled buffer."""

    kind = Kind.EXHAUSTED


def tune_allocator() -> bool:
    """Let malloc keep large blocks instead of faulting them in again; call once, at start.

    Returns:
        Whether the C library took it (glibc does; elsewhere things are only slower).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (_M_TOP_PAD, TOP_PAD_BYTES),
    )
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)


class Lease:
    """A part of one pooled buffer. Starts with one holder; each `retain` needs a `release`.

    Attributes:
        view: writable memory, as long as was asked for, with whatever was in it before.
    """

    __slots__ = ("_buffer", "_holders", "_pool", "_spoilt", "view")

    def __init__(self, pool: BufferPool, buffer: mmap.mmap, length: int) -> None:
        self._pool = pool
        self._buffer = buffer
        self._holders = 1
        self._spoilt = False
        self.view = memoryview(buffer)[:length]

    def retain(self) -> None:
        """One holder more."""
        assert self._holders > 0, "the lease has ended"
        self._holders += 1

    def release(self) -> None:
        """One holder less; the last one gives the buffer back."""
        assert self._holders > 0, "released more often than retained"
        self._holders -= 1
        if not self._holders:
            self.view = memoryview(b"")
            self._pool._take_back(None if self._spoilt else self._buffer)

    def spoil(self) -> None:
        """Never use this buffer again: somebody may still read it after the lease has ended.

        The pool puts another one in its place; the memory goes when the last reader drops it.
        """
        self._spoilt = True


class BufferPool:
    """At most `count_max` buffers of `buffer_bytes` each, made when first needed."""

    def __init__(self, count_max: int, buffer_bytes: int) -> None:
        assert count_max > 0 and buffer_bytes > 0
        self.count_max = count_max
        self.buffer_bytes = buffer_bytes
        # The last one back is the first one out: its pages are warm.
        self._free: list[mmap.mmap] = []
        self._leased_count = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def leased_count(self) -> int:
        """Buffers in use."""
        return self._leased_count

    @property
    def waiting_count(self) -> int:
        """Callers in line."""
        return len(self._waiting)

    async def acquire(self, length: int) -> Lease:
        """Lease a buffer; first come, first served. Only for callers that hold none.

        Raises:
            BufferTooLarge: `length` is more than `buffer_bytes`.

        Cancelled: nothing is leased.
        """
        lease = self.try_acquire(length)
        if lease is not None:
            return lease
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leased_count -= 1
                self._wake()
            else:
                self._waiting.remove(turn)
            raise
        return self._lease(length)

    def try_acquire(self, length: int) -> Lease | None:
        """Lease a buffer if one is free and nobody is in line for it.

        Raises:
            BufferTooLarge: `length` is more than `buffer_bytes`.
        """
        if length > self.buffer_bytes:
            raise BufferTooLarge(length=length, buffer_bytes=self.buffer_bytes)
        if self._leased_count >= self.count_max or self._waiting:
            return None
        self._leased_count += 1
        return self._lease(length)

    def _lease(self, length: int) -> Lease:
        """Make the lease of a place that is counted already."""
        return Lease(self, self._free.pop() if self._free else self._map(), length)

    def _map(self) -> mmap.mmap:
        buffer = mmap.mmap(-1, self.buffer_bytes)
        if hasattr(mmap, "MADV_HUGEPAGE") and self.buffer_bytes >= 2 * 1024 * 1024:
            try:
                buffer.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                return buffer  # a kernel without huge pages: only slower
        return buffer

    def _take_back(self, buffer: mmap.mmap | None) -> None:
        if buffer is not None:
            self._free.append(buffer)
        self._leased_count -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._leased_count < self.count_max:
            turn = self._waiting.popleft()
            if not turn.done():
                self._leased_count += 1
                turn.set_result(None)
