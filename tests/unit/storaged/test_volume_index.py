"""Rows of a node's index: what they hold, what they refuse, what they take on a drive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import Struct

import pytest
from awscrt.checksums import crc32c

from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.limits import BLOCK_BYTES
from storaged.index_tables import IndexUnreadable, LmdbTables, MemoryTables
from storaged.volume_index import (
    TRASH_PAGE_ROWS,
    Killer,
    Location,
    VolumeIndex,
    Watermark,
    decode_location,
    encode_location,
)

KEY = ShardId(StripeId(StripeFamily.COMMIT, 1, 7), 3).encode()
SMALL = Location(1, 5 * BLOCK_BYTES, 9, 200, 12, 1024, 0)
SHORT_BYTES = 21
LONG_BYTES = 39


@dataclass(frozen=True, slots=True)
class Case:
    location: Location
    row_bytes: int


@pytest.mark.parametrize(
    "case",
    [
        Case(SMALL, SHORT_BYTES),
        Case(
            Location(65_535, ((1 << 32) - 1) * BLOCK_BYTES, (1 << 32) - 1, 4096, 16, 1 << 22, 0), 21
        ),
        Case(SMALL._replace(volume_number=65_536), LONG_BYTES),
        Case(SMALL._replace(offset=(1 << 32) * BLOCK_BYTES), LONG_BYTES),
        Case(SMALL._replace(offset=1), LONG_BYTES),
        Case(SMALL._replace(sequence=1 << 32), LONG_BYTES),
        Case(SMALL._replace(retain_until_ms=1), LONG_BYTES),
    ],
)
def test_a_row_gives_back_its_location_and_refuses_every_flip(case: Case) -> None:
    row = encode_location(KEY, case.location)
    assert len(row) == case.row_bytes
    assert decode_location(KEY, row) == case.location
    for at in range(len(row)):
        with pytest.raises(IndexUnreadable):
            decode_location(KEY, row[:at] + bytes((row[at] ^ 1,)) + row[at + 1 :])
    for damaged in (row[:-1], row + b"\0", b""):
        with pytest.raises(IndexUnreadable):
            decode_location(KEY, damaged)
    with pytest.raises(IndexUnreadable):
        decode_location(KEY[:-1] + b"\4", row)


def test_a_long_row_of_small_numbers_is_read() -> None:
    """What an index may hold that was written before there were short rows."""
    body = Struct(">IQQHBIQ").pack(*SMALL)
    row = body + crc32c(KEY + body).to_bytes(4, "big")
    assert decode_location(KEY, row) == SMALL


def test_a_shard_takes_some_fifty_bytes_of_a_drive(tmp_path: Path) -> None:
    """17 bytes of key, 21 of row, 10 of LMDB's node; pages are filled one after the other."""
    tables = LmdbTables(tmp_path)
    count, batch = 20_000, 200
    for first in range(0, count, batch):
        rows: dict[bytes, bytes | None] = {}
        for number in range(first, first + batch):
            key = ShardId(StripeId(StripeFamily.COMMIT, 1, number), number * 5 % 6).encode()
            location = SMALL._replace(offset=number * BLOCK_BYTES, sequence=number)
            rows[key] = encode_location(key, location)
        tables.apply({"shards": rows})
    tables.close()
    assert (tmp_path / "data.mdb").stat().st_blocks * 512 < 55 * count


class CountingTables(MemoryTables):
    """Knows how many rows of a table were asked for at once."""

    def __init__(self) -> None:
        super().__init__()
        self.rows_most = 0

    def scan(
        self, table: str, start: bytes, end: bytes | None, *, limit: int
    ) -> list[tuple[bytes, bytes]]:
        rows = super().scan(table, start, end, limit=limit)
        self.rows_most = max(self.rows_most, len(rows))
        return rows


def test_an_index_with_much_trash_is_opened_page_by_page() -> None:
    """A node may hold some ten million deleted records."""
    tables = CountingTables()
    index = VolumeIndex(tables)
    killer = Killer(1, 0, BLOCK_BYTES, keep_until_ms=5)
    count = 2 * TRASH_PAGE_ROWS + 1
    for number in range(count):
        at = SMALL._replace(offset=number * BLOCK_BYTES)
        index.kill(number.to_bytes(8, "big"), at, length=3 * BLOCK_BYTES, killer=killer)
    index.freeze(b"drive", Watermark(1, 0, 1))
    index.write_batch()
    index.thaw(written=True)
    assert VolumeIndex(tables).trash_bytes == index.trash_bytes == count * 3 * BLOCK_BYTES
    assert 0 < tables.rows_most <= TRASH_PAGE_ROWS
