"""What a drive's store does besides answering: flush index rows, punch holes, unlink dead volumes.

Not for scrubbing (`storaged.scrub`). A record is punched only when its death is in the tables, and
a delete record becomes garbage only when all it killed was punched and synced: whatever is lost, a
scan brings no deleted shard back. Where a node keeps trash, a dead record waits for its time first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial

from storaged.base.env import Env
from storaged.files import Files
from storaged.index_tables import IndexUnreadable
from storaged.lanes import Lane
from storaged.node import DriveFull, NodeBusy
from storaged.recovery import Recovered
from storaged.volume_index import FLUSH_ROWS, PENDING_ROWS_MAX, Garbage, VolumeIndex
from storaged.volumes import Volume, release_ballast, restore_ballast

FLUSH_AFTER_S = 1.0  # changed rows wait at most so long: bounds the scan after a crash
FLUSH_RETRY_S = 5.0
TRASH_LOOK_S = 60.0  # how much longer than it has to be trash may be kept
PUNCH_RECORDS_MAX = 256  # records punched in one turn: a few milliseconds of the lane


class Upkeep:
    """Background work of one store; its state belongs to the event loop."""

    def __init__(
        self,
        *,
        files: Files,
        lane: Lane,
        index: VolumeIndex,
        recovered: Recovered,
        env: Env,
        reserve_bytes: int,
        trash_ms: int,
    ) -> None:
        self._files = files
        self._lane = lane
        self._index = index
        self._volumes = recovered.volumes
        self._drive = recovered.drive
        self._env = env
        self._reserve_bytes = reserve_bytes
        self._trash_ms = trash_ms
        self._timer: asyncio.Task[None] | None = None
        self._trash_timer: asyncio.Task[None] | None = None
        self._flush: asyncio.Task[None] | None = None
        self._closing = False
        self.problem = ""  # why the last flush failed, for people
        self.place = recovered.place  # the end of the log; the writer's, once it runs
        self.nudge = _nothing

    # -- flush

    def check_room(self) -> None:
        """Refuse a change while the index takes no rows and memory is full of them. Raises:
        NodeBusy.
        """
        if not self.has_room:
            raise NodeBusy(reason=self.problem)

    @property
    def has_room(self) -> bool:
        return not self.problem or self._index.pending_rows < PENDING_ROWS_MAX

    def pace(self) -> Awaitable[None] | None:
        """Start flushes after a change; what to wait for when memory is full, else None."""
        rows = self._index.pending_rows
        if rows >= FLUSH_ROWS and self._flush is None and not self.problem:
            self._flush = asyncio.create_task(self._flush_once())
        elif rows and self._timer is None and not self._closing:
            self._timer = asyncio.create_task(self._flush_later())
        return self._flush if rows >= PENDING_ROWS_MAX else None

    async def _flush_later(self) -> None:
        await self._env.sleep(FLUSH_RETRY_S if self.problem else FLUSH_AFTER_S)
        self._timer = None
        if self._flush is None:
            self._flush = asyncio.create_task(self._flush_once())

    async def _flush_once(self) -> None:
        index = self._index
        if not index.pending_rows or index.flushing:
            self._flush = None
            return
        index.freeze(self._drive, self.place())
        written = False
        try:
            await self._env.offload(index.write_batch)
            written = True
            self.problem = ""
        except IndexUnreadable as error:
            # Nothing is lost: the volumes have everything. No space is the likely reason, and what
            # gives space back (punching) needs this flush.
            self.problem = str(error)
            await self._lane.run(partial(release_ballast, self._files))
        finally:
            index.thaw(written=written)
            self._flush = None
        self.nudge()
        self.pace()

    async def close(self) -> None:
        """Flush what is left. Call it after the writer has ended."""
        self._closing = True
        if self._trash_timer is not None:
            self._trash_timer.cancel()
            self._trash_timer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._flush is not None:
            await self._flush
        await self._flush_once()

    # -- holes

    async def step(self) -> bool:
        """Punch some dead records; True when there may be more to do at once."""
        if self._index.pending_rows >= FLUSH_ROWS:
            self.pace()
            return False  # the end of the flush nudges: until then this would only fill memory
        is_more = self._release_trash()
        if not self._index.garbage_waiting:
            return is_more
        batch = self._index.flushed_garbage(limit=PUNCH_RECORDS_MAX)
        if batch:
            if not await self._lane.run(partial(self._punch, batch)):
                return False  # on a full drive; another turn tries again
            for garbage in batch:
                self._index.freed(garbage)
        await self._unlink_dead()
        self.pace()
        return is_more or len(batch) == PUNCH_RECORDS_MAX

    def _release_trash(self) -> bool:
        """Let go of what was kept long enough; True when there may be more."""
        if self._trash_timer is not None or not (self._trash_ms or self._index.trash_bytes):
            return False  # it is not time to look yet, or there is nothing to look for
        try:
            count = self._index.release_trash(self._env.now_ms(), limit=PUNCH_RECORDS_MAX)
        except IndexUnreadable:
            count = 0  # seen again, and reported, by the next flush
        self.pace()
        if count < PUNCH_RECORDS_MAX and not self._closing:
            self._trash_timer = asyncio.create_task(self._look_later())
        return count == PUNCH_RECORDS_MAX

    async def _look_later(self) -> None:
        await self._env.sleep(TRASH_LOOK_S)
        self._trash_timer = None
        self.nudge()

    def _punch(self, batch: list[Garbage]) -> bool:
        """Blocking. False: there is no space to make holes, although there is no ballast."""
        try:
            self._make_holes(batch)
        except DriveFull:  # to split an extent takes a block
            release_ballast(self._files)
            try:
                self._make_holes(batch)
            except DriveFull:
                return False
        restore_ballast(self._files, reserve_bytes=self._reserve_bytes)
        return True

    def _make_holes(self, batch: list[Garbage]) -> None:
        touched: dict[int, Volume] = {}
        for number, start, end in _extents(batch):
            volume = self._volumes.get(number)
            if volume is not None:
                volume.file.punch(start, end - start)
                touched[number] = volume
        for volume in touched.values():
            volume.file.sync()

    async def _unlink_dead(self) -> None:
        newest = max(self._volumes, default=0)
        dead = []
        for number, volume in list(self._volumes.items()):
            if number == newest or self._index.volume_bytes.get(number, 0):
                continue
            if number in self._index.volume_bytes:
                self._index.forget_volume(number)
            elif self._index.is_forgotten(number):
                del self._volumes[number]
                dead.append(volume)
        if dead:
            await self._lane.run(partial(self._unlink, dead))
            for volume in dead:
                volume.unlinked = True
                volume.close_if_unused()

    def _unlink(self, volumes: list[Volume]) -> None:
        for volume in volumes:
            self._files.unlink(volume.name)
        self._files.sync_directory()


def _extents(batch: list[Garbage]) -> list[tuple[int, int, int]]:
    """Neighbouring records as one (volume number, start, end)."""
    extents: list[tuple[int, int, int]] = []
    for garbage in batch:
        end = garbage.offset + garbage.length
        if extents and extents[-1][0] == garbage.volume_number and extents[-1][2] == garbage.offset:
            extents[-1] = (garbage.volume_number, extents[-1][1], end)
        else:
            extents.append((garbage.volume_number, garbage.offset, end))
    return extents


def _nothing() -> None:
    return None
