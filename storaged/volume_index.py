"""The index of a drive: which record holds a shard, what is dead, how full each volume is.

Not for records themselves. Rows go into a pending layer first and reach the tables in batches, so
the index is never waited for by a put; a watermark row in the same batch says up to where the
volumes are indexed. All methods but `write_batch` belong to the event loop (or to recovery, before
it runs).

Rows of garbage are dead records whose space is still held. A delete record is pinned by the records
it killed: it becomes garbage itself when the last of them has been punched and synced, because
until then a scan would bring them back without it.

Rows of trash are dead records that are kept for a time, in the order in which that ends; then they
become garbage. Until then their bytes stay as they were (`storaged.trash`).
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

from awscrt.checksums import crc32c

from storaged.base.limits import BLOCK_BYTES
from storaged.index_tables import TABLES, IndexUnreadable, Tables
from storaged.newest_keys import NewestKeys

INDEX_FORMAT = b"1"
FLUSH_ROWS = 4096  # changed rows that start a flush: some 10 ms of LMDB time
PENDING_ROWS_MAX = 262_144  # changed rows in memory (about 80 MB), beyond: writes wait for a flush
TRASH_PAGE_ROWS = 10_000  # read at once at the opening

# A row of the index, short where its numbers are small and nothing is retained: with 27 bytes for
# key and node, 48 bytes a shard on the drive and not 66. The length tells which of the two it is.
_LOCATION = Struct(">IQQHBIQ")
_SHORT_LOCATION = Struct(">HIIHBI")
_ROW_CHECK = Struct(">I")
_PLACE = Struct(">IQ")
_GARBAGE = Struct(">IIQ")
_TRASH = Struct(">QIQ")
_WATERMARK = Struct(">IQQ")
_U64 = Struct(">Q")
_U16_MAX = (1 << 16) - 1
_U32_MAX = (1 << 32) - 1
_U64_MAX = (1 << 64) - 1
_PIN = Struct(">QQ")
_NO_ROWS: Mapping[bytes, bytes | None] = {}


class Location(NamedTuple):
    """Where a shard's record is, and what a read must know before it reads."""

    volume_number: int
    offset: int
    sequence: int
    head_bytes: int
    page_log2: int
    content_bytes: int
    retain_until_ms: int


class Watermark(NamedTuple):
    """Everything before this place is in the tables."""

    volume_number: int
    offset: int
    next_sequence: int


class Killer(NamedTuple):
    """A delete record: its place and its length on the drive.

    Args:
        keep_until_ms: what it kills is trash until then; 0: it is garbage at once.
    """

    volume_number: int
    offset: int
    length: int
    keep_until_ms: int = 0


class Trashed(NamedTuple):
    """A dead record that is kept."""

    keep_until_ms: int
    volume_number: int
    offset: int
    length: int


class Garbage(NamedTuple):
    """A dead record. `killer` is the place of its delete record, None for one that needs none."""

    volume_number: int
    offset: int
    length: int
    killer: tuple[int, int] | None


def encode_location(key: bytes, location: Location) -> bytes:
    """The row of a shard; its CRC32C also covers the key."""
    volume_number, offset, sequence, head_bytes, page_log2, content_bytes, retain_until_ms = (
        location
    )
    block, inside = divmod(offset, BLOCK_BYTES)
    if (
        volume_number <= _U16_MAX
        and max(block, sequence) <= _U32_MAX
        and not inside | retain_until_ms
    ):
        body = _SHORT_LOCATION.pack(
            volume_number, block, sequence, head_bytes, page_log2, content_bytes
        )
    else:
        body = _LOCATION.pack(*location)
    return body + _ROW_CHECK.pack(crc32c(key + body))


