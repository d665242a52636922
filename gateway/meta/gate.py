"""One at a time, the writer first: who may touch the pages of an index whose own locks are off.

Not a lock of the standard library, for two reasons: the thread that leaves may be another than the
one that entered (a transaction begins on the event loop's thread and commits on the writer's), and
a reader that comes back at once must let a waiting writer go first, because that writer is the
event loop.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Held by the writer from begin to the end of its commit, or by one reader for a bounded
    read.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._held = False
        self._writer_waits = False

    def enter_to_write(self) -> None:
        """Wait for whoever is inside, not for readers behind; one writer at a time calls this."""
        with self._changed:
            self._writer_waits = True
            while self._held:
                self._changed.wait()
            self._writer_waits = False
            self._held = True

    def leave(self) -> None:
        """Give the gate back, from any thread."""
        with self._changed:
            assert self._held
            self._held = False
            self._changed.notify_all()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the gate for a read, once no writer waits."""
        with self._changed:
            while self._held or self._writer_waits:
                self._changed.wait()
            self._held = True
        try:
            yield
        finally:
            self.leave()
