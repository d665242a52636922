"""Which requests are still reading: what a stripe that nobody names any more must outlive.

Pure. A stripe may be freed when every request that began before it lost its last name has ended (step 13).
"""

from __future__ import annotations


class Readers:
    """Requests under way, in the order they began. A dict keeps that order, so the oldest is its first key."""

    def __init__(self) -> None:
        self._next = 1
        self._open: dict[int, None] = {}

    def begin(self) -> int:
        """A ticket for a request that is about to read rows."""
        ticket = self._next
        self._next += 1
        self._open[ticket] = None
        return ticket

    def end(self, ticket: int) -> None:
        """Idempotent."""
        self._open.pop(ticket, None)

    def mark(self) -> int:
        """A point in time to ask `passed` about later."""
        return self._next

    def passed(self, mark: int) -> bool:
        """Whether every request that began before the mark has ended."""
        oldest = next(iter(self._open), None)
        return oldest is None or oldest >= mark

    @property
    def open_count(self) -> int:
        return len(self._open)
