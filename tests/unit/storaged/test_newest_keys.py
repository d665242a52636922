"""Shards that a drive cannot hold are known without a look at its tables, and no held one is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.index_tables import LmdbTables, MemoryTables, Tables
from storaged.volume_index import Location, VolumeIndex, Watermark, encode_location

PLACE = Location(1, 4096, 7, 120, 12, 4096, 0)
DATA, PACK, COMMIT = StripeFamily


def key(family: StripeFamily, counter: int, epoch: int = 3) -> bytes:
    return ShardId(StripeId(family, epoch, counter), 2).encode()


def flushed(index: VolumeIndex) -> None:
    index.freeze(b"drive", Watermark(1, 0, 1))
    index.write_batch()
    index.thaw(written=True)


@pytest.fixture(params=["memory", "lmdb"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    made: dict[str, Callable[[], Tables]] = {
        "memory": MemoryTables,
        "lmdb": lambda: LmdbTables(tmp_path),
    }
    return made[request.param]()


def test_only_what_is_above_all_that_was_held_is_new(tables: Tables) -> None:
    index = VolumeIndex(tables)
    assert index.is_new(key(COMMIT, 5)) and index.is_new(key(DATA, 5))
    index.put(key(COMMIT, 5), PLACE, record_bytes=4096)
    for other in (VolumeIndex(tables), index):
        assert other.is_new(key(COMMIT, 5)) == (other is not index)
    flushed(index)
    for other in (VolumeIndex(tables), index):
        assert not other.is_new(key(COMMIT, 5)) and not other.is_new(key(COMMIT, 4))
        assert not other.is_new(key(COMMIT, 9, epoch=2))
        assert other.is_new(key(COMMIT, 6)) and other.is_new(key(COMMIT, 0, epoch=4))
        assert other.is_new(key(DATA, 1)) and other.is_new(key(PACK, 1)), "families are apart"
        assert not other.is_new(b"\x09" + key(DATA, 1)[1:]), "no such family"


def test_what_was_forgotten_is_not_new(tables: Tables) -> None:
    index = VolumeIndex(tables)
    index.put(key(PACK, 5), PLACE, record_bytes=4096)
    flushed(index)
    index.supersede(key(PACK, 5), PLACE, length=4096)
    assert not index.is_new(key(PACK, 5))
    index.clear()
    assert not index.is_new(key(PACK, 5)), "a rebuild forgets no key"
    index.put(key(PACK, 4), PLACE, record_bytes=4096)
    assert index.is_new(key(PACK, 6)) and not index.is_new(key(PACK, 5))


def test_an_altered_last_row_makes_no_key_new(tables: Tables) -> None:
    for altered in (key(DATA, 1), key(DATA, 900)):  # a flipped bit of the key, and one of the row
        row = encode_location(key(DATA, 800), PLACE)
        tables.apply({"shards": {key(DATA, 700): row, altered: row}})
        index = VolumeIndex(tables)
        assert not index.is_new(key(DATA, 1000)) and index.is_new(key(COMMIT, 1))
        tables.apply({"shards": {key(DATA, 700): None, altered: None}})
