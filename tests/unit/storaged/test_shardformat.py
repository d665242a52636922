"""Records of a volume: any flipped bit, and any other place, is refused."""

from __future__ import annotations

from random import Random

import pytest

from storaged.base.limits import LARGE_SHARD_BYTES
from storaged.shardformat import (
    RecordCorrupt,
    RecordKind,
    attributes_of,
    check_pages,
    checksums_of,
    decode_head,
    encode_head,
    page_checksums,
    page_log2_of,
    round_up,
)

VOLUME = b"v" * 16
OFFSET = 3 * 4096
ATTRIBUTES = bytes(range(40))


def record(content: bytes) -> bytearray:
    """A whole record, padding included."""
    head = encode_head(
        RecordKind.PUT,
        volume=VOLUME,
        volume_number=7,
        offset=OFFSET,
        sequence=99,
        shard=b"s" * 17,
        attributes=ATTRIBUTES,
        content_bytes=len(content),
        checksums=page_checksums(content, page_log2_of(len(content))),
        retain_until_ms=5,
    )
    raw = bytearray(head + content)
    return raw + bytes(round_up(len(raw)) - len(raw))


@pytest.mark.parametrize("length", [0, 1, 4096, 9000, LARGE_SHARD_BYTES + 1])
def test_round_trip(length: int) -> None:
    content = Random(length).randbytes(length)
    raw = record(content)
    head = decode_head(raw, volume=VOLUME, offset=OFFSET)
    assert (head.content_bytes, head.sequence, head.retain_until_ms) == (length, 99, 5)
    assert attributes_of(raw, head) == ATTRIBUTES
    assert checksums_of(raw, head) == page_checksums(content, head.page_log2)
    assert head.record_bytes == len(raw)
    pages = memoryview(raw)[head.head_bytes : head.head_bytes + length]
    check_pages(raw, head, pages, start=0)


def test_every_flipped_bit_of_a_head_is_seen() -> None:
    raw = record(Random(1).randbytes(9000))
    head_bytes = decode_head(raw, volume=VOLUME, offset=OFFSET).head_bytes
    for bit in range(8 * head_bytes):
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordCorrupt):
            decode_head(raw, volume=VOLUME, offset=OFFSET)
        raw[bit // 8] ^= 1 << bit % 8


def test_a_record_of_another_place_is_refused() -> None:
    raw = record(b"content")
    for volume, offset in ((b"w" * 16, OFFSET), (VOLUME, OFFSET + 4096), (VOLUME, 0)):
        with pytest.raises(RecordCorrupt):
            decode_head(raw, volume=volume, offset=offset)


def test_every_flipped_byte_of_content_is_seen_in_its_page() -> None:
    content = bytearray(Random(2).randbytes(9000))
    raw = record(bytes(content))
    head = decode_head(raw, volume=VOLUME, offset=OFFSET)
    page_bytes = 1 << head.page_log2
    for at in range(0, len(content), 97):
        content[at] ^= 1 << at % 8
        with pytest.raises(RecordCorrupt) as caught:
            check_pages(raw, head, memoryview(content), start=0)
        assert caught.value.fields["page"] == at // page_bytes
        content[at] ^= 1 << at % 8
