"""A version in the making: its ids and keys before the body, its values after it.

Not for reading or committing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import (
    DEK_LABEL,
    INNER_LABEL,
    SealInvalid,
    checked_dek,
    unwrap_dek,
    wrap_dek,
)
from gateway.limits import USER_METADATA_BYTES_MAX
from gateway.meta.records import StoredVersion
from gateway.model.attributes import CUSTOMER, Attributes, Encryption
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
from gateway.objects.bindings import WHOLE_OBJECT, customer_wrapping_key, dek_context
from gateway.objects.context import Services
from gateway.objects.encryption import PLAIN, Choice, key_check, named_context
from gateway.objects.named_keys import name_of
from gateway.objects.regions import region_of
from gateway.objects.store import PartName
from gateway.objects.target import Target
from gateway.objects.values import Metadata


class NewObject(NamedTuple):
    """Ids and keys of a version that does not exist yet; `name` seals a body put whole."""

    bucket: BucketId
    name: PartName
    wrapped_dek: bytes
    key_epoch: int
    encryption: Encryption | None = None


class Content(NamedTuple):
    """What a version holds: `seal` for a body put whole, `runs` for a multipart object."""

    content_bytes: int
    etag: str
    checksum: Checksum | None
    seal: PartSeal | None
    runs: tuple[PartRun, ...] = ()


def new_object(services: Services, target: Target, choice: Choice = PLAIN) -> NewObject:
    """Fresh uuid and DEK for an object of this name, the DEK wrapped under the bucket's key, and
    below it under the key that was chosen.

    Raises: RegionUnknown, NamedKeyMissing, and what the key provider raises.
    """
    bucket = target.opened.bucket
    entropy = services.env.random_bytes(UUID_BYTES + KEY_BYTES + SALT_BYTES)
    uuid = ObjectUuid(entropy[:UUID_BYTES])
    dek = entropy[UUID_BYTES : UUID_BYTES + KEY_BYTES]
    salt = entropy[UUID_BYTES + KEY_BYTES :]
    place = DekPlace(bucket.tenant, bucket.bucket_id, target.key, uuid, bucket.key_epoch)
    wrapped, encryption = wrapped_dek(services, place, dek, salt, choice)
    name = PartName(bucket.tenant, uuid, WHOLE_OBJECT, dek, region_of(services, bucket))
    return NewObject(bucket.bucket_id, name, wrapped, bucket.key_epoch, encryption)


async def made_object(services: Services, target: Target, choice: Choice) -> NewObject:
    """As new_object, where a named key may take long; only who awaits this waits for it."""
    if choice is PLAIN:
        return new_object(services, target)
    return await services.bucket_keys.apart(lambda: new_object(services, target, choice))


class DekPlace(NamedTuple):
    """What a DEK belongs to, and the epoch of the bucket key that wraps it."""

    tenant: TenantId
    bucket: BucketId
    key: ObjectKey
    uuid: ObjectUuid
    key_epoch: int


def wrapped_dek(
    services: Services, place: DekPlace, dek: bytes, salt: bytes, choice: Choice
) -> tuple[bytes, Encryption | None]:
    """A DEK under the keys of a choice, and the choice as it is stored.

    Raises: NamedKeyMissing, and what the key provider raises.
    """
    context = _context(services, place)
    sealer = services.bucket_keys.sealer(place.bucket, place.key_epoch)
    chosen = choice.encryption
    if chosen is None:
        return sealer.seal(DEK_LABEL, context, dek, salt), None
    if chosen.kind == CUSTOMER:
        assert choice.customer_key is not None, "the choice brings the key"
        key = customer_wrapping_key(choice.customer_key, services.cluster_id)
        inner = wrap_dek(key, context, dek, services.env.random_bytes(SALT_BYTES))
        check = key_check(services.cluster_id, place.uuid, choice.customer_key)
        chosen = replace(chosen, key_check=check, bound_epoch=0)
    else:
        bound = named_context(services, chosen, place.bucket, place.key, place.uuid)
        provider = services.bucket_keys.provider
        inner = provider.wrap_named(place.tenant, name_of(chosen.key_id), bound, dek)
    return sealer.seal(INNER_LABEL, context, inner, salt), chosen


def opened_dek(
    services: Services,
    place: DekPlace,
    wrapped: bytes,
    encryption: Encryption | None = None,
    customer_key: bytes | None = None,
) -> bytes:
    """The DEK of a version or upload.

    Raises: SealInvalid (a client's key that is not the right one, too), NamedKeyMissing, and what
        the key provider raises.
    """
    context = _context(services, place)
    sealer = services.bucket_keys.sealer(place.bucket, place.key_epoch)
    if encryption is None:
        return checked_dek(sealer.open(DEK_LABEL, context, wrapped))
    inner = sealer.open(INNER_LABEL, context, wrapped)
    if encryption.kind == CUSTOMER:
        if customer_key is None:
            raise SealInvalid(label="wrap-dek", reason="the client's key is missing")
        key = customer_wrapping_key(customer_key, services.cluster_id)
        if encryption.bound_epoch:
            context = _context(services, place._replace(key_epoch=encryption.bound_epoch))
        return unwrap_dek(key, context, inner)
    bound = named_context(services, encryption, place.bucket, place.key, place.uuid)
    name = name_of(encryption.key_id)
    return services.bucket_keys.provider.unwrap_named(place.tenant, name, bound, inner)


def _context(services: Services, place: DekPlace) -> bytes:
    tenant, bucket, key, uuid, key_epoch = place
    return dek_context(services.cluster_id, tenant, bucket, key_epoch, key, uuid)


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
        tags=metadata.tags,
        checksum=content.checksum,
        wrapped_dek=new.wrapped_dek,
        key_epoch=new.key_epoch,
        owner=new.name.tenant,
        seal=content.seal,
        part_runs=content.runs,
        attributes=attributes_for(metadata, new.encryption),
    )


def attributes_for(metadata: Metadata, encryption: Encryption | None) -> Attributes:
    """Attributes of a version or upload: what the client said, and the encryption it got."""
    if encryption is None:
        return metadata.attributes
    return replace(metadata.attributes, encryption=encryption)


def check_metadata(metadata: Metadata) -> None:
    """Raises MetadataTooLarge, InvalidStorageClass."""
    if metadata.user:
        held = sum(len(name.encode()) + len(text.encode()) for name, text in metadata.user)
        if held > USER_METADATA_BYTES_MAX:
            raise MetadataTooLarge(size=held, max_bytes=USER_METADATA_BYTES_MAX)
    if metadata.storage_class not in STORAGE_CLASSES:
        raise InvalidStorageClass(storage_class=metadata.storage_class)
