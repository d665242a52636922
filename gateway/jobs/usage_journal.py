"""Job `usage-journal`: some minutes after each hour, tells the journals of tenants what was metered
in it, and closes it.

Not for metering (`gateway.jobs.metering`) nor for what is told (`gateway.objects.usage_told`). A
tenant of whom there is nothing to tell is closed once a month, so that every month ends with a
closing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.meta import accounts, erasure_rows, told_rows
from gateway.meta.kv import BatchConflict
from gateway.model.billing import HOUR_MS
from gateway.model.erasure import CANCELLABLE, ErasureKind
from gateway.model.names import BucketId, TenantId
from gateway.objects import limits_set
from gateway.objects.context import Services
from gateway.objects.erasing import ERASURES_MAX
from gateway.objects.metering import Meter
from gateway.objects.usage_told import close_hours
from storaged.base.errors import StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

AFTER_S = 120.0  # the end of an hour, so that not everything happens at its stroke
LOOK_S = 10.0  # until it is seen whether the meter has looked at all buckets
RETRY_S = 60.0  # after a tenant's journal could not be told
PAGE_ROWS = 1000


class UsageJournal:
    """One tenant a step.

    Args:
        is_settled: whether what a crash has left of metered hours was set right.
    """

    name = "usage-journal"

    def __init__(self, services: Services, meter: Meter, is_settled: Callable[[], bool]) -> None:
        self._services = services
        self._meter = meter
        self._is_settled = is_settled
        self._before = 0  # the hour that began when the round did
        self._closed = 0  # the round of this hour has ended
        self._due: deque[TenantId] = deque()
        self._failed: list[TenantId] = []
        self._written: dict[TenantId, set[BucketId]] = {}
        self._fresh: dict[TenantId, set[BucketId]] = {}
        self._known: set[TenantId] = set()  # whose rows say all that the journal was told
        self._told = 0

    async def step(self) -> float:
        """Tell one tenant's journal, or look which are due."""
        if self._services.journal is None:
            return HOUR_MS / 1000
        if not self._due:
            return await self._begin()
        tenant = self._due.popleft()
        try:
            await self._tell(tenant)
        except StorageError as error:
            # One tenant's damaged log or row keeps nobody else's hours open.
            logger.error("usage of tenant %s is not in its journal: %s", tenant.hex(), error)
            self._failed.append(tenant)
        if self._due:
            return 0.0
        self._closed = self._before
        return RETRY_S if self._failed else 0.0

    async def _begin(self) -> float:
        """Find the tenants of whom there is something to tell; or seconds to wait."""
        if not self._is_settled():
            return LOOK_S
        now_ms = self._meter.now_ms()
        hour = now_ms // HOUR_MS
        if hour <= self._closed and self._failed:
            self._due.extend(self._failed)
            self._failed.clear()
            return 0.0
        if hour <= self._closed:
            return ((self._closed + 1) * HOUR_MS - now_ms) / 1000 + AFTER_S
        # Hours before this one are all written once this returns.
        await self._meter.flush()
        # What was written in the round before as well: rows of that hour were not over then.
        fresh, written = self._meter.take_written(), self._fresh
        for tenant, buckets in fresh.items():
            written[tenant] = written.get(tenant, set()) | buckets
        self._written, self._fresh = written, fresh
        self._before = hour
        self._failed.clear()
        gone = self._erased()
        after: TenantId | None = None
        log, records = self._services.log, self._services.records
        while page := accounts.scan_tenants(log, records, after, limit=PAGE_ROWS):
            after = page[-1].tenant.tenant_id
            for stored in page:
                tenant = stored.tenant.tenant_id
                if tenant not in gone and self._is_due(tenant):
                    self._due.append(tenant)
            await self._services.env.sleep(0)
        if not self._due:
            self._closed = hour
        return 0.0

    def _is_due(self, tenant: TenantId) -> bool:
        if tenant in self._written or tenant not in self._known:
            return True
        services = self._services
        told = told_rows.read_told_tenant(services.log, services.records, tenant)
        if told is None or told.hour < first_of_month(self._before) - 1:
            return True
        return limits_set.plan_changes(services, tenant)[-1].since_hour > told.plan_hour

    def _erased(self) -> set[bytes]:
        """Tenants whose rows are being taken away."""
        services = self._services
        return {
            bytes.fromhex(one.erasure.tenant)
            for one in erasure_rows.scan_erasures(
                services.log, services.records, limit=ERASURES_MAX
            )
            if one.erasure.of is ErasureKind.TENANT and one.erasure.at not in CANCELLABLE
        }

    async def _tell(self, tenant: TenantId) -> None:
        """Raises: JournalUnavailable, RowCorrupt, as the log: the next call reads the journal's
        end and tells the rest.
        """
        journal = self._services.journal
        assert journal is not None
        touched = self._written.get(tenant, set()) if tenant in self._known else None
        self._known.discard(tenant)
        try:
            told = await close_hours(
                self._services,
                journal,
                tenant,
                self._before,
                touched,
                from_hour=first_of_month(self._before - 1),
            )
        except BatchConflict:
            return  # it was erased meanwhile
        if told is not None:
            self._told += told
            self._known.add(tenant)

    def progress(self) -> Progress:
        """Hours of buckets told since the start."""
        return Progress(done=self._told, total=0, unit="hours")


def first_of_month(hour: int) -> int:
    """The first hour, since the epoch, of the month that an hour is in."""
    at = datetime.fromtimestamp(hour * HOUR_MS // 1000, UTC)
    begin = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(begin.timestamp()) * 1000 // HOUR_MS
