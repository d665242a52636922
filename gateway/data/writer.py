"""A body on its way in: chunks → frames sealed straight into pooled memory → stripes on nodes.

Not for rows or keys: the caller derives the keys, and commits what is returned. Until then the
stripes are garbage of an open writer epoch, which is all that a failure or a cancellation leaves.

Invariants: D1 (the caller gets a layout only when every stripe is durable), D4 (a frame is sealed
once).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.data.buffers import BufferPool, Lease
from gateway.data.cipher import PartKeys, seal_frames_into
from gateway.data.digests import INLINE_BYTES_MAX, Digester, DigestPump
from gateway.data.geometry import cell_bytes, frame_count, sealed_bytes, stripe_plan
from gateway.data.stripes import StripeStore, TierNotReached
from gateway.data.topology import OWN_REGION
from gateway.limits import (
    COMMIT_S,
    FRAME_BYTES,
    NODE_PUT_S,
    SEALED_FRAME_BYTES,
    SMALL_BODY_BYTES_MAX,
)
from gateway.model.errors import IncompleteBody
from gateway.model.layout import Geometry, Striped, StripeRow, Tier
from storaged.base.env import Env
from storaged.base.ids import StripeId
from storaged.node import Buffer

WRITES_IN_FLIGHT_MAX = 4  # stripes of one body under way while the next one is filled


class Body(Protocol):
    """Content that is read once."""

    async def read(self) -> Buffer:
        """The next bytes, b"" at the end; they stay as they are while somebody holds them.

        Raises: what is wrong with the body, before its end is reported.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBody:
    """What became of a body.

    Args:
        layout: where its stripes are; None for a small body.
        sealed: the small body, sealed whole, to ride in the commit stripe; None for a striped one.
        salt: 24 bytes. commitment: 32 bytes; both are kept with the part.
        stripe_rows: rows of its stripes, all of their payload live.
        tier: the lowest tier of its stripes; None for a small body, whose commit stripe decides.
    """

    layout: Striped | None
    sealed: Buffer | None
    plain_bytes: int
    salt: bytes
    commitment: bytes
    stripe_rows: tuple[StripeRow, ...]
    tier: Tier | None


async def write_body(
    store: StripeStore,
    pool: BufferPool,
    geometry: Geometry,
    tier: Tier,
    stripe_ids: Callable[[int], StripeId],
    keys: PartKeys,
    body: Body,
    length: int,
    *,
    env: Env,
    digester: Digester | None = None,
    retain_until_ms: int = 0,
    floor: Tier | None = None,
    exact_length: Callable[[], int] | None = None,
    region: int = OWN_REGION,
) -> StoredBody:
    """Seal and store a body.

    Args:
        tier: what every stripe must reach.
        stripe_ids: reserves so many consecutive ids and returns the first.
        keys: fresh for this attempt (D4).
        length: plaintext bytes that the body will give, at the most if `exact_length` is given.
        exact_length: says the number of bytes, once the last piece has been read and not 0.
        region: whose nodes alone get shards. In another than the cluster's own a small body has a
            stripe of its own too, as commit stripes are not bound to the region.
        digester: sees all content in order; finished when this returns.
        floor: a lower tier that will do where `tier` is not reached in NODE_PUT_S; None: none.

    Returns:
        A small body (≤ SMALL_BODY_BYTES_MAX) sealed in memory; a larger one as durable stripes.

    Raises:
        IncompleteBody: the body gives another number of bytes than `length`.
        TierNotReached: nodes are away. Whatever the body raises.

    Durable when: it returns a layout, every stripe is at its tier. Cancelled: stripes that are not
    named by a row remain; no buffer is used again before the last put that reads it has ended.
    """
    if length <= SMALL_BODY_BYTES_MAX and exact_length is None and region == OWN_REGION:
        return await _seal_small(keys, body, length, env, digester)
    tiers = tier, tier if floor is None else min(tier, floor)
    writer = _StripedWriter(
        store, pool, geometry, tiers, stripe_ids, keys, length, retain_until_ms, region
    )
    pump = None if digester is None else DigestPump(digester, env)
    finished = False
    try:
        stored = await _stream(writer, pump, body, length, exact_length)
        finished = True
        return stored
    finally:
        if not finished:
            if pump is not None:
                pump.abandon()
            await writer.abandon()


