"""Checksum headers: known values, the rules between headers, and CRCs that combine."""

from __future__ import annotations

import hashlib

import pytest
from awscrt.checksums import XXHash
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.s3.checksums import (
    ChecksumAlgorithm,
    ChecksumClaim,
    ChecksumType,
    algorithm_of,
    claim_of,
    composite_digest,
    decode_composite,
    decode_content_md5,
    decode_digest,
    encode_digest,
    full_object_digest,
    multipart_type,
    new_checksum,
    new_md5,
)
from gateway.s3.errors import S3Error

CHECK = b"123456789"
KNOWN = {  # the "check" values of the CRC catalogue; FIPS 180-4 by hashlib; xxHash by awscrt
    ChecksumAlgorithm.CRC32: bytes.fromhex("cbf43926"),
    ChecksumAlgorithm.CRC32C: bytes.fromhex("e3069283"),
    ChecksumAlgorithm.CRC64NVME: bytes.fromhex("ae8b14860a799888"),
    ChecksumAlgorithm.SHA1: hashlib.sha1(CHECK).digest(),
    ChecksumAlgorithm.SHA256: hashlib.sha256(CHECK).digest(),
    ChecksumAlgorithm.SHA512: hashlib.sha512(CHECK).digest(),
    ChecksumAlgorithm.MD5: hashlib.md5(CHECK).digest(),
    ChecksumAlgorithm.XXHASH64: bytes(XXHash.compute_xxhash64(CHECK)),
    ChecksumAlgorithm.XXHASH3: bytes(XXHash.compute_xxhash3_64(CHECK)),
    ChecksumAlgorithm.XXHASH128: bytes(XXHash.compute_xxhash3_128(CHECK)),
}
CRCS = [ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32C, ChecksumAlgorithm.CRC64NVME]
CRC32_TEXT = encode_digest(KNOWN[ChecksumAlgorithm.CRC32])


def digest_of(algorithm: ChecksumAlgorithm, content: bytes) -> bytes:
    checksum = new_checksum(algorithm)
    checksum.update(content)
    return checksum.digest()


def slow_crc(content: bytes, width: int, polynomial: int) -> int:
    """Bit by bit, reflected, from the definition."""
    top = (1 << width) - 1
    crc = top
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (polynomial if crc & 1 else 0)
    return crc ^ top


def refused(code: str, function: object, *arguments: object) -> S3Error:
    with pytest.raises(S3Error) as caught:
        function(*arguments)  # type: ignore[operator]
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
def test_known_values_at_any_cut(algorithm: ChecksumAlgorithm) -> None:
    for cut in range(len(CHECK)):
        checksum = new_checksum(algorithm)
        checksum.update(memoryview(CHECK)[:cut])
        checksum.update(bytearray(CHECK[cut:]))
        assert checksum.digest() == KNOWN[algorithm]
    assert decode_digest(algorithm, encode_digest(KNOWN[algorithm])) == KNOWN[algorithm]


def test_md5() -> None:
    md5 = new_md5()
    md5.update(CHECK)
    assert md5.digest() == hashlib.md5(CHECK).digest()
    assert decode_content_md5(encode_digest(md5.digest())) == md5.digest()


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=60))
def test_crcs_against_their_definition(content: bytes) -> None:
    for algorithm, width, polynomial in [
        (ChecksumAlgorithm.CRC32, 32, 0xEDB88320),
        (ChecksumAlgorithm.CRC32C, 32, 0x82F63B78),
        (ChecksumAlgorithm.CRC64NVME, 64, 0x9A6C9329AC4BC9B5),
    ]:
        expected = slow_crc(content, width, polynomial)
        assert int.from_bytes(digest_of(algorithm, content), "big") == expected


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.binary(max_size=200), max_size=6), algorithm=st.sampled_from(CRCS))
def test_crcs_of_parts_combine_to_the_whole(
    parts: list[bytes], algorithm: ChecksumAlgorithm
) -> None:
    pairs = [(digest_of(algorithm, part), len(part)) for part in parts]
    assert full_object_digest(algorithm, pairs) == digest_of(algorithm, b"".join(parts))


def test_composite_is_the_checksum_of_checksums() -> None:
    parts = [hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()]
    assert composite_digest(ChecksumAlgorithm.SHA256, parts) == (
        hashlib.sha256(b"".join(parts)).digest()
    )


@pytest.mark.parametrize(
    "value",
    ["", "AAAA", "AAAAAA=", "AAAAAA==\n", " AAAAAA==", "AAAAAB==", "AAAA!A==", "é", "A" * 12],
)
def test_invalid_values(value: str) -> None:
    error = refused("BadDigest", decode_digest, ChecksumAlgorithm.CRC32, value)
    assert error.text == "Value for x-amz-checksum-crc32 header is invalid."
    refused("InvalidDigest", decode_content_md5, value)


