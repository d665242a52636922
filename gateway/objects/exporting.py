"""Versions on their way out of a cluster: listed with all that is known of them, and their bytes.

Not for S3, nor for whoever is a tenant: an operator takes a tenant's data along, and the admin port
records it. Nobody's policy is asked. Versions are told of as they are when their page is read; one
that is replaced before its bytes were read is told of as what took its place.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from hashlib import md5
from typing import NamedTuple

from gateway.data.envelope import TenantKeyDisabled
from gateway.data.stripes import StripeGone
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.annotations import StoredAnnotation
from gateway.meta.records import StoredVersion, open_version
from gateway.meta.uploads import scan_parts
from gateway.model.action import Action
from gateway.model.attributes import CUSTOMER
from gateway.model.bucket import Bucket, Versioning
from gateway.model.errors import KmsKeyDestroyed, KmsKeyDisabled
from gateway.model.exported import Document, NamedPart, version_document
from gateway.model.names import BucketId, BucketName, ObjectKey, ObjectUuid
from gateway.model.version import Part, Version
from gateway.objects.annotation_reads import annotations_of, whole_content
from gateway.objects.context import Services
from gateway.objects.encryption import key_check
from gateway.objects.fetch import Piece, awaited_dek, open_body, read_at_once
from gateway.objects.opened import OpenedVersion
from gateway.objects.target import OpenBucket, Target
from storaged.base.errors import Kind, StorageError

PAGE_PARTS = 500
TRIES_MAX = 3  # a stripe that went twice while its row was read is not compaction


class VersionReplaced(StorageError):
    """The version has gone since it was listed."""

    kind = Kind.NOT_FOUND
    hint = "list its key again"


class BucketNotThere(StorageError):
    """The tenant has no bucket of this name."""

    kind = Kind.NOT_FOUND


class Cursor(NamedTuple):
    """Where a listing goes on: below `sequence` of `key`, then behind the key."""

    key: bytes
    sequence: int


class Listed(NamedTuple):
    """A row of a version, as it was read."""

    key: ObjectKey
    row_key: bytes
    row: bytes
    is_current: bool


class Described(NamedTuple):
    """A version and its record."""

    listed: Listed
    stored: StoredVersion
    document: Document
    annotations: Sequence[StoredAnnotation]

    @property
    def version(self) -> Version:
        return self.stored.version


def bucket_of(services: Services, tenant: bytes, name: str) -> OpenBucket:
    """A bucket of a tenant. Raises: BucketNotThere, RowCorrupt."""
    stored = bucket_rows.find_bucket(services.log, services.records, BucketName(name))
    if stored is None or stored.bucket.tenant != tenant:
        raise BucketNotThere(bucket=name[:64])
    row_key = keyspace.bucket_row(stored.bucket.bucket_id)
    return OpenBucket(stored.bucket, row_key, stored.value)


def list_rows(
    services: Services, bucket: Bucket, cursor: Cursor | None, limit: int
) -> tuple[list[Listed], Cursor | None]:
    """Rows of versions from a cursor on, by key and newest first; None: there are no more."""
    bucket_id, found = bucket.bucket_id, list[Listed]()
    start, end = keyspace.family_range(keyspace.CURRENT, bucket_id)
    has_older = bucket.versioning is not Versioning.OFF
    if cursor is not None:
        key = ObjectKey(cursor.key)
        if cursor.sequence:
            found += older_rows(services, bucket_id, key, cursor.sequence, limit)
            if len(found) == limit:
                return found, cursor_behind(services, found[-1])
        start = keyspace.after_object(bucket_id, key)
    while len(found) < limit:
        rows = services.log.scan(start, end, limit=limit - len(found))
        for row in rows:
            key = keyspace.parse_current(row.key)[1]
            found.append(Listed(key, row.key, row.value, True))
            start = keyspace.after_object(bucket_id, key)
            if len(found) < limit and has_older:
                found += older_rows(
                    services, bucket_id, key, keyspace.SEQUENCE_MAX, limit - len(found)
                )
            if len(found) == limit:
                return found, cursor_behind(services, found[-1])
        if not rows:
            return found, None
    return found, None


def cursor_behind(services: Services, last: Listed) -> Cursor:
    """Where to go on behind a row: below its own sequence, so that it is not told of once more
    where another has taken its place meanwhile. Raises: RowCorrupt.
    """
    if not last.is_current:
        return Cursor(last.key, keyspace.parse_noncurrent(last.row_key)[2])
    try:
        return Cursor(last.key, _sequence_of(services, last))
    except (KmsKeyDestroyed, KmsKeyDisabled, TenantKeyDisabled):
        return Cursor(last.key, keyspace.SEQUENCE_MAX)


def older_rows(
    services: Services, bucket: BucketId, key: ObjectKey, below: int, limit: int
) -> list[Listed]:
    """Noncurrent versions of a key, newest first, below a sequence."""
    start, end = keyspace.noncurrent_range(bucket, key)
    if below < keyspace.SEQUENCE_MAX:
        start = keyspace.after(keyspace.noncurrent_row(bucket, key, below))
    rows = services.log.scan(start, end, limit=limit)
    return [Listed(key, row.key, row.value, False) for row in rows]


def _current_of(services: Services, bucket: BucketId, key: ObjectKey) -> Listed | None:
    row_key = keyspace.current_row(bucket, key)
    value = services.log.read((row_key,))[0]
    return None if value is None else Listed(key, row_key, value, True)


def _sequence_of(services: Services, listed: Listed) -> int:
    return open_version(services.records, listed.row_key, listed.row).version.sequence


def described(services: Services, bucket: BucketId, listed: Listed) -> Described:
    """All that is known of a version. Raises: RowCorrupt, KmsKeyDestroyed, KmsKeyDisabled."""
    stored = open_version(services.records, listed.row_key, listed.row)
    version = stored.version
    parts = _parts_of(services, bucket, version) if version.is_multipart else []
    annotations: list[StoredAnnotation] = []
    if version.attributes.annotations:
        annotations = annotations_of(services, bucket, version)
    document = version_document(
        listed.key.decode("utf-8"),
        version,
        is_current=listed.is_current,
        parts=parts,
        annotations=[NamedPart(one.name.decode("utf-8"), one.held.part) for one in annotations],
    )
    document["uuid"] = version.object_uuid.hex()
    return Described(listed, stored, document, annotations)


def _parts_of(services: Services, bucket: BucketId, version: Version) -> list[Part]:
    found: list[Part] = []
    after = 0
    while True:
        page = scan_parts(
            services.log,
            services.records,
            bucket,
            version.object_uuid,
            after=after,
            limit=PAGE_PARTS,
        )
        found += [one.part for one in page]
        if len(page) < PAGE_PARTS:
            return found
        after = page[-1].part.number


def relisted(
    services: Services, bucket: BucketId, key: ObjectKey, sequence: int, uuid: ObjectUuid
) -> Listed | None:
    """A version where it is by this time; None: it has gone. Raises: RowCorrupt."""
    rows = (
        keyspace.current_row(bucket, key),
        keyspace.noncurrent_row(bucket, key, sequence),
    )
    for row_key, value in zip(rows, services.log.read(rows), strict=True):
        if value is None:
            continue
        version = open_version(services.records, row_key, value).version
        if version.object_uuid == uuid:
            return Listed(key, row_key, value, row_key == rows[0])
    return None


def fitting_key(services: Services, version: Version, keys: Sequence[bytes]) -> bytes | None:
    """The one of some clients' keys that opens a version; None: it has none, or none fits."""
    chosen = version.attributes.encryption
    if chosen is None or chosen.kind != CUSTOMER:
        return None
    for key in keys:
        found = key_check(services.cluster_id, version.object_uuid, key)
        if hmac.compare_digest(found, chosen.key_check):
            return key
    return None


