"""The Node port: what a storage node does, and the values that cross it.

A node keeps shards: opaque attributes (a gateway header, ≤ 2,048 bytes) and opaque content (a cell,
≤ 4 MiB), addressed by `ShardId`. It knows drives, bytes and checksums; it never sees a bucket, an
object key, a tenant or an encryption key. Implementations: `storaged.memory.MemoryNode` (reference
model), `storaged.local.LocalNode` (this process), `storaged.remote.RemoteNode` (TCP and mutual
TLS). One suite, `tests/conformance/node_suite.py`, runs on all of them; every sentence below has a
test there.

Every verb is idempotent and complete in itself; only frozen values and bytes cross. Any number of
calls may run at once on one node, from one event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from storaged.base.errors import Kind, StorageError
from storaged.base.ids import DatacenterId, LogId, NodeId, ShardId

Buffer = bytes | bytearray | memoryview


class ShardMissing(StorageError):
    """The node does not hold this shard."""

    kind = Kind.NOT_FOUND


class ShardConflict(StorageError):
    """The node holds other bytes under this shard id."""

    kind = Kind.INVALID


class ShardCorrupt(StorageError):
    """The stored bytes fail their checksum."""

    kind = Kind.CORRUPT


class ShardTooLarge(StorageError):
    """Attributes or content are over the limit."""

    kind = Kind.INVALID


class RangeOutside(StorageError):
    """The range is not inside the content."""

    kind = Kind.INVALID


class FencedOut(StorageError):
    """The node has promised itself to a higher log epoch, or to another instance."""

    kind = Kind.DENIED


class ShardRetained(StorageError):
    """The shard may not be deleted before its retain-until date."""

    kind = Kind.DENIED


class DriveFull(StorageError):
    """The drive has only its reserve left."""

    kind = Kind.EXHAUSTED
    hint = "add a drive or a node; deletes still work"


class DriveOutOfService(StorageError):
    """The drive is out of service since its first failed write or sync."""

    kind = Kind.UNAVAILABLE
    hint = "check the kernel log, replace the drive, then repair"


class NodeUnavailable(StorageError):
    """The node cannot be reached."""

    kind = Kind.UNAVAILABLE


class NodeBusy(StorageError):
    """The node's queue is full."""

    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Who a node is, by its certificate."""

    node: NodeId
    datacenter: DatacenterId
    country: str  # ISO 3166-1 alpha-2, lower case
    operator: str = ""  # who runs it; "": its certificate names none


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The term in whose name a commit shard is put."""

    log: LogId
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """What a node says of one shard, from its index, without reading content."""

    shard: ShardId
    attributes: bytes
    content_bytes: int
    stored_bytes: int  # on the drive, header and padding included
    retain_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRange:
    """Bytes of one shard. `content` may alias a buffer that the caller owns from then on."""

    attributes: bytes
    content_bytes: int  # of the whole shard
    content: memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPage:
    """One answer of `list`: shards in id order; `next` is where to go on, None at the end."""

    shards: tuple[ShardInfo, ...]
    next: ShardId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the node has durably promised for one log."""

    epoch: int
    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """Health and space of a node. `in_service` is False once a drive failed a write or a sync."""

    identity: NodeIdentity
    in_service: bool
    writable: bool
    shard_count: int
    stored_bytes: int
    capacity_bytes: int
    free_bytes: int
    scrubbed_at_ms: int  # end of the last full scrub, 0 = never
    scrub_progress: float  # 0.0–1.0 of the running scrub
    corrupt_shards: tuple[ShardId, ...]  # found by scrub or reads, at most 1,000
    detail: str  # for people
    at_ms: int | None = None  # its wall clock; None: it did not say, as an older one


class Node(Protocol):
    """A storage node."""

    @property
    def identity(self) -> NodeIdentity:
        """Who this node is; constant for its life."""
        ...

    async def put(
        self,
        shard: ShardId,
        attributes: bytes,
        content: Buffer,
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> None:
        """Store one shard.

        Args:
            attributes: ≤ ATTRIBUTES_BYTES_MAX opaque bytes, returned by stat, get and list.
            content: ≤ CONTENT_BYTES_MAX bytes; not changed and not kept after return. The caller
                must not change the buffer before return; a cancelled put keeps a reference until it
                has ended.
            fence: for commit shards, the caller's term; refused when the node promised a higher
                epoch for this log, checked again when the bytes are written, in order with `fence`.
            retain_until_ms: no delete before this time; 0 = none.

        Raises:
            ShardConflict: the id is held with other bytes (attributes or content). Nothing changed.
            FencedOut, ShardTooLarge, DriveFull, DriveOutOfService, NodeBusy.

        Idempotent: by shard id and bytes; a repeat answers when the first is durable.
        Durable when: it returns, attributes and content are synced on the drive.
        Cancelled: may or may not be stored, whole; never in part.
        Concurrent: any number; one sync serves all that wait on a drive.
        """
        ...

    async def get(self, shard: ShardId, *, offset: int, length: int) -> ShardRange:
        """Read `length` bytes of content from `offset` (0 ≤ offset, offset + length ≤
        content_bytes).

        `length` 0 gives the attributes only. Every page touched is checked against its CRC32C
        before return.

        Raises:
            ShardMissing, ShardCorrupt, RangeOutside, DriveOutOfService.

        Idempotent: yes. Durable when: only what is durable is ever returned. Cancelled: nothing
            happened.
        Concurrent: any number.
        """
        ...

    async def stat(self, shard: ShardId) -> ShardInfo:
        """Describe one shard from the index. Raises ShardMissing. Idempotent; concurrent: any
        number.
        """
        ...

    async def delete(self, shards: Sequence[ShardId]) -> tuple[StorageError | None, ...]:
        """Delete shards (at most DELETE_BATCH_MAX); one outcome each: None = gone, also when it was
        never there.

        ShardRetained where the retain-until date lies ahead. Space comes back later (hole
        punching).

        Idempotent: by shard id. Durable when: it returns, no restart or index rebuild brings the
            shard back.
        A later put of the same id is a fresh one. Cancelled: any subset may be gone. Works on a
        full drive.
        """
        ...

    async def list(self, start: ShardId, end: ShardId | None, *, limit: int) -> ShardPage:
        """Shards with start ≤ id < end in byte order (`end` None: to the last), at most `limit` ≤
        LIST_LIMIT_MAX.

        Everything durable before the call and not deleted is there. Idempotent; concurrent: any
        number.
        """
        ...

    async def verify(self, shard: ShardId) -> ShardInfo:
        """Read the whole shard and check every checksum. Raises ShardMissing, ShardCorrupt."""
        ...

    async def status(self) -> NodeStatus:
        """Health and space; answers also when the drive is out of service."""
        ...

    async def fence(self, log: LogId, epoch: int, instance: bytes) -> Promise:
        """Promise to refuse commit shards of `log` below `epoch`, and grant `epoch` to `instance`
        alone.

        Args:
            epoch: 1 or more. instance: 16 random bytes of one committer run.

        Returns:
            granted True when the promise is now (epoch, instance), by this call or an earlier equal
            one; False, with the promised epoch, when a higher epoch or another instance of this
            epoch has it.
            Epoch 0 asks only: it returns the current promise (epoch 0 when there is none), never
                granted.

        Idempotent: by (log, epoch, instance). Durable when: it returns, the promise is synced.
        Ordered: a put below the new promise that has not answered by then will not become durable
            afterwards.
        """
        ...

    async def close(self) -> None:
        """Finish writes under way, then release files and sockets. Idempotent."""
        ...


class ReadsInPlace(Protocol):
    """What a node in this process may offer beside `Node`: short reads without waiting.

    An optional capability: callers ask for it (`getattr`, once a read), and use `get` where it is
    not there.
    """

    def try_get(
        self, shard: ShardId, *, offset: int, length: int, checked: bool = True
    ) -> memoryview | None:
        """Content [offset, offset + length), as `get` would give it, its pages checked.

        Args:
            checked: False: bytes as the drive gives them, for a caller who authenticates them
                himself, and who asks `get` for what fails: that says whether the drive has rotten.

        Returns:
            A view of a buffer that is the caller's; None when the read would have to wait, is not
            short, or is one that `get` answers with an error. Raises nothing; counts nothing
            against the shard.

        Idempotent: yes. Durable when: only what is durable is ever returned.
        """
        ...
