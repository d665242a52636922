"""The trash of a drive: deleted shards whose bytes a node keeps for a time, and how they come back.

Who may delete is whoever has a gateway's certificate. Where a node has a trash, what is deleted is
gone for gateways at once, but its record stays on the drive until a time that stands in the delete
record itself; no gateway can see it, shorten it or empty it. Restoring is for whoever runs the
node: it puts each shard once more, as it was, so it comes back in whatever order a scan meets it.

Not for gateways: nothing of this is in the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import ShardId
from storaged.base.limits import BLOCK_BYTES
from storaged.files import ReadFailed
from storaged.shardformat import Head, RecordCorrupt, RecordKind, attributes_of, decode_head
from storaged.shardstore import ShardStore
from storaged.volume_index import Trashed, VolumeIndex
from storaged.volumes import Volume, read_content

PAGE = 256
RESTORED_MAX = 10_000_000  # shards that one restore may bring back: 2 GB of places in memory
_FOREVER_MS = (1 << 63) - 1


class TrashTooFull(StorageError):
    """There are more deleted shards than one restore brings back."""

    kind = Kind.EXHAUSTED
    hint = "restore what was deleted since a later moment: --since"


class Held(NamedTuple):
    """What a trash holds.

    Args:
        first_ends_ms, last_ends_ms: when the first and the last of it go; 0 without any.
    """

    shards: int
    record_bytes: int
    first_ends_ms: int
    last_ends_ms: int


class Restored(NamedTuple):
    """What a restore has done.

    Args:
        held: deleted shards that are there again, so they were left as they are; those that must
            be kept also where what was deleted was to replace them.
        damaged: records that could not be read.
    """

    restored: int
    held: int
    damaged: int


class _Place(NamedTuple):
    sequence: int
    volume_number: int
    offset: int


class Trash:
    """The trash of one opened drive."""

    def __init__(
        self, index: VolumeIndex, volumes: Mapping[int, Volume], store: ShardStore, env: Env
    ) -> None:
        self._index = index
        self._volumes = volumes
        self._store = store
        self._env = env

    @property
    def record_bytes(self) -> int:
        """Bytes of the drive that it takes."""
        return self._index.trash_bytes

    def held(self) -> Held:
        """What is in it. Raises: IndexUnreadable."""
        count = record_bytes = first = last = 0
        start = b""
        while page := self._index.trashed(start, _FOREVER_MS, limit=PAGE):
            count += len(page)
            record_bytes += sum(one.length for _, one in page)
            first = first or page[0][1].keep_until_ms
            last = page[-1][1].keep_until_ms
            start = page[-1][0] + b"\0"
        return Held(count, record_bytes, first, last)

    async def restore(self, ends_from_ms: int, *, replaces: bool = False) -> Restored:
        """Put deleted shards once more, each as it was last.

        Args:
            ends_from_ms: those alone whose time ends then or later.
            replaces: also where a shard of the id is there again, which is deleted for it (and so
                is in the trash, where there is one).

        Raises: TrashTooFull, IndexUnreadable, as the store. Idempotent: yes.
        """
        found, damaged = await self._latest(ends_from_ms)
        restored = held = 0
        for key, place in sorted(found.items(), key=lambda one: one[1][1:]):
            if self._index.get(key) is not None and not replaces:
                held += 1
                continue
            record = await self._env.offload(partial(self._read, place))
            if record is None:
                damaged += 1
                continue
            head, attributes, content = record
            shard = ShardId.decode(key)
            if self._index.get(key) is not None:
                (refused,) = await self._store.delete([shard])
                if refused is not None:
                    held += 1
                    continue
            await self._store.put(
                shard, attributes, content, fence=None, retain_until_ms=head.retain_until_ms
            )
            restored += 1
        return Restored(restored, held, damaged)

    async def _latest(self, ends_from_ms: int) -> tuple[dict[bytes, _Place], int]:
        """Where the last record of each deleted shard is; records that tell of none."""
        found: dict[bytes, _Place] = {}
        damaged = 0
        start = ends_from_ms.to_bytes(8, "big")
        while page := self._index.trashed(start, _FOREVER_MS, limit=PAGE):
            heads = await self._env.offload(partial(self._heads, [one for _, one in page]))
            for head in heads:
                if head is None:
                    damaged += 1
                    continue
                place = _Place(head.sequence, head.volume_number, head.offset)
                if head.shard not in found or found[head.shard] < place:
                    found[head.shard] = place
            if len(found) > RESTORED_MAX:
                raise TrashTooFull(shards_max=RESTORED_MAX)
            start = page[-1][0] + b"\0"
        return found, damaged

    def _heads(self, places: Sequence[Trashed]) -> list[Head | None]:
        """Blocking."""
        return [self._head(one.volume_number, one.offset) for one in places]

    def _head(self, volume_number: int, offset: int) -> Head | None:
        volume = self._volumes.get(volume_number)
        if volume is None:
            return None
        try:
            head = decode_head(
                volume.file.read(offset, BLOCK_BYTES), volume=volume.uuid, offset=offset
            )
        except (RecordCorrupt, ReadFailed):
            return None
        return head if head.kind == RecordKind.PUT else None

    def _read(self, place: _Place) -> tuple[Head, bytes, memoryview] | None:
        """A whole record, every page checked; None: it is damaged. Blocking."""
        head = self._head(place.volume_number, place.offset)
        volume = self._volumes.get(place.volume_number)
        if head is None or volume is None or head.sequence != place.sequence:
            return None
        try:
            block = volume.file.read(place.offset, head.head_bytes)
            return head, attributes_of(block, head), read_content(volume, head)
        except (RecordCorrupt, ReadFailed):
            return None
