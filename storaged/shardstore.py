"""`ShardStore`: the shards of one drive: crash-safe put, ranged get, delete, list, verify, fence.

Not for nodes or their identity (`storaged.local`). Puts are judged and written by
`storaged.writer`; reads look up the index and read the volumes. Short reads that need no wait for
the drive happen in place: a hop to a thread costs more than they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import LogId, ShardId
from storaged.base.limits import (
    ATTRIBUTES_BYTES_MAX,
    CONTENT_BYTES_MAX,
    DELETE_BATCH_MAX,
    LIST_LIMIT_MAX,
)
from storaged.files import Files, ReadFailed
from storaged.index_tables import IndexUnreadable
from storaged.inplace import InPlaceReads
from storaged.lanes import Lane
from storaged.node import (
    Buffer,
    Fence,
    NodeUnavailable,
    Promise,
    RangeOutside,
    ShardCorrupt,
    ShardInfo,
    ShardMissing,
    ShardPage,
    ShardRange,
    ShardTooLarge,
)
from storaged.recovery import Recovered, record_bytes_at
from storaged.requests import DeleteRequest, FenceRequest, PutRequest
from storaged.shardformat import (
    RecordCorrupt,
    head_bytes_of,
    page_checksums,
    page_log2_of,
    page_span,
    round_up,
)
from storaged.upkeep import Upkeep
from storaged.volume_index import Location, VolumeIndex, Watermark, decode_location
from storaged.volumes import INLINE_READ_BYTES, read_attributes, read_away, read_range
from storaged.writer import Writer

T = TypeVar("T")
CORRUPT_MAX = 1000  # corrupt shards remembered for status
_SCRUB_NOTE = b"scrubbed_at_ms"


@dataclass(slots=True)
class ScrubState:
    """What the scrub job tells of itself; `storaged.scrub` writes it, status reads it."""

    progress: float = 0.0
    finished_at_ms: int = 0


class ShardStore:
    """The shards of one opened drive. Every method belongs to one event loop."""

    def __init__(
        self,
        *,
        files: Files,
        index: VolumeIndex,
        recovered: Recovered,
        lane: Lane,
        env: Env,
        node: bytes,
        capacity_bytes: int | None,
        reserve_bytes: int,
        trash_ms: int,
    ) -> None:
        self._files = files
        self._index = index
        self._env = env
        self._lane = lane
        self._capacity_bytes = capacity_bytes
        self._volumes = recovered.volumes
        self._in_place = InPlaceReads(index, recovered.volumes)
        self._drive = recovered.drive
        self._closed = False
        self._corrupt: dict[bytes, Location] = {}
        noted = index.noted(_SCRUB_NOTE)
        self.scrub = ScrubState(finished_at_ms=int.from_bytes(noted or b"", "big"))
        self._upkeep = Upkeep(
            files=files,
            lane=lane,
            index=index,
            recovered=recovered,
            env=env,
            reserve_bytes=reserve_bytes,
            trash_ms=trash_ms,
        )
        self._writer = Writer(
            files=files,
            lane=lane,
            index=index,
            recovered=recovered,
            env=env,
            node=node,
            capacity_bytes=capacity_bytes,
            trash_ms=trash_ms,
            compare=self._compare,
            background=self._upkeep.step,
            pace=self._upkeep.pace,
        )
        self._upkeep.place = self._place
        self._upkeep.nudge = self._writer.nudge
        self._writer.nudge()

    def _place(self) -> Watermark:
        active = self._writer.active
        number, position = (active.number, active.position) if active is not None else (0, 0)
        return Watermark(number, position, self._writer.next_sequence)

    async def put(
        self,
        shard: ShardId,
        attributes: bytes,
        content: Buffer,
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> None:
        """See the port."""
        if self._closed:
            raise NodeUnavailable(reason="closed")
        self._upkeep.check_room()
        content_bytes = len(content)
        if len(attributes) > ATTRIBUTES_BYTES_MAX or content_bytes > CONTENT_BYTES_MAX:
            raise ShardTooLarge(shard=shard, attributes=len(attributes), content=content_bytes)
        head_bytes = head_bytes_of(len(attributes), content_bytes)
        request = PutRequest(
            shard,
            shard.encode(),
            attributes,
            content,
            page_checksums(content, page_log2_of(content_bytes)),
            head_bytes,
            round_up(head_bytes + content_bytes),
            fence,
            retain_until_ms,
            asyncio.get_running_loop().create_future(),
        )
        self._writer.submit(request)
        await request.future

    async def _compare(self, request: PutRequest, held: Location) -> str:
        try:
            attributes, content = await self._read_elsewhere(
                request.key, held, start=0, end=held.content_bytes
            )
        except (RecordCorrupt, ReadFailed):
            return "corrupt"
        same = attributes == request.attributes and content == request.content
        return "same" if same else "other"

    # -- reads

    async def get(self, shard: ShardId, *, offset: int, length: int) -> ShardRange:
        """See the port."""
        key = shard.encode()
        location = self._find(key, shard)
        end = offset + length
        if offset < 0 or length < 0 or end > location.content_bytes:
            raise RangeOutside(
                shard=shard, offset=offset, length=length, held=location.content_bytes
            )
        attributes, content = await self._read(shard, key, location, start=offset, end=end)
        return ShardRange(
            attributes=attributes, content_bytes=location.content_bytes, content=content
        )

    def try_get(
        self, shard: ShardId, *, offset: int, length: int, checked: bool = True
    ) -> memoryview | None:
        """See `storaged.node.ReadsInPlace`."""
        if self._closed:
            return None
        read = self._in_place.read if checked else self._in_place.read_unchecked
        return read(shard.encode(), offset, length)

    async def stat(self, shard: ShardId) -> ShardInfo:
        """See the port."""
        key = shard.encode()
        location = self._find(key, shard)
        attributes, _ = await self._read(shard, key, location, start=0, end=0)
        return _describe(shard, attributes, location)

    async def verify(self, shard: ShardId) -> ShardInfo:
        """See the port."""
        key = shard.encode()
        location = self._find(key, shard)
        attributes, _ = await self._read(shard, key, location, start=0, end=location.content_bytes)
        return _describe(shard, attributes, location)

    async def list(self, start: ShardId, end: ShardId | None, *, limit: int) -> ShardPage:
        """See the port."""
        if self._closed:
            raise NodeUnavailable(reason="closed")
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise RangeOutside(limit=limit, limit_max=LIST_LIMIT_MAX)
        try:
            rows = self._index.scan(
                start.encode(), None if end is None else end.encode(), limit=limit + 1
            )
            wanted = [(key, decode_location(key, row)) for key, row in rows[:limit]]
        except IndexUnreadable as error:
            self._index.suspect = True
            raise ShardCorrupt(reason=str(error)) from error
        read = partial(read_attributes, self._volumes, wanted)
        attributes = await self._away({place.volume_number for _, place in wanted}, read)
        shards = []
        for (key, location), found in zip(wanted, attributes, strict=True):
            shard = ShardId.decode(key)
            if found is None:
                if self._index.get(key) != location:
                    continue  # deleted, and punched, while we read
                self._note_corrupt(key, location)
            shards.append(_describe(shard, found or b"", location))
        following = ShardId.decode(rows[limit][0]) if len(rows) > limit else None
        return ShardPage(shards=tuple(shards), next=following)

    def _find(self, key: bytes, shard: ShardId) -> Location:
        if self._closed:
            raise NodeUnavailable(reason="closed")
        try:
            location = self._index.get(key)
        except IndexUnreadable as error:
            raise ShardCorrupt(shard=shard, reason=str(error)) from error
        if location is None:
            raise ShardMissing(shard=shard)
        return location

    async def _read(
        self, shard: ShardId, key: bytes, location: Location, *, start: int, end: int
    ) -> tuple[bytes, memoryview]:
        try:
            first, last = page_span(location.page_log2, location.content_bytes, start, end)
            volume = self._volumes.get(location.volume_number)
            if volume is not None and last - first <= INLINE_READ_BYTES:
                found = read_range(volume, key, location, start=start, end=end, cached_only=True)
                if found is not None:
                    return found
            return await self._read_elsewhere(key, location, start=start, end=end)
        except (RecordCorrupt, ReadFailed) as error:
            newer = self._find(key, shard)
            if newer != location:  # deleted and put again while we read
                if end > newer.content_bytes:
                    raise RangeOutside(shard=shard, held=newer.content_bytes) from error
                return await self._read(shard, key, newer, start=start, end=end)
            self._note_corrupt(key, location)
            raise ShardCorrupt(shard=shard, reason=str(error)) from error

    async def _read_elsewhere(
        self, key: bytes, location: Location, *, start: int, end: int
    ) -> tuple[bytes, memoryview]:
        volume = self._volumes.get(location.volume_number)
        if volume is None:
            raise RecordCorrupt(reason="no such volume")
        read = partial(read_range, volume, key, location, start=start, end=end, cached_only=False)
        found = await self._away({volume.number}, read)
        if found is None:
            raise RecordCorrupt(reason="unread")
        return found

    async def _away(self, numbers: set[int], read: Callable[[], T]) -> T:
        """Run a read in a thread while its volumes stay open."""
        volumes = [self._volumes[n] for n in numbers if n in self._volumes]
        return await read_away(self._env, volumes, read)

    def _note_corrupt(self, key: bytes, location: Location) -> None:
        if len(self._corrupt) < CORRUPT_MAX:
            self._corrupt[key] = location

    async def delete(self, shards: Sequence[ShardId]) -> tuple[StorageError | None, ...]:
        """See the port."""
        if len(shards) > DELETE_BATCH_MAX:
            raise RangeOutside(shards=len(shards), shards_max=DELETE_BATCH_MAX)
        self._upkeep.check_room()
        request = DeleteRequest(
            tuple(shards),
            tuple(shard.encode() for shard in shards),
            asyncio.get_running_loop().create_future(),
        )
        self._writer.submit(request)
        return await request.future

    async def fence(self, log: LogId, epoch: int, instance: bytes) -> Promise:
        """See the port."""
        request = FenceRequest(
            log, epoch, bytes(instance), asyncio.get_running_loop().create_future()
        )
        self._writer.submit(request)
        return await request.future

    # -- state

    @property
    def failure(self) -> StorageError | None:
        """Why the drive is out of service, None while it serves."""
        return self._writer.failure

    @property
    def has_room(self) -> bool:
        """Whether changes are taken; not while the index takes no rows and memory is full of
        them.
        """
        return self._upkeep.has_room

    @property
    def detail(self) -> str:
        """Trouble, for people; empty when there is none."""
        troubles = []
        if self.failure is not None:
            troubles.append(f"out of service: {self.failure}")
        if self._upkeep.problem:
            troubles.append(f"index: {self._upkeep.problem}")
        if self._index.suspect:
            troubles.append("index damaged: the next start rebuilds it")
        return "; ".join(troubles)

    @property
    def shard_count(self) -> int:
        return self._index.shard_count

    @property
    def stored_bytes(self) -> int:
        """Record bytes on the drive, dead ones that are not punched yet included."""
        return self._index.stored_bytes

    async def space(self) -> tuple[int, int]:
        """(capacity, free) in bytes: those of the drive, or less by the configuration."""
        capacity_bytes, free_bytes = await self._env.offload(self._files.space)
        if self._capacity_bytes is None:
            return capacity_bytes, free_bytes
        left_bytes = max(0, self._capacity_bytes - self._index.stored_bytes)
        return self._capacity_bytes, min(left_bytes, free_bytes)

    def corrupt_shards(self) -> tuple[ShardId, ...]:
        """Shards found corrupt that are still held as they were."""
        for key, location in list(self._corrupt.items()):
            try:
                if self._index.get(key) != location:
                    del self._corrupt[key]
            except IndexUnreadable:
                continue
        return tuple(ShardId.decode(key) for key in sorted(self._corrupt))

    def scrub_finished(self, now_ms: int) -> None:
        """Remember the end of a full scrub, also after a restart."""
        self.scrub.finished_at_ms = now_ms
        self._index.note(_SCRUB_NOTE, now_ms.to_bytes(8, "big"))
        self._upkeep.pace()

    async def close(self) -> None:
        """Finish writes, flush the index, release files. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._upkeep.close()
        await self._lane.run(self._trim)
        self._lane.close()
        for volume in self._volumes.values():
            volume.unlinked = True
            volume.close_if_unused()
        self._index.close()
        self._files.close()

    def _trim(self) -> None:
        """Give back what was allocated ahead; not worth a sync, the scan reads zeros as nothing."""
        active = self._writer.active
        if active is not None and self.failure is None:
            with suppress(StorageError):
                active.file.truncate(active.position)


def _describe(shard: ShardId, attributes: bytes, location: Location) -> ShardInfo:
    return ShardInfo(
        shard=shard,
        attributes=attributes,
        content_bytes=location.content_bytes,
        stored_bytes=record_bytes_at(location),
        retain_until_ms=location.retain_until_ms,
    )
