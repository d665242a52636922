"""The trash of a node: what gateways delete stays on the drive for its time, and comes back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from storaged import trash, upkeep
from storaged.base.env import RealEnv
from storaged.base.ids import ShardId, StripeFamily, StripeId, datacenter_id, node_id
from storaged.local import INDEX_DIRECTORY, LocalNode, open_local_node
from storaged.node import DriveFull, NodeIdentity, ShardConflict, ShardMissing
from storaged.trash import TrashTooFull
from storaged.volume_index import VolumeIndex

pytestmark = pytest.mark.proves("B-08")

IDENTITY = NodeIdentity(node=node_id("d1"), datacenter=datacenter_id("paris"), country="fr")
FIRST = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
HOUR_MS = 3_600_000


class Clock(RealEnv):
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        super().__init__(threads_max=2)
        self.wall_ms = 1_000_000_000

    def now_ms(self) -> int:
        return self.wall_ms


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "TRASH_LOOK_S", 0.01)
    monkeypatch.setattr(upkeep, "FLUSH_AFTER_S", 0.01)


def shard(counter: int) -> ShardId:
    return ShardId(StripeId(StripeFamily.DATA, 1, counter), 0)


@asynccontextmanager
async def opened(
    directory: Path, clock: Clock, trash_ms: int = HOUR_MS, capacity_bytes: int = 1 << 30
) -> AsyncIterator[LocalNode]:
    node = await open_local_node(
        directory, IDENTITY, clock, capacity_bytes=capacity_bytes, trash_ms=trash_ms
    )
    try:
        yield node
    finally:
        await node.close()


async def put(node: LocalNode, counter: int, content: bytes) -> None:
    await node.put(shard(counter), b"about", content, fence=None, retain_until_ms=0)


async def got(node: LocalNode, counter: int, length: int) -> bytes:
    return bytes((await node.get(shard(counter), offset=0, length=length)).content)


async def settled(node: LocalNode, stored_bytes: int) -> None:
    """Wait until the trash is empty and no more than so much is on the drive."""
    async with asyncio.timeout(20):
        while node.trash.record_bytes or node.store.stored_bytes > stored_bytes:
            await asyncio.sleep(0.01)


def test_what_is_deleted_is_gone_for_gateways_and_comes_back_for_who_runs_the_node(
    tmp_path: Path,
) -> None:
    contents = {1: b"small", 2: b"x" * 300_000, 3: b""}

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            for counter, content in contents.items():
                await put(node, counter, content)
            before = node.store.stored_bytes
            assert await node.delete([shard(n) for n in contents]) == (None,) * 3
            for counter in contents:
                with pytest.raises(ShardMissing):
                    await node.stat(shard(counter))
            assert not (await node.list(FIRST, None, limit=10)).shards
            assert node.store.shard_count == 0 and node.store.stored_bytes >= before
        async with opened(tmp_path, clock) as node:
            held = node.trash.held()
            assert held.shards == 3 and held.record_bytes == node.trash.record_bytes > 300_000
            assert held.first_ends_ms == held.last_ends_ms == clock.wall_ms + HOUR_MS
            assert await node.trash.restore(0) == (3, 0, 0)
            for counter, content in contents.items():
                assert await got(node, counter, len(content)) == content
                assert (await node.verify(shard(counter))).attributes == b"about"
            assert await node.trash.restore(0) == (0, 3, 0)
        shutil.rmtree(tmp_path / INDEX_DIRECTORY)
        async with opened(tmp_path, clock) as node:
            assert node.scanned_all and node.store.shard_count == 3
            assert node.trash.held().shards == 3

    asyncio.run(main())


@pytest.mark.parametrize("loses_index", [False, True])
def test_its_time_is_in_the_record_whatever_becomes_of_index_and_configuration(
    tmp_path: Path, loses_index: bool
) -> None:
    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            await put(node, 1, b"x" * 100_000)
            await node.delete([shard(1)])
        clock.wall_ms += HOUR_MS - 1
        if loses_index:
            shutil.rmtree(tmp_path / INDEX_DIRECTORY)
        async with opened(tmp_path, clock, trash_ms=0) as node:  # as if it had been turned off
            await put(node, 2, b"y")
            await node.delete([shard(2)])  # this one is not kept
            await asyncio.sleep(0.1)
            assert node.trash.held().shards == 1
            clock.wall_ms += 2
            await settled(node, 3 * 4096)
            assert await node.trash.restore(0) == (0, 0, 0)

    asyncio.run(main())


def test_space_in_the_trash_is_not_given_to_anybody_before_its_time(tmp_path: Path) -> None:
    """A gateway that was taken over fills the node, and has no more of it than room."""

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock, capacity_bytes=2 << 20) as node:
            await put(node, 1, b"x" * 1_000_000)
            await node.delete([shard(1)])
            with pytest.raises(DriveFull):
                for counter in range(2, 9):
                    await put(node, counter, b"y" * 400_000)
                    await node.delete([shard(counter)])
            clock.wall_ms += HOUR_MS + 1
            await settled(node, 1 << 20)
            await put(node, 9, b"z" * 1_000_000)

    asyncio.run(main())


def test_another_shard_under_a_deleted_id_is_replaced_only_if_that_is_said(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            for content in (b"first", b"right"):
                await put(node, 1, content)
                await node.delete([shard(1)])
                clock.wall_ms += 1000
            await put(node, 1, b"wrong")
            with pytest.raises(ShardConflict):
                await put(node, 1, b"other")
        async with opened(tmp_path, clock) as node:
            assert await node.trash.restore(0) == (0, 1, 0)
            assert await got(node, 1, 5) == b"wrong"
            assert await node.trash.restore(0, replaces=True) == (1, 0, 0)
            assert await got(node, 1, 5) == b"right"

    asyncio.run(main())


def test_only_what_was_deleted_since(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            for counter in (1, 2):
                await put(node, counter, b"x")
            await node.delete([shard(1)])
            clock.wall_ms += 60_000
            since_ms = clock.wall_ms
            await node.delete([shard(2)])
        async with opened(tmp_path, clock) as node:
            assert await node.trash.restore(since_ms + HOUR_MS) == (1, 0, 0)
            assert await got(node, 2, 1) == b"x"
            with pytest.raises(ShardMissing):
                await got(node, 1, 1)

    asyncio.run(main())


def test_a_damaged_record_does_not_keep_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            await put(node, 1, b"a" * 5000)
            await put(node, 2, b"b" * 5000)
            await node.delete([shard(1), shard(2)])
        (volume,) = tmp_path.glob("*.vol")
        raw = bytearray(volume.read_bytes())
        raw[raw.index(b"a" * 100) + 7] ^= 1
        volume.write_bytes(raw)
        async with opened(tmp_path, clock) as node:
            assert await node.trash.restore(0) == (1, 0, 1)
            assert await got(node, 2, 5000) == b"b" * 5000

    asyncio.run(main())


def test_a_restore_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "RESTORED_MAX", 2)

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            for counter in range(3):
                await put(node, counter, b"x")
            await node.delete([shard(n) for n in range(3)])
        async with opened(tmp_path, clock) as node:
            with pytest.raises(TrashTooFull):
                await node.trash.restore(0)

    asyncio.run(main())


def test_much_trash_whose_time_ends_at_once_is_let_go_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is written before the next is taken: memory stays small, and others have turns."""
    monkeypatch.setattr(upkeep, "FLUSH_ROWS", 40)
    monkeypatch.setattr(upkeep, "PUNCH_RECORDS_MAX", 10)
    really = VolumeIndex.release_trash
    pending: list[int] = []

    def release(index: VolumeIndex, now_ms: int, *, limit: int) -> int:
        count = really(index, now_ms, limit=limit)
        pending.append(index.pending_rows)
        return count

    monkeypatch.setattr(VolumeIndex, "release_trash", release)

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            for first in range(0, 400, 100):
                await asyncio.gather(*(put(node, n, b"x") for n in range(first, first + 100)))
            await node.delete([shard(n) for n in range(400)])
            await put(node, 1000, b"y")
        clock.wall_ms += HOUR_MS + 1
        async with opened(tmp_path, clock) as node:
            await settled(node, 2 * 4096)
            assert max(pending) <= 40 + 2 * 10 + len(("garbage", "meta", "trash"))
            assert await got(node, 1000, 1) == b"y"

    asyncio.run(main())


def test_what_must_be_kept_is_not_deleted_for_what_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as node:
            for counter in (1, 2):
                await put(node, counter, b"first")
            await node.delete([shard(1), shard(2)])
            kept_ms = clock.wall_ms + HOUR_MS
            await node.put(shard(1), b"a", b"locked", fence=None, retain_until_ms=kept_ms)
        async with opened(tmp_path, clock) as node:
            assert await node.trash.restore(0, replaces=True) == (1, 1, 0)
            assert await got(node, 1, 6) == b"locked"
            assert await got(node, 2, 5) == b"first"

    asyncio.run(main())
