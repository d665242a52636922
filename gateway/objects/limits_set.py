"""Set limits and plans, and take them from their rows at the start.

Not for holding anybody to them: `gateway.objects.quotas` and `gateway.objects.throttle`.
"""

from __future__ import annotations

from gateway.commit.change import Change
from gateway.meta import keyspace, quota_rows
from gateway.meta.kv import Batch, Write
from gateway.meta.quota_rows import StoredQuota
from gateway.model.billing import ON_DEMAND, Plan
from gateway.model.names import TenantId
from gateway.model.quota import Quota, QuotaInvalid, Subject
from gateway.objects.context import Services

LIMITS_MAX = 10_000  # rows, which are all in memory


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
    document = quota_rows.read_plan(services.log, services.records, tenant)
    if document is None:
        return ON_DEMAND
    return Plan(
        reserved_bytes=document["reserved_bytes"],
        reserved_out_bytes=document["reserved_out_bytes"],
        switching=document["switching"],
    )


async def set_plan(services: Services, tenant: TenantId, plan: Plan) -> None:
    """Set a tenant's plan."""
    document = {
        "reserved_bytes": plan.reserved_bytes,
        "reserved_out_bytes": plan.reserved_out_bytes,
        "switching": plan.switching,
    }
    await _commit(
        services, quota_rows.set_plan(services.records, services.nonces, tenant, document)
    )


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