def customer_key_md5(key: bytes) -> str:
    """What S3 calls the MD5 of a client's own key."""
    return base64.b64encode(md5(key, usedforsecurity=False).digest()).decode("ascii")


def is_sealed_by_client(version: Version) -> bool:
    """Whether only a client's own key opens its bytes."""
    chosen = version.attributes.encryption
    return chosen is not None and chosen.kind == CUSTOMER


async def whole_body(
    services: Services, opened: OpenBucket, found: Described, customer_key: bytes | None
) -> bytes:
    """The bytes of a small version and of its annotations, one behind the other.

    Raises: StripeGone (look at its row again), StripeUnreadable, SealInvalid, and as a GET.
    """
    version = found.version
    pieces: list[Piece] = []
    ticket = services.reads.begin(services.env.monotonic_s())
    try:
        if version.content_bytes:
            first, rest = await _opened(services, opened, found, 0, None, customer_key)
            pieces.append(first)
            if rest is not None:
                pieces += [bytes(piece) async for piece in rest]
        if found.annotations:
            dek = await awaited_dek(services, opened.bucket.bucket_id, found.listed.key, version)
            for one in found.annotations:
                pieces.append(await whole_content(services, version, dek, one.held))
    finally:
        services.reads.end(ticket)
    return b"".join(pieces)


