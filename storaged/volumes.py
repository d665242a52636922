"""Volume files of one drive: append a group with one sync, read a range, scan for records.

Not for what records mean together: `storaged.recovery` and `storaged.writer` decide that. A volume
is `<uuid>.vol`; its first record names the node. Space is allocated ahead in steps, because a sync
that must also record a longer file takes twice as long. The ballast is a file of nothing that is
given up when a full drive must still take deletes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from storaged.base.env import Env
from storaged.base.limits import BLOCK_BYTES, RESERVE_BYTES, VOLUME_BYTES
from storaged.files import DriveFile, Files, ReadFailed
from storaged.node import Buffer, DriveFull, NodeBusy, NodeUnavailable
from storaged.promises import PROMISES_NAME
from storaged.shardformat import (
    Head,
    RecordCorrupt,
    attributes_of,
    check_pages,
    checksums_of,
    decode_head,
    page_span,
)
from storaged.volume_index import Location

T = TypeVar("T")
VOLUME_SUFFIX = ".vol"
BALLAST_NAME = "ballast"
ALLOCATE_STEP_BYTES = 4 * 1024 * 1024  # space taken ahead: few calls, and little lost per volume
INLINE_READ_BYTES = 64 * 1024  # reads up to it are one call from the record's start, in place
_SCAN_FIRST_BYTES = 64 * 1024  # a scan reads so much after a jump, then twice as much each time
_SCAN_MOST_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Volume:
    """One open volume file. `readers` counts reads in other threads, which need the descriptor."""

    number: int
    uuid: bytes
    file: DriveFile
    position: int = 0  # where the next record goes
    allocated_to: int = 0
    readers: int = 0
    unlinked: bool = False

    @property
    def name(self) -> str:
        return volume_name(self.uuid)

    def leave(self) -> None:
        """A read in another thread has ended."""
        self.readers -= 1
        self.close_if_unused()

    def close_if_unused(self) -> None:
        """Close an unlinked volume once nobody reads it."""
        if self.unlinked and self.readers == 0:
            self.file.close()


@dataclass(slots=True)
class Group:
    """What one turn of the writer puts on the drive, all or nothing acknowledged."""

    number: int
    uuid: bytes
    offset: int
    volume: Volume | None  # None: the group begins a new volume
    sealed: Volume | None = None  # the volume that the new one follows
    buffers: list[Buffer] = field(default_factory=list)
    end: int = 0
    promises: bytes | None = None
    may_use_ballast: bool = False


def volume_name(uuid: bytes) -> str:
    """File name of a volume."""
    return uuid.hex() + VOLUME_SUFFIX


def write_group(files: Files, group: Group) -> Volume | None:
    """Write and sync one group: promises first, then records. Blocking.

    Returns:
        The volume, its position still before the group; None when there is no space for the records
        (promises are durable all the same, and nothing of the records is left).

    Raises:
        NodeBusy: no descriptor was to be had; nothing of the records is written.
        StorageError: the drive failed; nothing may be written to it again.
    """
    if group.promises is not None:
        try:
            files.replace(PROMISES_NAME, group.promises)
        except DriveFull:
            release_ballast(files)
            files.replace(PROMISES_NAME, group.promises)
    if not group.buffers:
        return group.volume
    try:
        return _append(files, group)
    except DriveFull:
        if not group.may_use_ballast:
            return None
    release_ballast(files)
    try:
        return _append(files, group)
    except DriveFull:
        return None


def _append(files: Files, group: Group) -> Volume:
    volume = group.volume
    if volume is None:
        volume = Volume(
            number=group.number, uuid=group.uuid, file=files.create(volume_name(group.uuid))
        )
    try:
        if group.end > volume.allocated_to:
            step = ALLOCATE_STEP_BYTES
            target = max(group.end, min(-(-group.end // step) * step, VOLUME_BYTES))
            volume.file.allocate(volume.allocated_to, target - volume.allocated_to)
            volume.allocated_to = target
        volume.file.write(group.offset, group.buffers)
    except DriveFull:
        if group.volume is None:
            volume.file.close()
            files.unlink(volume.name)
        else:
            # Whole records of a refused group must not come back in a later scan.
            volume.file.truncate(volume.position)
            volume.file.sync()
            volume.allocated_to = volume.position
        raise
    volume.file.sync()
    if group.volume is None:
        files.sync_directory()
        if group.sealed is not None:
            group.sealed.file.truncate(group.sealed.position)
            group.sealed.allocated_to = group.sealed.position
    return volume


def release_ballast(files: Files) -> None:
    """Give up the reserve, so that deletes and promises still find space. Blocking."""
    files.unlink(BALLAST_NAME)
    files.sync_directory()


def restore_ballast(files: Files, *, reserve_bytes: int = RESERVE_BYTES) -> None:
    """Take the reserve again if there is ample space; another time where no descriptor is to be
    had. Blocking.
    """
    with suppress(DriveFull, NodeBusy):
        if reserve_bytes == 0 or BALLAST_NAME in files.names():
            return
        if files.space()[1] < 2 * reserve_bytes:
            return
        file = files.create(BALLAST_NAME)
        try:
            file.allocate(0, reserve_bytes)
        finally:
            file.close()


def read_range(
    volume: Volume, key: bytes, location: Location, *, start: int, end: int, cached_only: bool
) -> tuple[bytes, memoryview] | None:
    """Read and check the head and the pages around content [start, end). Blocking.

    Args:
        cached_only: give up, with None, rather than wait for the drive.

    Returns:
        Attributes, and content [start, end) as a view of a fresh buffer.

    Raises:
        RecordCorrupt: bytes fail a check or are of another shard. ReadFailed: the drive says so.
    """
    read = volume.file.read_cached if cached_only else volume.file.read
    head_bytes = location.head_bytes
    first, last = page_span(location.page_log2, location.content_bytes, start, end)
    if first == 0 or head_bytes + last <= INLINE_READ_BYTES:
        raw = read(location.offset, head_bytes + last)
        if raw is None:
            return None
        pages = memoryview(raw)[head_bytes + first :]
    else:
        raw = read(location.offset, head_bytes)
        content = read(location.offset + head_bytes + first, last - first)
        if raw is None or content is None:
            return None
        pages = memoryview(content)
    head = decode_head(raw, volume=volume.uuid, offset=location.offset)
    if head.shard != key or head.sequence != location.sequence or len(pages) != last - first:
        raise RecordCorrupt(offset=location.offset, reason="not the record of the index")
    check_pages(raw, head, pages, start=first)
    return (attributes_of(raw, head), pages[start - first : end - first])


async def read_away(env: Env, volumes: Sequence[Volume], read: Callable[[], T]) -> T:
    """Run a read in a thread while its volumes stay open. Cancelled: a read that has begun goes on
    to its end, and they stay open until then; another does not begin.
    """
    for volume in volumes:
        volume.readers += 1

    def leave() -> None:
        for volume in volumes:
            volume.leave()

    loop = asyncio.get_running_loop()
    turn = [leave]  # whoever takes it sees to the leaving: the read, or who gives up before it

    def run() -> T:
        try:
            turn.pop()
        except IndexError:
            raise NodeUnavailable(reason="given up") from None
        try:
            return read()
        finally:  # here, not after the await: a cancelled read still uses the descriptors
            loop.call_soon_threadsafe(leave)

    try:
        return await env.offload(run)
    finally:
        with suppress(IndexError):
            turn.pop()()


def read_head(volume: Volume, key: bytes, location: Location, *, cached_only: bool) -> bytes | None:
    """Read and check the head of a record; its page checksums, 4 bytes each. Blocking.

    Args:
        cached_only: give up, with None, rather than wait for the drive.

    Raises:
        RecordCorrupt: bytes fail a check or are of another shard. ReadFailed: the drive says so.
    """
    read = volume.file.read_cached if cached_only else volume.file.read
    raw = read(location.offset, location.head_bytes)
    if raw is None:
        return None
    head = decode_head(raw, volume=volume.uuid, offset=location.offset)
    _check_is_of(head, key, location)
    return checksums_of(raw, head)


def _check_is_of(head: Head, key: bytes, location: Location) -> None:
    """Raises RecordCorrupt: this is not the record that the index means."""
    if (
        head.shard != key
        or head.sequence != location.sequence
        or head.content_bytes != location.content_bytes
        or head.page_log2 != location.page_log2
        or head.head_bytes != location.head_bytes
    ):
        raise RecordCorrupt(offset=location.offset, reason="not the record of the index")


def read_attributes(
    volumes: Mapping[int, Volume], wanted: Sequence[tuple[bytes, Location]]
) -> list[bytes | None]:
    """Attributes of many shards, None where the record is damaged or gone. Blocking."""
    attributes: list[bytes | None] = []
    for key, location in wanted:
        volume = volumes.get(location.volume_number)
        try:
            if volume is None:
                raise RecordCorrupt(reason="no such volume")
            got = read_range(volume, key, location, start=0, end=0, cached_only=False)
        except (RecordCorrupt, ReadFailed):
            got = None
        attributes.append(got[0] if got is not None else None)
    return attributes


def read_content(volume: Volume, head: Head) -> memoryview:
    """Read and check the whole content of a scanned record. Blocking."""
    raw = volume.file.read(head.offset, head.head_bytes + head.content_bytes)
    pages = memoryview(raw)[head.head_bytes :]
    if len(pages) != head.content_bytes:
        raise RecordCorrupt(offset=head.offset, reason="cut short")
    check_pages(raw, head, pages, start=0)
    return pages


def scan_records(
    volume: Volume, start: int, unread: list[ReadFailed] | None = None
) -> Iterator[Head]:
    """Every whole head of a volume from `start` (on a block) on, in place order. Blocking.

    Blocks that are no head (holes, torn records, space allocated ahead) and blocks that the drive
    cannot read are stepped over; of the latter `unread` tells.
    """
    unread = [] if unread is None else unread
    length = volume.file.length_bytes()
    position, window, chunk_at = start, _SCAN_FIRST_BYTES, -1
    chunk = b""
    while position < length:
        within = position - chunk_at
        if chunk_at < 0 or within >= len(chunk):
            follows = chunk_at >= 0 and within == len(chunk)
            window = min(2 * window, _SCAN_MOST_BYTES) if follows else _SCAN_FIRST_BYTES
            chunk = _read_window(volume.file, position, window, unread)
            chunk_at, within = position, 0
        block = memoryview(chunk)[within : within + BLOCK_BYTES]
        try:
            head = decode_head(block, volume=volume.uuid, offset=position)
        except RecordCorrupt:
            position += BLOCK_BYTES
            continue
        yield head
        position += head.record_bytes


def _read_window(file: DriveFile, position: int, window: int, unread: list[ReadFailed]) -> bytes:
    """A window of the file, less where the drive fails, a block of zeros where it fails at once."""
    for length in (window, BLOCK_BYTES):
        try:
            return file.read(position, length) or bytes(BLOCK_BYTES)
        except ReadFailed as error:
            failed = error
    unread[:] = [failed]
    return bytes(BLOCK_BYTES)
