"""Tenants and access keys: typed reads and writes.

Not for signing keys or rights. The secret of an access key is inside the sealed part of its row and
nowhere else, sealed once more where a key service is; it is never printed.

Source: docs/data-layout.md, "Accounts".
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.names import TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who owns buckets and pays; `owner_id` is what S3 prints as Owner/ID.

    Args:
        enabled: its access keys are taken.
    """

    tenant_id: TenantId
    name: str
    owner_id: str
    created_at_ms: int
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key and its secret: clear, or "" and `sealed`, which the key service opens."""

    access_key_id: str
    secret: str = field(repr=False)
    sealed: bytes = field(default=b"", repr=False)
    tenant: TenantId
    user: str
    created_at_ms: int
    enabled: bool


class StoredTenant(NamedTuple):
    """A tenant and the revision of its row."""

    tenant: Tenant
    revision: bytes


class StoredAccessKey(NamedTuple):
    """An access key and the revision of its row."""

    access_key: AccessKey
    revision: bytes


def read_tenant(store: MetaStore, keys: RecordKeys, tenant: TenantId) -> StoredTenant | None:
    """A tenant by id. Raises: RowCorrupt."""
    row_key = keyspace.tenant_row(tenant)
    value = store.read((row_key,))[0]
    return None if value is None else _open_tenant(keys, row_key, value)


def scan_tenants(
    store: MetaStore, keys: RecordKeys, after: TenantId | None, *, limit: int
) -> list[StoredTenant]:
    """Tenants above an id, by id. Raises: RowCorrupt."""
    start, end = keyspace.family_range(keyspace.TENANT, keyspace.CLUSTER_PARTITION)
    if after is not None:
        start = keyspace.after(keyspace.tenant_row(after))
    rows = store.scan(start, end, limit=limit)
    return [_open_tenant(keys, row.key, row.value) for row in rows]


def set_tenant(keys: RecordKeys, nonces: NonceSource, tenant: Tenant) -> Write:
    """Write that sets a tenant's row."""
    row_key = keyspace.tenant_row(tenant.tenant_id)
    document: dict[str, object] = {
        "name": tenant.name,
        "owner_id": tenant.owner_id,
        "created_at_ms": tenant.created_at_ms,
    }
    if not tenant.enabled:
        document["enabled"] = False
    return Write(row_key, seal_document(keys, nonces, row_key, document))


def read_access_key(
    store: MetaStore, keys: RecordKeys, access_key_id: str
) -> StoredAccessKey | None:
    """An access key by id, disabled ones too. Raises: RowCorrupt."""
    row_key = keyspace.access_key_row(access_key_id)
    value = store.read((row_key,))[0]
    return None if value is None else _open_access_key(keys, row_key, value)


def scan_access_keys(
    store: MetaStore, keys: RecordKeys, after: str | None, *, limit: int
) -> list[StoredAccessKey]:
    """Access keys of all tenants above an id, by id. Raises: RowCorrupt."""
    start, end = keyspace.access_key_range()
    if after is not None:
        start = keyspace.after(keyspace.access_key_row(after))
    rows = store.scan(start, end, limit=limit)
    return [_open_access_key(keys, row.key, row.value) for row in rows]


def _open_access_key(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredAccessKey:
    held = open_document(keys, row_key, value)
    try:
        access_key = AccessKey(
            access_key_id=row_key[keyspace.HEAD_BYTES :].decode(),
            secret=held.get("secret", ""),
            sealed=base64.b64decode(held.get("sealed", "")),
            tenant=TenantId(bytes.fromhex(held["tenant"])),
            user=held["user"],
            created_at_ms=held["created_at_ms"],
            enabled=held["enabled"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error
    if bool(access_key.secret) == bool(access_key.sealed):
        raise RowCorrupt(row_key=row_key.hex(), part="structure")
    return StoredAccessKey(access_key, revision_of(value))


def set_access_key(keys: RecordKeys, nonces: NonceSource, access_key: AccessKey) -> Write:
    """Write that sets an access key's row."""
    row_key = keyspace.access_key_row(access_key.access_key_id)
    secret = {"secret": access_key.secret}
    if access_key.sealed:
        secret = {"sealed": base64.b64encode(access_key.sealed).decode()}
    document = {
        **secret,
        "tenant": access_key.tenant.hex(),
        "user": access_key.user,
        "created_at_ms": access_key.created_at_ms,
        "enabled": access_key.enabled,
    }
    return Write(row_key, seal_document(keys, nonces, row_key, document))


def drop_access_key(access_key_id: str) -> Write:
    """Write that drops an access key."""
    return Write(keyspace.access_key_row(access_key_id), None)


def _open_tenant(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredTenant:
    held = open_document(keys, row_key, value)
    try:
        tenant = Tenant(
            tenant_id=TenantId(row_key[keyspace.HEAD_BYTES :]),
            name=held["name"],
            owner_id=held["owner_id"],
            created_at_ms=held["created_at_ms"],
            enabled=held.get("enabled", True),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error
    return StoredTenant(tenant, revision_of(value))
