"""What an object becomes by bytes at its end."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import PART_NUMBER_MAX
from gateway.model.appending import (
    FULL_OBJECT,
    appended_checksum,
    appended_etag,
    next_part_number,
    runs_with_part,
)
from gateway.model.checksums import DIGEST_BYTES, digest_of, is_crc
from gateway.model.errors import TooManyParts
from gateway.model.names import NULL_VERSION, ObjectUuid, TenantId
from gateway.model.version import Checksum, PartRun, Version, part_runs

WHOLE = Version(
    version_id=NULL_VERSION,
    object_uuid=ObjectUuid(b"u" * 16),
    sequence=1,
    created_at_ms=1,
    content_bytes=7,
    etag="0" * 32,
    is_delete_marker=False,
    storage_class="STANDARD",
    headers=(),
    user_metadata=(),
    tags=(),
    checksum=None,
    wrapped_dek=b"",
    key_epoch=1,
    owner=TenantId(b"t" * 16),
    seal=None,
)


@given(st.lists(st.integers(1, 3), min_size=2, max_size=30))
def test_parts_one_by_one_are_the_parts_at_once(lengths: list[int]) -> None:
    version = replace(WHOLE, content_bytes=lengths[0])
    for length in lengths[1:]:
        number = next_part_number(version)
        runs = runs_with_part(version, number, length)
        version = replace(version, part_runs=runs, content_bytes=version.content_bytes + length)
    assert version.part_runs == part_runs(enumerate(lengths, 1))
    assert version.part_count == len(lengths)


def test_numbers_go_on_behind_gaps_and_end() -> None:
    assert next_part_number(replace(WHOLE, content_bytes=0)) == 1
    assert next_part_number(WHOLE) == 2
    gaps = (PartRun(first=3, count=2, plain_bytes=5), PartRun(first=9, count=1, plain_bytes=5))
    held = replace(WHOLE, part_runs=gaps)
    assert next_part_number(held) == 10
    assert runs_with_part(held, 10, 5)[-1] == PartRun(first=9, count=2, plain_bytes=5)
    most = PART_NUMBER_MAX
    last = replace(WHOLE, part_runs=(PartRun(first=1, count=most - 1, plain_bytes=1),))
    assert next_part_number(last) == most
    full = replace(WHOLE, part_runs=runs_with_part(last, most, 1))
    with pytest.raises(TooManyParts):
        next_part_number(full)


def test_etags_tell_what_was_added_to_what() -> None:
    etags = {
        appended_etag(etag, part, count)
        for etag, part, count in (("a", "b", 2), ("b", "a", 2), ("a", "c", 2), ("a", "b", 3))
    }
    assert len(etags) == 4
    assert appended_etag("a", "b", 2).endswith("-2") and len(appended_etag("a", "b", 2)) == 34


def checksum(algorithm: str, content: bytes, kind: str = FULL_OBJECT) -> Checksum:
    value = b64encode(digest_of(algorithm, content)).decode()
    return Checksum(algorithm=algorithm, type=kind, value=value)


@pytest.mark.parametrize("algorithm", DIGEST_BYTES)
def test_checksums_of_the_whole(algorithm: str) -> None:
    held, part = checksum(algorithm, b"before,"), checksum(algorithm, b"after")
    whole = appended_checksum(held, 7, part, 5)
    assert whole == (checksum(algorithm, b"before,after") if is_crc(algorithm) else None)
    composite = replace(held, type="COMPOSITE", value=held.value + "-1")
    assert appended_checksum(composite, 7, part, 5) is None
    assert appended_checksum(None, 7, part, 5) is None
    assert appended_checksum(held, 7, None, 5) is None
    other = "CRC32" if algorithm != "CRC32" else "CRC32C"
    assert appended_checksum(held, 7, checksum(other, b"after"), 5) is None
