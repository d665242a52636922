"""Job `tier`: follow the nodes. When a datacenter goes, writes go on at NODE; when it is back, at
FULL. It also stops new bodies while the index has only its reserve left.

The log notices a lost tier by itself when a group cannot be stored; this job spares the writers of
large bodies that wait, and is the only one that goes back up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.commit.log import Log
from gateway.meta.kv import INDEX_RESERVE_BYTES
from gateway.model.layout import Tier
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

TICK_S = 1.0
STEADY_TICKS = 3  # a tier must have been in reach this often before the log goes up to it


class TierKeeper:
    """Opens another epoch when the tier in reach is not that of the epoch."""

    name = "tier"

    def __init__(self, *, log: Log, reachable: Callable[[], Tier], floor: Tier) -> None:
        self._log = log
        self._reachable = reachable
        self._floor = floor
        self._steady = 0

    def progress(self) -> Progress:
        return Progress(
            done=int(self._log.tier),
            total=int(Tier.FULL),
            unit="tier",
            detail=f"writes at {self._log.tier.name}, {self._reachable().name} in reach",
        )

    async def step(self) -> float:
        self._log.refuses_growth = self._log.index.space_left_bytes() < INDEX_RESERVE_BYTES
        reachable = self._reachable()
        if not self._log.serving or reachable < self._floor or reachable is self._log.tier:
            self._steady = 0
            return TICK_S
        self._steady += 1
        if reachable < self._log.tier or self._steady >= STEADY_TICKS:
            logger.warning("tier goes from %s to %s", self._log.tier.name, reachable.name)
            self._steady = 0
            await self._log.change_tier(reachable)
        return TICK_S
