"""GetObject and HeadObject."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import NamedTuple

from gateway.data.stripes import StripeGone
from gateway.meta.uploads import read_parts
from gateway.model.action import Action
from gateway.model.conditions import byte_range, check_read, range_counts
from gateway.model.errors import (
    AccessDenied,
    InvalidPartNumber,
    InvalidRequest,
    MethodNotAllowed,
    NoSuchKey,
    NoSuchVersion,
    NotModified,
)
from gateway.model.names import version_id, version_id_text
from gateway.model.version import Checksum, Version, part_extent
from gateway.objects import access
from gateway.objects.context import Context, Services
from gateway.objects.encryption import admit_read
from gateway.objects.fetch import Piece, have_keys, open_body, read_at_once
from gateway.objects.history import find_version
from gateway.objects.opened import OpenedVersion
from gateway.objects.target import Target, read_row
from gateway.objects.values import GetOptions, ObjectRead, ReadBody

NO_TICKET = -1
TRIES_MAX = 3  # a stripe that went twice while its row was read is not compaction


class Extent(NamedTuple):
    """The bytes that are asked for, and whether that is less than the object.

    `part_number` is that of the part of a multipart object that they are, else 0.
    """

    offset: int
    length: int
    is_range: bool
    part_number: int = 0


async def get_object(ctx: Context, bucket: str, key: str, options: GetOptions) -> ObjectRead:
    """Read an object, a range of it, or one part. The first bytes are verified before this returns.

    Raises:
        AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion.
        PreconditionFailed, NotModified (field `head`: the ObjectHead), InvalidRange,
        InvalidPartNumber, InvalidRequest.
        StripeUnreadable: too few good shards.
    """
    target, opened = read_version(ctx, bucket, key, options.version_id)
    customer_key = admit_read(ctx, opened.stored.version, options.customer_key)
    extent = judged_extent(opened, options)
    if opened.material is None and ctx.services.bucket_keys.is_remote:
        await have_keys(ctx.services, target, opened)
    content = read_at_once(ctx.services, target, opened, extent.offset, extent.length, customer_key)
    if content is None:
        return await _get_waiting(ctx, bucket, key, options)
    return _object_read(ctx, target, opened, extent, options, WholeBody(content))


async def _get_waiting(ctx: Context, bucket: str, key: str, options: GetOptions) -> ObjectRead:
    """As get_object, where nodes have to be waited for."""
    services = ctx.services
    ticket = services.reads.begin(services.env.monotonic_s())
    try:
        for tries_left in reversed(range(TRIES_MAX)):
            target, opened = read_version(ctx, bucket, key, options.version_id)
            customer_key = admit_read(ctx, opened.stored.version, options.customer_key)
            extent = judged_extent(opened, options)
            try:
                first, rest = await open_body(
                    services, target, opened, extent.offset, extent.length, customer_key
                )
                break
            except StripeGone:
                # Compaction has moved the bytes, or the version was replaced: the row knows.
                if not tries_left:
                    raise
        body: ReadBody = WholeBody(first)
        if rest is not None:
            body = StreamedBody(services, ticket, first, rest)
            ticket = NO_TICKET
    finally:
        services.reads.end(ticket)
    return _object_read(ctx, target, opened, extent, options, body)


async def head_object(ctx: Context, bucket: str, key: str, options: GetOptions) -> ObjectRead:
    """As get_object, without body. Raises: as get_object, StripeUnreadable excepted."""
    target, opened = read_version(ctx, bucket, key, options.version_id)
    admit_read(ctx, opened.stored.version, options.customer_key)
    return _object_read(ctx, target, opened, judged_extent(opened, options), options, None)


def _object_read(
    ctx: Context,
    target: Target,
    opened: OpenedVersion,
    extent: Extent,
    options: GetOptions,
    body: ReadBody | None,
) -> ObjectRead:
    version = opened.stored.version
    return ObjectRead(
        head=opened.head,
        offset=extent.offset,
        length=extent.length,
        is_range=extent.is_range,
        body=body,
        checksum=_checksum_of(ctx.services, target, version, extent),
        tag_count=_tag_count(ctx, target, version, options.version_id) if version.tags else 0,
    )


def _tag_count(ctx: Context, target: Target, version: Version, wanted: str | None) -> int:
    """How many tags a version has, for who may read them; 0 for anybody else."""
    action = Action.GET_OBJECT_TAGGING if wanted is None else Action.GET_OBJECT_VERSION_TAGGING
    try:
        judge = access.judge_of(ctx, target.opened, action, target.key)
        if judge is not None:
            judge.admit(version)
    except AccessDenied:
        return 0
    return len(version.tags)


def _checksum_of(
    services: Services, target: Target, version: Version, extent: Extent
) -> Checksum | None:
    """The checksum of the bytes that are sent, if it is known: the object's or a part's."""
    whole = version.checksum
    if whole is None or not extent.is_range:
        return whole
    if extent.part_number:
        uuid = version.object_uuid
        (stored,) = read_parts(
            services.log, services.records, target.bucket_id, uuid, [extent.part_number]
        )
        kept = None if stored is None else stored.part.checksum
        if kept is None or kept.algorithm != whole.algorithm:
            return None
        return replace(kept, type=whole.type)
    is_whole = (extent.offset, extent.length) == (0, version.content_bytes)
    return whole if is_whole and not version.is_multipart else None


def read_version(
    ctx: Context, bucket: str, key: str, wanted: str | None, action: Action | None = None
) -> tuple[Target, OpenedVersion]:
    """The version a read is about. `action` None: its bytes are read.

    Raises: AccessDenied, NoSuchBucket, KeyTooLong, InvalidArgument, NoSuchKey, NoSuchVersion,
        MethodNotAllowed (a delete marker).
    """
    if action is None:
        action = Action.GET_OBJECT if wanted is None else Action.GET_OBJECT_VERSION
    target, row = read_row(ctx, bucket, key, action)
    if wanted is not None:
        return _read_named(ctx.services, target, row, wanted)
    if row is None:
        target.admit(None)
        raise NoSuchKey(key=key)
    opened = ctx.services.opened.open(target, row)
    version = opened.stored.version
    target.admit(version)
    if version.is_delete_marker:
        raise NoSuchKey(key=key, delete_marker=version_id_text(version.version_id))
    return target, opened


def _read_named(
    services: Services, target: Target, row: bytes | None, wanted: str
) -> tuple[Target, OpenedVersion]:
    """A version by its id. Raises: NoSuchVersion, MethodNotAllowed (a delete marker)."""
    checked = version_id(wanted)
    current = None if row is None else services.opened.open(target, row)
    if current is None or current.stored.version.version_id != checked:
        stored = None if current is None else current.stored
        found = find_version(services, target, stored, checked)
        if found is None:
            target.admit(None)
            raise NoSuchVersion(key=target.key.decode(), version_id=wanted)
        target = replace(target, row_key=found.row_key)
        current = services.opened.open(target, found.row)
    version = current.stored.version
    target.admit(version)
    if version.is_delete_marker:
        raise MethodNotAllowed(
            key=target.key.decode(),
            delete_marker=wanted,
            modified_at_ms=version.created_at_ms,
            method="GET",
            resource_type="DeleteMarker",
        )
    return target, current


def judged_extent(opened: OpenedVersion, options: GetOptions) -> Extent:
    """The bytes a read is to send, once its conditions hold.

    Raises: PreconditionFailed, NotModified, InvalidRange, InvalidPartNumber, InvalidRequest.
    """
    version = opened.stored.version
    try:
        check_read(options.conditions, etag=version.etag, modified_at_ms=version.created_at_ms)
    except NotModified as refused:
        raise NotModified(**refused.fields, head=opened.head) from refused
    if options.part_number is not None:
        if options.range_header is not None:
            raise InvalidRequest(message="Cannot specify both Range header and partNumber query")
        return _part_extent(version, options.part_number)
    if options.range_header is not None and range_counts(options.if_range, etag=version.etag):
        found = byte_range(options.range_header, version.content_bytes)
        if found is not None:
            return Extent(found[0], found[1], True)
    return Extent(0, version.content_bytes, False)


def _part_extent(version: Version, part_number: int) -> Extent:
    if not version.is_multipart:
        if part_number != 1:
            raise InvalidPartNumber(part_number_requested=part_number, part_count=1)
        # No byte of an empty object can be named in a Content-Range.
        return Extent(0, version.content_bytes, version.content_bytes > 0)
    found = part_extent(version.part_runs, part_number)
    if found is None:
        raise InvalidPartNumber(part_number_requested=part_number, part_count=version.part_count)
    return Extent(found[1], found[2], version.content_bytes > 0, found[0])


class WholeBody:
    """The bytes of a read that are all here."""

    __slots__ = ("_content",)

    def __init__(self, content: Piece) -> None:
        self._content: Piece = content

    def __aiter__(self) -> WholeBody:
        return self

    async def __anext__(self) -> Piece:
        content, self._content = self._content, b""
        if content:
            return content
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Drop them."""
        self._content = b""


class StreamedBody:
    """The bytes of a read that come as they are asked for.

    The read is under way until they are all given out, or `aclose`.
    """

    __slots__ = ("_first", "_rest", "_services", "_ticket")

    def __init__(
        self, services: Services, ticket: int, first: Piece, rest: AsyncIterator[Piece]
    ) -> None:
        self._services = services
        self._ticket = ticket
        self._first: Piece | None = first
        self._rest = rest

    def __aiter__(self) -> StreamedBody:
        return self

    async def __anext__(self) -> Piece:
        first, self._first = self._first, None
        if first:
            return first
        try:
            return await anext(self._rest)
        except StopAsyncIteration:
            self._services.reads.end(self._ticket)
            raise

    async def aclose(self) -> None:
        """Stop reading. Idempotent."""
        self._services.reads.end(self._ticket)
        if isinstance(self._rest, AsyncGenerator):
            await self._rest.aclose()

    def __del__(self) -> None:
        # A body that nobody closed must not keep freed stripes alive for ever.
        self._services.reads.end(self._ticket)
