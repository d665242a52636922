"""PutObject."""

from __future__ import annotations

from gateway.commit.change import Change
from gateway.limits import PART_BYTES_MAX
from gateway.meta.records import StoredVersion
from gateway.model.action import Action
from gateway.model.attributes import NO_ATTRIBUTES
from gateway.model.conditions import check_write
from gateway.model.errors import EntityTooLarge
from gateway.model.version import Version
from gateway.objects import access
from gateway.objects.acls import owned
from gateway.objects.body import Body
from gateway.objects.context import Context
from gateway.objects.encryption import choose
from gateway.objects.history import succession, written_head
from gateway.objects.locks import check_has_digest, check_lockable, locked_by_default
from gateway.objects.new_object import Content, NewObject, check_metadata, made_object, new_version
from gateway.objects.parting import NOTHING, Parting
from gateway.objects.publish import IdsGivenBack, decide_and_commit, replacing, same_bucket
from gateway.objects.store import SealedPart, store_part
from gateway.objects.target import Target, current_etag, open_target, reread_current
from gateway.objects.values import (
    UNCONDITIONAL_WRITE,
    Metadata,
    ObjectHead,
    PutOptions,
    WriteConditions,
)


async def put_object(
    ctx: Context, bucket: str, key: str, body: Body, options: PutOptions
) -> ObjectHead:
    """Store a body under a key.

    Raises:
        AccessDenied, NoSuchBucket, KeyTooLong, EntityTooLarge, MetadataTooLarge,
        InvalidStorageClass, QuotaExceeded.
        PreconditionFailed, NoSuchKey (If-Match and nothing there), ConditionalRequestConflict.
        InvalidArgument, InvalidRequest, InvalidEncryptionAlgorithm, KmsKeyNotFound: as `choose`.
        whatever the body raises, and the error of an expected digest that does not match: nothing
        is stored.
    """
    target = open_target(ctx, bucket, key, Action.PUT_OBJECT)
    check_put(ctx, target, body, options)
    metadata = owned(ctx, target, options.metadata)
    choice = await choose(ctx, target.opened, options.encryption)
    new = await made_object(ctx.services, target, choice)
    algorithm, storage_class = options.checksum_algorithm, options.metadata.storage_class
    with ctx.services.quotas.room(target.opened.bucket, body.length, 1):
        part = await store_part(ctx.services, new.name, body, algorithm, storage_class)
        return await publish_object(ctx, target, new, part, metadata, options.conditions)


def check_put(ctx: Context, target: Target, body: Body, options: PutOptions) -> None:
    """What can be refused before the body is read."""
    if body.length > PART_BYTES_MAX:
        raise EntityTooLarge(proposed_bytes=body.length, max_bytes=PART_BYTES_MAX)
    check_metadata(options.metadata)
    attributes, held = options.metadata.attributes, target.opened.bucket
    if attributes is not NO_ATTRIBUTES or held.object_lock:
        check_lockable(ctx, target, attributes)
        check_has_digest(held, attributes, options.has_digest)
    if options.metadata.tags:
        check_may_tag(ctx, target, options.metadata)
    if options.conditions is not UNCONDITIONAL_WRITE:
        target, current = reread_current(ctx, target)
        check_condition(ctx, target, options.conditions, current)


def check_condition(
    ctx: Context, target: Target, conditions: WriteConditions, current: StoredVersion | None
) -> None:
    """Conditions of a write over what is there. Raises: as check_write; AccessDenied."""
    if conditions is UNCONDITIONAL_WRITE:
        return
    version = None if current is None else current.version
    access.check_may_compare(ctx, target.opened, target.key, conditions, version)
    check_write(conditions, etag=current_etag(current))


def check_may_tag(ctx: Context, target: Target, metadata: Metadata) -> None:
    """A write that brings tags needs the right to set them. Raises AccessDenied."""
    if metadata.tags:
        access.check(ctx, target.opened, Action.PUT_OBJECT_TAGGING, target.key)


async def publish_object(
    ctx: Context,
    opened: Target,
    new: NewObject,
    part: SealedPart,
    metadata: Metadata,
    conditions: WriteConditions,
    also: Parting = NOTHING,
) -> ObjectHead:
    """Make a sealed body the current version of a key, if the conditions hold at that instant.

    Args:
        also: what else happens then.
    """
    services = ctx.services
    content = Content(part.seal.plain_bytes, part.etag, part.checksum, part.seal)
    now_ms = services.env.now_ms()
    decided: list[Version] = []

    def decide(target: Target, current: StoredVersion | None) -> Change:
        same_bucket(target, new.bucket)
        if conditions is not UNCONDITIONAL_WRITE:
            check_condition(ctx, target, conditions, current)
        version = new_version(new, content, metadata, current, now_ms)
        if target.opened.bucket.object_lock:
            version = locked_by_default(services, target.opened.bucket, version)
        version, gone = succession(services, target, current, version)
        decided[:] = [version]
        return replacing(services, target, current, version, part, gone, also)

    with IdsGivenBack(services, part.reserved):
        target = await decide_and_commit(ctx, opened, decide)
    return written_head(target, decided[0])
