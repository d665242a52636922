"""Rows of what buckets were metered for, an hour each: typed reads and writes.

Not for metering (`gateway.objects.metering`) nor for bills (`gateway.model.billing`). The rows are
the cluster's, by tenant: they stay when their bucket goes.

Source: docs/data-layout.md, "Limits and hours".
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.meta import keyspace
from gateway.meta.kv import MetaStore, Row, RowCorrupt, Write
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.billing import Hour, hour_of
from gateway.model.names import BucketId, TenantId

PAGE_ROWS = 1000
HOUR_MAX = (1 << 32) - 1


def set_hour(
    keys: RecordKeys, nonces: NonceSource, tenant: TenantId, bucket: BucketId, hour: Hour
) -> Write:
    """Write that sets an hour of a bucket."""
    row_key = keyspace.hour_row(tenant, bucket, hour.number)
    return Write(row_key, seal_document(keys, nonces, row_key, hour.document()))


def last_hour(
    store: MetaStore,
    keys: RecordKeys,
    tenant: TenantId,
    bucket: BucketId,
    *,
    before: int = HOUR_MAX,
) -> Hour | None:
    """The last hour of a bucket before one; None: there is none. Raises: RowCorrupt."""
    start, end = keyspace.hour_range(tenant, bucket, 0, before)
    rows = store.scan(start, end, limit=1, reverse=True)
    return _opened(keys, rows[0]) if rows else None


def hours_between(
    store: MetaStore, keys: RecordKeys, tenant: TenantId, bucket: BucketId, first: int, end: int
) -> Iterator[Hour]:
    """Hours of a bucket, the last one before them first. Raises: RowCorrupt."""
    carried = last_hour(store, keys, tenant, bucket, before=first)
    if carried is not None:
        yield carried
    start, beyond = keyspace.hour_range(tenant, bucket, first, end)
    while rows := store.scan(start, beyond, limit=PAGE_ROWS):
        for row in rows:
            yield _opened(keys, row)
        start = keyspace.after(rows[-1].key)


def metered_buckets(
    store: MetaStore, tenant: TenantId | None = None
) -> Iterator[tuple[TenantId, BucketId]]:
    """Buckets that have hours, those that are gone too: of a tenant, or all; one look each."""
    start, end = keyspace.family_range(keyspace.HOUR, keyspace.CLUSTER_PARTITION)
    if tenant is not None:
        start = start + tenant
        end = keyspace.successor(start) if tenant.strip(b"\xff") else end
    while rows := store.scan(start, end, limit=1):
        owner, bucket, _ = keyspace.parse_hour(rows[0].key)
        yield owner, bucket
        start = keyspace.after(keyspace.hour_row(owner, bucket, HOUR_MAX))


def old_hours(
    store: MetaStore, tenant: TenantId, bucket: BucketId, before: int, *, limit: int
) -> list[bytes]:
    """Row keys of hours of a bucket before one."""
    start, end = keyspace.hour_range(tenant, bucket, 0, before)
    return [row.key for row in store.scan(start, end, limit=limit)]


def _opened(keys: RecordKeys, row: Row) -> Hour:
    number = keyspace.parse_hour(row.key)[2]
    try:
        return hour_of(number, open_document(keys, row.key, row.value))
    except (KeyError, TypeError) as error:
        raise RowCorrupt(row_key=row.key.hex(), part="structure") from error
