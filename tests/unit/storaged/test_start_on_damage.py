"""A node that starts on a drive or an index that says less than is there: nothing is given up for
what is not seen.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import lmdb
import pytest

from storaged import upkeep, writer
from storaged.files import ReadFailed
from storaged.index_tables import MemoryTables
from storaged.local import LocalNode, open_node_over
from tests.support.crashable_files import CrashableFiles
from tests.support.turn_env import TurnEnv
from tests.unit.storaged.test_local_damage import IDENTITY, opened, put, shard


@pytest.mark.parametrize("row", [None, bytes(8)])
def test_a_volume_that_the_index_takes_for_empty_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: bytes | None
) -> None:
    """The row that says how full it is was lost or altered: it is not unlinked for that."""
    monkeypatch.setattr(upkeep, "FLUSH_AFTER_S", 0.01)
    monkeypatch.setattr(writer, "VOLUME_BYTES", writer.GROUP_BYTES_MAX + 8 * 4096)

    async def story() -> None:
        async with opened(tmp_path) as node:
            for counter in range(30):
                await put(node, counter, bytes([counter]) * 5000)
        assert len(list(tmp_path.glob("*.vol"))) > 3
        with (
            lmdb.open(str(tmp_path / "index"), max_dbs=16, map_size=1 << 38) as environment,
            environment.begin(write=True) as transaction,
        ):
            table, key = environment.open_db(b"volumes", transaction), (1).to_bytes(4, "big")
            assert transaction.get(key, db=table)
            if row is None:
                transaction.delete(key, db=table)
            else:
                transaction.put(key, row, db=table)
        async with opened(tmp_path) as node:
            for counter in range(30, 34):
                await put(node, counter, bytes([counter]) * 5000)
                await node.delete([shard(counter)])
                await asyncio.sleep(0.1)
            for counter in range(30):
                found = await node.get(shard(counter), offset=0, length=5000)
                assert found.content == bytes([counter]) * 5000

    asyncio.run(story())


def test_a_volume_that_is_empty_goes_after_a_restart_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "VOLUME_BYTES", writer.GROUP_BYTES_MAX + 8 * 4096)
    monkeypatch.setattr(upkeep, "FLUSH_AFTER_S", 0.01)
    monkeypatch.setattr(upkeep.Upkeep, "_unlink", lambda *_: None)

    async def story() -> None:
        async with opened(tmp_path) as node:
            for counter in range(30):
                await put(node, counter, bytes([counter]) * 5000)
            await node.delete([shard(n) for n in range(20)])
            async with asyncio.timeout(20):
                while len(node.store._volumes) > 4:
                    await asyncio.sleep(0.01)
            left = len(node.store._volumes)
        assert len(list(tmp_path.glob("*.vol"))) > left, "a crash before they were unlinked"
        monkeypatch.undo()
        async with opened(tmp_path) as node:
            assert not node.scanned_all
            async with asyncio.timeout(20):
                while len(list(tmp_path.glob("*.vol"))) > left:
                    await asyncio.sleep(0.01)

    asyncio.run(story())


def test_a_volume_that_cannot_be_read_is_not_taken_for_one_that_was_never_written() -> None:
    """A drive that fails for a while at the start of its node costs the start, not the volume."""

    async def story() -> None:
        files = CrashableFiles(Random(5))
        node = await _opened_over(files, MemoryTables())
        await put(node, 1, b"fine")
        await node.close()
        name = _volume(files)
        content = files.content(name)
        content.bad_reads.update(range(len(content.current) // 4096 + 1))
        with pytest.raises(ReadFailed):
            await _opened_over(files, MemoryTables())
        assert name in files.names()
        content.bad_reads.clear()
        again = await _opened_over(files, MemoryTables())
        assert bytes((await again.get(shard(1), offset=0, length=4)).content) == b"fine"
        await again.close()

    asyncio.run(story())


def test_what_cannot_be_read_at_the_start_is_not_written_over() -> None:
    async def story() -> None:
        files, tables = CrashableFiles(Random(6)), MemoryTables()
        node = await _opened_over(files, tables)
        for counter in range(5):
            await put(node, counter, bytes([counter]) * 4000)
        files.kill()  # before a flush
        content = files.content(_volume(files))
        last = content.current.rindex(bytes([4]) * 4000) // 4096
        content.bad_reads.update((last - 1, last))
        again = await _opened_over(files, tables)
        for counter in range(10, 13):
            await put(again, counter, bytes([counter]) * 4000)
        await again.close()
        content.bad_reads.clear()
        healed = await _opened_over(files, MemoryTables())
        for counter in (*range(5), *range(10, 13)):
            found = await healed.get(shard(counter), offset=0, length=4000)
            assert bytes(found.content) == bytes([counter]) * 4000
        await healed.close()

    asyncio.run(story())


async def _opened_over(files: CrashableFiles, tables: MemoryTables) -> LocalNode:
    return await open_node_over(
        files,
        lambda: tables,
        IDENTITY,
        TurnEnv(Random(7)),
        lane=None,
        capacity_bytes=None,
        reserve_bytes=0,
    )


def _volume(files: CrashableFiles) -> str:
    return next(name for name in files.names() if name.endswith(".vol"))
