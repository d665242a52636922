"""Records of a volume file: a self-describing head, then content in pages with a CRC32C each.

Not for files or offsets in them beyond what a head says of itself. A record starts on a block. Its
head (fixed part, attributes, page checksums, head checksum) always fits in the first block; content
follows at once, so a shard whose attributes and content are at most `ONE_BLOCK_PAYLOAD_BYTES` takes
one block. A head binds volume and offset: bytes at the wrong place are not a record.

Source: docs/data-layout-volumes.md.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct, pack
from typing import NamedTuple

from awscrt.checksums import crc32c

from storaged.base.errors import Kind, StorageError
from storaged.base.limits import (
    ATTRIBUTES_BYTES_MAX,
    BLOCK_BYTES,
    CONTENT_BYTES_MAX,
    LARGE_PAGE_BYTES,
    LARGE_SHARD_BYTES,
    SMALL_PAGE_BYTES,
)

Buffer = bytes | bytearray | memoryview

MAGIC = b"HXSHARD\x01"  # the last byte is the format version
NO_SHARD = bytes(17)  # the id field of records that are not about one shard

_FIXED = Struct(">8sBBHI16sIIQQQ17s7x")
_CHECKSUM = Struct(">I")
FIXED_BYTES = _FIXED.size
PAGE_LOG2_SMALL = SMALL_PAGE_BYTES.bit_length() - 1
PAGE_LOG2_LARGE = LARGE_PAGE_BYTES.bit_length() - 1
_PAGES_MAX = max(
    CONTENT_BYTES_MAX // LARGE_PAGE_BYTES, (LARGE_SHARD_BYTES - 1) // SMALL_PAGE_BYTES + 1
)
HEAD_BYTES_MAX = FIXED_BYTES + ATTRIBUTES_BYTES_MAX + 4 * _PAGES_MAX + 4
ONE_BLOCK_PAYLOAD_BYTES = BLOCK_BYTES - FIXED_BYTES - 4 - 4

assert FIXED_BYTES == 88
assert HEAD_BYTES_MAX <= BLOCK_BYTES, "a head must fit in the first block"
assert ONE_BLOCK_PAYLOAD_BYTES >= 3800


class RecordCorrupt(StorageError):
    """These bytes are not a whole record of this place."""

    kind = Kind.CORRUPT


class RecordKind(IntEnum):
    """What a record does."""

    VOLUME = 1  # first record of a volume; content: the node id
    PUT = 2  # a shard
    DELETE = 3  # content: the ids of deleted shards, 17 bytes each


class Head(NamedTuple):
    """A decoded head; field order is the order on the drive."""

    magic: bytes
    kind: int
    page_log2: int
    attributes_bytes: int
    page_count: int
    volume: bytes
    volume_number: int
    content_bytes: int
    offset: int
    sequence: int
    retain_until_ms: int
    shard: bytes

    @property
    def head_bytes(self) -> int:
        """Length of the head: content starts there."""
        return FIXED_BYTES + self.attributes_bytes + 4 * self.page_count + 4

    @property
    def record_bytes(self) -> int:
        """Length on the drive, padding included."""
        return round_up(self.head_bytes + self.content_bytes)


def round_up(length: int) -> int:
    """The length in whole blocks."""
    return -(-length // BLOCK_BYTES) * BLOCK_BYTES


def page_log2_of(content_bytes: int) -> int:
    """Base-2 logarithm of the page length of a shard with so much content."""
    return PAGE_LOG2_SMALL if content_bytes < LARGE_SHARD_BYTES else PAGE_LOG2_LARGE


def head_bytes_of(attributes_bytes: int, content_bytes: int) -> int:
    """Length of the head of such a record."""
    page_log2 = page_log2_of(content_bytes)
    page_count = (content_bytes + (1 << page_log2) - 1) >> page_log2
    return FIXED_BYTES + attributes_bytes + 4 * page_count + 4


def page_checksums(content: Buffer, page_log2: int) -> bytes:
    """CRC32C of each page, 4 bytes each, big-endian."""
    length = len(content)
    page_bytes = 1 << page_log2
    if length <= page_bytes:
        return _CHECKSUM.pack(crc32c(content)) if length else b""
    view = memoryview(content)
    sums = [crc32c(view[start : start + page_bytes]) for start in range(0, length, page_bytes)]
    return pack(f">{len(sums)}I", *sums)


def encode_head(
    kind: RecordKind,
    *,
    volume: bytes,
    volume_number: int,
    offset: int,
    sequence: int,
    shard: bytes,
    attributes: bytes,
    content_bytes: int,
    checksums: bytes,
    retain_until_ms: int,
) -> bytes:
    """The head of one record, to be followed by content and padding to a block.

    Args:
        volume: 16 bytes. shard: 17 bytes, `NO_SHARD` where the record is not about one.
        checksums: `page_checksums` of the content.
    """
    body = (
        _FIXED.pack(
            MAGIC,
            kind,
            page_log2_of(content_bytes),
            len(attributes),
            len(checksums) // 4,
            volume,
            volume_number,
            content_bytes,
            offset,
            sequence,
            retain_until_ms,
            shard,
        )
        + attributes
        + checksums
    )
    return body + _CHECKSUM.pack(crc32c(body))


def decode_head(block: Buffer, *, volume: bytes, offset: int) -> Head:
    """Check and decode the head at the start of `block`.

    Args:
        block: the first bytes of the record; at least the whole head, a block is always enough.
        volume, offset: where the bytes were read; other heads are refused.

    Raises:
        RecordCorrupt: not a head, not of this place, or its checksum fails.
    """
    if len(block) < FIXED_BYTES + 4 or block[:8] != MAGIC:
        raise RecordCorrupt(offset=offset, reason="no magic")
    head = Head._make(_FIXED.unpack_from(block))
    end = head.head_bytes
    if end > min(len(block), BLOCK_BYTES):
        raise RecordCorrupt(offset=offset, reason="lengths")
    view = memoryview(block)
    if crc32c(view[: end - 4]) != _CHECKSUM.unpack_from(block, end - 4)[0]:
        raise RecordCorrupt(offset=offset, reason="head checksum")
    if head.volume != volume or head.offset != offset:
        raise RecordCorrupt(offset=offset, reason="another place")
    pages = (head.content_bytes + (1 << head.page_log2) - 1) >> head.page_log2
    if not 12 <= head.page_log2 <= 20 or pages != head.page_count:
        raise RecordCorrupt(offset=offset, reason="pages")
    return head


def attributes_of(block: Buffer, head: Head) -> bytes:
    """The attributes inside a checked head."""
    return bytes(block[FIXED_BYTES : FIXED_BYTES + head.attributes_bytes])


def checksums_of(block: Buffer, head: Head) -> bytes:
    """The page checksums inside a checked head, 4 bytes each, big-endian."""
    start = FIXED_BYTES + head.attributes_bytes
    return bytes(block[start : start + 4 * head.page_count])


def page_span(head_page_log2: int, content_bytes: int, start: int, end: int) -> tuple[int, int]:
    """The content whose pages a range touches: whole pages around [start, end); (0, 0) if none."""
    if start >= end:
        return (0, 0)
    first = start >> head_page_log2 << head_page_log2
    last = ((end - 1) >> head_page_log2) + 1 << head_page_log2
    return (first, min(last, content_bytes))


def check_pages(block: Buffer, head: Head, pages: memoryview, *, start: int) -> None:
    """Check whole pages against the checksums in their head.

    Args:
        block: bytes that begin with the checked head.
        pages: content from `start`, which is on a page boundary, to a page boundary or the end.

    Raises:
        RecordCorrupt: a page fails; the first such page is named.
    """
    page_log2 = head.page_log2
    sums = FIXED_BYTES + head.attributes_bytes
    length = len(pages)
    assert start & ((1 << page_log2) - 1) == 0
    index = start >> page_log2
    position = 0
    while position < length:
        page = pages[position : position + (1 << page_log2)]
        if crc32c(page) != _CHECKSUM.unpack_from(block, sums + 4 * index)[0]:
            raise RecordCorrupt(offset=head.offset, page=index)
        index += 1
        position += 1 << page_log2