async def _stream(
    writer: _StripedWriter,
    pump: DigestPump | None,
    body: Body,
    length: int,
    exact_length: Callable[[], int] | None,
) -> StoredBody:
    received = 0
    while len(chunk := await body.read()):
        if exact_length is not None and exact_length() < length:
            length = exact_length()
            if not received < length:
                raise IncompleteBody(received_bytes=received, expected_bytes=length)
            writer.shorten(length)
        received += len(chunk)
        if received > length:
            raise IncompleteBody(received_bytes=received, expected_bytes=length)
        if pump is not None:
            await pump.feed(chunk)
        await writer.feed(memoryview(chunk))
    if received != length:
        raise IncompleteBody(received_bytes=received, expected_bytes=length)
    stored = await writer.finish()
    if pump is not None:
        await pump.finish()
    return stored


async def _seal_small(
    keys: PartKeys, body: Body, length: int, env: Env, digester: Digester | None
) -> StoredBody:
    chunks: list[Buffer] = []
    received = 0
    while len(chunk := await body.read()):
        chunks.append(chunk)
        received += len(chunk)
        if received > length:
            break
    if received != length:
        raise IncompleteBody(received_bytes=received, expected_bytes=length)
    if digester is not None and length <= INLINE_BYTES_MAX:
        digester.update_batch(chunks)
        digester.finish()
    elif digester is not None:
        pump = DigestPump(digester, env)
        await pump.feed(b"".join(chunks))
        await pump.finish()
    plain = memoryview(chunks[0] if len(chunks) == 1 else b"".join(chunks))
    sealed = bytearray(sealed_bytes(length))
    seal_frames_into(keys, 0, plain, True, memoryview(sealed))
    return StoredBody(
        layout=None,
        sealed=sealed,
        plain_bytes=length,
        salt=keys.salt,
        commitment=keys.commitment,
        stripe_rows=(),
        tier=None,
    )


async def put_stripe(
    store: StripeStore, row: StripeRow, cells: Lease | bytearray, tiers: tuple[Tier, Tier]
) -> StripeRow:
    """Put the shards of a stripe; the row as it is then, with its nodes and tier.

    At the lower of `tiers` (wanted, floor) when the nodes for more are away: a body that has been
    streaming for an hour shall not fail with a datacenter. Same id and bytes, so what the first try
    has stored counts.

    Raises: TierNotReached.
    """

    async def attempt(wanted: Tier, deadline_s: float) -> StripeRow:
        nodes, reached = await store.write(
            row.stripe,
            row.geometry,
            cells,
            cell_bytes=row.cell_bytes,
            payload_bytes=row.payload_bytes,
            common=b"",
            tier=wanted,
            fence=None,
            retain_until_ms=row.retain_until_ms,
            deadline_s=deadline_s,
            region=row.region,
        )
        return replace(row, nodes=nodes, tier=reached)

    tier, floor = tiers
    if floor < tier:
        try:
            return await attempt(tier, NODE_PUT_S)
        except TierNotReached:
            pass
    return await attempt(min(tier, floor), COMMIT_S)