def test_composite_values() -> None:
    digest = KNOWN[ChecksumAlgorithm.CRC32]
    assert decode_composite(ChecksumAlgorithm.CRC32, CRC32_TEXT) == (digest, None)
    assert decode_composite(ChecksumAlgorithm.CRC32, f"{CRC32_TEXT}-12") == (digest, 12)
    for tail in ("-", "-x", "--1", "-²", "-123456"):
        value = CRC32_TEXT + tail
        refused("BadDigest", decode_composite, ChecksumAlgorithm.CRC32, value)


def test_claims() -> None:
    crc32 = {"x-amz-checksum-crc32": CRC32_TEXT, "content-type": "a"}
    claim = ChecksumClaim(
        algorithm=ChecksumAlgorithm.CRC32,
        expected=KNOWN[ChecksumAlgorithm.CRC32],
        in_trailer=False,
    )
    assert claim_of({}) is None
    assert claim_of({"x-amz-checksum-type": "COMPOSITE", "x-amz-checksum-mode": "ENABLED"}) is None
    assert claim_of({"x-amz-checksum-algorithm": "CRC32"}) is None
    assert claim_of(crc32) == claim
    assert claim_of({**crc32, "x-amz-sdk-checksum-algorithm": "crc32"}) == claim
    in_trailer = claim_of({}, ["x-amz-checksum-crc64nvme", "x-other"])
    assert in_trailer == ChecksumClaim(
        algorithm=ChecksumAlgorithm.CRC64NVME, expected=None, in_trailer=True
    )


def test_refused_claims() -> None:
    crc32 = {"x-amz-checksum-crc32": CRC32_TEXT}
    several = refused("InvalidRequest", claim_of, {**crc32, "x-amz-checksum-sha1": "x"})
    assert several.text.startswith("Expecting a single x-amz-checksum- header")
    refused("InvalidRequest", claim_of, crc32, ["x-amz-checksum-crc32"])
    refused("InvalidRequest", claim_of, {"x-amz-checksum-crc33": CRC32_TEXT})
    refused("BadDigest", claim_of, {"x-amz-checksum-crc32": "x"})
    for value in ("SHA1", "NONSENSE"):
        headers = {**crc32, "x-amz-sdk-checksum-algorithm": value}
        refused("InvalidRequest", claim_of, headers)
    refused("InvalidRequest", claim_of, {"x-amz-sdk-checksum-algorithm": "CRC32"})


def test_xxhashes_of_nothing() -> None:
    """The values of xxHash's own specification."""
    assert digest_of(ChecksumAlgorithm.XXHASH64, b"").hex() == "ef46db3751d8e999"
    assert digest_of(ChecksumAlgorithm.XXHASH3, b"").hex() == "2d06800538d394c2"
    assert digest_of(ChecksumAlgorithm.XXHASH128, b"").hex() == "99aa06d3014798d86001c324468d497f"


def test_the_newest_algorithms_are_claimed_as_the_old_ones() -> None:
    for name in ("sha512", "md5", "xxhash64", "xxhash3", "xxhash128"):
        algorithm = algorithm_of(name)
        text = encode_digest(KNOWN[algorithm])
        claim = claim_of({f"x-amz-checksum-{name}": text})
        assert claim is not None and claim.expected == KNOWN[algorithm]
        claim = claim_of({}, [f"x-amz-checksum-{name}"])
        assert claim is not None and claim.in_trailer
        assert multipart_type(algorithm, None) is ChecksumType.COMPOSITE
        refused("InvalidRequest", multipart_type, algorithm, "FULL_OBJECT")


def test_algorithm_names() -> None:
    assert algorithm_of("crc64nvme") is ChecksumAlgorithm.CRC64NVME
    assert algorithm_of("SHA256").element == "ChecksumSHA256"
    assert "CRC64NVME" in refused("InvalidRequest", algorithm_of, "CRC16").text


@pytest.mark.parametrize(
    ("algorithm", "default", "other_allowed"),
    [
        ("CRC32", ChecksumType.COMPOSITE, True),
        ("CRC32C", ChecksumType.COMPOSITE, True),
        ("CRC64NVME", ChecksumType.FULL_OBJECT, False),
        ("SHA1", ChecksumType.COMPOSITE, False),
        ("SHA256", ChecksumType.COMPOSITE, False),
    ],
)
def test_multipart_types(algorithm: str, default: ChecksumType, other_allowed: bool) -> None:
    kind = ChecksumAlgorithm(algorithm)
    [other] = set(ChecksumType) - {default}
    assert multipart_type(kind, None) is default
    assert multipart_type(kind, default.value) is default
    if other_allowed:
        assert multipart_type(kind, other.value) is other
    else:
        refused("InvalidRequest", multipart_type, kind, other.value)
    refused("InvalidRequest", multipart_type, kind, "PARTIAL")


def test_multipart_type_needs_an_algorithm() -> None:
    assert multipart_type(None, None) is None
    refused("InvalidRequest", multipart_type, None, "COMPOSITE")
