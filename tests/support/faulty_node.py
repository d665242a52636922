"""`FaultyNode`: the Node port with switches that make it slow, dead, forgetful or hostile.

Each switch is a plain attribute; tests set it, simulations set it from their seed. A node that is
only `down`, frozen or slow keeps the port's promises; the others break them on purpose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeVar

from storaged.base.errors import StorageError
from storaged.base.ids import LogId, ShardId
from storaged.node import (
    Buffer,
    DriveFull,
    Fence,
    Node,
    NodeIdentity,
    NodeStatus,
    NodeUnavailable,
    Promise,
    ShardInfo,
    ShardMissing,
    ShardPage,
    ShardRange,
)

T = TypeVar("T")


class FaultyNode:
    """A node with switches.

    Attributes:
        down: every call raises `NodeUnavailable` and nothing happens.
        delay_s: every call waits this long first (virtual time in a simulation).
        fail_puts: the next n puts raise `put_error` and store nothing.
        drop_answers: the next n puts, deletes and fences happen, then raise `NodeUnavailable`.
        corrupt_gets: each get flips one bit of content, of the attributes when there is none.
        truncate_gets: each get returns one byte less content than was asked for.
        swap_gets: each get is answered with the bytes of another held shard, if any fits.
        deny_shards: get, stat and verify say `ShardMissing`; list is empty.
        false_puts: puts are acknowledged and forgotten.
        puts, gets: calls seen so far, also failed ones.
    """

    def __init__(self, node: Node, rng: Random) -> None:
        self.node = node
        self.rng = rng
        self.down = False
        self.delay_s = 0.0
        self.fail_puts = 0
        self.put_error: Callable[[], StorageError] = DriveFull
        self.drop_answers = 0
        self.corrupt_gets = False
        self.truncate_gets = False
        self.swap_gets = False
        self.deny_shards = False
        self.false_puts = False
        self.puts = 0
        self.gets = 0
        self._thawed = asyncio.Event()
        self._thawed.set()

    @property
    def identity(self) -> NodeIdentity:
        return self.node.identity

    def slow(self, delay_s: float) -> None:
        """Make every call wait `delay_s` first."""
        self.delay_s = delay_s

    def freeze(self) -> None:
        """Calls hang, before they do anything, until `unfreeze`."""
        self._thawed.clear()

    def unfreeze(self) -> None:
        """Let hanging calls go on."""
        self._thawed.set()

    def mend(self) -> None:
        """Turn every switch off."""
        self.down = self.corrupt_gets = self.truncate_gets = False
        self.swap_gets = self.deny_shards = self.false_puts = False
        self.delay_s = 0.0
        self.fail_puts = self.drop_answers = 0
        self.unfreeze()

    async def put(
        self,
        shard: ShardId,
        attributes: bytes,
        content: Buffer,
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> None:
        self.puts += 1
        await self._arrive()
        if self.fail_puts:
            self.fail_puts -= 1
            raise self.put_error()
        if self.false_puts:
            return
        await self._answer(
            self.node.put(shard, attributes, content, fence=fence, retain_until_ms=retain_until_ms)
        )

    async def get(self, shard: ShardId, *, offset: int, length: int) -> ShardRange:
        self.gets += 1
        await self._arrive()
        self._deny(shard)
        if self.swap_gets:
            shard = await self._other(shard, offset + length)
        got = await self.node.get(shard, offset=offset, length=length)
        if self.corrupt_gets:
            got = self._corrupt(got)
        if self.truncate_gets and len(got.content):
            got = ShardRange(
                attributes=got.attributes,
                content_bytes=got.content_bytes,
                content=got.content[:-1],
            )
        return got

    async def stat(self, shard: ShardId) -> ShardInfo:
        await self._arrive()
        self._deny(shard)
        return await self.node.stat(shard)

    async def delete(self, shards: Sequence[ShardId]) -> tuple[StorageError | None, ...]:
        await self._arrive()
        return await self._answer(self.node.delete(shards))

    async def list(self, start: ShardId, end: ShardId | None, *, limit: int) -> ShardPage:
        await self._arrive()
        if self.deny_shards:
            return ShardPage(shards=(), next=None)
        return await self.node.list(start, end, limit=limit)

    async def verify(self, shard: ShardId) -> ShardInfo:
        await self._arrive()
        self._deny(shard)
        return await self.node.verify(shard)

    async def status(self) -> NodeStatus:
        await self._arrive()
        return await self.node.status()

    async def fence(self, log: LogId, epoch: int, instance: bytes) -> Promise:
        await self._arrive()
        return await self._answer(self.node.fence(log, epoch, instance))

    async def close(self) -> None:
        await self.node.close()

    async def _arrive(self) -> None:
        await self._thawed.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.down:
            raise NodeUnavailable(node=self.identity.node)

    async def _answer(self, call: Awaitable[T]) -> T:
        answer = await call
        if self.drop_answers:
            self.drop_answers -= 1
            raise NodeUnavailable(node=self.identity.node)
        return answer

    def _deny(self, shard: ShardId) -> None:
        if self.deny_shards:
            raise ShardMissing(shard=shard)

    async def _other(self, shard: ShardId, bytes_needed: int) -> ShardId:
        first = ShardId.decode(b"\x01" + bytes(16))
        page = await self.node.list(first, None, limit=1000)
        fitting = [
            held.shard
            for held in page.shards
            if held.shard != shard and held.content_bytes >= bytes_needed
        ]
        return self.rng.choice(fitting) if fitting else shard

    def _corrupt(self, got: ShardRange) -> ShardRange:
        content = bytearray(got.content)
        attributes = bytearray(got.attributes)
        target = content or attributes
        if target:
            target[self.rng.randrange(len(target))] ^= 1 << self.rng.randrange(8)
        return ShardRange(
            attributes=bytes(attributes),
            content_bytes=got.content_bytes,
            content=memoryview(bytes(content)),
        )
