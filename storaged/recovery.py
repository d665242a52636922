"""Opening a drive: which volumes are there, where the log ends, and an index that is up to date.

Not for anything that runs while the node serves. The index is trusted up to its watermark; what
comes after it is scanned, and without a trustworthy index everything is. Torn records, which only
the last group before a crash can have left, are wiped, so that no later scan meets them. All of it
is blocking and runs before the event loop sees the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from awscrt.checksums import crc32c

from storaged.base.env import Env
from storaged.base.errors import ConfigError, Kind, StorageError
from storaged.base.ids import SHARD_ID_BYTES, LogId
from storaged.base.limits import BLOCK_BYTES
from storaged.files import FileMissing, Files, ReadFailed
from storaged.index_tables import IndexUnreadable
from storaged.node import NodeIdentity
from storaged.promises import PROMISES_NAME, decode_promises, encode_promises
from storaged.shardformat import Head, RecordCorrupt, RecordKind, decode_head
from storaged.volume_index import Killer, Location, VolumeIndex, Watermark
from storaged.volumes import VOLUME_SUFFIX, Volume, read_content, scan_records

DRIVE_NAME = "drive"  # marks a directory as ours: magic, uuid, node id, CRC32C
_DRIVE_MAGIC = b"HXDRIVE\x01"
_CHECKSUM = Struct(">I")
_SCAN_FLUSH_ROWS = 100_000  # rows a scan collects before it writes them: some 30 MB


class ForeignDrive(ConfigError):
    """The directory belongs to another node."""

    hint = "check the node id and the directory in the configuration"


class DriveMarkUnreadable(StorageError):
    """The file that marks a node directory is damaged."""

    kind = Kind.CORRUPT
    hint = "replace the node: wipe its directory, give it another id, and let repair fill it"


@dataclass(slots=True)
class Recovered:
    """An opened drive."""

    drive: bytes
    volumes: dict[int, Volume]
    next_sequence: int
    promises: dict[LogId, tuple[int, bytes]]
    scanned_all: bool
    scanned_count: int = 0
    touched: set[int] = field(default_factory=set)

    def place(self) -> Watermark:
        """The end of the log."""
        number = max(self.volumes, default=0)
        position = self.volumes[number].position if number else 0
        return Watermark(number, position, self.next_sequence)


def open_drive(files: Files, index: VolumeIndex, identity: NodeIdentity, env: Env) -> Recovered:
    """Open or create a drive.

    Raises:
        ForeignDrive, DriveMarkUnreadable, PromisesUnreadable, DriveOutOfService, ReadFailed.
    """
    drive = _open_mark(files, identity, env)
    # A stop between a rename and its sync leaves names that only memory holds: what they name is
    # about to be relied on, so they must be durable first.
    files.sync_directory()
    promises = decode_promises(_read_small(files, PROMISES_NAME))
    volumes = _open_volumes(files)
    watermark = _trusted_watermark(index, drive, volumes)
    if watermark is None:
        index.clear()
    recovered = Recovered(
        drive=drive,
        volumes=volumes,
        next_sequence=watermark.next_sequence if watermark else 1,
        promises=promises,
        scanned_all=watermark is None and bool(volumes),
    )
    _scan(recovered, index, watermark or Watermark(0, 0, 1))
    # A crash of the process leaves whole records that only the page cache holds: they are about to
    # be served, so they must be durable first.
    for number in recovered.touched:
        volumes[number].file.sync()
    if recovered.scanned_count or watermark is None:
        _flush(recovered, index)
    return recovered


def _read_small(files: Files, name: str) -> bytes:
    file = files.open(name)
    try:
        return file.read(0, file.length_bytes())
    finally:
        file.close()


def _open_mark(files: Files, identity: NodeIdentity, env: Env) -> bytes:
    node = identity.node.encode("ascii")
    try:
        raw = _read_small(files, DRIVE_NAME)
    except FileMissing:
        if any(name.endswith(VOLUME_SUFFIX) for name in files.names()):
            raise DriveMarkUnreadable(file=DRIVE_NAME) from None
        drive = env.random_bytes(16)
        body = _DRIVE_MAGIC + drive + node
        # The mark comes last: a directory that has it also has its promises.
        files.replace(PROMISES_NAME, encode_promises({}))
        files.replace(DRIVE_NAME, body + _CHECKSUM.pack(crc32c(body)))
        return drive
    if len(raw) < 28 or raw[:8] != _DRIVE_MAGIC or raw[-4:] != _CHECKSUM.pack(crc32c(raw[:-4])):
        raise DriveMarkUnreadable(file=DRIVE_NAME)
    if raw[24:-4] != node:
        raise ForeignDrive(node=identity.node, found=raw[24:-4].decode("ascii", "replace"))
    return raw[8:24]


def _open_volumes(files: Files) -> dict[int, Volume]:
    volumes: dict[int, Volume] = {}
    for name in files.names():
        stem = name.removesuffix(VOLUME_SUFFIX)
        if stem == name or len(stem) != 32:
            continue
        file = files.open(name)
        volume = Volume(number=0, uuid=bytes.fromhex(stem), file=file)
        volume.number = _number_of(volume)
        if volume.number == 0:
            # Nothing whole is in it: it was created by a group that was never acknowledged.
            file.close()
            files.unlink(name)
            continue
        volume.allocated_to = volume.position = file.length_bytes()
        volumes[volume.number] = volume
    return volumes


def _number_of(volume: Volume) -> int:
    try:
        block = volume.file.read(0, BLOCK_BYTES)
        return decode_head(block, volume=volume.uuid, offset=0).volume_number
    except (RecordCorrupt, ReadFailed):
        unread: list[ReadFailed] = []
        head = next(scan_records(volume, 0, unread), None)
        if head is None and unread:
            raise unread[0] from None  # it may be full of shards
        return head.volume_number if head is not None else 0


def _trusted_watermark(
    index: VolumeIndex, drive: bytes, volumes: dict[int, Volume]
) -> Watermark | None:
    try:
        watermark = index.watermark(drive)
    except IndexUnreadable:
        return None
    if watermark is None or not index.volume_bytes.keys() <= volumes.keys():
        return None
    if watermark.volume_number == 0:
        return watermark
    newest = volumes.get(watermark.volume_number)
    if newest is None or newest.file.length_bytes() < watermark.offset:
        return None
    for number, volume in volumes.items():
        is_indexed = number <= watermark.volume_number
        if is_indexed and not index.volume_bytes.get(number) and _holds_any(index, volume):
            return None
    return watermark


def _holds_any(index: VolumeIndex, volume: Volume) -> bool:
    """Whether the index names a shard in a volume. One that it takes for empty is about to be
    unlinked, and the row that says so has no checksum.
    """
    for head in scan_records(volume, 0):
        if head.kind == RecordKind.PUT:
            try:
                held = index.get(head.shard)
            except IndexUnreadable:
                return True
            if held is not None and (held.volume_number, held.offset) == (
                volume.number,
                head.offset,
            ):
                return True
    return False


def _scan(recovered: Recovered, index: VolumeIndex, watermark: Watermark) -> None:
    newest = max(recovered.volumes, default=0)
    for number in sorted(recovered.volumes):
        if number < watermark.volume_number:
            continue
        volume = recovered.volumes[number]
        start = watermark.offset if number == watermark.volume_number else 0
        end = start
        wiped = False
        check_content = number == newest or not recovered.scanned_all
        unread: list[ReadFailed] = []
        for head in scan_records(volume, start, unread):
            end = head.offset + head.record_bytes
            recovered.next_sequence = max(recovered.next_sequence, head.sequence + 1)
            recovered.scanned_count += 1
            if not _apply(index, volume, head, check_content=check_content):
                volume.file.punch(head.offset, head.record_bytes)
                wiped = True
            volume.position = end
            if index.pending_rows >= _SCAN_FLUSH_ROWS:
                volume.file.sync()
                index.freeze(recovered.drive, Watermark(number, end, recovered.next_sequence))
                index.write_batch()
                index.thaw(written=True)
        if unread:
            # There may be records all the same: nothing is written over them, nor numbered as they.
            blocks = -(-volume.file.length_bytes() // BLOCK_BYTES)
            recovered.next_sequence += max(0, blocks - end // BLOCK_BYTES)
            end = max(end, blocks * BLOCK_BYTES)
        volume.position = max(end, BLOCK_BYTES)
        if wiped or end > start or number == newest:
            recovered.touched.add(number)


def _apply(index: VolumeIndex, volume: Volume, head: Head, *, check_content: bool) -> bool:
    """Bring one record into the index; False: it is torn."""
    if head.kind == RecordKind.VOLUME:
        return True
    content = None
    if check_content or head.kind == RecordKind.DELETE:
        try:
            content = read_content(volume, head)
        except RecordCorrupt:
            return not check_content
        except ReadFailed:
            if head.kind == RecordKind.DELETE:
                return True
    if head.kind == RecordKind.PUT:
        _apply_put(index, head)
    elif head.kind == RecordKind.DELETE and content is not None:
        _apply_delete(index, head, bytes(content))
    return True


def _apply_put(index: VolumeIndex, head: Head) -> None:
    before = index.get(head.shard)
    if before is not None:
        index.supersede(head.shard, before, length=record_bytes_at(before))
    index.put(head.shard, location_of(head), record_bytes=head.record_bytes)


def _apply_delete(index: VolumeIndex, head: Head, ids: bytes) -> None:
    place = Killer(head.volume_number, head.offset, head.record_bytes, head.retain_until_ms)
    index.occupy(head.volume_number, head.record_bytes)
    for start in range(0, len(ids) - SHARD_ID_BYTES + 1, SHARD_ID_BYTES):
        key = ids[start : start + SHARD_ID_BYTES]
        before = index.get(key)
        if before is not None and before.sequence < head.sequence:
            index.kill(key, before, length=record_bytes_at(before), killer=place)
    if not index.is_pinned(place[:2]):
        index.discard(*place[:3])


def location_of(head: Head) -> Location:
    """The index row of a record."""
    return Location(
        head.volume_number,
        head.offset,
        head.sequence,
        head.head_bytes,
        head.page_log2,
        head.content_bytes,
        head.retain_until_ms,
    )


def record_bytes_at(location: Location) -> int:
    """Length of a record on the drive."""
    return -(-(location.head_bytes + location.content_bytes) // BLOCK_BYTES) * BLOCK_BYTES


def _flush(recovered: Recovered, index: VolumeIndex) -> None:
    index.freeze(recovered.drive, recovered.place())
    index.write_batch()
    index.thaw(written=True)
