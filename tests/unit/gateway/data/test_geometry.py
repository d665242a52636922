"""Geometry against brute force over every byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.data import geometry as geo
from gateway.limits import FRAME_BYTES, FULL_CELL_BYTES, SEALED_FRAME_BYTES, TAG_UNIT_BYTES
from gateway.model.layout import Geometry

around_frames = st.builds(
    lambda frames, delta: max(0, frames * FRAME_BYTES + delta),
    st.integers(0, 40),
    st.integers(-3, 3) | st.integers(0, FRAME_BYTES),
)


def test_known_lengths() -> None:
    assert geo.frame_count(0) == 1 and geo.sealed_bytes(0) == 16
    assert geo.frame_count(FRAME_BYTES) == 1
    assert geo.sealed_bytes(FRAME_BYTES + 1) == FRAME_BYTES + 1 + 32
    assert geo.stripe_plan(Geometry(4, 2), 4 * FULL_CELL_BYTES) == (4 * FULL_CELL_BYTES, 1)
    assert geo.stripe_plan(Geometry(4, 2), 4 * FULL_CELL_BYTES + 1) == (4 * FULL_CELL_BYTES, 2)
    assert FULL_CELL_BYTES % SEALED_FRAME_BYTES == 0


@given(st.integers(1, 8), st.integers(0, 5000))
def test_cells_hold_the_payload_and_no_cell_is_larger_than_needed(k: int, payload: int) -> None:
    cell = geo.cell_bytes(Geometry(k, 1), payload)
    assert k * cell >= payload > k * (cell - 1) or payload == cell == 0


@given(st.integers(1, 50), st.integers(0, 300), st.integers(0, 300))
def test_cell_ranges_name_each_byte_once(cell: int, offset: int, length: int) -> None:
    named = [
        r.cell * cell + r.offset + i
        for r in geo.cell_ranges(cell, offset, length)
        for i in range(r.length)
    ]
    assert named == list(range(offset, offset + length))
    assert all(r.offset + r.length <= cell for r in geo.cell_ranges(cell, offset, length))


@given(around_frames, st.data())
def test_frames_for_range(plain_bytes: int, draw: st.DataObject) -> None:
    offset = draw.draw(st.integers(0, plain_bytes) | st.just(plain_bytes))
    length = draw.draw(st.integers(0, plain_bytes - offset))
    span = geo.frames_for_range(offset, length, plain_bytes)
    frames = geo.frame_count(plain_bytes)
    assert span.first >= 0 and span.count >= 1 and span.first + span.count <= frames
    # The range lies in the plaintext of the span …
    plain_start = span.first * FRAME_BYTES
    plain_end = min(plain_bytes, (span.first + span.count) * FRAME_BYTES)
    assert plain_start + span.skip == offset
    assert offset + length <= plain_end and span.take == length
    # … which holds no frame that the range does not touch …
    if length:
        assert span.skip < FRAME_BYTES
        assert (span.first + span.count - 1) * FRAME_BYTES < offset + length
    else:
        assert span.count == 1
    # … and whose sealed bytes are those frames, exactly.
    sealed = [min(FRAME_BYTES, plain_bytes - i * FRAME_BYTES) + 16 for i in range(frames)]
    assert span.sealed_offset == sum(sealed[: span.first])
    assert span.sealed_length == sum(sealed[span.first : span.first + span.count])
    assert sum(sealed) == geo.sealed_bytes(plain_bytes)


@given(st.integers(1, 4 * TAG_UNIT_BYTES), st.data())
def test_tag_aligned_covers_and_is_minimal(cell: int, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, cell))
    end = draw.draw(st.integers(start, cell))
    low, high = geo.tag_aligned(cell, start, end)
    assert low <= start and end <= high <= cell
    assert low % TAG_UNIT_BYTES == 0 and (high % TAG_UNIT_BYTES == 0 or high == cell)
    assert start - low < TAG_UNIT_BYTES and high - end < TAG_UNIT_BYTES
    assert geo.tag_count(cell) == len(range(0, cell, TAG_UNIT_BYTES))
