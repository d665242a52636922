"""Reading annotations: one, a page of their names, and what a copy of a version needs.

Not for changing them (`annotating`).

Source: Amazon S3 API Reference, "GetObjectAnnotation", "ListObjectAnnotations".
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from gateway.data.stripes import StripeGone
from gateway.limits import ANNOTATIONS_MAX
from gateway.meta import keyspace
from gateway.meta.annotations import StoredAnnotation, open_annotation, read_annotation
from gateway.meta.part_records import StoredPart
from gateway.model.action import Action
from gateway.model.annotations import check_prefix, known_name
from gateway.model.attributes import Encryption
from gateway.model.errors import NoSuchAnnotation
from gateway.model.names import BucketId
from gateway.model.version import Part, Version
from gateway.objects.context import Context, Services
from gateway.objects.encryption import admit_read
from gateway.objects.fetch import awaited_dek, part_pieces
from gateway.objects.history import Found
from gateway.objects.rewriting import found_version, shown_id
from gateway.objects.target import Target, open_target, reread_current
from gateway.objects.tokens import AT_KEY, decode_token, encode_token

TRIES_MAX = 3  # as of a GET: a stripe that went twice while its row was read is not compaction
OPENED_AT_ONCE = 200  # rows of a list, between turns of the event loop


class AnnotatedVersion(NamedTuple):
    """The version that annotations belong to; its id None where clients are told none."""

    version_id: str | None
    encryption: Encryption | None


class AnnotationRead(NamedTuple):
    """An annotation with its bytes, all of them verified."""

    held: Part
    content: bytes
    of: AnnotatedVersion


class AnnotationPage(NamedTuple):
    """(name, annotation) in order of the names' bytes; `next_token` None: there are no more."""

    entries: tuple[tuple[str, Part], ...]
    next_token: str | None
    of: AnnotatedVersion


async def get_annotation(
    ctx: Context, bucket: str, key: str, name: str, version_id: str | None
) -> AnnotationRead:
    """An annotation of a version, whole.

    Raises: AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete
        marker), NoSuchAnnotation, KmsKeyNotFound, InvalidRequest (a named key over plain HTTP),
        StripeUnreadable.
    """
    services = ctx.services
    action = (
        Action.GET_OBJECT_ANNOTATION if version_id is None else Action.GET_OBJECT_VERSION_ANNOTATION
    )
    row_name = known_name(name)
    ticket = services.reads.begin(services.env.monotonic_s())
    try:
        for tries_left in reversed(range(TRIES_MAX)):
            target, current = reread_current(ctx, open_target(ctx, bucket, key, action))
            found = found_version(services, target, current, version_id, "GET")
            version = found.stored.version
            held = None
            if row_name is not None:
                held = annotation_under(services, target.bucket_id, found, row_name)
            if held is None:
                if tries_left and not _is_still_there(services, found):
                    continue  # another version has taken its place between two looks
                raise NoSuchAnnotation(key=key)
            admit_read(ctx, version, None)
            dek = await awaited_dek(services, target.bucket_id, target.key, version)
            try:
                content = await whole_content(services, version, dek, held)
            except StripeGone:
                if not tries_left:
                    raise
                continue
            return AnnotationRead(held.part, content, annotated(target, version))
    finally:
        services.reads.end(ticket)
    raise NoSuchAnnotation(key=key)


async def list_annotations(
    ctx: Context,
    bucket: str,
    key: str,
    version_id: str | None,
    *,
    prefix: str,
    token: str | None,
    entries_max: int,
) -> AnnotationPage:
    """Annotations of a version whose names start with a prefix, in order of their names.

    Raises: as get_annotation but NoSuchAnnotation; InvalidPrefix, InvalidArgument (a token that is
        not ours, or of another version).
    """
    services = ctx.services
    action = (
        Action.LIST_OBJECT_ANNOTATIONS
        if version_id is None
        else Action.LIST_OBJECT_VERSION_ANNOTATIONS
    )
    target, current = reread_current(ctx, open_target(ctx, bucket, key, action))
    version = found_version(services, target, current, version_id, "GET").stored.version
    uuid = version.object_uuid
    start, end = keyspace.annotation_range(target.bucket_id, uuid, check_prefix(prefix))
    if token:
        last = decode_token(uuid, token)[1]
        row_key = keyspace.annotation_row(target.bucket_id, uuid, last)
        start = max(start, keyspace.after(row_key))
    rows = services.log.scan(start, end, limit=entries_max + 1) if start < end else []
    entries: list[tuple[str, Part]] = []
    next_token = None
    if len(rows) > entries_max:
        del rows[entries_max:]
        next_token = encode_token(uuid, AT_KEY, keyspace.parse_annotation(rows[-1].key)[2])
    for at, row in enumerate(rows, 1):
        found = open_annotation(services.records, row.key, row.value)
        entries.append((found.name.decode("utf-8"), found.held.part))
        if at % OPENED_AT_ONCE == 0:
            await asyncio.sleep(0)  # other requests need not wait for the whole page
    return AnnotationPage(tuple(entries), next_token, annotated(target, version))


def annotations_of(
    services: Services, bucket: BucketId, version: Version
) -> list[StoredAnnotation]:
    """All annotations of a version, as they are at this instant. Raises: RowCorrupt."""
    start, end = keyspace.annotation_range(bucket, version.object_uuid)
    rows = services.log.scan(start, end, limit=ANNOTATIONS_MAX)
    return [open_annotation(services.records, row.key, row.value) for row in rows]


async def whole_content(
    services: Services, version: Version, dek: bytes, held: StoredPart
) -> bytes:
    """The bytes of an annotation, 1 MiB at the most. Raises: as fetch.open_body."""
    length = held.part.plain_bytes
    pieces = part_pieces(services, version, dek, held.part, held.layout, 0, length)
    return b"".join([piece async for piece in pieces])


def annotation_under(
    services: Services, bucket: BucketId, found: Found, name: bytes
) -> StoredPart | None:
    """One annotation of a version that was read; None when it has none. Raises: RowCorrupt."""
    uuid = found.stored.version.object_uuid
    return read_annotation(services.log, services.records, bucket, uuid, name)


def annotated(target: Target, version: Version) -> AnnotatedVersion:
    """A version as its annotations' answers tell of it."""
    return AnnotatedVersion(shown_id(target, version), version.attributes.encryption)


def _is_still_there(services: Services, found: Found) -> bool:
    value = services.log.read((found.row_key,))[0]
    return value is not None and value[1:13] == found.stored.revision