def decode_location(key: bytes, row: bytes) -> Location:
    """Raises `IndexUnreadable` when the row was altered."""
    is_short = len(row) == _SHORT_LOCATION.size + 4
    if not is_short and len(row) != _LOCATION.size + 4:
        raise IndexUnreadable(reason="row length")
    body = row[:-4]
    if crc32c(key + body) != _ROW_CHECK.unpack_from(row, len(body))[0]:
        raise IndexUnreadable(reason="row checksum")
    if not is_short:
        return Location._make(_LOCATION.unpack(body))
    volume_number, block, sequence, head_bytes, page_log2, content_bytes = _SHORT_LOCATION.unpack(
        body
    )
    return Location(
        volume_number, block * BLOCK_BYTES, sequence, head_bytes, page_log2, content_bytes, 0
    )


class VolumeIndex:
    """Pending rows over tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._pending: dict[str, dict[bytes, bytes | None]] = {table: {} for table in TABLES}
        self._frozen: dict[str, dict[bytes, bytes | None]] | None = None
        self._shards = self._pending["shards"]
        self._frozen_shards: Mapping[bytes, bytes | None] = _NO_ROWS
        self.suspect = False  # damage was seen: the next opening rebuilds the index
        self.garbage_waiting = True  # garbage in the tables, as far as is known
        self.shard_count = tables.count("shards")
        self.volume_bytes: dict[int, int] = {
            int.from_bytes(key, "big"): _U64.unpack(row)[0]
            for key, row in tables.scan("volumes", b"", None, limit=1 << 32)
        }
        self.stored_bytes = sum(self.volume_bytes.values())
        self.trash_bytes = self._sum_of_trash()
        self._held_keys = NewestKeys(tables, decode_location)
        self.is_new = self._held_keys.is_new  # for puts

    def _sum_of_trash(self) -> int:
        """For the opening, page by page: there may be millions of rows."""
        total, start = 0, b""
        while rows := self._tables.scan("trash", start, None, limit=TRASH_PAGE_ROWS):
            total += sum(_GARBAGE.unpack(row)[0] for _, row in rows)
            start = rows[-1][0] + b"\0"
        return total

    # -- shards

    def get(self, key: bytes) -> Location | None:
        """Where a shard is. Raises `IndexUnreadable`."""
        try:
            row = self.row(key)
            return None if row is None else decode_location(key, row)
        except IndexUnreadable:
            self.suspect = True
            raise

    def row(self, key: bytes) -> bytes | None:
        """The row of a shard as it is kept, for `decode_location`. Raises `IndexUnreadable`."""
        if key in self._shards:
            return self._shards[key]
        if key in self._frozen_shards:
            return self._frozen_shards[key]
        return self._tables.get("shards", key)

    def put(self, key: bytes, location: Location, *, record_bytes: int) -> None:
        """Note a record as the one of its shard. The shard was not held before."""
        self._shards[key] = encode_location(key, location)
        self._held_keys.note(key)
        self.shard_count += 1
        self.occupy(location.volume_number, record_bytes)

    def kill(self, key: bytes, location: Location, *, length: int, killer: Killer) -> None:
        """Forget a held shard; its record is garbage, or trash, and pins the delete record."""
        self._shards[key] = None
        self.shard_count -= 1
        place = _PLACE.pack(location.volume_number, location.offset)
        row = _GARBAGE.pack(length, *killer[:2])
        if killer.keep_until_ms:
            self._pending["trash"][_U64.pack(killer.keep_until_ms) + place] = row
            self.trash_bytes += length
        else:
            self._pending["garbage"][place] = row
        self._pin(killer[:2], 1, length=killer.length)

    def scan(self, start: bytes, end: bytes | None, *, limit: int) -> list[tuple[bytes, bytes]]:
        """Rows of shards with start ≤ key < end, at most `limit`, in byte order."""
        changed: dict[bytes, bytes | None] = {}
        for layer in (self._frozen_shards, self._shards):
            for key, row in layer.items():
                if key >= start and (end is None or key < end):
                    changed[key] = row
        removed = sum(1 for row in changed.values() if row is None)
        rows = dict(self._tables.scan("shards", start, end, limit=limit + removed))
        complete = len(rows) < limit + removed
        last = b"" if complete or not rows else max(rows)
        for key, row in changed.items():
            if row is None:
                rows.pop(key, None)
            elif complete or key <= last:
                rows[key] = row
        return sorted(rows.items())[:limit]

    # -- space

    def occupy(self, volume_number: int, length: int) -> None:
        """Count record bytes of a volume (negative: they were given back)."""
        self.volume_bytes[volume_number] = self.volume_bytes.get(volume_number, 0) + length
        self.stored_bytes += length
        row = _U64.pack(self.volume_bytes[volume_number])
        self._pending["volumes"][volume_number.to_bytes(4, "big")] = row

    def forget_volume(self, volume_number: int) -> None:
        """A volume is unlinked."""
        self.stored_bytes -= self.volume_bytes.pop(volume_number, 0)
        self._pending["volumes"][volume_number.to_bytes(4, "big")] = None

    def is_forgotten(self, volume_number: int) -> bool:
        """Whether the tables name this volume no more, so that its file may go."""
        key = volume_number.to_bytes(4, "big")
        return volume_number not in self.volume_bytes and self._tables.get("volumes", key) is None

    def supersede(self, key: bytes, location: Location, *, length: int) -> None:
        """Forget a held shard whose delete record was lost, because a later record is there."""
        self._shards[key] = None
        self.shard_count -= 1
        self.discard(location.volume_number, location.offset, length)

    def discard(self, volume_number: int, offset: int, length: int) -> None:
        """Note a record that nothing needs as garbage."""
        self._pending["garbage"][_PLACE.pack(volume_number, offset)] = _GARBAGE.pack(length, 0, 0)

    def trashed(self, start: bytes, end_ms: int, *, limit: int) -> list[tuple[bytes, Trashed]]:
        """Flushed rows of trash from a key on whose time ends before `end_ms`, the first to end
        first, with their keys.
        """
        hidden = set(self._pending["trash"])
        if self._frozen is not None:
            hidden.update(self._frozen["trash"])
        end = _U64.pack(min(end_ms, _U64_MAX))
        rows = self._tables.scan("trash", start, end, limit=limit + len(hidden))
        return [
            (key, Trashed._make((*_TRASH.unpack(key), _GARBAGE.unpack(row)[0])))
            for key, row in rows
            if key not in hidden
        ][:limit]

    def release_trash(self, now_ms: int, *, limit: int) -> int:
        """Make garbage of trash whose time has ended; how many records that were."""
        due = self.trashed(b"", now_ms + 1, limit=limit)
        for key, one in due:
            row = self._tables.get("trash", key)
            if row is not None:
                self._pending["trash"][key] = None
                self._pending["garbage"][_PLACE.pack(one.volume_number, one.offset)] = row
                self.trash_bytes -= one.length
        return len(due)

    def flushed_garbage(self, *, limit: int) -> list[Garbage]:
        """Dead records, in place order, whose death is in the tables; only these may be punched."""
        hidden = set(self._pending["garbage"])
        if self._frozen is not None:
            hidden.update(self._frozen["garbage"])
        found: list[Garbage] = []
        for key, row in self._tables.scan("garbage", b"", None, limit=limit + len(hidden)):
            if key in hidden or len(found) == limit:
                continue
            length, killer_volume, killer_offset = _GARBAGE.unpack(row)
            killer = (killer_volume, killer_offset) if killer_volume else None
            volume_number, offset = _PLACE.unpack(key)
            found.append(Garbage(volume_number, offset, length, killer))
        self.garbage_waiting = bool(found)
        return found

    def freed(self, garbage: Garbage) -> None:
        """A dead record was punched and synced."""
        place = _PLACE.pack(garbage.volume_number, garbage.offset)
        self._pending["garbage"][place] = None
        self.occupy(garbage.volume_number, -garbage.length)
        if garbage.killer is not None:
            self._pin(garbage.killer, -1, length=0)

    def _pin(self, place: tuple[int, int], change: int, *, length: int) -> None:
        key = _PLACE.pack(*place)
        row = self._newest("pins", key)
        count, killer_length = _PIN.unpack(row) if row is not None else (0, length)
        count += change
        self._pending["pins"][key] = _PIN.pack(count, killer_length) if count > 0 else None
        if count == 0:
            self.discard(*place, killer_length)

    def is_pinned(self, place: tuple[int, int]) -> bool:
        """Whether dead records still need this delete record."""
        return self._newest("pins", _PLACE.pack(*place)) is not None

    # -- meta

    def note(self, name: bytes, value: bytes) -> None:
        """Keep a small fact; it is durable after a flush."""
        self._pending["meta"][name] = value

    def noted(self, name: bytes) -> bytes | None:
        """A fact kept by `note`."""
        return self._newest("meta", name)

    def watermark(self, drive: bytes) -> Watermark | None:
        """Up to where the tables are complete; None when they are not of this drive or format."""
        if self.noted(b"format") != INDEX_FORMAT or self.noted(b"drive") != drive:
            return None
        row = self.noted(b"watermark")
        if row is None or len(row) != _WATERMARK.size + 4:
            return None
        if crc32c(row[:-4]) != _ROW_CHECK.unpack_from(row, _WATERMARK.size)[0]:
            return None
        return Watermark._make(_WATERMARK.unpack_from(row))

    def _newest(self, table: str, key: bytes) -> bytes | None:
        rows = self._pending[table]
        if key in rows:
            return rows[key]
        if self._frozen is not None and key in self._frozen[table]:
            return self._frozen[table][key]
        return self._tables.get(table, key)

    # -- flush

    @property
    def pending_rows(self) -> int:
        """Changed rows that no flush has taken yet."""
        tables = ("garbage", "meta", "trash")
        return len(self._shards) + sum(len(self._pending[table]) for table in tables)

    @property
    def flushing(self) -> bool:
        return self._frozen is not None

    def freeze(self, drive: bytes, watermark: Watermark) -> None:
        """Take all changes up to `watermark` as the next batch. One batch at a time."""
        assert self._frozen is None
        body = _WATERMARK.pack(*watermark)
        self.note(b"format", b"suspect" if self.suspect else INDEX_FORMAT)
        self.note(b"drive", drive)
        self.note(b"watermark", body + _ROW_CHECK.pack(crc32c(body)))
        self._frozen = self._pending
        self._frozen_shards = self._frozen["shards"]
        self._pending = {table: {} for table in TABLES}
        self._shards = self._pending["shards"]

    def write_batch(self) -> None:
        """Write the frozen batch; blocking, from any thread. Raises `IndexUnreadable`."""
        assert self._frozen is not None
        self._tables.apply(self._frozen)

    def thaw(self, *, written: bool) -> None:
        """End a batch; one that was not written goes back below the pending changes."""
        assert self._frozen is not None
        if written and self._frozen["garbage"]:
            self.garbage_waiting = True
        if not written:
            for table, rows in self._frozen.items():
                rows.update(self._pending[table])
                self._pending[table] = rows
            self._shards = self._pending["shards"]
        self._frozen = None
        self._frozen_shards = _NO_ROWS

    def clear(self) -> None:
        """Forget everything, for a rebuild."""
        self._tables.clear()
        self._pending = {table: {} for table in TABLES}
        self._frozen, self._frozen_shards = None, _NO_ROWS
        self._shards = self._pending["shards"]
        self.shard_count = self.stored_bytes = self.trash_bytes = 0
        self.volume_bytes = {}
        self.suspect = False

    def close(self) -> None:
        self._tables.close()
