"""Bodies through `write_body` and `iterate_body` on a `MemoryCluster`, in any chunks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from random import Random

from gateway.data.cipher import PartKeys
from gateway.data.reader import iterate_body
from gateway.data.writer import StoredBody, write_body
from gateway.limits import FRAME_BYTES
from gateway.model.encoding import enc
from gateway.model.layout import Tier
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.node import Buffer
from tests.support.cluster import MemoryCluster

KEYS = PartKeys.derive(b"d" * 32, b"s" * 24, enc("body", b"test"))
FIRST_SHARD = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
STRIPE_PLAIN = 4 * 16 * FRAME_BYTES  # plaintext of a full 4+2 stripe
LARGE = memoryview(Random(5).randbytes(2 * STRIPE_PLAIN + 3 * FRAME_BYTES + 777))


class ChunkedBody:
    """A body that comes in given pieces; `error` is raised at the end instead of reporting it."""

    def __init__(self, chunks: Sequence[Buffer], error: Exception | None = None) -> None:
        self._chunks = list(chunks)
        self._error = error
        self.given = 0

    async def read(self) -> Buffer:
        await asyncio.sleep(0)
        if self._chunks:
            self.given += 1
            return self._chunks.pop(0)
        if self._error is not None:
            raise self._error
        return b""


def cut(plain: memoryview, rng: Random, bytes_max: int) -> list[Buffer]:
    chunks: list[Buffer] = []
    while plain:
        taken = rng.choice([1, FRAME_BYTES, rng.randint(1, bytes_max)])
        chunks.append(plain[:taken])
        plain = plain[taken:]
    return chunks


class Digest:
    def __init__(self) -> None:
        self.md5 = hashlib.md5()
        self.finished = False

    def update_batch(self, buffers: Sequence[Buffer]) -> None:
        for buffer in buffers:
            self.md5.update(buffer)

    def finish(self) -> None:
        self.finished = True


async def store_body(
    cluster: MemoryCluster, body: ChunkedBody, length: int, digest: Digest | None = None
) -> StoredBody:
    return await write_body(
        cluster.store,
        cluster.pool,
        cluster.geometry,
        Tier.NODE,
        cluster.stripe_ids,
        KEYS,
        body,
        length,
        env=cluster.env,
        digester=digest,
    )


async def put(cluster: MemoryCluster, plain: memoryview, bytes_max: int = 300_000) -> StoredBody:
    return await store_body(cluster, ChunkedBody(cut(plain, Random(1), bytes_max)), len(plain))


async def get(cluster: MemoryCluster, stored: StoredBody, offset: int, length: int) -> bytes:
    rows = {row.stripe: row for row in stored.stripe_rows}
    assert stored.layout is not None
    got = bytearray()
    async for plain in iterate_body(
        cluster.store, rows.get, stored.layout, KEYS, stored.plain_bytes, offset, length
    ):
        assert plain
        got += plain
    return bytes(got)
