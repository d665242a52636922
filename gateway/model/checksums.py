"""The arithmetic of S3's checksums: CRCs, SHAs, xxHashes and MD5, which makes ETags as well.

Not for headers, base64 or claims (`gateway.s3.checksums`), nor for our own shards. Values are raw
digests, big-endian for CRCs and xxHashes. CRCs are awscrt's: hardware where there is any, and they
combine. Its xxHashes take `bytes` only, so those are of the package `xxhash`, which reads our
buffers in place.

Source: Amazon S3 User Guide, "Checking object integrity".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import xxhash
from awscrt import checksums as crt

Buffer = bytes | bytearray | memoryview
_CrcStep = Callable[[Buffer, int], int]
_CrcCombine = Callable[[int, int, int], int]

MD5 = "MD5"
_CRCS: dict[str, tuple[int, _CrcStep, _CrcCombine]] = {
    "CRC32": (4, crt.crc32, crt.combine_crc32),
    "CRC32C": (4, crt.crc32c, crt.combine_crc32c),
    "CRC64NVME": (8, crt.crc64nvme, crt.combine_crc64nvme),
}
DIGEST_BYTES = {
    "CRC32": 4,
    "CRC32C": 4,
    "CRC64NVME": 8,
    "SHA1": 20,
    "SHA256": 32,
    "SHA512": 64,
    MD5: 16,
    "XXHASH64": 8,
    "XXHASH3": 8,
    "XXHASH128": 16,
}


class Digest(Protocol):
    """An incremental digest."""

    def update(self, buffer: Buffer, /) -> None:
        """Add bytes."""
        ...

    def digest(self) -> bytes:
        """Digest of everything so far."""
        ...


class _Crc:
    __slots__ = ("_bytes", "_crc", "_step")

    def __init__(self, width_bytes: int, step: _CrcStep) -> None:
        self._bytes = width_bytes
        self._step = step
        self._crc = 0

    def update(self, buffer: Buffer, /) -> None:
        self._crc = self._step(buffer, self._crc)

    def digest(self) -> bytes:
        return self._crc.to_bytes(self._bytes, "big")


_HASHES: dict[str, Callable[[], Digest]] = {
    MD5: lambda: hashlib.md5(usedforsecurity=False),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "XXHASH64": xxhash.xxh64,
    "XXHASH3": xxhash.xxh3_64,
    "XXHASH128": xxhash.xxh3_128,
}


def new_digest(algorithm: str) -> Digest:
    """A fresh digest of one of DIGEST_BYTES. An unlisted algorithm is our mistake."""
    crc = _CRCS.get(algorithm)
    if crc is not None:
        return _Crc(crc[0], crc[1])
    return _HASHES[algorithm]()


def digest_of(algorithm: str, content: Buffer) -> bytes:
    """Digest of one buffer."""
    digest = new_digest(algorithm)
    digest.update(content)
    return digest.digest()


def is_crc(algorithm: str) -> bool:
    """Whether part digests of this algorithm combine to the digest of the whole."""
    return algorithm in _CRCS


def composite_digest(algorithm: str, part_digests: Sequence[bytes]) -> bytes:
    """Digest over the parts' raw digests; S3 prints it as `base64-N`."""
    return digest_of(algorithm, b"".join(part_digests))


def full_object_digest(algorithm: str, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """CRC of the whole from (digest, length in bytes) of its parts, in order; CRCs only."""
    width_bytes, _, combine = _CRCS[algorithm]
    whole = 0
    for digest, length_bytes in parts:
        whole = combine(whole, int.from_bytes(digest, "big"), length_bytes)
    return whole.to_bytes(width_bytes, "big")
