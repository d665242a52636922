"""The checksums of S3: CRC32, CRC32C, CRC64NVME, SHA-1, SHA-256, MD5.

Not for our own shards. Values are raw digests, big-endian for CRCs; base64 only at the edge.

Source: Amazon S3 User Guide, "Checking object integrity".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ChecksumAlgorithm(StrEnum):
    """Value of x-amz-sdk-checksum-algorithm and x-amz-checksum-algorithm."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"

    @property
    def header(self) -> str:
        """Header and trailer name, such as x-amz-checksum-crc32."""
        return f"x-amz-checksum-{self.value.lower()}"

    @property
    def element(self) -> str:
        """XML element, such as ChecksumCRC32."""
        return f"Checksum{self.value}"


class ChecksumType(StrEnum):
    """What the checksum of a multipart object covers."""

    COMPOSITE = "COMPOSITE"
    FULL_OBJECT = "FULL_OBJECT"


class Checksum(Protocol):
    """An incremental checksum."""

    def update(self, buffer: bytes | bytearray | memoryview) -> None:
        """Add bytes."""
        ...

    def digest(self) -> bytes:
        """Digest of everything so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumClaim:
    """What a request says about the checksum of its body.

    Attributes:
        expected: the raw digest, or None if it comes in a trailer (or is ours to compute).
        in_trailer: the trailer `algorithm.header` is announced.
    """

    algorithm: ChecksumAlgorithm
    expected: bytes | None
    in_trailer: bool


def new_checksum(algorithm: ChecksumAlgorithm) -> Checksum:
    """A fresh checksum of an algorithm."""
    raise NotImplementedError


def new_md5() -> Checksum:
    """A fresh MD5 (ETag, Content-MD5)."""
    raise NotImplementedError


def encode_digest(digest: bytes) -> str:
    """Base64 of a digest, as headers and XML carry it."""
    raise NotImplementedError


def decode_digest(algorithm: ChecksumAlgorithm, value: str) -> bytes:
    """Raw digest of a header, trailer or XML value. Raises S3Error: InvalidRequest."""
    raise NotImplementedError


def decode_content_md5(value: str) -> bytes:
    """16 bytes of a Content-MD5 value. Raises S3Error: InvalidDigest."""
    raise NotImplementedError


def claim_of(headers: Mapping[str, str], trailer_names: Sequence[str] = ()) -> ChecksumClaim | None:
    """The one checksum a body comes with, or None. Raises S3Error: InvalidRequest,
    NotImplemented.
    """
    raise NotImplementedError


def multipart_type(
    algorithm: ChecksumAlgorithm | None, requested: str | None
) -> ChecksumType | None:
    """Type of an upload by x-amz-checksum-type, or the algorithm's default. Raises S3Error:
    InvalidRequest.
    """
    raise NotImplementedError


def composite_digest(algorithm: ChecksumAlgorithm, part_digests: Sequence[bytes]) -> bytes:
    """Checksum of the parts' checksums; printed as `base64-N`."""
    raise NotImplementedError


def full_object_digest(algorithm: ChecksumAlgorithm, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """CRC of the whole from (digest, length in bytes) of its parts, in order. CRC algorithms
    only.
    """
    raise NotImplementedError
