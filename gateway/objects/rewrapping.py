"""Wrapped DEKs, and rows that hold them, under another epoch of their bucket's key. No byte moves.

Not for finding them (`gateway.jobs.rotation`). What a client's own key or a named key wraps below
the bucket's stays as it is: only the outer layer is opened.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TypeVar

from gateway.data.bucket_sealing import Reseal
from gateway.data.envelope import DEK_LABEL, INNER_LABEL, SealInvalid
from gateway.meta import keyspace
from gateway.meta.kv import Row, RowCorrupt
from gateway.meta.records import open_version, seal_version
from gateway.meta.sealing import key_epoch_of, open_cluster, open_tenant, seal_row
from gateway.meta.uploads import open_upload, seal_upload
from gateway.meta.versions_wrapped import object_uuid_of, owner_and_wrapped, with_wrapped
from gateway.model.attributes import CUSTOMER, Encryption
from gateway.model.bucket import Bucket
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.names import BucketId, ObjectKey
from gateway.model.version import Version
from gateway.objects.bindings import dek_context
from gateway.objects.context import Services
from gateway.objects.new_object import DekPlace
from storaged.base.errors import Kind, StorageError

T = TypeVar("T")

# In this order a look over them misses nothing that moves: rows are only written under an epoch
# that is not the bucket's newest after a row of the same or of an earlier family was read.
FAMILIES = {
    keyspace.CURRENT: "current",
    keyspace.NONCURRENT: "noncurrent",
    keyspace.UPLOAD: "uploads",
    keyspace.PART: "parts",
    keyspace.ANNOTATION: "annotations",
}


# Yields what is to be resealed, is sent what came of it, and returns what it is for.
Rewrapping = Generator[Reseal, bytes, T]


def rewrapped_version(services: Services, bucket: Bucket, key: ObjectKey, held: Version) -> Version:
    """A version under the newest epoch of its bucket's key; as it is, if it is.

    Raises: SealInvalid, and what the bucket's keys raise.
    """
    epoch = bucket.key_epoch
    if held.key_epoch == epoch:
        return held
    return _one(services, _version(services, bucket.bucket_id, key, held, epoch))


def rewrapped_row(services: Services, row: Row, epoch: int) -> bytes:
    """The value of a row of one of FAMILIES under another epoch, at a fresh revision.

    Raises: RowCorrupt, SealInvalid, and what the bucket's keys raise.
    """
    return _one(services, _row(services, row, epoch))


def rewrapped_rows(
    services: Services, rows: Sequence[Row], epoch: int
) -> list[bytes | StorageError]:
    """As `rewrapped_row`, of many, with one call to who keeps bucket keys: for each its value, or
    why it has to stay as it is: it is corrupt, or its key was destroyed.

    Raises: what else the bucket's keys raise.
    """
    found: list[bytes | StorageError] = [RowCorrupt()] * len(rows)
    begun: list[tuple[int, Rewrapping[bytes], Reseal]] = []
    for number, row in enumerate(rows):
        work = _row(services, row, epoch)
        try:
            begun.append((number, work, next(work)))
        except StopIteration as done:
            found[number] = done.value
        except StorageError as error:
            found[number] = _stays(error)
    resealed = services.bucket_keys.keys_of.reseal([wanted for _, _, wanted in begun])
    for (number, work, _), record in zip(begun, resealed, strict=True):
        found[number] = record if isinstance(record, SealInvalid) else _ended(work, record)
    return found


def _stays(error: StorageError) -> StorageError:
    if error.kind is not Kind.CORRUPT and not isinstance(error, KmsKeyDestroyed):
        raise error
    return error


def _one(services: Services, work: Rewrapping[T]) -> T:
    try:
        wanted = next(work)
    except StopIteration as done:
        value: T = done.value
        return value
    record = services.bucket_keys.keys_of.reseal([wanted])[0]
    if isinstance(record, SealInvalid):
        raise record
    return _ended(work, record)


def _ended(work: Rewrapping[T], record: bytes) -> T:
    try:
        work.send(record)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a row has one DEK")


def _dek(
    services: Services,
    place: DekPlace,
    wrapped: bytes,
    encryption: Encryption | None,
    epoch: int,
) -> Rewrapping[tuple[bytes, Encryption | None]]:
    """A wrapped DEK under `epoch` in place of the one of `place`, and its encryption as it is to be
    stored.
    """
    keys = services.bucket_keys
    old, new = keys.sealer(place.bucket, place.key_epoch), keys.sealer(place.bucket, epoch)
    tenant, bucket, key, uuid, old_epoch = place
    before = dek_context(services.cluster_id, tenant, bucket, old_epoch, key, uuid)
    after = dek_context(services.cluster_id, tenant, bucket, epoch, key, uuid)
    label = DEK_LABEL if encryption is None else INNER_LABEL
    resealed = yield Reseal(old, new, label, (before, after), wrapped)
    if encryption is None:
        return resealed, None
    if encryption.kind == CUSTOMER and not encryption.bound_epoch:
        encryption = replace(encryption, bound_epoch=old_epoch)
    return resealed, encryption


def _version(
    services: Services, bucket: BucketId, key: ObjectKey, held: Version, epoch: int
) -> Rewrapping[Version]:
    if held.is_delete_marker:
        return replace(held, key_epoch=epoch)
    place = DekPlace(held.owner, bucket, key, held.object_uuid, held.key_epoch)
    attributes = held.attributes
    wrapped, encryption = yield from _dek(
        services, place, held.wrapped_dek, attributes.encryption, epoch
    )
    if encryption != attributes.encryption:
        attributes = replace(attributes, encryption=encryption)
    return replace(held, wrapped_dek=wrapped, key_epoch=epoch, attributes=attributes)


def _row(services: Services, row: Row, epoch: int) -> Rewrapping[bytes]:
    records, nonces = services.records, services.nonces
    family = row.key[:1]
    if family == keyspace.UPLOAD:
        return (yield from _upload_row(services, row, epoch))
    cluster = open_cluster(records, row.key, row.value)
    tenant = open_tenant(records, row.key, row.value)
    if family in (keyspace.CURRENT, keyspace.NONCURRENT):
        owner, wrapped, has_encryption = owner_and_wrapped(row.key, tenant)
        bucket, key = _object_of(row.key)
        if has_encryption:
            stored = open_version(records, row.key, row.value)
            version = yield from _version(services, bucket, key, stored.version, epoch)
            return seal_version(records, nonces, row.key, version, stored.layout)
        if wrapped:
            uuid = object_uuid_of(cluster)
            place = DekPlace(owner, bucket, key, uuid, key_epoch_of(row.value))
            wrapped, _ = yield from _dek(services, place, wrapped, None, epoch)
            tenant = with_wrapped(tenant, wrapped)
    return seal_row(records, nonces, row.key, cluster, tenant=tenant, key_epoch=epoch)


def _object_of(row_key: bytes) -> tuple[BucketId, ObjectKey]:
    if row_key[:1] == keyspace.CURRENT:
        return keyspace.parse_current(row_key)
    return keyspace.parse_noncurrent(row_key)[:2]


def _upload_row(services: Services, row: Row, epoch: int) -> Rewrapping[bytes]:
    held = open_upload(services.records, row.key, row.value).upload
    bucket = BucketId(row.key[1 : keyspace.HEAD_BYTES])
    place = DekPlace(held.owner, bucket, held.key, held.object_uuid, held.key_epoch)
    attributes = held.attributes
    wrapped, encryption = yield from _dek(
        services, place, held.wrapped_dek, attributes.encryption, epoch
    )
    if encryption != attributes.encryption:
        attributes = replace(attributes, encryption=encryption)
    upload = replace(held, wrapped_dek=wrapped, key_epoch=epoch, attributes=attributes)
    return seal_upload(services.records, services.nonces, row.key, upload)
