"""CompleteMultipartUpload: the listed parts become the object, at one instant."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.commit.change import Change
from gateway.data.topology import OWN_REGION
from gateway.meta import keyspace
from gateway.meta import uploads as upload_rows
from gateway.meta.kv import Check
from gateway.meta.records import StoredVersion, open_version
from gateway.meta.uploads import StoredUpload
from gateway.model.action import Action
from gateway.model.errors import NoSuchUpload
from gateway.model.names import upload_id as parse_upload_id
from gateway.model.version import Part, Upload
from gateway.objects.assembly import Assembly, assemble, chosen_parts, etag_of, last_listed
from gateway.objects.context import Context, Services
from gateway.objects.encryption import admit_complete
from gateway.objects.history import succession, written_head
from gateway.objects.locks import locked_by_default
from gateway.objects.multipart import read_upload
from gateway.objects.new_object import Content, NewObject, new_version
from gateway.objects.parting import Parting, part_from_parts
from gateway.objects.publish import replacing, until_committed
from gateway.objects.put import check_condition
from gateway.objects.store import PartName
from gateway.objects.target import Target, open_target
from gateway.objects.values import CompleteOptions, CompletePart, Metadata, ObjectHead

PAGE_PARTS = 500  # some 10 ms of the event loop's time


async def complete_upload(
    ctx: Context,
    bucket: str,
    key: str,
    upload_id: str,
    parts: Sequence[CompletePart],
    options: CompleteOptions,
) -> ObjectHead:
    """Make the listed parts the object. Repeating a completed call succeeds while its object is the
    current one.

    Raises: AccessDenied, NoSuchBucket, NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall,
        EntityTooLarge, BadDigest, InvalidRequest, PreconditionFailed, NoSuchKey,
        ConditionalRequestConflict.
    """
    services = ctx.services
    parts = last_listed(parts)

    async def attempt() -> ObjectHead:
        target, stored = read_upload(ctx, bucket, key, upload_id, Action.PUT_OBJECT)
        value = services.log.read((target.row_key,))[0]
        current = None if value is None else open_version(services.records, target.row_key, value)
        if stored is None:
            return _completed(target, current, upload_id, parts)
        check_condition(ctx, target, options.conditions, current)
        held, checks = await _held_parts(services, target, stored, {p.part_number for p in parts})
        admit_complete(ctx, stored.upload, held.values(), options.customer_key)
        chosen = chosen_parts(stored.upload, parts, held)
        is_long = len(chosen) > PAGE_PARTS
        if is_long:
            assembly = await services.env.offload(lambda: assemble(stored.upload, chosen, options))
        else:
            assembly = assemble(stored.upload, chosen, options)
        change, head = _completing(services, target, stored, current, assembly, checks)
        if is_long:
            await services.env.sleep(0)  # to check so many rows takes the log a while as well
        await services.log.commit_change(change)
        return head

    row_key = open_target(ctx, bucket, key, Action.PUT_OBJECT).row_key
    return await until_committed(services, row_key, attempt)


def _completed(
    target: Target,
    current: StoredVersion | None,
    upload_id: str,
    parts: Sequence[CompletePart],
) -> ObjectHead:
    """The object that an earlier call of the same upload made. Raises NoSuchUpload."""
    if current is not None and bytes(current.version.object_uuid) == parse_upload_id(upload_id):
        try:
            is_same = etag_of([part.etag for part in parts]) == current.version.etag
        except ValueError:  # an ETag that is no MD5
            is_same = False
        if is_same:
            return written_head(target, current.version)
    raise NoSuchUpload(upload_id=upload_id)


async def _held_parts(
    services: Services, target: Target, stored: StoredUpload, wanted: set[int]
) -> tuple[dict[int, Part], list[Check]]:
    """Those of the upload's parts that are wanted, and checks that they stay what they are: others
    run between two pages.
    """
    held: dict[int, Part] = {}
    checks: list[Check] = []
    uuid = stored.upload.object_uuid
    after = 0
    while True:
        page = upload_rows.scan_parts(
            services.log, services.records, target.bucket_id, uuid, after=after, limit=PAGE_PARTS
        )
        for part_row in page:
            number = part_row.part.number
            if number in wanted:
                held[number] = part_row.part
                checks.append(
                    Check(keyspace.part_row(target.bucket_id, uuid, number), part_row.revision)
                )
        if len(page) < PAGE_PARTS:
            return held, checks
        after = page[-1].part.number
        await services.env.sleep(0)


def _completing(
    services: Services,
    target: Target,
    stored: StoredUpload,
    current: StoredVersion | None,
    assembly: Assembly,
    checks: Sequence[Check],
) -> tuple[Change, ObjectHead]:
    upload = stored.upload
    metadata = Metadata(
        headers=upload.headers,
        user=upload.user_metadata,
        storage_class=upload.storage_class,
        tags=upload.tags,
        attributes=upload.attributes,
    )
    content = Content(assembly.content_bytes, assembly.etag, assembly.checksum, None, assembly.runs)
    version = new_version(
        _new_object_of(target, upload), content, metadata, current, services.env.now_ms()
    )
    unlisted = part_from_parts(services, target.bucket_id, upload.object_uuid, assembly.runs)
    still_there = upload_rows.upload_unchanged(target.bucket_id, stored)
    also = Parting(
        (upload_rows.drop_upload(target.bucket_id, upload), *unlisted.writes),
        unlisted.stripes,
        (still_there, *checks, *unlisted.checks),
    )
    version = locked_by_default(services, target.opened.bucket, version)
    version, gone = succession(services, target, current, version)
    change = replacing(services, target, current, version, None, gone, also)
    return change, written_head(target, version)


def _new_object_of(target: Target, upload: Upload) -> NewObject:
    """What the version takes over from its upload; no DEK is needed to name the parts."""
    name = PartName(upload.owner, upload.object_uuid, 0, b"", OWN_REGION)
    chosen = upload.attributes.encryption
    return NewObject(target.bucket_id, name, upload.wrapped_dek, upload.key_epoch, chosen)
