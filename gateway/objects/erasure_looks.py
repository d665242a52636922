"""What there is to be erased, what stands against it, and what was disabled already.

Not for changing anything (`gateway.objects.erasing`, `gateway.objects.erasure_acts`).
"""

from __future__ import annotations

from gateway.approvals.request import bucket_key_item, tenant_key_item
from gateway.meta import accounts, bucket_key_rows, keyspace
from gateway.meta import buckets as bucket_rows
from gateway.meta.erasure_rows import Erasure
from gateway.meta.records import open_version
from gateway.model.attributes import Attributes
from gateway.model.erasure import ErasureKind
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId, TenantId, object_key, version_id_text
from gateway.model.version import Version
from gateway.objects.context import Services
from gateway.objects.lock_clock import lock_now_ms

PAGE_ROWS = 500


def versions_of(
    services: Services, bucket: BucketId, key: str, version: str
) -> list[tuple[str, int]]:
    """Version ids of a key, the current one first, with their bytes; one of them, or all.

    Raises: RowCorrupt, InvalidObjectKey, and what the bucket's key raises.
    """
    found = _stored_of(services, bucket, key, version)
    return [(version_id_text(stored.version_id), stored.content_bytes) for stored in found]


def locked_versions_of(services: Services, bucket: BucketId, key: str, version: str) -> int:
    """How many of these are under a lock that has not ended. Raises: as `versions_of`."""
    now_ms = lock_now_ms(services)
    return sum(
        _is_locked(stored.attributes, now_ms)
        for stored in _stored_of(services, bucket, key, version)
    )


def _is_locked(attributes: Attributes, now_ms: int, *, retention: bool = True) -> bool:
    is_kept = bool(attributes.retention_mode) and attributes.retain_until_ms > now_ms
    return attributes.legal_hold or (retention and is_kept)


def _stored_of(services: Services, bucket: BucketId, key: str, version: str) -> list[Version]:
    wanted = object_key(key.encode("utf-8", "surrogateescape"))
    row_key = keyspace.current_row(bucket, wanted)
    rows = [(row_key, services.log.read((row_key,))[0])]
    start, end = keyspace.noncurrent_range(bucket, wanted)
    while page := services.log.scan(start, end, limit=PAGE_ROWS):
        rows += [(row.key, row.value) for row in page]
        start = keyspace.after(page[-1].key)
    found = []
    for held_key, value in rows:
        if value is None:
            continue
        stored = open_version(services.records, held_key, value).version
        if not version or version == version_id_text(stored.version_id):
            found.append(stored)
    return found


def buckets_of(services: Services, tenant: TenantId) -> list[BucketId]:
    """Buckets of a tenant, those that are being deleted as well. Raises: RowCorrupt."""
    found: list[BucketId] = []
    after = ""
    while page := bucket_rows.list_buckets(
        services.log, services.records, tenant, after=after, limit=PAGE_ROWS
    ):
        found += [one.bucket_id for one in page]
        after = page[-1].name
    return found


async def locked_in(services: Services, bucket: BucketId, *, retention: bool) -> int:
    """Versions of a bucket under a legal hold, or, with `retention`, under any lock that has not
    ended.

    Raises: RowCorrupt, and what the bucket's key raises.
    """
    stored = bucket_rows.read_bucket(services.log, services.records, bucket)
    if stored is None or not stored.bucket.object_lock:
        return 0
    now_ms, count = lock_now_ms(services), 0
    for family in (keyspace.CURRENT, keyspace.NONCURRENT):
        start, end = keyspace.family_range(family, bucket)
        while rows := services.log.scan(start, end, limit=PAGE_ROWS):
            start = keyspace.after(rows[-1].key)
            for row in rows:
                attributes = open_version(services.records, row.key, row.value).version.attributes
                count += _is_locked(attributes, now_ms, retention=retention)
            await services.env.sleep(0)
    return count


async def locked_of(services: Services, erasure: Erasure) -> int:
    """Versions of a bucket or a key that are locked, or of a tenant that are under a legal hold:
    that is what ends neither with his contract nor by an erasure. Raises: as above.
    """
    if erasure.bucket:
        bucket = BucketId(bytes.fromhex(erasure.bucket))
        if erasure.of is ErasureKind.OBJECT:
            return locked_versions_of(services, bucket, erasure.key, erasure.version)
        return await locked_in(services, bucket, retention=True)
    ids = buckets_of(services, TenantId(bytes.fromhex(erasure.tenant)))
    return sum([await locked_in(services, one, retention=False) for one in ids])


def off_already(services: Services, erasure: Erasure) -> tuple[str, ...]:
    """What of an erasure's keys and tenant is disabled; see `Erasure.was_off`."""
    tenant = TenantId(bytes.fromhex(erasure.tenant))
    found = [
        tenant_key_item(tenant, about.epoch)
        for about in services.bucket_keys.provider.tenant_epochs(tenant)
        if about.state is KeyState.DISABLED
    ]
    if erasure.bucket:
        bucket = BucketId(bytes.fromhex(erasure.bucket))
        keys = bucket_key_rows.scan_bucket_keys(services.log, services.records, bucket)
        off = [one.about.epoch for one in keys if one.about.state is KeyState.DISABLED]
        found += [bucket_key_item(bucket, epoch) for epoch in off]
    stored = accounts.read_tenant(services.log, services.records, tenant)
    if stored is not None and not stored.tenant.enabled:
        found.append("tenant")
    return tuple(found)


def tenant_exists(services: Services, tenant: TenantId) -> bool:
    """Whether the row of a tenant is there."""
    return accounts.read_tenant(services.log, services.records, tenant) is not None
