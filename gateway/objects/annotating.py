"""Annotations of a version: put and delete. Reading them is in `annotation_reads`, what a copy does
with them in `annotation_copy`.

Their bytes are sealed with the version's DEK and stored as those of a part are: small ones ride in
the commit stripe, large ones have a stripe of their own. A version says how many it has; whatever
takes a version away takes them along (`parting`).

Source: Amazon S3 User Guide, "Annotating your objects"; API Reference, "PutObjectAnnotation",
"DeleteObjectAnnotation".
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.commit.change import Change
from gateway.limits import ANNOTATION_BYTES_MAX
from gateway.meta.records import StoredVersion
from gateway.model.action import Action
from gateway.model.annotations import DEFAULT_CHECKSUM, PART_NUMBER, check_name, known_name
from gateway.model.attributes import CUSTOMER, Encryption
from gateway.model.conditions import check_write
from gateway.model.errors import EntityTooLarge, InvalidRequest, OperationAborted
from gateway.model.version import Part, Version
from gateway.objects import access
from gateway.objects.annotation_changes import AnnotationChange, Utf8Body, annotation_of
from gateway.objects.annotation_reads import AnnotatedVersion, annotated, annotation_under
from gateway.objects.body import Body
from gateway.objects.context import Context, Services
from gateway.objects.encryption import admit_read
from gateway.objects.fetch import awaited_dek
from gateway.objects.history import Found, find_version
from gateway.objects.lock_clock import lock_now_ms
from gateway.objects.locks import check_unlocked, may_bypass
from gateway.objects.publish import IdsGivenBack, decide_and_commit
from gateway.objects.regions import region_of
from gateway.objects.rewriting import found_version
from gateway.objects.store import PartName, store_part
from gateway.objects.target import Target, open_target, reread_current
from gateway.objects.values import WriteConditions


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationOptions:
    """Of a put or delete.

    Args:
        version_id: None: the current version.
        if_match: what the ETag of the object has to be.
        bypass_governance: the caller asks for it; whether he may is checked here.
    """

    version_id: str | None = None
    if_match: str | None = None
    bypass_governance: bool = False


async def put_annotation(
    ctx: Context,
    bucket: str,
    key: str,
    name: str,
    body: Body,
    checksum_algorithm: str | None,
    options: AnnotationOptions,
) -> tuple[Part, AnnotatedVersion]:
    """Attach a text to a version, in place of the one of the same name.

    Raises:
        AccessDenied (also: the version is locked, and has one of that name), NoSuchBucket,
        NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker), PreconditionFailed.
        InvalidAnnotationName, AnnotationNameTooLong, AnnotationLimitExceeded.
        InvalidRequest (no content; a version under a client's own key), EntityTooLarge,
        UnsupportedMediaType (no UTF-8), KmsKeyNotFound.
        OperationAborted: the version has gone meanwhile.
        whatever the body raises, and the error of an expected digest that does not match.
    """
    services, wanted = ctx.services, options.version_id
    action = (
        Action.PUT_OBJECT_ANNOTATION if wanted is None else Action.PUT_OBJECT_VERSION_ANNOTATION
    )
    opened = open_target(ctx, bucket, key, action)
    bypass = options.bypass_governance and may_bypass(ctx, opened)
    target, current = reread_current(ctx, opened)
    version = found_version(services, target, current, wanted, "PUT").stored.version
    row_name = check_name(name)
    _check_size(body.length)
    _check_condition(ctx, target, options, version)
    check_no_customer_key(version.attributes.encryption)
    admit_read(ctx, version, None)
    dek = await awaited_dek(services, target.bucket_id, target.key, version)
    region = region_of(services, target.opened.bucket)
    part_name = PartName(version.owner, version.object_uuid, PART_NUMBER, dek, region)
    algorithm = checksum_algorithm or DEFAULT_CHECKSUM
    text, storage_class = Utf8Body(body), version.storage_class
    with services.quotas.room(target.opened.bucket, body.length, 0):
        part = await store_part(services, part_name, text, algorithm, storage_class)
    held = annotation_of(services, part)

    def decide(target: Target, current: StoredVersion | None) -> Change:
        found = _same_version(services, target, current, version)
        _check_condition(ctx, target, options, found.stored.version)
        before = annotation_under(services, target.bucket_id, found, row_name)
        if before is not None:
            now_ms = lock_now_ms(services)
            check_unlocked(found.stored.version, now_ms=now_ms, bypass_governance=bypass)
        rewriting = AnnotationChange(ctx, target, current, found, row_name, before)
        return rewriting.over(held, part)

    with IdsGivenBack(services, part.reserved):
        target = await decide_and_commit(ctx, target, decide)
    return held, annotated(target, version)


async def delete_annotation(
    ctx: Context, bucket: str, key: str, name: str, options: AnnotationOptions
) -> AnnotatedVersion:
    """Take an annotation away for good. Succeeds without a commit when there is none.

    Raises: as put_annotation, as far as it is not about names, content and encryption.
    """
    services, wanted = ctx.services, options.version_id
    action = (
        Action.DELETE_OBJECT_ANNOTATION
        if wanted is None
        else Action.DELETE_OBJECT_VERSION_ANNOTATION
    )
    opened = open_target(ctx, bucket, key, action)
    bypass = options.bypass_governance and may_bypass(ctx, opened)
    row_name = known_name(name)
    done: list[AnnotatedVersion] = []

    def decide(target: Target, current: StoredVersion | None) -> Change | None:
        found = found_version(services, target, current, wanted, "DELETE")
        version = found.stored.version
        done[:] = [annotated(target, version)]
        _check_condition(ctx, target, options, version)
        before = None
        if row_name is not None:
            before = annotation_under(services, target.bucket_id, found, row_name)
        if row_name is None or before is None:
            return None
        check_unlocked(version, now_ms=lock_now_ms(services), bypass_governance=bypass)
        return AnnotationChange(ctx, target, current, found, row_name, before).over(None, None)

    await decide_and_commit(ctx, opened, decide)
    return done[0]


def check_no_customer_key(encryption: Encryption | None) -> None:
    """What only a client's own key opens has no annotations. Raises: InvalidRequest."""
    if encryption is not None and encryption.kind == CUSTOMER:
        raise InvalidRequest(
            message="Annotations are not supported for objects that are encrypted with "
            "customer-provided keys (SSE-C)."
        )


def _same_version(
    services: Services, target: Target, current: StoredVersion | None, version: Version
) -> Found:
    """The version that the bytes were sealed for, as it is. Raises: OperationAborted."""
    found = find_version(services, target, current, version.version_id)
    if found is None or found.stored.version.object_uuid != version.object_uuid:
        raise OperationAborted(bucket=target.opened.bucket.name)
    target.admit(found.stored.version)
    return found


def _check_size(length: int) -> None:
    if not length:
        raise InvalidRequest(message="The annotation payload must have at least 1 byte.")
    if length > ANNOTATION_BYTES_MAX:
        raise EntityTooLarge(proposed_bytes=length, max_bytes=ANNOTATION_BYTES_MAX)


def _check_condition(
    ctx: Context, target: Target, options: AnnotationOptions, version: Version
) -> None:
    """Raises: PreconditionFailed; AccessDenied for who may not learn the object's ETag."""
    if options.if_match is None:
        return
    conditions = WriteConditions(if_match=options.if_match)
    access.check_may_compare(ctx, target.opened, target.key, conditions, version)
    check_write(conditions, etag=version.etag)
