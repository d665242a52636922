"""A body on its way out: stripes from nodes → frames opened run by run → plaintext, in order.

Not for deciding what to read. No byte is handed out before its frame's tag is verified; frames that
do not open are read once more with every shard tag checked, so that bad cells are replaced by
decoded ones, and only then given up. Cells that nodes of this process have at hand
are read one by one as they are given out; where one has to be waited for, the rest of its stripe is
read at once, and the next stripe while this one is given out, and so on for as long as the reads
are slower than the client: at most two stripes of sealed bytes are held.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import NamedTuple

from gateway.data.cipher import FrameCorrupt, PartKeys, open_frames
from gateway.data.geometry import (
    FrameSpan,
    cell_ranges,
    frame_count,
    frames_for_range,
    sealed_bytes,
)
from gateway.data.stripe_read import forget
from gateway.data.stripes import StripeGone, StripeStore
from gateway.limits import SEALED_FRAME_BYTES
from gateway.model.layout import Layout, Packed, StripeRow
from storaged.base.ids import StripeId
from storaged.node import Buffer

# How hard a segment was tried; what does not come or does not open is tried harder.
AT_HAND, WAITED_FOR, VERIFIED = range(3)

Rows = Callable[[StripeId], StripeRow | None]


class Segment(NamedTuple):
    """Whole frames in one stripe: where they are in its payload, and the index of the first."""

    stripe: StripeId
    offset: int
    length: int
    first_frame: int

    def after(self, length: int) -> Segment:
        """What is left of the segment after so many bytes: whole frames, or all of it."""
        first_frame = self.first_frame + -(-length // SEALED_FRAME_BYTES)
        return Segment(self.stripe, self.offset + length, self.length - length, first_frame)


async def iterate_body(
    store: StripeStore,
    rows: Rows,
    layout: Layout,
    keys: PartKeys,
    plain_bytes: int,
    offset: int,
    length: int,
) -> AsyncGenerator[memoryview, None]:
    """Read plaintext [offset, offset + length) of a part; close it (`aclosing`) to stop early.

    Args:
        rows: the row of a stripe; None when the index does not know it.
        keys: after `check_commitment`.
        plain_bytes: of the whole part.

    Yields:
        Verified plaintext, not empty, at most one cell at a time; the buffers are the caller's.

    Raises:
        FrameCorrupt: bytes do not open even after decoding around bad shards.
        StripeGone (read the version's row again), StripeUnreadable, StripeCorrupt.

    Cancelled: nothing happened.
    """
    span = _span(layout, plain_bytes, offset, length)
    last_index = frame_count(plain_bytes) - 1
    skip, left = span.skip, span.take
    ahead = _Ahead(store, rows, _segments(layout, span))
    try:
        while (segment := ahead.segment) is not None:
            async for plain in _opened(ahead, segment, keys, last_index):
                wanted = plain[skip : skip + left]
                skip = max(0, skip - len(plain))
                left -= len(wanted)
                if wanted:
                    yield wanted
    finally:
        ahead.drop()
    if left:
        raise FrameCorrupt(missing_bytes=left)


class _Ahead:
    """The segment that comes next, being read already once one before it had to be waited for."""

    def __init__(self, store: StripeStore, rows: Rows, segments: Iterator[Segment]) -> None:
        self.store = store
        self.rows = rows
        self._segments = segments
        self.segment = next(segments, None)
        self._reading: asyncio.Task[list[memoryview]] | None = None

    def step(self) -> asyncio.Task[list[memoryview]] | None:
        """Go on to the next segment; returns the read that was begun of this one."""
        reading, self._reading = self._reading, None
        self.segment = next(self._segments, None)
        return reading

    def begin(self) -> None:
        """Read it from here on. Idempotent."""
        if self._reading is None and self.segment is not None:
            self._reading = asyncio.create_task(_read(self.store, self.rows, self.segment))

    def drop(self) -> None:
        """Nobody wants it any more."""
        if self._reading is not None:
            forget(self._reading)


async def _opened(
    ahead: _Ahead, segment: Segment, keys: PartKeys, last_index: int
) -> AsyncGenerator[memoryview, None]:
    """Plaintext of a segment, with more effort each time that it does not open."""
    store, rows = ahead.store, ahead.rows
    reading = ahead.step()
    if reading is None:
        effort, runs = AT_HAND, _runs(_at_hand(store, rows, segment), segment.length)
    else:
        is_late = not reading.done()
        effort, runs = WAITED_FOR, _runs(await reading, segment.length)
        if is_late or not store.reads_in_place:
            ahead.begin()
    while segment.length:
        run = None
        try:
            if (run := next(runs, None)) is None:
                raise FrameCorrupt(missing_bytes=segment.length)
            out = store.plain.take(len(run))
            plain = open_frames(keys, segment.first_frame, run, last_index, out)
            del out
        except FrameCorrupt:
            if effort == VERIFIED:
                raise
            # What came and does not open is not asked for again without a check of every cell.
            effort = effort + 1 if run is None else VERIFIED
            parts = await _read(store, rows, segment, effort == VERIFIED)
            runs = _runs(parts, segment.length)
            ahead.begin()
            continue
        segment = segment.after(len(run))
        yield plain


def _span(layout: Layout, plain_bytes: int, offset: int, length: int) -> FrameSpan:
    if layout.sealed_bytes != sealed_bytes(plain_bytes):
        raise FrameCorrupt(sealed_bytes=layout.sealed_bytes, plain_bytes=plain_bytes)
    return frames_for_range(offset, length, plain_bytes)


def _segments(layout: Layout, span: FrameSpan) -> Iterator[Segment]:
    """The frames of a span, stripe by stripe; lazily, as an object may have millions of stripes."""
    if isinstance(layout, Packed):
        yield Segment(
            layout.stripe, layout.offset + span.sealed_offset, span.sealed_length, span.first
        )
        return
    if layout.stripe_bytes % SEALED_FRAME_BYTES:
        raise FrameCorrupt(stripe_bytes=layout.stripe_bytes)
    position, end = span.sealed_offset, span.sealed_offset + span.sealed_length
    first = layout.first
    while position < end:
        number, start = divmod(position, layout.stripe_bytes)
        taken = min(layout.stripe_bytes - start, end - position)
        stripe = StripeId(first.family, first.epoch, first.counter + number)
        yield Segment(stripe, start, taken, position // SEALED_FRAME_BYTES)
        position += taken


def _at_hand(store: StripeStore, rows: Rows, segment: Segment) -> Iterator[memoryview]:
    """Sealed bytes of a segment, cell by cell, up to the first that has to be waited for."""
    row = rows(segment.stripe)
    if row is None or segment.offset + segment.length > row.geometry.k * row.cell_bytes:
        return
    for cell, offset, length in cell_ranges(row.cell_bytes, segment.offset, segment.length):
        part = store.try_read(row, cell * row.cell_bytes + offset, length)
        if part is None:
            return
        yield part


async def _read(
    store: StripeStore, rows: Rows, segment: Segment, verified: bool = False
) -> list[memoryview]:
    """Sealed bytes of a segment; where its row has just changed, by the row as it is then."""
    stripe = segment.stripe
    row = rows(stripe)
    if row is None:
        raise StripeGone(stripe=stripe)
    try:
        return await store.read_parts(row, segment.offset, segment.length, verified=verified)
    except StripeGone:
        moved = rows(stripe)
        if moved is None or moved.nodes == row.nodes:
            raise
    return await store.read_parts(moved, segment.offset, segment.length, verified=verified)


def _runs(parts: Iterable[memoryview], length: int) -> Iterator[Buffer]:
    """Cut consecutive buffers into runs of whole frames; only a frame across two is copied.

    What is less than a frame is given only at the end of all `length` bytes.
    """
    carried = bytearray()
    for part in parts:
        length -= len(part)
        if carried:
            taken = SEALED_FRAME_BYTES - len(carried)
            carried += part[:taken]
            part = part[taken:]
            if len(carried) < SEALED_FRAME_BYTES:
                continue
            yield carried
            carried = bytearray()
        whole = len(part) - len(part) % SEALED_FRAME_BYTES
        if whole:
            yield part[:whole]
        carried += part[whole:]
    if carried and not length:
        yield carried
