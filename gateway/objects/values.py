"""What use cases take and give, beside bodies: options of requests and what a client is told.

Not stored anywhere: stored values are in `gateway.model`. Keys, names and ETags are text here;
ETags have no quotes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.meta.records import ListingEntry
from gateway.model.attributes import NO_ATTRIBUTES, Attributes, Encryption
from gateway.model.conditions import Conditions
from gateway.model.version import Checksum, Pairs
from storaged.base.errors import StorageError
from storaged.base.values import value

ReadConditions = Conditions  # of a get, head or copy source
WriteConditions = Conditions  # of a put, copy, complete or delete: only the ETag conditions count

UNCONDITIONAL_WRITE = WriteConditions()
UNCONDITIONAL_READ = ReadConditions()


class CustomerKey(NamedTuple):
    """A client's own key, as sent; None = absent. `header`: what its headers begin with."""

    header: str
    algorithm: str | None
    key: str | None
    key_md5: str | None

    def __repr__(self) -> str:
        return "CustomerKey(…)"


class EncryptionAsked(NamedTuple):
    """What a write says of encryption, not judged yet; None = absent."""

    kind: str | None = None
    key_id: str | None = None
    context: str | None = None
    bucket_key: str | None = None
    customer: CustomerKey | None = None


@value(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a client says about an object, given back as it was sent.

    Args:
        headers: stored headers by lower-case name: content-type, cache-control,
            content-disposition,
            content-encoding, content-language, expires, x-amz-website-redirect-location.
        user: user metadata by lower-case name without `x-amz-meta-`.
        tags: checked and ordered as by `gateway.model.tags`.
        attributes: ACL, owner and lock; the encryption is chosen elsewhere.
    """

    headers: Pairs = ()
    user: Pairs = ()
    storage_class: str = "STANDARD"
    tags: Pairs = ()
    attributes: Attributes = NO_ATTRIBUTES


NO_METADATA = Metadata()


@value(frozen=True, slots=True, kw_only=True)
class PutOptions:
    """`checksum_algorithm`: the one that is kept with the object; it must be among the body's
    digests. `has_digest`: the client sent a digest of the content, beside its signature.
    """

    metadata: Metadata = NO_METADATA
    conditions: WriteConditions = UNCONDITIONAL_WRITE
    checksum_algorithm: str | None = None
    encryption: EncryptionAsked | None = None
    has_digest: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOptions:
    """`range_header`: the Range header as sent; it and `part_number` exclude each other.
    `if_range`: the If-Range header as sent, which says for which entity tag the range is meant.
    """

    conditions: ReadConditions = UNCONDITIONAL_READ
    range_header: str | None = None
    if_range: str | None = None
    part_number: int | None = None
    version_id: str | None = None
    customer_key: CustomerKey | None = None


@value(frozen=True, slots=True, kw_only=True)
class ObjectHead:
    """What a client is told of a version.

    Args:
        version_id: None in buckets without versioning.
        length: plaintext bytes.
        modified_at_ms: never smaller than that of the version it replaced, unless it was renamed.
        part_count: 0 for an object that was not a multipart upload.
    """

    key: str
    version_id: str | None
    etag: str
    length: int
    modified_at_ms: int
    metadata: Metadata
    checksum: Checksum | None
    part_count: int
    encryption: Encryption | None = None


class ReadBody(Protocol):
    """Verified plaintext, in order; given out once."""

    def __aiter__(self) -> AsyncIterator[memoryview | bytes]: ...

    async def __anext__(self) -> memoryview | bytes: ...

    async def aclose(self) -> None:
        """Stop reading. Idempotent."""
        ...


@value(frozen=True, slots=True, kw_only=True)
class ObjectRead:
    """An answer to get or head.

    Args:
        offset, length: the range that is sent; `is_range` says whether it is a 206 answer.
        body: verified plaintext, `length` bytes in order; None for head. Closing it early is
            allowed. An error in the
            middle is raised from it and must break the connection.
        checksum: of what is sent; None when it is not known.
        tag_count: 0 for who may not read the tags.
    """

    head: ObjectHead
    offset: int
    length: int
    is_range: bool
    body: ReadBody | None
    checksum: Checksum | None = None
    tag_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteKey:
    """One key of DeleteObjects."""

    key: str
    version_id: str | None = None
    if_match: str | None = None


class Deleted(NamedTuple):
    """What a delete has done.

    Args:
        version_id: of the version that was taken away, or of the delete marker that was made; None
            where versions have no ids.
        is_marker: it is a delete marker, made or taken away.
    """

    version_id: str | None = None
    is_marker: bool = False


NOTHING_DELETED = Deleted()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOutcome:
    """What happened to one key of DeleteObjects; `error` None = it is gone."""

    key: str
    version_id: str | None
    error: StorageError | None
    deleted: Deleted = NOTHING_DELETED


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """Where a copy comes from."""

    bucket: str
    key: str
    version_id: str | None = None
    conditions: ReadConditions = UNCONDITIONAL_READ
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """`metadata` None: that of the source (directive COPY); else REPLACE. `tags` likewise; those of
    `metadata` do not count.

    `storage_class` goes with COPY (None: STANDARD) — under REPLACE it is in `metadata`.
    `attributes` are the copy's own under either: neither ACL nor lock is copied.
    `with_annotations`: those of the source are copied.
    """

    metadata: Metadata | None = None
    tags: Pairs | None = None
    attributes: Attributes = NO_ATTRIBUTES
    storage_class: str | None = None
    conditions: WriteConditions = UNCONDITIONAL_WRITE
    checksum_algorithm: str | None = None
    encryption: EncryptionAsked | None = None
    with_annotations: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameOptions:
    """Conditions of the object that is renamed, and of what has the new key.

    `client_token`: a repeated request with it does nothing again; "" = none. `customer_key`: of
    the object, if it has one.
    """

    source: ReadConditions = UNCONDITIONAL_READ
    destination: ReadConditions = UNCONDITIONAL_READ
    client_token: str = ""
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """What to list.

    Args:
        after: keys up to and including this one are left out: marker (V1) or start-after (V2).
        token: continuation token of an earlier page; it goes before `after`.
        keys_max: at most this many keys and common prefixes together, ≤ 1,000.
    """

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    token: str | None = None
    keys_max: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page: `entries` and `common_prefixes` each in byte order of UTF-8.

    Args:
        next_after: last key or common prefix of this page (NextMarker of V1); None when not
            truncated.
        next_token: opaque continuation token (V2); None when not truncated.
        has_owners: some entry has an owner other than the bucket's, and ACLs are in force.
    """

    entries: tuple[ListingEntry, ...]
    common_prefixes: tuple[str, ...]
    is_truncated: bool
    next_after: str | None
    next_token: str | None
    has_owners: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketEntry:
    """One bucket; `location` is what GetBucketLocation answers."""

    name: str
    created_at_ms: int
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPage:
    """`next_token` None: this was the last page."""

    buckets: tuple[BucketEntry, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUploadOptions:
    """`checksum_composite` counts only with an algorithm."""

    metadata: Metadata = NO_METADATA
    checksum_algorithm: str | None = None
    checksum_composite: bool = False
    encryption: EncryptionAsked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadHead:
    """A multipart upload in progress; `owner_id` "" = the bucket's owner."""

    key: str
    upload_id: str
    created_at_ms: int
    storage_class: str
    checksum_algorithm: str | None
    checksum_composite: bool
    encryption: Encryption | None = None
    owner_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHead:
    """A part of an upload in progress; `source_version_id`: what it was just copied from."""

    part_number: int
    etag: str
    length: int
    modified_at_ms: int
    checksum: Checksum | None
    encryption: Encryption | None = None
    source_version_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletePart:
    """One part as the client lists it; `checksums` are (algorithm, base64) pairs."""

    part_number: int
    etag: str
    checksums: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteOptions:
    """What the client states of the whole object.

    Args:
        checksum: (algorithm, base64) of it, a composite one with or without its `-N`.
        checksum_type: x-amz-checksum-type; must be the upload's.
        length: x-amz-mp-object-size.
    """

    conditions: WriteConditions = UNCONDITIONAL_WRITE
    checksum: tuple[str, str] | None = None
    checksum_type: str | None = None
    length: int | None = None
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPage:
    """Parts in order; `next_part_number` None: this was the last page."""

    upload: UploadHead
    parts: tuple[PartHead, ...]
    next_part_number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUploadsOptions:
    """Uploads after (`after_key`, `after_upload_id`); with "" as id, after all of that key."""

    prefix: str = ""
    delimiter: str = ""
    after_key: str = ""
    after_upload_id: str = ""
    uploads_max: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPage:
    """`next_key` and `next_upload_id` None: not truncated."""

    uploads: tuple[UploadHead, ...]
    common_prefixes: tuple[str, ...]
    is_truncated: bool
    next_key: str | None
    next_upload_id: str | None
