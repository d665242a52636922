"""Rows of how far the journal was told of usage: typed reads and writes.

Not for telling (`gateway.objects.usage_told`). A bucket's row stands behind its metered hours and
goes when they go; a tenant's is one of the cluster's documents.

Source: docs/data-layout.md, "Limits and hours".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from gateway.meta import keyspace
from gateway.meta.hours import HOUR_MAX
from gateway.meta.kv import MetaStore, RowCorrupt, Write
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.names import BucketId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldTenant:
    """How far a tenant's journal goes.

    Args:
        seq: events about usage before this one are in the rows; later ones may not be.
        hour: the last hour that was closed, -1 for none.
        from_hour: the first one of which everything was told.
        plan_hour: since when the last plan is in force that was told, -1 for none.
    """

    seq: int
    hour: int
    from_hour: int
    plan_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldBucket:
    """The last hour of a bucket that was told: its number, how often, and its figures' digest."""

    hour: int
    revision: int
    digest: str


def tenant_row(tenant: TenantId) -> bytes:
    """Row of how far a tenant's journal goes."""
    return keyspace.cluster_row(f"told/{tenant.hex()}")


def read_told_tenant(store: MetaStore, keys: RecordKeys, tenant: TenantId) -> ToldTenant | None:
    """How far a tenant's journal goes; None: nothing was told. Raises: RowCorrupt."""
    row_key = tenant_row(tenant)
    value = store.read((row_key,))[0]
    if value is None:
        return None
    try:
        return ToldTenant(**open_document(keys, row_key, value))
    except TypeError as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error


def set_told_tenant(
    keys: RecordKeys, nonces: NonceSource, tenant: TenantId, told: ToldTenant
) -> Write:
    """Write that sets how far a tenant's journal goes."""
    row_key = tenant_row(tenant)
    return Write(row_key, seal_document(keys, nonces, row_key, asdict(told)))


def read_told_bucket(
    store: MetaStore, keys: RecordKeys, tenant: TenantId, bucket: BucketId
) -> ToldBucket | None:
    """What was told last of a bucket. Raises: RowCorrupt."""
    row_key = keyspace.hour_row(tenant, bucket, HOUR_MAX)
    value = store.read((row_key,))[0]
    if value is None:
        return None
    try:
        return ToldBucket(**open_document(keys, row_key, value))
    except TypeError as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error


def set_told_bucket(
    keys: RecordKeys, nonces: NonceSource, tenant: TenantId, bucket: BucketId, told: ToldBucket
) -> Write:
    """Write that sets what was told last of a bucket."""
    row_key = keyspace.hour_row(tenant, bucket, HOUR_MAX)
    return Write(row_key, seal_document(keys, nonces, row_key, asdict(told)))
