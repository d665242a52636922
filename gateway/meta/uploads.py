"""Uploads and their parts: codec of upload rows, typed reads, checks and writes.

Not for deciding what a complete upload is: `gateway.objects.multipart` does. The part rows of a
completed upload stay where they are, under the object uuid; only the upload row goes.

Source: docs/data-layout.md, "Uploads and parts".
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import Check, MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.part_records import StoredPart, open_part, seal_part
from gateway.meta.record_fields import MALFORMED, canonical_json, pack_bytes, unpack_bytes
from gateway.meta.sealing import (
    NonceSource,
    RecordKeys,
    key_epoch_of,
    open_cluster,
    open_tenant,
    seal_row,
)
from gateway.model.attributes import attributes_of, document_of
from gateway.model.layout import Layout
from gateway.model.names import BucketId, ObjectKey, ObjectUuid, TenantId, UploadId
from gateway.model.version import Part, Upload


class StoredUpload(NamedTuple):
    """An upload row."""

    upload: Upload
    revision: bytes


def seal_upload(keys: RecordKeys, nonces: NonceSource, row_key: bytes, upload: Upload) -> bytes:
    """Row value of an upload: its object uuid for the cluster, everything else for the tenant."""
    tenant = canonical_json(
        {
            "created_at_ms": upload.created_at_ms,
            "storage_class": upload.storage_class,
            "headers": upload.headers,
            "user_metadata": upload.user_metadata,
            "tags": upload.tags,
            "checksum": [upload.checksum_algorithm, upload.checksum_type],
            "wrapped_dek": upload.wrapped_dek.hex(),
            "owner": upload.owner.hex(),
            "attributes": document_of(upload.attributes),
        }
    )
    cluster = pack_bytes(None, 0, 0, upload.object_uuid)
    return seal_row(keys, nonces, row_key, cluster, tenant=tenant, key_epoch=upload.key_epoch)


def open_upload(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredUpload:
    """A whole upload row. Raises: RowCorrupt."""
    cluster = open_cluster(keys, row_key, value)
    tenant = open_tenant(keys, row_key, value)
    _, key, upload_id = keyspace.parse_upload(row_key)
    try:
        held: dict[str, Any] = json.loads(tenant)
        upload = Upload(
            upload_id=UploadId(upload_id),
            key=key,
            object_uuid=unpack_bytes(cluster).object_uuid,
            created_at_ms=held["created_at_ms"],
            storage_class=held["storage_class"],
            headers=tuple((name, text) for name, text in held["headers"]),
            user_metadata=tuple((name, text) for name, text in held["user_metadata"]),
            tags=tuple((name, text) for name, text in held["tags"]),
            checksum_algorithm=held["checksum"][0],
            checksum_type=held["checksum"][1],
            wrapped_dek=bytes.fromhex(held["wrapped_dek"]),
            key_epoch=key_epoch_of(value),
            owner=TenantId(bytes.fromhex(held["owner"])),
            attributes=attributes_of(held.get("attributes", {})),
        )
    except MALFORMED as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    return StoredUpload(upload, revision_of(value))


def read_upload(
    store: MetaStore, keys: RecordKeys, bucket: BucketId, key: ObjectKey, upload: UploadId
) -> StoredUpload | None:
    """One upload; None when it was never made, completed or aborted. Raises: RowCorrupt."""
    row_key = keyspace.upload_row(bucket, key, upload)
    value = store.read((row_key,))[0]
    return None if value is None else open_upload(keys, row_key, value)


def scan_uploads(
    store: MetaStore, keys: RecordKeys, start: bytes, end: bytes, *, limit: int
) -> list[StoredUpload]:
    """Uploads in a range of row keys, by key and upload id. Raises: RowCorrupt."""
    rows = store.scan(start, end, limit=limit)
    return [open_upload(keys, row.key, row.value) for row in rows]


def read_parts(
    store: MetaStore, keys: RecordKeys, bucket: BucketId, uuid: ObjectUuid, numbers: list[int]
) -> list[StoredPart | None]:
    """Part rows by number, at one instant. Raises: RowCorrupt."""
    row_keys = [keyspace.part_row(bucket, uuid, number) for number in numbers]
    values = store.read(row_keys)
    return [
        None if value is None else open_part(keys, row_key, value)
        for row_key, value in zip(row_keys, values, strict=True)
    ]


def scan_parts(
    store: MetaStore,
    keys: RecordKeys,
    bucket: BucketId,
    uuid: ObjectUuid,
    *,
    after: int = 0,
    limit: int,
) -> list[StoredPart]:
    """Part rows with a number above `after`, in ascending order. Raises: RowCorrupt."""
    _, end = keyspace.part_range(bucket, uuid)
    rows = store.scan(keyspace.part_row(bucket, uuid, after + 1), end, limit=limit)
    return [open_part(keys, row.key, row.value) for row in rows]


def set_upload(keys: RecordKeys, nonces: NonceSource, bucket: BucketId, upload: Upload) -> Write:
    """Write that sets the row of an upload."""
    row_key = keyspace.upload_row(bucket, upload.key, upload.upload_id)
    return Write(row_key, seal_upload(keys, nonces, row_key, upload))


def upload_unchanged(bucket: BucketId, stored: StoredUpload) -> Check:
    """The upload is still there: what UploadPart, Complete and Abort check."""
    upload = stored.upload
    row_key = keyspace.upload_row(bucket, upload.key, upload.upload_id)
    return Check(row_key, stored.revision)


def drop_upload(bucket: BucketId, upload: Upload) -> Write:
    """Write that drops the row of an upload."""
    return Write(keyspace.upload_row(bucket, upload.key, upload.upload_id), None)


def set_part(
    keys: RecordKeys,
    nonces: NonceSource,
    bucket: BucketId,
    upload: Upload,
    part: Part,
    layout: Layout,
) -> Write:
    """Write that sets a part row, over an earlier attempt at the same number as well."""
    row_key = keyspace.part_row(bucket, upload.object_uuid, part.number)
    value = seal_part(keys, nonces, row_key, part, layout, key_epoch=upload.key_epoch)
    return Write(row_key, value)


def part_unchanged(
    bucket: BucketId, uuid: ObjectUuid, number: int, stored: StoredPart | None
) -> Check:
    """The part row is what was read (None: absent), so its stripes are released exactly once."""
    row_key = keyspace.part_row(bucket, uuid, number)
    return Check(row_key, None if stored is None else stored.revision)


def drop_part(bucket: BucketId, uuid: ObjectUuid, number: int) -> Write:
    """Write that drops a part row."""
    return Write(keyspace.part_row(bucket, uuid, number), None)
