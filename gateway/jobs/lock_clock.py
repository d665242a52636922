"""Job `lock-clock`: writes down what time it is for locks, at the start and once an hour.

Not for what that time is: `gateway.objects.lock_clock`.
"""

from __future__ import annotations

import logging

from gateway.commit.change import Change
from gateway.meta import keyspace
from gateway.meta.kv import Batch, MetaStore, Write
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import RecordKeys
from gateway.objects.context import Services
from gateway.objects.lock_clock import DAY_MS, LockClock
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

EVERY_S = 3600.0
ROW = keyspace.cluster_row("lock-clock")


def written_time(store: MetaStore, keys: RecordKeys) -> int:
    """The last time for locks that was written down; 0 = none. Raises: RowCorrupt."""
    value = store.read((ROW,))[0]
    return 0 if value is None else int(open_document(keys, ROW, value)["at_ms"])


def keep_lock_clock(services: Services, days_away: int) -> LockClockKeeper:
    """Give services the time for locks; the job that writes it down. Raises: RowCorrupt."""
    written_ms = written_time(services.log, services.records)
    away_max_ms = days_away * DAY_MS
    clock = LockClock(services.env, written_ms=written_ms, away_max_ms=away_max_ms)
    services.lock_clock = clock
    return LockClockKeeper(services, clock)


class LockClockKeeper:
    """One row a step."""

    name = "lock-clock"

    def __init__(self, services: Services, clock: LockClock) -> None:
        self._services = services
        self._clock = clock
        self._written = 0

    def progress(self) -> Progress:
        days = self._clock.held_back_ms // DAY_MS
        said = f"locks lag {days} days: see policy.lock_days_away" if days else ""
        return Progress(done=self._written, total=0, unit="times written", detail=said)

    async def step(self) -> float:
        services, held_back = self._services, self._clock.held_back_ms
        if held_back:
            logger.error(
                "the wall clock is %d days ahead of the last time that was written down: locks go "
                "on from there; if the gateway was off for so long, raise policy.lock_days_away",
                held_back // DAY_MS,
            )
        document = {"at_ms": self._clock.now_ms()}
        value = seal_document(services.records, services.nonces, ROW, document)
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=services.env.random_bytes(16),
            checks=(),
            writes=(Write(ROW, value),),
        )
        await services.log.commit_change(Change(batch=batch))
        self._written += 1
        return EVERY_S
