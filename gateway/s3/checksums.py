"""What a request says about checksums: headers, trailers, base64, and the rules between them.

Not for the arithmetic (`gateway.model.checksums`). Digests are raw, big-endian for CRCs; base64 is
only at the edge.

Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3".
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from gateway.model import checksums as arithmetic
from gateway.s3.errors import S3Error

Checksum = arithmetic.Digest
_PREFIX = "x-amz-checksum-"
_NOT_VALUES = frozenset({"type", "algorithm", "mode"})
_SEVERAL = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."


class ChecksumAlgorithm(StrEnum):
    """Value of x-amz-sdk-checksum-algorithm and x-amz-checksum-algorithm."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"
    SHA512 = "SHA512"
    MD5 = "MD5"
    XXHASH64 = "XXHASH64"
    XXHASH3 = "XXHASH3"
    XXHASH128 = "XXHASH128"

    @property
    def header(self) -> str:
        """Header and trailer name, such as x-amz-checksum-crc32."""
        return f"{_PREFIX}{self.value.lower()}"

    @property
    def element(self) -> str:
        """XML element, such as ChecksumCRC32."""
        return f"Checksum{self.value}"


class ChecksumType(StrEnum):
    """What the checksum of a multipart object covers."""

    COMPOSITE = "COMPOSITE"
    FULL_OBJECT = "FULL_OBJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumClaim:
    """What a request says about the checksum of its body.

    Attributes:
        expected: the raw digest, or None if it comes in a trailer.
        in_trailer: the trailer `algorithm.header` is announced.
    """

    algorithm: ChecksumAlgorithm
    expected: bytes | None
    in_trailer: bool


_BY_HEADER = {algorithm.header: algorithm for algorithm in ChecksumAlgorithm}


def new_checksum(algorithm: ChecksumAlgorithm) -> Checksum:
    """A fresh checksum of an algorithm."""
    return arithmetic.new_digest(algorithm.value)


def new_md5() -> Checksum:
    """A fresh MD5 (ETag, Content-MD5)."""
    return arithmetic.new_digest(arithmetic.MD5)


def encode_digest(digest: bytes) -> str:
    """Base64 of a digest, as headers and XML carry it."""
    return b64encode(digest).decode()


def _strict_base64(value: str, length: int) -> bytes | None:
    try:
        digest = b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    # The spare bits of the last letter are free in base64: only the one canonical text is taken.
    return digest if len(digest) == length and encode_digest(digest) == value else None


def decode_digest(algorithm: ChecksumAlgorithm, value: str) -> bytes:
    """Raw digest of a header, trailer or XML value.

    Raises:
        S3Error: BadDigest: a text that is no such digest cannot be that of the content.
    """
    digest = _strict_base64(value, arithmetic.DIGEST_BYTES[algorithm.value])
    if digest is None:
        _refuse_value(algorithm)
    return digest


def _refuse_value(algorithm: ChecksumAlgorithm) -> NoReturn:
    raise S3Error("BadDigest", f"Value for {algorithm.header} header is invalid.")


def decode_composite(algorithm: ChecksumAlgorithm, value: str) -> tuple[bytes, int | None]:
    """(raw digest, number of parts) of `base64-N`; None for a value without `-N`.

    Raises:
        S3Error: BadDigest.
    """
    text, dash, count = value.partition("-")
    if not dash:
        return decode_digest(algorithm, text), None
    if not (count.isascii() and count.isdigit() and 1 <= len(count) <= 5):
        _refuse_value(algorithm)
    return decode_digest(algorithm, text), int(count)


def decode_content_md5(value: str) -> bytes:
    """16 bytes of a Content-MD5 value.

    Raises:
        S3Error: InvalidDigest.
    """
    digest = _strict_base64(value, 16)
    if digest is None:
        raise S3Error("InvalidDigest")
    return digest


def claim_of(headers: Mapping[str, str], trailer_names: Sequence[str] = ()) -> ChecksumClaim | None:
    """The one checksum a body comes with, or None.

    Args:
        headers: by lower-case name.
        trailer_names: lower-case names announced in x-amz-trailer.

    Raises:
        S3Error: InvalidRequest (several, unknown, or another algorithm than
            x-amz-sdk-checksum-algorithm says), BadDigest (malformed).
    """
    in_header = [name for name in headers if _is_value(name)]
    in_trailer = [name for name in trailer_names if _is_value(name)]
    if len(in_header) + len(in_trailer) > 1:
        raise S3Error("InvalidRequest", _SEVERAL)
    declared = headers.get("x-amz-sdk-checksum-algorithm")
    if not in_header and not in_trailer:
        if declared is not None:
            algorithm_of(declared)
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found.",
            )
        return None
    name = (in_header or in_trailer)[0]
    algorithm = _algorithm_of_header(name)
    if declared is not None:
        expected = algorithm_of(declared)
        if expected is not algorithm:
            text = "Value for x-amz-sdk-checksum-algorithm header is invalid."
            raise S3Error("InvalidRequest", text)
    if in_trailer:
        return ChecksumClaim(algorithm=algorithm, expected=None, in_trailer=True)
    digest = decode_digest(algorithm, headers[name])
    return ChecksumClaim(algorithm=algorithm, expected=digest, in_trailer=False)


def _is_value(name: str) -> bool:
    return name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in _NOT_VALUES


def _algorithm_of_header(name: str) -> ChecksumAlgorithm:
    algorithm = _BY_HEADER.get(name)
    if algorithm is not None:
        return algorithm
    text = "The algorithm type you specified in x-amz-checksum- header is invalid."
    raise S3Error("InvalidRequest", text)


def algorithm_of(value: str) -> ChecksumAlgorithm:
    """The algorithm a header names, in any case of letters.

    Raises:
        S3Error: InvalidRequest.
    """
    name = value.upper()
    if name not in ChecksumAlgorithm.__members__:
        names = ", ".join(sorted(ChecksumAlgorithm.__members__))
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{names}]",
        )
    return ChecksumAlgorithm(name)


def multipart_type(
    algorithm: ChecksumAlgorithm | None, requested: str | None
) -> ChecksumType | None:
    """Type of an upload by x-amz-checksum-type, or the algorithm's default; None without either.

    Raises:
        S3Error: InvalidRequest.
    """
    if algorithm is None:
        if requested is not None:
            raise S3Error(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm "
                "header.",
            )
        return None
    if requested is None:
        is_full = algorithm is ChecksumAlgorithm.CRC64NVME
        return ChecksumType.FULL_OBJECT if is_full else ChecksumType.COMPOSITE
    if requested not in ChecksumType.__members__:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    kind = ChecksumType(requested)
    if kind is ChecksumType.COMPOSITE:
        allowed = algorithm is not ChecksumAlgorithm.CRC64NVME
    else:
        allowed = arithmetic.is_crc(algorithm.value)
    if not allowed:
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm.value.lower()} "
            "checksum algorithm.",
        )
    return kind


def composite_digest(algorithm: ChecksumAlgorithm, part_digests: Sequence[bytes]) -> bytes:
    """Checksum of the parts' checksums; printed as `base64-N`."""
    return arithmetic.composite_digest(algorithm.value, part_digests)


def full_object_digest(algorithm: ChecksumAlgorithm, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """CRC of the whole from (digest, length in bytes) of its parts, in order; CRCs only."""
    return arithmetic.full_object_digest(algorithm.value, parts)
