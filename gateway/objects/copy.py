"""CopyObject: read, open, seal again; the copy shares no key and no stripe with its source.
Annotations go along.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gateway.limits import COPY_BYTES_MAX
from gateway.model.action import Action
from gateway.model.errors import (
    InvalidRequest,
    NotModified,
    PreconditionFailed,
)
from gateway.objects.acls import owned
from gateway.objects.annotation_copy import (
    AnnotationsInTheMaking,
    SourceAnnotations,
    open_annotations,
)
from gateway.objects.body import Buffer, ExpectedDigest
from gateway.objects.context import Context
from gateway.objects.encryption import choose
from gateway.objects.get import get_object
from gateway.objects.locks import check_lockable
from gateway.objects.new_object import NewObject, check_metadata, made_object
from gateway.objects.parting import Parting
from gateway.objects.put import check_condition, check_may_tag, publish_object
from gateway.objects.rewriting import named_version
from gateway.objects.store import store_part
from gateway.objects.target import Target, open_target, reread_current
from gateway.objects.values import (
    UNCONDITIONAL_WRITE,
    CopyOptions,
    CopySource,
    GetOptions,
    Metadata,
    ObjectHead,
    ObjectRead,
)


class SourceBody:
    """An object that is being read, as the body of one that is being written."""

    __slots__ = ("_read", "length")

    digests: tuple[str, ...] = ()

    def __init__(self, reading: ObjectRead) -> None:
        self._read = reading
        self.length = reading.length

    async def read(self) -> Buffer:
        """See the port."""
        assert self._read.body is not None
        return await anext(self._read.body, b"")

    def expected(self) -> tuple[ExpectedDigest, ...]:
        """Nothing: every frame has proved itself on the way."""
        return ()


class Copied(NamedTuple):
    """A copy, and which version of the source it is of (None where those have no ids)."""

    head: ObjectHead
    source_version_id: str | None


async def copy_object(
    ctx: Context, source: CopySource, bucket: str, key: str, options: CopyOptions
) -> Copied:
    """Copy an object of at most 5 GiB.

    Raises:
        as get_object of the source and put_object of the target.
        InvalidRequest: a copy onto itself that changes nothing; a source of more than 5 GiB.
    """
    services = ctx.services
    target = open_target(ctx, bucket, key, Action.PUT_OBJECT)
    reading = await open_source(ctx, source, None)
    annotations: SourceAnnotations | None = None
    try:
        metadata = owned(ctx, target, _metadata_of(reading.head, options))
        _check_copy(source, bucket, key, reading.head, options)
        check_metadata(metadata)
        check_lockable(ctx, target, metadata.attributes)
        _check_tagging(ctx, source, target, metadata, options)
        if options.conditions is not UNCONDITIONAL_WRITE:
            reread, current = reread_current(ctx, target)
            check_condition(ctx, reread, options.conditions, current)
        choice = await choose(ctx, target.opened, options.encryption)
        new = await made_object(services, target, choice)
        if options.with_annotations:
            annotations = await open_annotations(ctx, source, reading.head, target, new.encryption)
        with AnnotationsInTheMaking(services, target, new) as making:
            also = await making.write(
                annotations, options.checksum_algorithm, metadata.storage_class
            )
            head = await _copy_body(
                ctx, reading, target, new, making.counted(metadata), options, also
            )
        return Copied(head, reading.head.version_id)
    finally:
        if annotations is not None:
            annotations.close()
        await close_source(reading)


async def _copy_body(
    ctx: Context,
    reading: ObjectRead,
    target: Target,
    new: NewObject,
    metadata: Metadata,
    options: CopyOptions,
    also: Parting,
) -> ObjectHead:
    algorithm = options.checksum_algorithm or _algorithm_of(reading.head)
    body, storage_class = SourceBody(reading), metadata.storage_class
    with ctx.services.quotas.room(target.opened.bucket, body.length, 1):
        part = await store_part(ctx.services, new.name, body, algorithm, storage_class)
        # Before the source is closed: who is cancelled there would leave the part's ids reserved.
        return await publish_object(ctx, target, new, part, metadata, options.conditions, also)


async def open_source(ctx: Context, source: CopySource, range_header: str | None) -> ObjectRead:
    """The source of a copy, being read. Raises: as get_object, but never NotModified."""
    options = GetOptions(
        conditions=source.conditions,
        range_header=range_header,
        version_id=source.version_id,
        customer_key=source.customer_key,
    )
    try:
        reading = await get_object(ctx.about(source.version_id), source.bucket, source.key, options)
    except NotModified as error:
        raise PreconditionFailed(key=source.key) from error
    if reading.length > COPY_BYTES_MAX:
        await close_source(reading)
        raise InvalidRequest(
            message="The specified copy source is larger than the maximum allowable size for a "
            f"copy source: {COPY_BYTES_MAX}",
        )
    return reading


async def close_source(reading: ObjectRead) -> None:
    """Stop reading."""
    if reading.body is not None:
        await reading.body.aclose()


def _algorithm_of(head: ObjectHead) -> str | None:
    return None if head.checksum is None else head.checksum.algorithm


def _metadata_of(head: ObjectHead, options: CopyOptions) -> Metadata:
    tags = head.metadata.tags if options.tags is None else options.tags
    if options.metadata is not None:
        return replace(options.metadata, tags=tags, attributes=options.attributes)
    return Metadata(
        headers=head.metadata.headers,
        user=head.metadata.user,
        storage_class=options.storage_class or "STANDARD",
        tags=tags,
        attributes=options.attributes,
    )


def _check_tagging(
    ctx: Context, source: CopySource, target: Target, metadata: Metadata, options: CopyOptions
) -> None:
    """Tags are read and written under rights of their own. Raises AccessDenied."""
    if not metadata.tags:
        return
    if options.tags is None:
        action = (
            Action.GET_OBJECT_TAGGING
            if source.version_id is None
            else Action.GET_OBJECT_VERSION_TAGGING
        )
        asking = ctx.about(source.version_id)
        named_version(asking, source.bucket, source.key, source.version_id, action)
    check_may_tag(ctx, target, metadata)


def _check_copy(
    source: CopySource, bucket: str, key: str, head: ObjectHead, options: CopyOptions
) -> None:
    changes = (
        options.metadata is not None
        or options.encryption is not None
        or (
            options.storage_class is not None
            and options.storage_class != head.metadata.storage_class
        )
    )
    # An older version copied onto its own key becomes the current one: that is a change.
    if (source.bucket, source.key, source.version_id) == (bucket, key, None) and not changes:
        raise InvalidRequest(
            message="This copy request is illegal because it is trying to copy an object to "
            "itself without changing the object's metadata, storage class, website redirect "
            "location or encryption attributes.",
        )