class _StripedWriter:
    """Frames of one large body into leased buffers; full ones go to the store in background."""

    def __init__(
        self,
        store: StripeStore,
        pool: BufferPool,
        geometry: Geometry,
        tiers: tuple[Tier, Tier],
        stripe_ids: Callable[[int], StripeId],
        keys: PartKeys,
        length: int,
        retain_until_ms: int,
        region: int,
    ) -> None:
        self._store = store
        self._region = region
        self._pool = pool
        self._geometry = geometry
        self._tiers = tiers
        self._keys = keys
        self._length = length
        self._retain_until_ms = retain_until_ms
        self._sealed_bytes = sealed_bytes(length)
        self._stripe_bytes, self._stripe_count = stripe_plan(geometry, self._sealed_bytes)
        assert self._stripe_bytes % SEALED_FRAME_BYTES == 0, "frames do not straddle stripes"
        self._first = stripe_ids(self._stripe_count)
        self._last_index = frame_count(length) - 1
        self._index = 0  # of the frame to seal next
        self._partial = memoryview(bytearray(FRAME_BYTES))
        self._partial_bytes = 0
        self._lease: Lease | None = None
        self._filled = 0  # sealed bytes in the leased buffer
        self._stripe = 0  # which stripe is being filled
        self._writes: deque[asyncio.Task[StripeRow]] = deque()
        self._rows: list[StripeRow] = []

    def shorten(self, length: int) -> None:
        """The body is shorter than was said, and its last byte has not been fed.

        No frame that is sealed can be the last one, and no stripe that is sent either: each of
        them holds bytes from before the last. Ids that are reserved for more stripes stay unused.
        """
        self._length = length
        self._sealed_bytes = sealed_bytes(length)
        self._stripe_count = stripe_plan(self._geometry, self._sealed_bytes)[1]
        self._last_index = frame_count(length) - 1

    async def feed(self, chunk: memoryview) -> None:
        """Seal what makes whole frames; the rest waits in the one frame of `_partial`."""
        while chunk.nbytes:
            frame_bytes = min(FRAME_BYTES, self._length - self._index * FRAME_BYTES)
            if not self._partial_bytes and chunk.nbytes >= frame_bytes:
                view = await self._room()
                room = (self._stripe_payload() - self._filled) // SEALED_FRAME_BYTES
                taken = min(chunk.nbytes // FRAME_BYTES, room) * FRAME_BYTES or frame_bytes
                self._seal(view, chunk[:taken])
            else:
                taken = min(frame_bytes - self._partial_bytes, chunk.nbytes)
                end = self._partial_bytes + taken
                self._partial[self._partial_bytes : end] = chunk[:taken]
                self._partial_bytes = end
                if end == frame_bytes:
                    self._partial_bytes = 0
                    self._seal(await self._room(), self._partial[:end])
            chunk = chunk[taken:]

    async def finish(self) -> StoredBody:
        """Wait until every stripe is durable."""
        if not self._length:
            self._seal(await self._room(), memoryview(b""))
        assert self._stripe == self._stripe_count and self._lease is None
        while self._writes:
            await self._settle()
        return StoredBody(
            layout=Striped(
                first=self._first,
                stripe_count=self._stripe_count,
                stripe_bytes=self._stripe_bytes,
                sealed_bytes=self._sealed_bytes,
            ),
            sealed=None,
            plain_bytes=self._length,
            salt=self._keys.salt,
            commitment=self._keys.commitment,
            stripe_rows=tuple(self._rows),
            tier=min(row.tier for row in self._rows),
        )

    async def abandon(self) -> None:
        """Stop. Puts under way keep their buffers until they have ended."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        tasks = list(self._writes)
        self._writes.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stripe_payload(self) -> int:
        """Sealed bytes of the stripe that is being filled."""
        return min(self._stripe_bytes, self._sealed_bytes - self._stripe * self._stripe_bytes)

    async def _room(self) -> memoryview:
        """The buffer to fill. Waits for the pool only while this body holds no buffer."""
        if self._lease is None:
            while len(self._writes) > WRITES_IN_FLIGHT_MAX:
                await self._settle()
            needed = self._geometry.n * cell_bytes(self._geometry, self._stripe_payload())
            lease = self._pool.try_acquire(needed)
            while lease is None and self._writes:
                await self._settle()
                lease = self._pool.try_acquire(needed)
            self._lease = lease or await self._pool.acquire(needed)
            self._filled = 0
        return self._lease.view

    def _seal(self, view: memoryview, plain: memoryview) -> None:
        """Seal a run of frames at the end of the buffer; send the stripe off when it is full."""
        count = max(1, -(-plain.nbytes // FRAME_BYTES))
        last = self._index + count - 1 == self._last_index
        self._filled += seal_frames_into(self._keys, self._index, plain, last, view[self._filled :])
        self._index += count
        if self._filled == self._stripe_payload():
            self._send()

    def _send(self) -> None:
        """Hand the full buffer to the store, in the background."""
        assert self._lease is not None
        lease, self._lease = self._lease, None
        payload, geometry = self._filled, self._geometry
        cell = cell_bytes(geometry, payload)
        lease.view[payload : geometry.k * cell] = bytes(geometry.k * cell - payload)
        first = self._first
        row = StripeRow(
            stripe=StripeId(first.family, first.epoch, first.counter + self._stripe),
            geometry=geometry,
            cell_bytes=cell,
            payload_bytes=payload,
            nodes=(),
            tier=Tier.NONE,
            live_bytes=payload,
            retain_until_ms=self._retain_until_ms,
            region=self._region,
        )
        task = asyncio.create_task(put_stripe(self._store, row, lease, self._tiers))
        # A callback, as a task that is cancelled before it starts runs no `finally`.
        task.add_done_callback(lambda _: lease.release())
        self._writes.append(task)
        self._stripe += 1

    async def _settle(self) -> None:
        """Wait for the oldest stripe under way."""
        stored = await self._writes[0]
        self._writes.popleft()
        self._rows.append(stored)
