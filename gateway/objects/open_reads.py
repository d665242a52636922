"""Which reads are under way: the free job spares what the oldest of them may still need.

Not a lock: a read that lost its stripe all the same reads its row again.
"""

from __future__ import annotations


class OpenReads:
    """Begin times of reads under way, oldest first."""

    def __init__(self) -> None:
        self._began_s: dict[int, float] = {}
        self._next = 0

    def begin(self, now_s: float) -> int:
        """Register a read that begins at this monotonic time; the ticket ends it."""
        ticket = self._next
        self._next = ticket + 1
        self._began_s[ticket] = now_s
        return ticket

    def end(self, ticket: int) -> None:
        """Idempotent."""
        self._began_s.pop(ticket, None)

    def oldest_s(self) -> float | None:
        """Monotonic begin of the oldest read under way; None when there is none."""
        for began_s in self._began_s.values():
            return began_s
        return None

    def __len__(self) -> int:
        return len(self._began_s)
