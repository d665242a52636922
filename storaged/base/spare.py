"""Large buffers that are used again as soon as nobody holds a view of them.

A fresh one is cleared before it is filled, in memory that no cache near the core holds: that costs
as much as reading into it. Not a lease: who takes a buffer has nothing to give back, and holds it
for as long as he or anybody else (a transport that has not sent it) keeps a view of it.
"""

from __future__ import annotations

SPARE_FROM_BYTES = 128 * 1024  # below it a fresh buffer costs less than looking for one


class SpareBuffers:
    """At most `kept_max` buffers of `buffer_bytes` are kept; beyond that they are made afresh."""

    def __init__(self, kept_max: int, buffer_bytes: int) -> None:
        self._kept_max = kept_max
        self._buffer_bytes = buffer_bytes
        self._kept: list[bytearray] = []

    def take(self, length: int) -> memoryview:
        """Writable memory of exactly `length` bytes, with whatever was in it before."""
        if not SPARE_FROM_BYTES <= length <= self._buffer_bytes:
            return memoryview(bytearray(length))
        for buffer in self._kept:
            if _is_free(buffer):
                return memoryview(buffer)[:length]
        buffer = bytearray(self._buffer_bytes)
        if len(self._kept) < self._kept_max:
            self._kept.append(buffer)
        return memoryview(buffer)[:length]


def _is_free(buffer: bytearray) -> bool:
    """Nobody has a view of it: only then does a bytearray let its length be changed."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True
