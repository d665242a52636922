"""The one XML writer and the one bounded XML reader.

Not for S3's meaning: part numbers come back in the order sent, keys as text; use cases judge them.
The writer's output always parses: what XML 1.0 cannot carry at all becomes U+FFFD (clients that
need such keys ask for encoding-type=url).

Source: Amazon S3 API Reference, request and response syntax; XML 1.0 §2.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.s3.errors import S3Answer

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DEPTH_MAX = 32
DELETE_BODY_MAX_BYTES = 4 << 20  # 1,000 keys of 1,024 bytes, each byte an entity such as &amp;
COMPLETE_BODY_MAX_BYTES = 8 << 20  # 10,000 parts, with a checksum each
BUCKET_BODY_MAX_BYTES = 64 << 10
DELETE_KEYS_MAX = 1_000
PARTS_MAX = 10_000
ELEMENTS_MAX = 8 * PARTS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """One row of a list answer; `key` already url-encoded if the client asked for it. `etag`
    without quotes.
    """

    key: str
    last_modified_ms: int
    etag: str
    length_bytes: int
    storage_class: str = "STANDARD"
    checksum_algorithm: str | None = None
    checksum_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyToDelete:
    """One Object of a Delete request; the conditions are as sent."""

    key: str
    version_id: str | None = None
    etag: str | None = None
    last_modified_time: str | None = None
    length_bytes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRequest:
    """Body of DeleteObjects, in order."""

    keys: tuple[KeyToDelete, ...]
    quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedPart:
    """One Part of CompleteMultipartUpload; `etag` without quotes; checksums base64 by element
    name.
    """

    part_number: int
    etag: str
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketConfiguration:
    """Body of CreateBucket; None or () where absent."""

    location: str | None
    tags: tuple[tuple[str, str], ...] = ()


def escape(text: str) -> str:
    """Text for element content."""
    raise NotImplementedError


def element(name: str, text: str | int | bool) -> str:
    """`<name>text</name>`; True and False are written true and false."""
    raise NotImplementedError


def group(name: str, *children: str) -> str:
    """`<name>…</name>` around what `element`, `group` or `contents` made."""
    raise NotImplementedError


def document(root: str, *children: str) -> bytes:
    """A whole answer in S3's namespace, with the XML declaration, UTF-8."""
    raise NotImplementedError


def error_document(answer: S3Answer, *, resource: str, request_id: str, host_id: str) -> bytes:
    """Body of an error (b"" where the status has none)."""
    raise NotImplementedError


def timestamp(at_ms: int) -> str:
    """2009-10-12T17:50:30.000Z."""
    raise NotImplementedError


def contents(rows: Iterable[ListedObject], *, owner: str | None = None) -> str:
    """The Contents elements of a list answer; `owner` is written as ID and DisplayName of each if
    given.
    """
    raise NotImplementedError


def common_prefixes(prefixes: Iterable[str]) -> str:
    """The CommonPrefixes elements of a list answer."""
    raise NotImplementedError


def encode_url(text: str) -> str:
    """A key, prefix or delimiter under encoding-type=url."""
    raise NotImplementedError


def parse_delete(body: bytes) -> DeleteRequest:
    """Body of DeleteObjects. Raises S3Error: MalformedXML, MaxMessageLengthExceeded."""
    raise NotImplementedError


def parse_complete(body: bytes) -> tuple[CompletedPart, ...]:
    """Body of CompleteMultipartUpload, at least one part, in the order sent. Raises S3Error: as
    parse_delete.
    """
    raise NotImplementedError


def parse_create_bucket(body: bytes) -> BucketConfiguration:
    """Body of CreateBucket; empty is allowed. Raises S3Error: as parse_delete."""
    raise NotImplementedError
