"""`Link`: how one gateway process reaches one node, with delays, cuts and the end of the process.

Not for what a node does wrong: that is `FaultyNode`. A call that is on its way when its process
ends may still arrive, much later, as what is in a socket's buffer does. Deletes are held against
the index of the gateway that asks: a shard that a row still names must not go (D3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Protocol, TypeVar

from storaged.base.errors import StorageError
from storaged.base.ids import LogId, ShardId
from storaged.node import (
    Buffer,
    Fence,
    NodeIdentity,
    NodeStatus,
    NodeUnavailable,
    Promise,
    ShardInfo,
    ShardPage,
    ShardRange,
)
from tests.sim.nodes import SimNode
from tests.support.simloop import SimLoop

T = TypeVar("T")


class DeleteWatch(Protocol):
    """Told of deletes at the moment they happen."""

    def __call__(self, number: int, shards: Sequence[ShardId]) -> None: ...


class Link:
    """A node as one process sees it.

    Attributes:
        cut: no call arrives and no answer comes back.
        dead: the process has ended.
    """

    def __init__(self, machine: SimNode, rng: Random, on_delete: DeleteWatch) -> None:
        self.number = machine.number
        self.node = machine.faulty
        self._machine = machine
        self.cut = False
        self.dead = False
        self._rng = Random(rng.random())
        self._on_delete = on_delete

    @property
    def identity(self) -> NodeIdentity:
        return self.node.identity

    async def put(
        self,
        shard: ShardId,
        attributes: bytes,
        content: Buffer,
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> None:
        async def arrive() -> None:
            machine, wiped, lies = self._machine, self._machine.wiped, self.node.false_puts
            await self.node.put(
                shard, attributes, content, fence=fence, retain_until_ms=retain_until_ms
            )
            if machine.wiped == wiped and not (lies or self.node.false_puts):
                machine.stored.add(shard)

        await self._call(arrive)

    async def get(self, shard: ShardId, *, offset: int, length: int) -> ShardRange:
        return await self._call(lambda: self.node.get(shard, offset=offset, length=length))

    async def stat(self, shard: ShardId) -> ShardInfo:
        return await self._call(lambda: self.node.stat(shard))

    async def delete(self, shards: Sequence[ShardId]) -> tuple[StorageError | None, ...]:
        def arrive() -> Awaitable[tuple[StorageError | None, ...]]:
            if not self.dead and not self.node.down:
                self._on_delete(self.number, shards)
            return self.node.delete(shards)

        return await self._call(arrive)

    async def list(self, start: ShardId, end: ShardId | None, *, limit: int) -> ShardPage:
        return await self._call(lambda: self.node.list(start, end, limit=limit))

    async def verify(self, shard: ShardId) -> ShardInfo:
        return await self._call(lambda: self.node.verify(shard))

    async def status(self) -> NodeStatus:
        return await self._call(self.node.status)

    async def fence(self, log: LogId, epoch: int, instance: bytes) -> Promise:
        return await self._call(lambda: self.node.fence(log, epoch, instance))

    async def close(self) -> None:
        """The node outlives its links."""

    async def _call(self, arrive: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        delivery = loop.spawn(self._machine.owner, self._deliver(arrive))
        delivery.add_done_callback(_note)
        await asyncio.wait({delivery})
        if delivery.cancelled():
            raise self._away()
        return delivery.result()

    async def _deliver(self, arrive: Callable[[], Awaitable[T]]) -> T:
        rng = self._rng
        await asyncio.sleep(rng.expovariate(2000) if rng.random() < 0.95 else rng.random() * 0.2)
        if self.dead:
            if rng.random() < 0.5:
                raise self._away()
            await asyncio.sleep(rng.expovariate(0.5))
        elif self.cut:
            raise self._away()
        answer = await arrive()
        if self.cut:
            raise self._away()
        return answer

    def _away(self) -> NodeUnavailable:
        return NodeUnavailable(node=self.identity.node)


def _note(delivery: asyncio.Task[object]) -> None:
    """Errors of deliveries that nobody waits for any more are nobody's."""
    if not delivery.cancelled():
        delivery.exception()
