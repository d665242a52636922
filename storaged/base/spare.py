"""Large buffers that are used again as soon as nobody holds a view of them.

A fresh one is cleared before it is filled, in memory that no cache near the core holds: that costs
as much as reading into it. Not a lease: who takes a buffer has nothing to give back, and holds it
for as long as he or anybody else (a transport that has not sent it) keeps a view of it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

SPARE_FROM_BYTES = 128 * 1024  # below it a fresh buffer costs less than looking for one


class SpareBuffers:
    """At most `kept_max` buffers of `buffer_bytes` are kept; beyond that they are made afresh.

    Any thread: a buffer is in the hands of one thread while it is looked at.
    """

    def __init__(self, kept_max: int, buffer_bytes: int) -> None:
        self._kept_max = kept_max
        self._buffer_bytes = buffer_bytes
        self._kept: deque[bytearray] = deque(maxlen=kept_max)  # last taken first: caches hold it

    def take(self, length: int) -> memoryview:
        """Writable memory of exactly `length` bytes, with whatever was in it before."""
        if not SPARE_FROM_BYTES <= length <= self._buffer_bytes:
            return memoryview(bytearray(length))
        with suppress(IndexError):  # other threads hold the last ones
            for _ in range(len(self._kept)):
                buffer = self._kept.popleft()
                if _is_free(buffer):
                    view = memoryview(buffer)[:length]
                    self._kept.appendleft(buffer)
                    return view
                self._kept.append(buffer)
        buffer = bytearray(self._buffer_bytes)
        view = memoryview(buffer)[:length]
        if len(self._kept) < self._kept_max:
            self._kept.appendleft(buffer)
        return view


def _is_free(buffer: bytearray) -> bool:
    """Nobody has a view of it: only then does a bytearray let its length be changed."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True
