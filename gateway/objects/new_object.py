"""A version in the making: its ids and keys before the body, its values after it.

Not for reading or committing.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import unwrap_dek, wrap_dek
from gateway.limits import USER_METADATA_BYTES_MAX
from gateway.meta.records import StoredVersion
from gateway.model.errors import InvalidStorageClass, MetadataTooLarge
from gateway.model.names import (
    NULL_VERSION,
    UUID_BYTES,
    BucketId,
    ObjectKey,
    ObjectUuid,
    TenantId,
)
from gateway.model.version import STORAGE_CLASSES, Checksum, PartRun, PartSeal, Version
from gateway.objects.bindings import WHOLE_OBJECT, dek_context
from gateway.objects.context import Services
from gateway.objects.store import PartName
from gateway.objects.target import Target
from gateway.objects.values import Metadata


class NewObject(NamedTuple):
    """Ids and keys of a version that does not exist yet; `name` seals a body put whole."""

    bucket: BucketId
    name: PartName
    wrapped_dek: bytes
    key_epoch: int


class Content(NamedTuple):
    """What a version holds: `seal` for a body put whole, `runs` for a multipart object."""

    content_bytes: int
    etag: str
    checksum: Checksum | None
    seal: PartSeal | None
    runs: tuple[PartRun, ...] = ()


def new_object(services: Services, target: Target) -> NewObject:
    """Fresh uuid and DEK for an object of this name, the DEK wrapped under the bucket's key."""
    bucket = target.opened.bucket
    entropy = services.env.random_bytes(UUID_BYTES + KEY_BYTES + SALT_BYTES)
    uuid = ObjectUuid(entropy[:UUID_BYTES])
    dek = entropy[UUID_BYTES : UUID_BYTES + KEY_BYTES]
    context = dek_context(
        services.cluster_id, bucket.tenant, bucket.bucket_id, bucket.key_epoch, target.key, uuid
    )
    wrapped = wrap_dek(
        services.bucket_keys.key(bucket.bucket_id, bucket.key_epoch),
        context,
        dek,
        entropy[UUID_BYTES + KEY_BYTES :],
    )
    name = PartName(bucket.tenant, uuid, WHOLE_OBJECT, dek)
    return NewObject(bucket.bucket_id, name, wrapped, bucket.key_epoch)


def opened_dek(
    services: Services,
    *,
    tenant: TenantId,
    bucket: BucketId,
    key: ObjectKey,
    uuid: ObjectUuid,
    key_epoch: int,
    wrapped_dek: bytes,
) -> bytes:
    """The DEK of a version or upload. Raises WrongKey, and what the key provider raises."""
    context = dek_context(services.cluster_id, tenant, bucket, key_epoch, key, uuid)
    return unwrap_dek(services.bucket_keys.key(bucket, key_epoch), context, wrapped_dek)


def new_version(
    new: NewObject,
    content: Content,
    metadata: Metadata,
    current: StoredVersion | None,
    now_ms: int,
) -> Version:
    """The version that follows `current`. Its date is later, whatever the clock says."""
    sequence, created_at_ms = 1, now_ms
    if current is not None:
        sequence = current.version.sequence + 1
        created_at_ms = max(now_ms, current.version.created_at_ms + 1)
    return Version(
        version_id=NULL_VERSION,
        object_uuid=new.name.uuid,
        sequence=sequence,
        created_at_ms=created_at_ms,
        content_bytes=content.content_bytes,
        etag=content.etag,
        is_delete_marker=False,
        storage_class=metadata.storage_class,
        headers=metadata.headers,
        user_metadata=metadata.user,
        tags=(),
        checksum=content.checksum,
        wrapped_dek=new.wrapped_dek,
        key_epoch=new.key_epoch,
        owner=new.name.tenant,
        seal=content.seal,
        part_runs=content.runs,
    )


def check_metadata(metadata: Metadata) -> None:
    """Raises MetadataTooLarge, InvalidStorageClass."""
    if metadata.user:
        held = sum(len(name.encode()) + len(text.encode()) for name, text in metadata.user)
        if held > USER_METADATA_BYTES_MAX:
            raise MetadataTooLarge(size=held, max_size_allowed=USER_METADATA_BYTES_MAX)
    if metadata.storage_class not in STORAGE_CLASSES:
        raise InvalidStorageClass(storage_class=metadata.storage_class)
