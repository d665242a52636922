"""Versions, parts and uploads: immutable values as S3 knows them, without where their bytes are.

Not for layouts (`gateway.model.layout`) nor for row formats (`gateway.meta.records`).

Source: Amazon S3 API Reference, "PutObject", "CreateMultipartUpload"; docs/data-layout.md,
"Versions".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.model.attributes import NO_ATTRIBUTES, Attributes
from gateway.model.names import ObjectKey, ObjectUuid, TenantId, UploadId, VersionId
from storaged.base.values import value

Pairs = tuple[tuple[str, str], ...]

# Response headers that S3 stores with an object, as received.
STORED_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)

# The position is the code in rows: append only.
STORAGE_CLASSES = (
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
)
# The position is part of a code in rows: append only.
CHECKSUM_ALGORITHMS = (
    "CRC32",
    "CRC32C",
    "CRC64NVME",
    "SHA1",
    "SHA256",
    "SHA512",
    "MD5",
    "XXHASH64",
    "XXHASH3",
    "XXHASH128",
)
CHECKSUM_TYPES = ("FULL_OBJECT", "COMPOSITE")

SALT_BYTES = 24
COMMITMENT_BYTES = 32


@value(frozen=True, slots=True, kw_only=True)
class Checksum:
    """A checksum as S3 prints it.

    Args:
        algorithm: one of CHECKSUM_ALGORITHMS.
        type: one of CHECKSUM_TYPES.
        value: base64 of the digest; COMPOSITE ends with `-` and the number of parts.
    """

    algorithm: str
    type: str
    value: str


@value(frozen=True, slots=True, kw_only=True)
class PartSeal:
    """What opening one part needs beside the DEK: plaintext length, HKDF salt (24), key commitment
    (32).
    """

    plain_bytes: int
    salt: bytes
    commitment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRun:
    """`count` consecutively numbered parts from `first`, each of `plain_bytes` bytes."""

    first: int
    count: int
    plain_bytes: int


@value(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an object, or a delete marker.

    Args:
        version_id: NULL_VERSION in a bucket without versioning.
        object_uuid: bound into every frame; the upload's for a multipart object. Names the part
            rows.
        sequence: order among the versions of a key, higher is later.
        etag: without quotes: hexadecimal MD5, `-` and part count for multipart; any text is kept.
        headers, user_metadata, tags: pairs as received; names of user_metadata without
            `x-amz-meta-`.
        wrapped_dek: the DEK under the bucket key of `key_epoch`.
        owner: tenant that pays.
        seal: of the only part; None for a multipart object and a delete marker.
        part_runs: sizes of the parts of a multipart object, run-length encoded, by number.
    """

    version_id: VersionId
    object_uuid: ObjectUuid
    sequence: int
    created_at_ms: int
    content_bytes: int
    etag: str
    is_delete_marker: bool
    storage_class: str
    headers: Pairs
    user_metadata: Pairs
    tags: Pairs
    checksum: Checksum | None
    wrapped_dek: bytes
    key_epoch: int
    owner: TenantId
    seal: PartSeal | None
    part_runs: tuple[PartRun, ...] = ()
    attributes: Attributes = NO_ATTRIBUTES

    @property
    def is_multipart(self) -> bool:
        return bool(self.part_runs)

    @property
    def part_count(self) -> int:
        """Number of parts; 1 for an object put whole, 0 for a delete marker."""
        if self.part_runs:
            return sum(run.count for run in self.part_runs)
        return 0 if self.is_delete_marker else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of an upload or of a multipart object.

    Args:
        number: 1–10,000.
        seal: how to open it, and its length.
        etag: hexadecimal MD5 of the part.
        created_at_ms: when its upload ended.
    """

    number: int
    seal: PartSeal
    etag: str
    checksum: Checksum | None
    created_at_ms: int

    @property
    def plain_bytes(self) -> int:
        return self.seal.plain_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A multipart upload in progress; completing it makes a version of the same object uuid.

    Args:
        checksum_algorithm, checksum_type: as asked at the start; "" when the client asked for none.
    """

    upload_id: UploadId
    key: ObjectKey
    object_uuid: ObjectUuid
    created_at_ms: int
    storage_class: str
    headers: Pairs
    user_metadata: Pairs
    tags: Pairs
    checksum_algorithm: str
    checksum_type: str
    wrapped_dek: bytes
    key_epoch: int
    owner: TenantId
    attributes: Attributes = NO_ATTRIBUTES


def part_runs(parts: Iterable[tuple[int, int]]) -> tuple[PartRun, ...]:
    """Run-length encode (number, plain bytes) pairs in ascending order of number."""
    runs: list[PartRun] = []
    first = count = plain_bytes = 0
    for number, part_bytes in parts:
        if count and number == first + count and part_bytes == plain_bytes:
            count += 1
            continue
        if count:
            runs.append(PartRun(first=first, count=count, plain_bytes=plain_bytes))
        assert number >= first + count, "parts must come in ascending order"
        first, count, plain_bytes = number, 1, part_bytes
    if count:
        runs.append(PartRun(first=first, count=count, plain_bytes=plain_bytes))
    return tuple(runs)


def parts_for_range(
    runs: tuple[PartRun, ...], offset: int, length: int
) -> Iterator[tuple[int, int, int]]:
    """(part number, offset inside the part, bytes) covering `length` bytes from `offset` of the
    object.

    Costs one step per run before the range, not one per part.
    """
    for run in runs:
        if length <= 0:
            return
        run_bytes = run.count * run.plain_bytes
        if offset >= run_bytes:
            offset -= run_bytes
            continue
        index, inside = divmod(offset, run.plain_bytes)
        while index < run.count and length > 0:
            taken = min(run.plain_bytes - inside, length)
            yield run.first + index, inside, taken
            length -= taken
            index, inside = index + 1, 0
        offset = 0
    assert length <= 0, "the range goes beyond the object"


def part_extent(runs: tuple[PartRun, ...], position: int) -> tuple[int, int, int] | None:
    """(part number, offset in the object, bytes) of the `position`-th part from 1; None when there
    is none.

    GetObject's partNumber counts positions, which differ from numbers when the client left gaps.
    """
    offset = 0
    for run in runs:
        if 1 <= position <= run.count:
            return (
                run.first + position - 1,
                offset + (position - 1) * run.plain_bytes,
                run.plain_bytes,
            )
        position -= run.count
        offset += run.count * run.plain_bytes
    return None
