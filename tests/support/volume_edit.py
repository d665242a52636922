"""Shards as they lie in a stopped node's volume files, to be damaged there.

Reads the format of docs/data-layout-volumes.md by itself: it shares no code with `storaged`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from awscrt.checksums import crc32c

from storaged.base.ids import ShardId

MAGIC = b"HXSHARD\x01"
BLOCK_BYTES = 4096
PUT = 2
_FIXED = struct.Struct(">8sBBHI16sIIQQQ17s7x")
REGIONS = ("fixed", "attributes", "checksums", "content", "forged")


@dataclass(frozen=True)
class StoredShard:
    """One put record of one volume file."""

    shard: ShardId
    path: Path
    offset: int
    page_bytes: int
    attributes_bytes: int
    page_count: int
    content_bytes: int

    @property
    def _checksums_at(self) -> int:
        return _FIXED.size + self.attributes_bytes

    @property
    def head_bytes(self) -> int:
        return self._checksums_at + 4 * self.page_count + 4

    def spoil(self, region: str, rng: Random) -> None:
        """Flip one bit in a region. `forged`: in the content, with all checksums made right again,
        as a node could that lies.
        """
        ranges = {
            "fixed": (0, 81),
            "attributes": (_FIXED.size, self._checksums_at),
            "checksums": (self._checksums_at, self.head_bytes),
            "content": (self.head_bytes, self.head_bytes + self.content_bytes),
            "forged": (self.head_bytes, self.head_bytes + self.content_bytes),
        }
        start, end = ranges[region]
        record_bytes = self.head_bytes + self.content_bytes
        with self.path.open("r+b") as file:
            file.seek(self.offset)
            record = bytearray(file.read(record_bytes))
            at = rng.randrange(start, end)
            record[at] ^= 1 << rng.randrange(8)
            if region == "forged":
                self._make_right(record)
            file.seek(self.offset)
            file.write(record)

    def _make_right(self, record: bytearray) -> None:
        content = bytes(record[self.head_bytes :])
        for page in range(self.page_count):
            piece = content[page * self.page_bytes : (page + 1) * self.page_bytes]
            struct.pack_into(">I", record, self._checksums_at + 4 * page, crc32c(piece))
        end = self.head_bytes - 4
        struct.pack_into(">I", record, end, crc32c(bytes(record[:end])))


def stored_shards(node: Path) -> Iterator[StoredShard]:
    """All put records in the volumes of a node that is stopped, the latest of a shard last."""
    for path in sorted(node.glob("*.vol")):
        raw = path.read_bytes()
        for offset in range(0, len(raw), BLOCK_BYTES):
            if raw[offset : offset + 8] != MAGIC:
                continue
            fields = _FIXED.unpack_from(raw, offset)
            _, kind, page_log2, attributes, pages, _, _, content, at, _, _, shard = fields
            if kind == PUT and at == offset:
                yield StoredShard(
                    shard=ShardId.decode(shard),
                    path=path,
                    offset=offset,
                    page_bytes=1 << page_log2,
                    attributes_bytes=attributes,
                    page_count=pages,
                    content_bytes=content,
                )
