"""Reads of up to a cell that are served at once: pages in the page cache, under a checked head.

Not for reads that may wait: those go through `storaged.volumes`, which reads and checks the head
each time. A head is remembered together with the index row that named its record, and is used only
while the index gives that very row: a record never changes in its place, and a row names it by a
sequence number that is never used twice. Every page is checked on every read, unless the caller
authenticates the bytes himself: those are read from where the index says, without their head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

from awscrt.checksums import crc32c

from storaged.files import IN_PLACE_BYTES_MAX, ReadFailed
from storaged.index_tables import IndexUnreadable
from storaged.shardformat import RecordCorrupt, page_span
from storaged.volume_index import VolumeIndex, decode_location
from storaged.volumes import INLINE_READ_BYTES, Volume, read_head

HEADS_MAX = 4096  # per drive, some 600 bytes each: under 3 MiB

_CHECKSUM = Struct(">I")


class KnownRecord(NamedTuple):
    """What a read needs of a record, as its checked head said."""

    row: bytes  # of the index; all else here stands and falls with it
    volume_number: int
    content_offset: int  # in the volume file
    content_bytes: int
    page_log2: int
    checksums: bytes  # of pages, 4 bytes each


class InPlaceReads:
    """Reads of one drive that do not wait. Belongs to the event loop of its store."""

    def __init__(self, index: VolumeIndex, volumes: Mapping[int, Volume]) -> None:
        self._index = index
        self._volumes = volumes
        self._known: OrderedDict[bytes, KnownRecord] = OrderedDict()

    def read(self, key: bytes, offset: int, length: int) -> memoryview | None:
        """Content [offset, offset + length) of a shard, checked, in a buffer of the caller's.

        Returns:
            None when the drive would have to be waited for, and whenever anything is not as it
            should be: the read that waits says what it is.
        """
        try:
            row = self._index.row(key)
            if row is None:
                return None
            known = self._known.get(key)
            if known is None or known.row != row:
                known = self._learn(key, row, length)
        except (IndexUnreadable, RecordCorrupt, ReadFailed):
            return None
        end = offset + length
        if known is None or offset < 0 or length <= 0 or end > known.content_bytes:
            return None
        page_log2 = known.page_log2
        first, last = page_span(page_log2, known.content_bytes, offset, end)
        volume = self._volumes.get(known.volume_number)
        if volume is None or last - first > IN_PLACE_BYTES_MAX:
            return None
        raw = volume.file.read_cached(known.content_offset + first, last - first)
        if raw is None:
            return None
        pages = memoryview(raw)
        page_bytes, at = 1 << page_log2, 4 * (first >> page_log2)
        for start in range(0, last - first, page_bytes):
            expected = _CHECKSUM.unpack_from(known.checksums, at)[0]
            if crc32c(pages[start : start + page_bytes]) != expected:
                return None
            at += 4
        return pages[offset - first : end - first]

    def read_unchecked(self, key: bytes, offset: int, length: int) -> memoryview | None:
        """Content [offset, offset + length) of a shard as the drive gives it: only the row of the
        index is checked. None: as `read`.
        """
        try:
            row = self._index.row(key)
            if row is None:
                return None
            location = decode_location(key, row)
        except IndexUnreadable:
            return None
        if offset < 0 or not 0 < length <= IN_PLACE_BYTES_MAX:
            return None
        volume = self._volumes.get(location.volume_number)
        if volume is None or offset + length > location.content_bytes:
            return None
        start = location.offset + location.head_bytes + offset
        raw = volume.file.read_cached(start, length)
        return None if raw is None else memoryview(raw)

    def _learn(self, key: bytes, row: bytes, length: int) -> KnownRecord | None:
        """Read and check a head, and remember it for reads as short as `length`.

        A long read costs ten times its head, and bodies of gigabytes would push out all others.

        Raises: IndexUnreadable, RecordCorrupt, ReadFailed.
        """
        location = decode_location(key, row)
        volume = self._volumes.get(location.volume_number)
        found = None if volume is None else read_head(volume, key, location, cached_only=True)
        if found is None:
            return None
        known = KnownRecord(
            row,
            location.volume_number,
            location.offset + location.head_bytes,
            location.content_bytes,
            location.page_log2,
            found,
        )
        if length <= INLINE_READ_BYTES:
            if len(self._known) >= HEADS_MAX:
                self._known.popitem(last=False)
            self._known[key] = known
        return known