async def stream_bytes(
    services: Services,
    opened: OpenBucket,
    found: Described,
    offset: int,
    length: int,
    customer_key: bytes | None,
) -> AsyncIterator[Piece]:
    """Of the bytes of a version and, behind them, of its annotations: so many from `offset` on,
    verified, in order. Raises: as whole_body; in the middle too.
    """
    version, end = found.version, offset + length
    ticket = services.reads.begin(services.env.monotonic_s())
    try:
        taken = min(end, version.content_bytes) - offset
        if taken > 0:
            first, rest = await _opened(services, opened, found, offset, taken, customer_key)
            yield first
            if rest is not None:
                async for piece in rest:
                    yield piece
        at = version.content_bytes
        for one in found.annotations:
            low, high = max(offset - at, 0), min(end - at, one.held.part.plain_bytes)
            at += one.held.part.plain_bytes
            if low < high:
                dek = await awaited_dek(
                    services, opened.bucket.bucket_id, found.listed.key, version
                )
                yield (await whole_content(services, version, dek, one.held))[low:high]
    finally:
        services.reads.end(ticket)


async def _opened(
    services: Services,
    opened: OpenBucket,
    found: Described,
    offset: int,
    length: int | None,
    customer_key: bytes | None,
) -> tuple[Piece, AsyncIterator[Piece] | None]:
    listed, is_versioned = found.listed, opened.bucket.versioning is not Versioning.OFF
    target = Target(opened, listed.key, listed.row_key, Action.GET_OBJECT)
    held = OpenedVersion(listed.key, listed.row, found.stored, is_versioned)
    wanted = found.version.content_bytes - offset if length is None else length
    content = read_at_once(services, target, held, offset, wanted, customer_key)
    if content is not None:
        return content, None
    return await open_body(services, target, held, offset, wanted, customer_key)


async def small_version(
    services: Services,
    opened: OpenBucket,
    listed: Listed,
    keys: Sequence[bytes],
    bytes_max: int,
) -> tuple[Described, bytes | None] | None:
    """A version's record, and its bytes if there are at most so many; None: it has gone.

    The bytes are None as well where only a client's key that is not among `keys` opens them; the
    record says then `sealed_by_client`.

    Raises: RowCorrupt, StripeUnreadable, KmsKeyDestroyed, KmsKeyDisabled, and as a GET.
    """
    bucket = opened.bucket.bucket_id
    for _ in range(TRIES_MAX):
        found = described(services, bucket, listed)
        version = found.version
        if version.is_delete_marker:
            return found, b""
        customer_key = fitting_key(services, version, keys)
        if is_sealed_by_client(version) and customer_key is None:
            sealed: Document = {**found.document, "sealed_by_client": True}
            return found._replace(document=sealed), None
        if customer_key is not None:
            found.document["customer_key_md5"] = customer_key_md5(customer_key)
        if bytes_of(found) > bytes_max:
            return found, None
        try:
            return found, await whole_body(services, opened, found, customer_key)
        except StripeGone as gone:
            again = relisted(services, bucket, listed.key, version.sequence, version.object_uuid)
            if again is None and listed.is_current:
                again = _current_of(services, bucket, listed.key)
                if again is not None and _sequence_of(services, again) < version.sequence:
                    # An older one of this page has taken its place: the page is not true.
                    raise VersionReplaced(key=listed.key.decode("utf-8")) from gone
            if again is None:
                return None
            listed = again
    raise VersionReplaced(key=listed.key.decode("utf-8"))


def bytes_of(found: Described) -> int:
    """Bytes of a version and its annotations."""
    return found.version.content_bytes + sum(one.held.part.plain_bytes for one in found.annotations)


def version_at(
    services: Services, opened: OpenBucket, key: ObjectKey, sequence: int, uuid: ObjectUuid
) -> Described:
    """A version that was listed before. Raises: VersionReplaced, RowCorrupt."""
    bucket = opened.bucket.bucket_id
    listed = relisted(services, bucket, key, sequence, uuid)
    if listed is None:
        raise VersionReplaced(key=key.decode("utf-8"))
    return described(services, bucket, listed)


def settings_of(services: Services, opened: OpenBucket) -> Bucket:
    """A bucket with all its documents, the cold ones too. Raises: RowCorrupt."""
    bucket = opened.bucket
    documents = dict(bucket.documents)
    for name in sorted(bucket.cold):
        held = bucket_rows.read_document(services.log, services.records, bucket.bucket_id, name)
        if held is not None:
            documents[name] = held
    return replace(bucket, documents=documents)
