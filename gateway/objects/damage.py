"""What reads have found broken, waiting for the repair job.

Not for repairing: reads report, the repair job repairs. A report that finds the queue full is
dropped; scrub and the next read will find the shard again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from storaged.base.ids import StripeId

REPORTS_MAX = 10_000


class DamagedShard(NamedTuple):
    """A shard that a read could not use; `reason` is for people."""

    stripe: StripeId
    shard_index: int
    reason: str


class DamageQueue:
    """Reports in the order they came, one per shard."""

    def __init__(self) -> None:
        self._reports: OrderedDict[tuple[StripeId, int], str] = OrderedDict()
        self.dropped = 0

    def report(self, stripe: StripeId, index: int, reason: str) -> None:
        """Remember one shard; what `StripeStore` calls."""
        if len(self._reports) >= REPORTS_MAX:
            self.dropped += 1
            return
        self._reports.setdefault((stripe, index), reason)

    def take(self, count_max: int) -> list[DamagedShard]:
        """The oldest reports; they are the caller's from then on."""
        taken: list[DamagedShard] = []
        while self._reports and len(taken) < count_max:
            (stripe, index), reason = self._reports.popitem(last=False)
            taken.append(DamagedShard(stripe, index, reason))
        return taken

    def __len__(self) -> int:
        return len(self._reports)
