"""Stripe ids of one writer epoch, and which of them are in flight: what the sweep must not touch.

Pure. A writer epoch is one run of one worker; its ids are handed out once (D4) and D2 rests on
knowing which are open.
"""

from __future__ import annotations

from storaged.base.ids import StripeFamily, StripeId


class Reservations:
    """Hands out ids and remembers the open ones. A reservation that is not released stays open
    until the next run.
    """

    def __init__(self, writer_epoch: int) -> None:
        self.writer_epoch = writer_epoch
        self._next = {StripeFamily.DATA: 1, StripeFamily.PACK: 1}
        self._open: dict[StripeId, int] = {}

    def reserve(self, family: StripeFamily, count: int) -> StripeId:
        """The first of `count` consecutive ids."""
        assert count > 0
        first = StripeId(family, self.writer_epoch, self._next[family])
        self._next[family] += count
        self._open[first] = count
        return first

    def release(self, first: StripeId) -> None:
        """Idempotent."""
        self._open.pop(first, None)

    def in_flight(self, stripe: StripeId) -> bool:
        """True when an open reservation holds the id. Cost: one look per open reservation, so
        callers look at few.
        """
        if stripe.epoch != self.writer_epoch:
            return False
        return any(
            first.family is stripe.family
            and first.counter <= stripe.counter < first.counter + count
            for first, count in self._open.items()
        )

    @property
    def open_count(self) -> int:
        return len(self._open)
