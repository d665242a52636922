"""`MemoryNode`: the Node port over a dictionary, the reference model for other nodes.

Not for data anyone wants to keep: it is durable as long as the process lives.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storaged.base.errors import StorageError
from storaged.base.ids import LogId, ShardId
from storaged.base.limits import (
    ATTRIBUTES_BYTES_MAX,
    BLOCK_BYTES,
    CONTENT_BYTES_MAX,
    DELETE_BATCH_MAX,
    LIST_LIMIT_MAX,
)
from storaged.node import (
    Buffer,
    DriveFull,
    Fence,
    FencedOut,
    NodeIdentity,
    NodeStatus,
    NodeUnavailable,
    Promise,
    RangeOutside,
    ShardConflict,
    ShardInfo,
    ShardMissing,
    ShardPage,
    ShardRange,
    ShardRetained,
    ShardTooLarge,
)
from storaged.promises import promise

_HEADER_BYTES = 256  # what a node adds to each shard before it rounds up to blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    attributes: bytes
    content: bytes
    stored_bytes: int
    retain_until_ms: int


def _always_zero() -> int:
    return 0


class MemoryNode:
    """A storage node in memory.

    Args:
        capacity_bytes: puts beyond it raise `DriveFull`.
        now_ms: the clock for retain-until dates; by default it stands still at 0, and nobody is
            told of it.
    """

    def __init__(
        self,
        identity: NodeIdentity,
        *,
        capacity_bytes: int = 1 << 40,
        now_ms: Callable[[], int] = _always_zero,
    ) -> None:
        self._identity = identity
        self._capacity_bytes = capacity_bytes
        self._now_ms = now_ms
        self._held: dict[bytes, _Held] = {}
        self._order: list[bytes] | None = []
        self._stored_bytes = 0
        self._promises: dict[LogId, tuple[int, bytes]] = {}
        self._closed = False

    @property
    def identity(self) -> NodeIdentity:
        return self._identity

    async def put(
        self,
        shard: ShardId,
        attributes: bytes,
        content: Buffer,
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> None:
        """Store one shard; see the port."""
        self._check_open()
        if len(attributes) > ATTRIBUTES_BYTES_MAX or len(content) > CONTENT_BYTES_MAX:
            raise ShardTooLarge(shard=shard, attributes=len(attributes), content=len(content))
        if fence is not None:
            promised = self._promises.get(fence.log, (0, b""))[0]
            if fence.epoch < promised:
                raise FencedOut(shard=shard, epoch=fence.epoch, promised=promised)
        key = shard.encode()
        held = self._held.get(key)
        if held is not None:
            if held.attributes != attributes or held.content != content:
                raise ShardConflict(shard=shard)
            return
        size = _HEADER_BYTES + len(attributes) + len(content)
        stored_bytes = -(-size // BLOCK_BYTES) * BLOCK_BYTES
        if self._stored_bytes + stored_bytes > self._capacity_bytes:
            raise DriveFull(free_bytes=self._capacity_bytes - self._stored_bytes)
        self._held[key] = _Held(
            attributes=bytes(attributes),
            content=bytes(content),
            stored_bytes=stored_bytes,
            retain_until_ms=retain_until_ms,
        )
        self._stored_bytes += stored_bytes
        self._order = None

    async def get(self, shard: ShardId, *, offset: int, length: int) -> ShardRange:
        """Read a range of content; see the port."""
        held = self._find(shard)
        if offset < 0 or length < 0 or offset + length > len(held.content):
            raise RangeOutside(shard=shard, offset=offset, length=length, held=len(held.content))
        return ShardRange(
            attributes=held.attributes,
            content_bytes=len(held.content),
            content=memoryview(held.content)[offset : offset + length],
        )

    def try_get(
        self, shard: ShardId, *, offset: int, length: int, checked: bool = True
    ) -> memoryview | None:
        """See `storaged.node.ReadsInPlace`."""
        held = self._held.get(shard.encode())
        if held is None or not 0 <= offset < offset + length <= len(held.content):
            return None
        return memoryview(held.content)[offset : offset + length]

    async def stat(self, shard: ShardId) -> ShardInfo:
        """Describe one shard; see the port."""
        return self._describe(shard, self._find(shard))

    async def delete(self, shards: Sequence[ShardId]) -> tuple[StorageError | None, ...]:
        """Delete shards; see the port."""
        self._check_open()
        if len(shards) > DELETE_BATCH_MAX:
            raise RangeOutside(shards=len(shards), shards_max=DELETE_BATCH_MAX)
        return tuple(self._delete_one(shard) for shard in shards)

    def _delete_one(self, shard: ShardId) -> StorageError | None:
        key = shard.encode()
        held = self._held.get(key)
        if held is None:
            return None
        if held.retain_until_ms > self._now_ms():
            return ShardRetained(shard=shard, retain_until_ms=held.retain_until_ms)
        del self._held[key]
        self._stored_bytes -= held.stored_bytes
        self._order = None
        return None

    async def list(self, start: ShardId, end: ShardId | None, *, limit: int) -> ShardPage:
        """Shards in id order; see the port."""
        self._check_open()
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise RangeOutside(limit=limit, limit_max=LIST_LIMIT_MAX)
        if self._order is None:
            self._order = sorted(self._held)
        low = bisect_left(self._order, start.encode())
        high = len(self._order) if end is None else bisect_left(self._order, end.encode())
        keys = self._order[low : min(high, low + limit)] if low < high else []
        shards = tuple(self._describe(ShardId.decode(key), self._held[key]) for key in keys)
        more = low + limit < high
        return ShardPage(
            shards=shards, next=ShardId.decode(self._order[low + limit]) if more else None
        )

    async def verify(self, shard: ShardId) -> ShardInfo:
        """Check one shard; memory does not rot."""
        return self._describe(shard, self._find(shard))

    async def status(self) -> NodeStatus:
        """Health and space; see the port."""
        free_bytes = self._capacity_bytes - self._stored_bytes
        return NodeStatus(
            identity=self._identity,
            in_service=not self._closed,
            writable=not self._closed and free_bytes >= BLOCK_BYTES,
            shard_count=len(self._held),
            stored_bytes=self._stored_bytes,
            capacity_bytes=self._capacity_bytes,
            free_bytes=free_bytes,
            scrubbed_at_ms=0,
            scrub_progress=0.0,
            corrupt_shards=(),
            detail="memory",
            at_ms=None if self._now_ms is _always_zero else self._now_ms(),
        )

    async def fence(self, log: LogId, epoch: int, instance: bytes) -> Promise:
        """Promise an epoch of a log to one instance; see the port."""
        self._check_open()
        answer, changes = promise(self._promises, log=log, epoch=epoch, instance=instance)
        if changes:
            self._promises[log] = (epoch, bytes(instance))
        return answer

    async def close(self) -> None:
        """Refuse every later call. Idempotent."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise NodeUnavailable(node=self._identity.node)

    def _find(self, shard: ShardId) -> _Held:
        self._check_open()
        held = self._held.get(shard.encode())
        if held is None:
            raise ShardMissing(shard=shard)
        return held

    def _describe(self, shard: ShardId, held: _Held) -> ShardInfo:
        return ShardInfo(
            shard=shard,
            attributes=held.attributes,
            content_bytes=len(held.content),
            stored_bytes=held.stored_bytes,
            retain_until_ms=held.retain_until_ms,
        )
