"""Rows of bucket keys, one for each epoch: typed reads and writes.

Not for the keys in the clear (`gateway.objects.bucket_keys`).

Source: docs/data-layout.md, "Epochs of keys", "Buckets".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.key_states import FIRST_EPOCH, KeyEpoch, KeyState
from gateway.model.names import BucketId, TenantId


class StoredBucketKey(NamedTuple):
    """A bucket key, wrapped under an epoch of the tenant's key; b"" once it was destroyed."""

    tenant: TenantId
    wrapped: bytes
    about: KeyEpoch
    tenant_epoch: int = FIRST_EPOCH
    revision: bytes = b""


def read_bucket_key(
    store: MetaStore, keys: RecordKeys, bucket: BucketId, epoch: int
) -> StoredBucketKey:
    """The wrapped key of a bucket's epoch.

    Raises: RowCorrupt: also when there is no such row, for what names the epoch cannot be opened.
    """
    row_key = keyspace.bucket_key_row(bucket, epoch)
    value = store.read((row_key,))[0]
    if value is None:
        raise RowCorrupt(row_key=row_key.hex(), part="absent")
    return open_bucket_key(keys, row_key, value)


def open_bucket_key(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredBucketKey:
    """A wrapped key from its row. Raises: RowCorrupt."""
    held = open_document(keys, row_key, value)
    try:
        about = KeyEpoch(
            epoch=keyspace.parse_bucket_key(row_key)[1],
            state=KeyState(held.get("state", KeyState.ACTIVE)),
            before=KeyState(held.get("before", KeyState.ACTIVE)),
            created_at_ms=held.get("created_at_ms", 0),
            changed_at_ms=held.get("changed_at_ms", 0),
        )
        return StoredBucketKey(
            TenantId(bytes.fromhex(held["tenant"])),
            bytes.fromhex(held["wrapped"]),
            about,
            held.get("tenant_epoch", FIRST_EPOCH),
            revision_of(value),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error


def scan_bucket_keys(
    store: MetaStore, keys: RecordKeys, bucket: BucketId, *, limit: int = 10_000
) -> list[StoredBucketKey]:
    """Wrapped keys of a bucket, the oldest epoch first. Raises: RowCorrupt."""
    start, end = keyspace.bucket_key_range(bucket)
    rows = store.scan(start, end, limit=limit)
    return [open_bucket_key(keys, row.key, row.value) for row in rows]


def set_bucket_key(
    keys: RecordKeys, nonces: NonceSource, bucket: BucketId, key: StoredBucketKey
) -> Write:
    """Write that sets the wrapped key of an epoch; what says nothing unusual is left out."""
    about = key.about
    document: dict[str, Any] = {"tenant": key.tenant.hex(), "wrapped": key.wrapped.hex()}
    if key.tenant_epoch != FIRST_EPOCH:
        document["tenant_epoch"] = key.tenant_epoch
    if about.state is not KeyState.ACTIVE:
        document |= {"state": about.state.value, "before": about.before.value}
    for name in ("created_at_ms", "changed_at_ms"):
        if getattr(about, name):
            document[name] = getattr(about, name)
    row_key = keyspace.bucket_key_row(bucket, about.epoch)
    return Write(row_key, seal_document(keys, nonces, row_key, document))
