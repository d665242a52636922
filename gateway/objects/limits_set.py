"""Set limits and plans, and take them from their rows at the start.

Not for holding anybody to them: `gateway.objects.quotas` and `gateway.objects.throttle`.
"""

from __future__ import annotations

from gateway.commit.change import Change
from gateway.meta import keyspace, quota_rows
from gateway.meta.kv import Batch, Write
from gateway.meta.quota_rows import StoredQuota
from gateway.model.billing import (
    HOUR_MS,
    ON_DEMAND,
    Plan,
    PlanChange,
    plan_change_of,
)
from gateway.model.names import TenantId
from gateway.model.quota import Quota, QuotaInvalid, Subject
from gateway.objects.context import Services

LIMITS_MAX = 10_000  # rows, which are all in memory
PLAN_CHANGES_MAX = 1000  # of one tenant, all in one row
PLANS_KEPT_HOURS = 400 * 24  # as metered hours are


def load_limits(services: Services) -> None:
    """Take all limits from their rows. Raises: RowCorrupt."""
    _take(services, stored_limits(services))


def stored_limits(services: Services) -> list[StoredQuota]:
    """All limits, by subject and name. Raises: RowCorrupt."""
    return quota_rows.scan_quotas(services.log, services.records)


async def set_limits(services: Services, subject: Subject, name: str, quota: Quota) -> None:
    """Set the limits of a tenant or bucket (hexadecimal id), an access key or an address; NO_QUOTA
    takes them away. In force when it returns.

    Raises: QuotaInvalid (there are too many), what the log raises.
    """
    held = stored_limits(services)
    if len(held) >= LIMITS_MAX and not any(one[:2] == (subject, name) for one in held):
        raise QuotaInvalid(reason=f"there are {LIMITS_MAX} already")
    write = quota_rows.set_quota(services.records, services.nonces, subject, name, quota)
    await _commit(services, write)
    load_limits(services)


def plan_of(services: Services, tenant: TenantId) -> Plan:
    """A tenant's plan. Raises: RowCorrupt."""
    return plan_changes(services, tenant)[-1].plan


def plan_changes(services: Services, tenant: TenantId) -> list[PlanChange]:
    """A tenant's plans since there are any, the one in force last. Raises: RowCorrupt."""
    document = quota_rows.read_plan(services.log, services.records, tenant)
    if document is None:
        return [PlanChange(since_hour=0, plan=ON_DEMAND)]
    return [plan_change_of(one) for one in (*document.get("before", ()), document)]


async def set_plan(services: Services, tenant: TenantId, plan: Plan) -> None:
    """Set a tenant's plan, from the beginning of this hour on.

    Raises: QuotaInvalid (it was changed too often), what the log raises.
    """
    await _commit(services, plan_write(services, tenant, plan))


def plan_write(services: Services, tenant: TenantId, plan: Plan) -> Write:
    """The write that sets a tenant's plan, from the beginning of this hour on. Raises: as above."""
    now_ms = services.env.now_ms() if services.meter is None else services.meter.now_ms()
    hour = now_ms // HOUR_MS
    held = plan_changes(services, tenant)
    # What the journal was told of an hour that is over stays, also where a clock went back.
    since_hour = hour if held[-1].since_hour <= hour else held[-1].since_hour + 1
    before = [one for one in held if one.since_hour < since_hour]
    while len(before) > 1 and before[1].since_hour < hour - PLANS_KEPT_HOURS:
        del before[0]
    if len(before) >= PLAN_CHANGES_MAX:
        raise QuotaInvalid(reason=f"the plan was changed {PLAN_CHANGES_MAX} times already")
    document = PlanChange(since_hour=since_hour, plan=plan).document()
    document["before"] = [one.document() for one in before]
    return quota_rows.set_plan(services.records, services.nonces, tenant, document)


def _take(services: Services, held: list[StoredQuota]) -> None:
    stored: dict[tuple[Subject, bytes], Quota] = {}
    rates: dict[tuple[Subject, str], Quota] = {}
    for subject, name, quota in held:
        if subject in (Subject.TENANT, Subject.BUCKET):
            stored[subject, bytes.fromhex(name)] = quota
        else:
            rates[subject, name] = quota
    services.quotas.load(stored, services.log, services.records)
    services.throttle.load(rates)


async def _commit(services: Services, write: Write) -> None:
    batch = Batch(
        partition=keyspace.CLUSTER_PARTITION,
        request_id=services.env.random_bytes(16),
        checks=(),
        writes=(write,),
    )
    await services.log.commit_change(Change(batch=batch))
