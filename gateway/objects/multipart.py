"""Multipart uploads: create, upload parts, complete, abort. Listings are in `uploads`.

An upload's id is the object uuid of the version it becomes, so its part rows stay where they are,
and a repeated complete knows its own object.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.commit.change import Change, Draft
from gateway.limits import PART_BYTES_MAX, PART_NUMBER_MAX
from gateway.meta import keyspace
from gateway.meta import uploads as upload_rows
from gateway.meta.kv import Batch, Check, Exists, Write, revision_of
from gateway.meta.part_records import StoredPart, open_part, seal_part
from gateway.meta.uploads import StoredUpload, open_upload
from gateway.model.action import Action
from gateway.model.conditions import copy_range
from gateway.model.errors import (
    EntityTooLarge,
    InvalidArgument,
    InvalidRequest,
    NoSuchUpload,
    OperationAborted,
)
from gateway.model.names import ObjectUuid, UploadId, upload_id_text
from gateway.model.names import upload_id as parse_upload_id
from gateway.model.version import Part, Upload
from gateway.objects import access
from gateway.objects.acls import owned
from gateway.objects.assembly import COMPOSITE, FULL_OBJECT
from gateway.objects.body import Body, Buffer
from gateway.objects.context import Context, Services
from gateway.objects.copy import (
    SourceBody,
    close_source,
    open_source,
)
from gateway.objects.encryption import admit_part, choose
from gateway.objects.locks import check_has_digest, check_lockable
from gateway.objects.new_object import (
    DekPlace,
    attributes_for,
    check_metadata,
    made_object,
    opened_dek,
)
from gateway.objects.parting import collect_object, part_later
from gateway.objects.publish import IdsGivenBack, same_bucket, until_committed
from gateway.objects.put import check_may_tag
from gateway.objects.regions import region_of
from gateway.objects.releases import releases_of
from gateway.objects.store import PartName, SealedPart, store_part
from gateway.objects.target import LOOKS_MAX, Target, open_target
from gateway.objects.values import (
    CopySource,
    CreateUploadOptions,
    CustomerKey,
    PartHead,
    UploadHead,
)
from gateway.objects.views import part_head_of, upload_head_of

_OF_INITIATOR = frozenset({Action.ABORT_MULTIPART_UPLOAD, Action.LIST_MULTIPART_UPLOAD_PARTS})


async def create_upload(
    ctx: Context, bucket: str, key: str, options: CreateUploadOptions
) -> UploadHead:
    """Begin an upload.

    Raises: AccessDenied, NoSuchBucket, KeyTooLong, MetadataTooLarge, InvalidStorageClass.
    """
    services = ctx.services
    metadata = options.metadata
    check_metadata(metadata)

    async def attempt() -> UploadHead:
        target = current_target(ctx, bucket, key, Action.PUT_OBJECT)
        check_lockable(ctx, target, metadata.attributes)
        choice = await choose(ctx, target.opened, options.encryption)
        new = await made_object(services, target, choice)
        algorithm = options.checksum_algorithm or ""
        upload = Upload(
            upload_id=UploadId(new.name.uuid),
            key=target.key,
            object_uuid=new.name.uuid,
            created_at_ms=services.env.now_ms(),
            storage_class=metadata.storage_class,
            headers=metadata.headers,
            user_metadata=metadata.user,
            tags=metadata.tags,
            checksum_algorithm=algorithm,
            checksum_type=_checksum_type(algorithm, options.checksum_composite),
            wrapped_dek=new.wrapped_dek,
            key_epoch=new.key_epoch,
            owner=new.name.tenant,
            attributes=attributes_for(owned(ctx, target, metadata), new.encryption),
        )
        write = upload_rows.set_upload(services.records, services.nonces, target.bucket_id, upload)
        batch = Batch(
            partition=target.bucket_id,
            request_id=services.env.random_bytes(16),
            # Its settings are what was read: among them the epoch of the bucket's key.
            checks=(
                Check(target.opened.row_key, revision_of(target.opened.value)),
                Check(write.key, None),
            ),
            writes=(write,),
        )
        await services.log.commit_change(Change(batch=batch))
        return upload_head_of(upload)

    begun = open_target(ctx, bucket, key, Action.PUT_OBJECT)
    check_may_tag(ctx, begun, metadata)
    with services.quotas.room(begun.opened.bucket, 0, 1):
        return await until_committed(services, begun.opened.row_key, attempt)


def _checksum_type(algorithm: str, composite: bool) -> str:
    if not algorithm:
        return ""
    return COMPOSITE if composite else FULL_OBJECT


def current_target(ctx: Context, bucket: str, key: str, action: Action) -> Target:
    """An object name in a bucket that is open. Raises as open_target."""
    services = ctx.services
    for _ in range(LOOKS_MAX):
        target = open_target(ctx, bucket, key, action)
        if services.log.read((target.opened.row_key,))[0] == target.opened.value:
            return target
        services.buckets.forget(bucket)
    raise OperationAborted(bucket=bucket)


def read_upload(
    ctx: Context, bucket: str, key: str, upload_id: str, action: Action
) -> tuple[Target, StoredUpload | None]:
    """An upload of a key, None when it is over or never was.

    Raises: AccessDenied, NoSuchBucket, KeyTooLong, InvalidArgument, NoSuchUpload (no upload can
        have this id).
    """
    services = ctx.services
    target = current_target(ctx, bucket, key, action)
    row_key = keyspace.upload_row(target.bucket_id, target.key, parse_upload_id(upload_id))
    value = services.log.read((row_key,))[0]
    return target, None if value is None else open_upload(services.records, row_key, value)


def open_upload_of(
    ctx: Context, bucket: str, key: str, upload_id: str, action: Action
) -> tuple[Target, StoredUpload]:
    """An upload in progress. Raises: as read_upload, and NoSuchUpload."""
    target, stored = read_upload(ctx, bucket, key, upload_id, action)
    if stored is None:
        raise NoSuchUpload(upload_id=upload_id)
    if action in _OF_INITIATOR:
        initiator = stored.upload.attributes.owner_id
        access.check_own_upload(ctx, target.opened, action, target.key, initiator)
    return target, stored


async def upload_part(
    ctx: Context,
    bucket: str,
    key: str,
    upload_id: str,
    part_number: int,
    body: Body,
    checksum_algorithm: str | None,
    customer_key: CustomerKey | None = None,
    *,
    has_digest: bool = True,
) -> PartHead:
    """Store one part; a part of the same number is replaced.

    Args:
        has_digest: as in PutOptions.

    Raises: AccessDenied, NoSuchBucket, NoSuchUpload, InvalidArgument (part number), EntityTooLarge,
        InvalidRequest (another checksum algorithm than the upload's; no digest of what will be
        locked), whatever the body raises.
    """
    services = ctx.services
    target, stored = open_upload_of(ctx, bucket, key, upload_id, Action.PUT_OBJECT)
    upload = stored.upload
    if body.length > PART_BYTES_MAX:
        raise EntityTooLarge(proposed_bytes=body.length, max_bytes=PART_BYTES_MAX)
    check_has_digest(target.opened.bucket, upload.attributes, has_digest)
    algorithm = _algorithm_of(upload, checksum_algorithm)
    key_given = admit_part(ctx, upload, customer_key)
    name = await _part_name(services, target, upload, part_number, key_given)
    with services.quotas.room(target.opened.bucket, body.length, 0):
        part = await store_part(services, name, body, algorithm, upload.storage_class)
        with IdsGivenBack(services, part.reserved):
            held = await _commit_part(ctx, target, upload, name, part)
    return part_head_of(held, upload.attributes.encryption)


def _algorithm_of(upload: Upload, asked: str | None) -> str | None:
    wanted = upload.checksum_algorithm
    if asked is not None and wanted and asked != wanted:
        raise InvalidRequest(
            message=f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, "
            f"actual checksum Type: {asked.lower()}",
        )
    return wanted or asked


async def _part_name(
    services: Services,
    target: Target,
    upload: Upload,
    part_number: int,
    customer_key: bytes | None,
) -> PartName:
    if not 1 <= part_number <= PART_NUMBER_MAX:
        raise InvalidArgument(
            message=f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
            argument_name="partNumber",
            argument_value=str(part_number),
        )
    place = DekPlace(
        upload.owner, target.bucket_id, upload.key, upload.object_uuid, upload.key_epoch
    )
    chosen = upload.attributes.encryption
    dek = await services.bucket_keys.apart(
        lambda: opened_dek(services, place, upload.wrapped_dek, chosen, customer_key)
    )
    region = region_of(services, target.opened.bucket)
    return PartName(upload.owner, upload.object_uuid, part_number, dek, region)


async def _commit_part(
    ctx: Context, begun: Target, upload: Upload, name: PartName, part: SealedPart
) -> Part:
    services = ctx.services
    bucket, key = begun.opened.bucket.name, begun.key.decode("utf-8")
    row_key = keyspace.part_row(begun.bucket_id, name.uuid, name.number)

    async def attempt() -> Part:
        target, stored = open_upload_of(
            ctx, bucket, key, upload_id_text(upload.upload_id), Action.PUT_OBJECT
        )
        same_bucket(target, begun.bucket_id)
        value = services.log.read((row_key,))[0]
        before = None if value is None else open_part(services.records, row_key, value)
        held = Part(
            number=name.number,
            seal=part.seal,
            etag=part.etag,
            checksum=part.checksum,
            created_at_ms=services.env.now_ms(),
        )
        checks = (
            Exists(target.opened.row_key),
            upload_rows.upload_unchanged(target.bucket_id, stored),
            Check(row_key, None if before is None else before.revision),
        )
        change = _part_change(services, target, stored.upload, held, part, before, checks)
        await services.log.commit_change(change)
        return held

    return await until_committed(services, row_key, attempt)


def _part_change(
    services: Services,
    target: Target,
    upload: Upload,
    held: Part,
    part: SealedPart,
    before: StoredPart | None,
    checks: tuple[Exists | Check, ...],
) -> Change:
    records, nonces, epoch = services.records, services.nonces, upload.key_epoch
    row_key = keyspace.part_row(target.bucket_id, upload.object_uuid, held.number)
    released = () if before is None else tuple(releases_of(before.layout))
    writes: tuple[Write, ...] = ()
    bodies: tuple[Buffer, ...] = ()
    drafts: tuple[Draft, ...] = ()
    if part.layout is not None:
        value = seal_part(records, nonces, row_key, held, part.layout, key_epoch=epoch)
        writes = (Write(row_key, value),)
    else:
        assert part.body is not None, "a part is striped or sealed whole"
        bodies = (part.body,)
        drafts = (
            Draft(
                row_key,
                0,
                lambda at: seal_part(records, nonces, row_key, held, at, key_epoch=epoch),
            ),
        )
    batch = Batch(
        partition=target.bucket_id,
        request_id=services.env.random_bytes(16),
        checks=checks,
        writes=writes,
    )
    return Change(
        batch=batch,
        bodies=bodies,
        drafts=drafts,
        stripes=part.creates + released,
        reserved=part.reserved,
    )


async def upload_part_copy(
    ctx: Context,
    bucket: str,
    key: str,
    upload_id: str,
    part_number: int,
    source: CopySource,
    range_header: str | None,
    customer_key: CustomerKey | None = None,
) -> PartHead:
    """Store one part from an object or `bytes=first-last` of it.

    Raises: as get_object of the source and upload_part; InvalidArgument (range form), InvalidRange.
    """
    open_upload_of(ctx, bucket, key, upload_id, Action.PUT_OBJECT)
    reading = await open_source(ctx, source, range_header)
    try:
        if range_header is not None:
            # Unlike a GET's, the range of a copy must lie inside the source whole.
            copy_range(range_header, reading.head.length)
        body = SourceBody(reading)
        part = await upload_part(ctx, bucket, key, upload_id, part_number, body, None, customer_key)
        return replace(part, source_version_id=reading.head.version_id)
    finally:
        await close_source(reading)


async def abort_upload(ctx: Context, bucket: str, key: str, upload_id: str) -> None:
    """Drop an upload and its parts. Raises AccessDenied, NoSuchBucket, NoSuchUpload."""
    services = ctx.services
    row_key = open_target(ctx, bucket, key, Action.ABORT_MULTIPART_UPLOAD).opened.row_key

    async def attempt() -> tuple[Target, ObjectUuid]:
        target, stored = open_upload_of(ctx, bucket, key, upload_id, Action.ABORT_MULTIPART_UPLOAD)
        # Parts that are being committed at this moment would be missed by looking at them here.
        later = part_later(services, target.bucket_id, stored.upload.object_uuid, ())
        batch = Batch(
            partition=target.bucket_id,
            request_id=services.env.random_bytes(16),
            checks=(
                Exists(target.opened.row_key),
                upload_rows.upload_unchanged(target.bucket_id, stored),
            ),
            writes=(upload_rows.drop_upload(target.bucket_id, stored.upload), *later.writes),
        )
        await services.log.commit_change(Change(batch=batch))
        return target, stored.upload.object_uuid

    target, uuid = await until_committed(services, row_key, attempt)
    await collect_object(services, target.bucket_id, uuid)
