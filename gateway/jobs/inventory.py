"""Job `inventory`: reports of buckets that ask for one, once a day or once a week.

When each was last written is a row of the cluster, so a restart writes none twice; a report that a
crash has cut short is written anew, and its first files stay without a manifest.
"""

from __future__ import annotations

import logging
import math

from gateway.commit.change import Change
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.kv import Batch, Write
from gateway.meta.records import open_document, seal_document
from gateway.model.bucket import Bucket
from gateway.model.names import BucketId
from gateway.objects.context import Services
from gateway.objects.inventory import KIND, write_report
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

PAGE_BUCKETS = 100
LOOKS_OF_A_DAY = 288  # every five minutes
TRIES_AGAIN_OF_A_DAY = 24
WEEK_DAYS = 7


class InventoryWriter:
    """One page of buckets a step."""

    name = "inventory"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._after: BucketId | None = None
        self._not_before_s: dict[tuple[BucketId, str], float] = {}
        self._written = self._failed = 0

    async def step(self) -> float:
        """Write what is due in some buckets."""
        services = self._services
        page = bucket_rows.scan_buckets(
            services.log, services.records, self._after, limit=PAGE_BUCKETS
        )
        for stored in page:
            for name in sorted(stored.bucket.cold):
                if name.startswith(KIND):
                    await self._look(stored.bucket, name)
        if len(page) == PAGE_BUCKETS:
            self._after = page[-1].bucket.bucket_id
            return 0.0
        self._after = None
        now_s = services.env.monotonic_s()
        self._not_before_s = {key: at_s for key, at_s in self._not_before_s.items() if at_s > now_s}
        return services.lifecycle_day_s / LOOKS_OF_A_DAY

    async def _look(self, bucket: Bucket, name: str) -> None:
        services = self._services
        now_s, now_ms = services.env.monotonic_s(), services.env.now_ms()
        place = (bucket.bucket_id, name)
        if self._not_before_s.get(place, -math.inf) > now_s:
            return
        config = bucket_rows.read_document(services.log, services.records, bucket.bucket_id, name)
        if config is None or config["IsEnabled"] != "true":
            return
        days = 1 if config["Schedule"]["Frequency"] == "Daily" else WEEK_DAYS
        row_key = keyspace.cluster_row(f"{name}/{bucket.bucket_id.hex()}")
        last_ms = self._last_ms(row_key)
        if last_ms is not None and now_ms - last_ms < days * services.lifecycle_day_s * 1000:
            return
        try:
            await write_report(services, bucket, config)
        except StorageError as error:
            self._not_before_s[place] = now_s + services.lifecycle_day_s / TRIES_AGAIN_OF_A_DAY
            self._failed += 1
            logger.warning("inventory of %s cannot be written: %s", bucket.name, error)
            if error.kind in (Kind.UNKNOWN_OUTCOME, Kind.CORRUPT):
                raise
            return
        await self._remember(row_key, now_ms)
        self._written += 1

    def _last_ms(self, row_key: bytes) -> int | None:
        value = self._services.log.read((row_key,))[0]
        if value is None:
            return None
        return int(open_document(self._services.records, row_key, value)["at_ms"])

    async def _remember(self, row_key: bytes, at_ms: int) -> None:
        services = self._services
        value = seal_document(services.records, services.nonces, row_key, {"at_ms": at_ms})
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=services.env.random_bytes(16),
            checks=(),
            writes=(Write(row_key, value),),
        )
        await services.log.commit_change(Change(batch=batch))

    def progress(self) -> Progress:
        """Reports since the start."""
        detail = f"{self._failed} failed" if self._failed else ""
        return Progress(done=self._written, total=0, unit="reports", detail=detail)
