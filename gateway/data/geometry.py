"""All arithmetic between plaintext, frames, sealed bytes, stripes and cells.

Not for bytes: nothing here touches a buffer. Offsets and lengths are in bytes everywhere.

Source: docs/data-layout.md, "Frames" and "Stripes".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.limits import FRAME_BYTES, FULL_CELL_BYTES, SEALED_FRAME_BYTES, TAG_BYTES
from gateway.limits import TAG_UNIT_BYTES as UNIT
from gateway.model.layout import Geometry


class CellRange(NamedTuple):
    """A range inside one data cell (its number is `cell`, as tuples have an `index` already)."""

    cell: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """The whole frames that hold a range of plaintext.

    Args:
        first: index of the first frame.
        count: number of frames, 1 or more.
        sealed_offset: where the first frame starts in the sealed bytes of the part.
        sealed_length: sealed bytes of all frames of the span.
        skip: plaintext bytes of the span before the range.
        take: plaintext bytes of the range.
    """

    first: int
    count: int
    sealed_offset: int
    sealed_length: int
    skip: int
    take: int


def frame_count(plain_bytes: int) -> int:
    """Frames of a part; an empty one has one empty frame, so that its end is authenticated too."""
    assert plain_bytes >= 0
    return max(1, -(-plain_bytes // FRAME_BYTES))


def sealed_bytes(plain_bytes: int) -> int:
    """Bytes of a part once sealed: one tag for each frame."""
    return plain_bytes + TAG_BYTES * frame_count(plain_bytes)


def cell_bytes(geometry: Geometry, payload_bytes: int) -> int:
    """Bytes of one cell of a stripe with this payload."""
    assert payload_bytes >= 0
    return -(-payload_bytes // geometry.k)


def cell_ranges(cell_bytes: int, offset: int, length: int) -> list[CellRange]:
    """Ranges of the data cells that hold payload bytes [offset, offset + length), in order."""
    assert cell_bytes > 0 and offset >= 0 and length >= 0
    ranges = []
    while length:
        index, start = divmod(offset, cell_bytes)
        taken = min(length, cell_bytes - start)
        ranges.append(CellRange(index, start, taken))
        offset += taken
        length -= taken
    return ranges


def frames_for_range(plain_offset: int, length: int, plain_bytes: int) -> FrameSpan:
    """Frames that hold plaintext [plain_offset, plain_offset + length) of a part.

    A range of length 0 gives the frame it lies in: opening it proves that the part is there.
    """
    assert plain_offset >= 0 and length >= 0 and plain_offset + length <= plain_bytes
    last_of_part = frame_count(plain_bytes) - 1
    first = min(plain_offset // FRAME_BYTES, last_of_part)
    last = max(first, (plain_offset + length - 1) // FRAME_BYTES if length else first)
    sealed_offset = first * SEALED_FRAME_BYTES
    sealed_end = (last + 1) * SEALED_FRAME_BYTES
    if last == last_of_part:
        sealed_end = plain_bytes + TAG_BYTES * (last + 1)
    skip, sealed_length = plain_offset - first * FRAME_BYTES, sealed_end - sealed_offset
    return FrameSpan(first, last - first + 1, sealed_offset, sealed_length, skip, length)


def stripe_plan(geometry: Geometry, sealed_bytes: int) -> tuple[int, int]:
    """(sealed bytes of each stripe but the last, number of stripes) of a part that is striped."""
    assert sealed_bytes > 0
    stripe_bytes = geometry.k * FULL_CELL_BYTES
    return stripe_bytes, -(-sealed_bytes // stripe_bytes)


def tag_aligned(cell_bytes: int, start: int, end: int) -> tuple[int, int]:
    """The smallest range of whole tag units of a cell around [start, end)."""
    assert 0 <= start <= end <= cell_bytes
    return start - start % UNIT, min(cell_bytes, -(-end // UNIT) * UNIT)


def tag_count(cell_bytes: int) -> int:
    """Keyed tags of one cell."""
    return -(-cell_bytes // UNIT)
