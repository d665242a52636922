"""What waits for the writer of a drive: puts, deletes and fences, each with its future.

Not for their order or their judgement; see `storaged.writer`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from storaged.base.errors import StorageError
from storaged.base.ids import LogId, ShardId
from storaged.node import Buffer, Fence, Promise
from storaged.volume_index import Location


@dataclass(slots=True, eq=False)
class PutRequest:
    """One shard to append. `replaces`: the damaged record of this shard that may be overwritten."""

    shard: ShardId
    key: bytes
    attributes: bytes
    content: Buffer
    checksums: bytes
    head_bytes: int
    record_bytes: int
    fence: Fence | None
    retain_until_ms: int
    future: asyncio.Future[None]
    replaces: Location | None = None
    location: Location | None = None


@dataclass(slots=True, eq=False)
class DeleteRequest:
    """Shards to delete; `outcomes` are filled in when the request is judged."""

    shards: tuple[ShardId, ...]
    keys: tuple[bytes, ...]
    future: asyncio.Future[tuple[StorageError | None, ...]]
    outcomes: list[StorageError | None] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class FenceRequest:
    """A promise to make. `answer` is filled in when the request is judged."""

    log: LogId
    epoch: int
    instance: bytes
    future: asyncio.Future[Promise]
    answer: Promise | None = None


Request = PutRequest | DeleteRequest | FenceRequest
