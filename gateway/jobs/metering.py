"""Job `metering`: writes what the meter has counted, holds the meter against the counts of the
index once a day and at the start, and takes old hours away.

Not for the counts themselves: `gateway.meta.usage`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from gateway.commit.change import Change
from gateway.meta import buckets as bucket_rows
from gateway.meta import hours as hour_rows
from gateway.meta import keyspace
from gateway.meta.kv import Batch, Write
from gateway.model.billing import HOUR_MS
from gateway.model.names import BucketId, TenantId
from gateway.objects.context import Services
from gateway.objects.metering import Meter
from gateway.objects.quotas import UsageSource
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

FLUSH_S = 30.0
LOOK_S = 24 * 3600.0
STEP_BUCKETS = 200
KEPT_HOURS = 400 * 24  # of statements of a year and of what is disputed; the last one always stays
PRUNED_MAX = 1000


class Metering:
    """A flush a step; and at the start and once a day a pass over all buckets, some a step."""

    name = "metering"

    def __init__(
        self,
        services: Services,
        meter: Meter,
        usage: UsageSource,
        recount: Callable[[], list[bytes]],
    ) -> None:
        self._services = services
        self._meter = meter
        self._usage = usage
        self._recount = recount
        self._flushed_s = self._next_look_s = -math.inf
        self._looks = 0
        self._to_look: list[tuple[TenantId | None, bytes]] = []
        self._rows = 0

    async def step(self) -> float:
        """Write what is due, look at some buckets."""
        now_s = self._services.env.monotonic_s()
        if not self._to_look or now_s - self._flushed_s >= FLUSH_S:
            self._rows += await self._meter.flush()
            self._flushed_s = now_s
        if not self._to_look and now_s >= self._next_look_s:
            await self._begin_look(now_s)
        for tenant, bucket in self._to_look[:STEP_BUCKETS]:
            await self._look(tenant, bucket)
        del self._to_look[:STEP_BUCKETS]
        return 0.0 if self._to_look else FLUSH_S

    async def finish(self) -> None:
        """Write what is left, at the end of the process."""
        self._rows += await self._meter.flush()

    async def _begin_look(self, now_s: float) -> None:
        """Which buckets there are; and, but at the start, whether the index has counted right."""
        self._next_look_s = now_s + LOOK_S
        if self._looks:
            wrong = await self._services.env.offload(self._recount)
            if wrong:
                logger.error("counts of %d buckets were wrong and are set right", len(wrong))
        self._looks += 1
        self._to_look = [(None, bucket) for bucket in self._usage.usage_entries()]
        self._to_look += hour_rows.metered_buckets(self._services.log)

    async def _look(self, tenant: TenantId | None, bucket: bytes) -> None:
        log, records, bucket_id = self._services.log, self._services.records, BucketId(bucket)
        exists = bucket_rows.read_bucket(log, records, bucket_id) is not None
        if exists or bucket_rows.read_closed_bucket(log, records, bucket_id) is not None:
            self._meter.reconcile((bucket,))
        elif tenant is not None:
            self._meter.end_of(tenant, bucket_id)
        if tenant is not None:
            await self._prune(tenant, bucket_id)

    async def _prune(self, tenant: TenantId, bucket: BucketId) -> None:
        """Take hours away that are too old; the last one of them says what has been held since."""
        before = self._meter.now_ms() // HOUR_MS - KEPT_HOURS
        if before <= 0:
            return
        log = self._services.log
        old = hour_rows.old_hours(log, tenant, bucket, before, limit=PRUNED_MAX)
        if len(old) < 2:
            return
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=self._services.env.random_bytes(16),
            checks=(),
            writes=tuple(Write(row_key, None) for row_key in old[:-1]),
        )
        await log.commit_change(Change(batch=batch))

    @property
    def has_looked(self) -> bool:
        """Whether all buckets were looked at since the start: what a crash left is set right."""
        return self._looks > 0 and not (self._looks == 1 and self._to_look)

    def progress(self) -> Progress:
        """Rows written since the start."""
        return Progress(done=self._rows, total=0, unit="rows")
