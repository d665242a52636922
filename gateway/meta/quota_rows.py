"""Rows of limits and of tenants' plans: typed reads and writes.

Not for what they mean: `gateway.model.quota` and `gateway.model.billing`.

Source: docs/data-layout.md, "Limits and hours".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import MetaStore, RowCorrupt, Write
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.names import TenantId
from gateway.model.quota import Quota, QuotaInvalid, Subject, quota_of

PAGE_ROWS = 1000
_PLAN = "plan"


class StoredQuota(NamedTuple):
    """Limits and whose they are: hexadecimal id of a tenant or bucket, an access key, an
    address.
    """

    subject: Subject
    name: str
    quota: Quota


def quota_row(subject: Subject, name: str) -> bytes:
    """Row key of the limits of a tenant, bucket, access key or address."""
    return keyspace.limit_row(f"{subject.value}:{name}")


def set_quota(
    keys: RecordKeys, nonces: NonceSource, subject: Subject, name: str, quota: Quota
) -> Write:
    """Write that sets limits, or drops the row when there are none."""
    row_key, limits = quota_row(subject, name), quota.limits()
    if not limits:
        return Write(row_key, None)
    return Write(row_key, seal_document(keys, nonces, row_key, dict(limits)))


def scan_quotas(store: MetaStore, keys: RecordKeys) -> list[StoredQuota]:
    """All limits, by subject and name. Raises: RowCorrupt."""
    found = []
    start, end = keyspace.family_range(keyspace.LIMIT, keyspace.CLUSTER_PARTITION)
    while rows := store.scan(start, end, limit=PAGE_ROWS):
        for row in rows:
            kind, _, name = row.key[keyspace.HEAD_BYTES :].decode().partition(":")
            if kind != _PLAN:
                found.append(_opened(keys, row.key, row.value, kind, name))
        start = keyspace.after(rows[-1].key)
    return found


def _opened(keys: RecordKeys, row_key: bytes, value: bytes, kind: str, name: str) -> StoredQuota:
    held = open_document(keys, row_key, value)
    try:
        subject = Subject(kind)
        return StoredQuota(subject, name, quota_of(subject, held))
    except (ValueError, QuotaInvalid) as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error


def read_plan(store: MetaStore, keys: RecordKeys, tenant: TenantId) -> dict[str, Any] | None:
    """Document of a tenant's plan. Raises: RowCorrupt."""
    row_key = keyspace.limit_row(f"{_PLAN}:{tenant.hex()}")
    value = store.read((row_key,))[0]
    return None if value is None else open_document(keys, row_key, value)


def set_plan(
    keys: RecordKeys, nonces: NonceSource, tenant: TenantId, document: dict[str, Any]
) -> Write:
    """Write that sets a tenant's plan."""
    row_key = keyspace.limit_row(f"{_PLAN}:{tenant.hex()}")
    return Write(row_key, seal_document(keys, nonces, row_key, document))
