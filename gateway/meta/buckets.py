"""Buckets: typed reads, and the batches that make, close, reopen, change and delete one.

Not for deciding who may. Rows of a bucket: open row `B` by id, name row `b`, its entry among the
tenant's buckets `t`, key rows `K` by epoch.

Deleting a bucket is safe against concurrent puts because every object batch checks that the open
row exists, and commits are totally ordered:

1. `close_batch` moves the open row to the closed row `C`: from there on no object batch commits.
2. The caller looks with `is_empty`: nothing can appear any more. Empty: `delete_batch` drops all
rows. Not empty:
   `reopen_batch` moves the row back, and the answer is BucketNotEmpty.

A crash between 1 and 2 leaves a closed bucket: nobody finds it, its name stays taken. Whoever meets
it by name (`find_closed_bucket`: CreateBucket, DeleteBucket) or by the scan at start
(`scan_closed_buckets`) goes on at step 2; both batches check the closed row's revision, so two who
do it at once do no harm.

Source: docs/data-layout.md, "Buckets".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.bucket_key_rows import StoredBucketKey, set_bucket_key
from gateway.meta.kv import Batch, Check, Exists, MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.bucket import Bucket, Versioning
from gateway.model.key_states import FIRST_EPOCH, KeyEpoch
from gateway.model.names import BucketId, BucketName, TenantId


class StoredBucket(NamedTuple):
    """A bucket and the value of its open or closed row."""

    bucket: Bucket
    value: bytes

    @property
    def revision(self) -> bytes:
        return revision_of(self.value)


class BucketSummary(NamedTuple):
    """What ListBuckets prints of a bucket."""

    name: BucketName
    bucket_id: BucketId
    created_at_ms: int
    location: str


def find_bucket(store: MetaStore, keys: RecordKeys, name: BucketName) -> StoredBucket | None:
    """The open bucket of a name; None when there is none or it is closed. Raises: RowCorrupt."""
    bucket = _id_of(store, keys, name)
    return None if bucket is None else read_bucket(store, keys, bucket)


def read_bucket(store: MetaStore, keys: RecordKeys, bucket: BucketId) -> StoredBucket | None:
    """An open bucket by id. Raises: RowCorrupt."""
    return _read(store, keys, keyspace.bucket_row(bucket))


def read_closed_bucket(store: MetaStore, keys: RecordKeys, bucket: BucketId) -> StoredBucket | None:
    """A bucket by id whose deletion has begun and not ended. Raises: RowCorrupt."""
    return _read(store, keys, keyspace.closed_bucket_row(bucket))


def find_closed_bucket(store: MetaStore, keys: RecordKeys, name: BucketName) -> StoredBucket | None:
    """The bucket of a name whose deletion has begun and not ended. Raises: RowCorrupt."""
    bucket = _id_of(store, keys, name)
    return None if bucket is None else _read(store, keys, keyspace.closed_bucket_row(bucket))


def scan_closed_buckets(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[StoredBucket]:
    """Buckets whose deletion has begun and not ended. Raises: RowCorrupt."""
    start = keyspace.CLOSED_BUCKET
    rows = store.scan(start, keyspace.successor(start), limit=limit)
    return [_open(keys, row.key, row.value) for row in rows]


def scan_buckets(
    store: MetaStore, keys: RecordKeys, after: BucketId | None, *, limit: int
) -> list[StoredBucket]:
    """Open buckets of all tenants above an id, by id. Raises: RowCorrupt."""
    start = keyspace.BUCKET if after is None else keyspace.after(keyspace.bucket_row(after))
    rows = store.scan(start, keyspace.successor(keyspace.BUCKET), limit=limit)
    return [_open(keys, row.key, row.value) for row in rows]


def list_buckets(
    store: MetaStore,
    keys: RecordKeys,
    tenant: TenantId,
    *,
    prefix: str = "",
    after: str = "",
    limit: int,
) -> list[BucketSummary]:
    """A tenant's buckets in name order: those that start with `prefix` and sort above `after`.

    One that is being deleted is listed until it is gone. Raises: RowCorrupt.
    """
    start, end = keyspace.tenant_bucket_range(tenant, prefix)
    if after:
        start = max(start, keyspace.after(keyspace.tenant_bucket_range(tenant, after)[0]))
    found = []
    for row in store.scan(start, end, limit=limit):
        held = open_document(keys, row.key, row.value)
        name = BucketName(row.key[keyspace.HEAD_BYTES + len(tenant) :].decode("ascii"))
        bucket = BucketId(bytes.fromhex(held["bucket"]))
        found.append(BucketSummary(name, bucket, held["created_at_ms"], held["location"]))
    return found


def is_empty(store: MetaStore, bucket: BucketId) -> bool:
    """Whether the bucket holds no version and no upload; final only while it is closed."""
    return not any(
        store.scan(*keyspace.family_range(family, bucket), limit=1)
        for family in (keyspace.CURRENT, keyspace.NONCURRENT, keyspace.UPLOAD)
    )


def bucket_open(bucket: BucketId) -> Exists:
    """The check of every object batch."""
    return Exists(keyspace.bucket_row(bucket))


def create_batch(
    keys: RecordKeys,
    nonces: NonceSource,
    bucket: Bucket,
    wrapped_key: bytes,
    request_id: bytes,
    *also: Write,
    tenant_epoch: int = FIRST_EPOCH,
) -> Batch:
    """Make a bucket and its first key; BatchConflict when the name is taken.

    Args:
        also: rows of its documents.
        tenant_epoch: of the tenant's key that wraps the bucket's.
    """
    name_row = keyspace.bucket_name_row(bucket.name)
    tenant_row = keyspace.tenant_bucket_row(bucket.tenant, bucket.name)
    entry = {
        "bucket": bucket.bucket_id.hex(),
        "created_at_ms": bucket.created_at_ms,
        "location": bucket.location,
    }
    return Batch(
        partition=bucket.bucket_id,
        request_id=request_id,
        checks=(Check(name_row, None),),
        writes=(
            _write(keys, nonces, keyspace.bucket_row(bucket.bucket_id), _document(bucket)),
            _write(keys, nonces, name_row, {"bucket": bucket.bucket_id.hex()}),
            _write(keys, nonces, tenant_row, entry),
            set_bucket_key(
                keys,
                nonces,
                bucket.bucket_id,
                StoredBucketKey(
                    bucket.tenant,
                    wrapped_key,
                    KeyEpoch(epoch=bucket.key_epoch, created_at_ms=bucket.created_at_ms),
                    tenant_epoch,
                ),
            ),
            *also,
        ),
    )


def update_batch(
    keys: RecordKeys,
    nonces: NonceSource,
    stored: StoredBucket,
    bucket: Bucket,
    request_id: bytes,
    *also: Write,
) -> Batch:
    """Change settings of an open bucket; its id, name, tenant and date stay."""
    was = stored.bucket
    assert (bucket.bucket_id, bucket.name, bucket.tenant) == (was.bucket_id, was.name, was.tenant)
    row_key = keyspace.bucket_row(bucket.bucket_id)
    return Batch(
        partition=bucket.bucket_id,
        request_id=request_id,
        checks=(Check(row_key, stored.revision),),
        writes=(_write(keys, nonces, row_key, _document(bucket)), *also),
    )


def read_document(
    store: MetaStore, keys: RecordKeys, bucket: BucketId, name: str
) -> dict[str, Any] | None:
    """A document of a bucket that has a row of its own. Raises: RowCorrupt."""
    row_key = keyspace.bucket_document_row(bucket, name)
    value = store.read((row_key,))[0]
    return None if value is None else open_document(keys, row_key, value)


def set_document(
    keys: RecordKeys,
    nonces: NonceSource,
    bucket: BucketId,
    name: str,
    document: dict[str, Any] | None,
) -> Write:
    """Write that sets such a document, or drops it."""
    row_key = keyspace.bucket_document_row(bucket, name)
    if document is None:
        return Write(row_key, None)
    return _write(keys, nonces, row_key, document)


def close_batch(
    keys: RecordKeys, nonces: NonceSource, stored: StoredBucket, request_id: bytes
) -> Batch:
    """Step 1 of deleting: from here on no object batch of the bucket commits."""
    bucket = stored.bucket.bucket_id
    return _move(
        keys,
        nonces,
        stored,
        keyspace.bucket_row(bucket),
        keyspace.closed_bucket_row(bucket),
        request_id,
    )


def reopen_batch(
    keys: RecordKeys, nonces: NonceSource, closed: StoredBucket, request_id: bytes
) -> Batch:
    """Step 2 of deleting a bucket that is not empty."""
    bucket = closed.bucket.bucket_id
    return _move(
        keys,
        nonces,
        closed,
        keyspace.closed_bucket_row(bucket),
        keyspace.bucket_row(bucket),
        request_id,
    )


def delete_batch(store: MetaStore, closed: StoredBucket, request_id: bytes) -> Batch:
    """Step 2 of deleting an empty bucket: all its rows, and with the key rows its keys."""
    bucket = closed.bucket
    closed_row = keyspace.closed_bucket_row(bucket.bucket_id)
    start, end = keyspace.bucket_key_range(bucket.bucket_id)
    key_rows = [row.key for row in store.scan(start, end, limit=10_000)]
    documents = [keyspace.bucket_document_row(bucket.bucket_id, name) for name in bucket.cold]
    return Batch(
        partition=bucket.bucket_id,
        request_id=request_id,
        checks=(Check(closed_row, closed.revision),),
        writes=(
            Write(closed_row, None),
            Write(keyspace.bucket_name_row(bucket.name), None),
            Write(keyspace.tenant_bucket_row(bucket.tenant, bucket.name), None),
            *(Write(row_key, None) for row_key in (*key_rows, *documents)),
        ),
    )


def _id_of(store: MetaStore, keys: RecordKeys, name: BucketName) -> BucketId | None:
    row_key = keyspace.bucket_name_row(name)
    value = store.read((row_key,))[0]
    if value is None:
        return None
    return BucketId(bytes.fromhex(open_document(keys, row_key, value)["bucket"]))


def _read(store: MetaStore, keys: RecordKeys, row_key: bytes) -> StoredBucket | None:
    value = store.read((row_key,))[0]
    return None if value is None else _open(keys, row_key, value)


def _open(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredBucket:
    held = open_document(keys, row_key, value)
    try:
        bucket = Bucket(
            bucket_id=BucketId(row_key[1 : keyspace.HEAD_BYTES]),
            name=BucketName(held["name"]),
            tenant=TenantId(bytes.fromhex(held["tenant"])),
            created_at_ms=held["created_at_ms"],
            location=held["location"],
            versioning=Versioning(held["versioning"]),
            object_lock=held["object_lock"],
            geometry_class=held["geometry_class"],
            key_epoch=held["key_epoch"],
            documents=held.get("documents", {}),
            cold=frozenset(held.get("cold", ())),
            named_turns=held.get("named_turns", 0),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error
    return StoredBucket(bucket, value)


def _document(bucket: Bucket) -> dict[str, Any]:
    turns = {"named_turns": bucket.named_turns} if bucket.named_turns else {}
    return {
        "name": bucket.name,
        "tenant": bucket.tenant.hex(),
        "created_at_ms": bucket.created_at_ms,
        "location": bucket.location,
        "versioning": bucket.versioning.value,
        "object_lock": bucket.object_lock,
        "geometry_class": bucket.geometry_class,
        "key_epoch": bucket.key_epoch,
        "documents": dict(bucket.documents),
        "cold": sorted(bucket.cold),
        **turns,
    }


def _write(
    keys: RecordKeys, nonces: NonceSource, row_key: bytes, document: dict[str, Any]
) -> Write:
    return Write(row_key, seal_document(keys, nonces, row_key, document))


def _move(
    keys: RecordKeys,
    nonces: NonceSource,
    stored: StoredBucket,
    source: bytes,
    target: bytes,
    request_id: bytes,
) -> Batch:
    return Batch(
        partition=stored.bucket.bucket_id,
        request_id=request_id,
        checks=(Check(source, stored.revision), Check(target, None)),
        writes=(Write(source, None), _write(keys, nonces, target, _document(stored.bucket))),
    )
