"""`LocalNode` on real files: damage, restarts, rebuilt indexes, traces of syncs, scrub."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from storaged.base.env import RealEnv
from storaged.base.ids import ShardId, StripeFamily, StripeId, datacenter_id, node_id
from storaged.files import DirectoryInUse
from storaged.index_tables import MemoryTables
from storaged.local import LocalNode, open_local_node, open_node_over
from storaged.node import NodeIdentity, ShardCorrupt, ShardMissing
from storaged.promises import PromisesUnreadable
from storaged.recovery import ForeignDrive
from storaged.scrub import ScrubJob
from tests.support.crashable_files import CrashableFiles
from tests.support.turn_env import TurnEnv

IDENTITY = NodeIdentity(node=node_id("d1"), datacenter=datacenter_id("paris"), country="fr")
OTHER = NodeIdentity(node=node_id("d2"), datacenter=datacenter_id("paris"), country="fr")
FIRST = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)


def shard(counter: int) -> ShardId:
    return ShardId(StripeId(StripeFamily.DATA, 1, counter), 0)


@asynccontextmanager
async def opened(directory: Path, identity: NodeIdentity = IDENTITY) -> AsyncIterator[LocalNode]:
    env = RealEnv(threads_max=2)
    try:
        node = await open_local_node(directory, identity, env, reserve_bytes=1 << 20)
        try:
            yield node
        finally:
            await node.close()
    finally:
        env.close()


async def put(node: LocalNode, counter: int, content: bytes) -> None:
    await node.put(shard(counter), b"a", content, fence=None, retain_until_ms=0)


def only_volume(directory: Path) -> Path:
    (path,) = directory.glob("*.vol")
    return path


def flip(path: Path, needle: bytes, within: int) -> None:
    """Flip one bit of the byte `within` behind the only place where `needle` is."""
    raw = bytearray(path.read_bytes())
    at = raw.index(needle) + within
    raw[at] ^= 0x10
    path.write_bytes(raw)


async def raises(kind: type[Exception], call: Awaitable[object]) -> None:
    with pytest.raises(kind):
        await call


def test_restart_with_and_without_index(tmp_path: Path) -> None:
    async def story() -> None:
        contents = {n: Random(n).randbytes(n * 700) for n in range(60)}
        async with opened(tmp_path) as node:
            await asyncio.gather(*(put(node, n, content) for n, content in contents.items()))
            await node.delete([shard(n) for n in range(0, 60, 3)])
            assert (await node.fence(b"L" * 16, 3, b"i" * 16)).granted
        for damage in (lambda: None, _drop_index(tmp_path), _garble_index(tmp_path)):
            damage()
            async with opened(tmp_path) as node:
                assert node.scanned_all == (damage.__name__ != "<lambda>")
                for n, content in contents.items():
                    if n % 3 == 0:
                        await raises(ShardMissing, node.stat(shard(n)))
                    else:
                        got = await node.get(shard(n), offset=0, length=len(content))
                        assert got.content == content
                assert (await node.status()).shard_count == 40
                assert (await node.fence(b"L" * 16, 3, b"i" * 16)).granted

    asyncio.run(story())


def _drop_index(directory: Path) -> Callable[[], None]:
    def drop() -> None:
        shutil.rmtree(directory / "index")

    return drop


def _garble_index(directory: Path) -> Callable[[], None]:
    def garble() -> None:
        (directory / "index" / "data.mdb").write_bytes(Random(1).randbytes(40_960))

    return garble


@pytest.mark.parametrize("within", [0, 4097, 299_999])
def test_flipped_content_is_never_served(tmp_path: Path, within: int) -> None:
    async def story() -> None:
        content = Random(5).randbytes(300_000)
        async with opened(tmp_path) as node:
            await put(node, 1, content)
            await put(node, 2, b"fine")
        flip(only_volume(tmp_path), content[:64], within)
        async with opened(tmp_path) as node:
            await raises(ShardCorrupt, node.get(shard(1), offset=0, length=300_000))
            await raises(ShardCorrupt, node.get(shard(1), offset=within, length=1))
            await raises(ShardCorrupt, node.verify(shard(1)))
            assert (await node.status()).corrupt_shards == (shard(1),)
            far = 0 if within > 200_000 else 200_000
            got = await node.get(shard(1), offset=far, length=1000)
            assert got.content == content[far : far + 1000]
            await put(node, 1, content)
            got = await node.get(shard(1), offset=0, length=300_000)
            assert got.content == content, "a put of the same bytes heals"
            assert (await node.status()).corrupt_shards == ()
        shutil.rmtree(tmp_path / "index")
        async with opened(tmp_path) as node:
            assert (await node.verify(shard(1))).content_bytes == 300_000

    asyncio.run(story())


def test_flipped_head_is_listed_as_corrupt(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as node:
            await put(node, 1, b"content of one")
        flip(only_volume(tmp_path), shard(1).encode(), 3)
        async with opened(tmp_path) as node:
            page = await node.list(FIRST, None, limit=10)
            assert [(one.shard, one.attributes) for one in page.shards] == [(shard(1), b"")]
            await raises(ShardCorrupt, node.stat(shard(1)))
            assert (await node.status()).corrupt_shards == (shard(1),)
            assert await node.delete([shard(1)]) == (None,)
            assert (await node.status()).corrupt_shards == ()

    asyncio.run(story())


def test_foreign_used_and_damaged_directories(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path):
            with pytest.raises(DirectoryInUse):
                async with opened(tmp_path):
                    pass
        with pytest.raises(ForeignDrive):
            async with opened(tmp_path, OTHER):
                pass
        flip(tmp_path / "promises", b"HXPROM", 9)
        with pytest.raises(PromisesUnreadable):
            async with opened(tmp_path):
                pass

    asyncio.run(story())


def test_small_shards_take_one_block(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as node:
            await node.put(shard(1), bytes(300), bytes(3500), fence=None, retain_until_ms=0)
            assert (await node.stat(shard(1))).stored_bytes == 4096
            assert (await node.status()).stored_bytes == 4096

    asyncio.run(story())


def test_holes_give_blocks_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as node:
            for n in range(20):
                await put(node, n, bytes([n]) * 500_000)
            await put(node, 99, b"stays")
            before = only_volume(tmp_path).stat().st_blocks
            await node.delete([shard(n) for n in range(20)])
            for _ in range(100):
                if (await node.status()).stored_bytes == 4096:
                    break
                await asyncio.sleep(0.05)
            assert before - only_volume(tmp_path).stat().st_blocks > 9_000_000 // 512
            assert (await node.get(shard(99), offset=0, length=5)).content == b"stays"

    asyncio.run(story())


def test_scrub_finds_damage_and_tells_progress(tmp_path: Path) -> None:
    async def story() -> None:
        contents = [Random(n).randbytes(50_000) for n in range(400)]
        async with opened(tmp_path) as node:
            await asyncio.gather(*(put(node, n, content) for n, content in enumerate(contents)))
        flip(only_volume(tmp_path), contents[123][:64], 30_000)
        async with opened(tmp_path) as node:
            job = ScrubJob(node.store, RealEnv(), bytes_per_s=1 << 30)
            seen = []
            while not (await node.status()).scrubbed_at_ms:
                assert 0 <= await job.step() < 0.1
                seen.append((await node.status()).scrub_progress)
            assert len(seen) >= 2 and seen == sorted(seen) and seen[-1] == 1.0
            assert 0 < seen[0] < 1
            assert (await node.status()).corrupt_shards == (shard(123),)
            assert (job.progress().done, job.progress().total) == (400, 400)
            assert await job.step() > 60, "the next round is not due"
        async with opened(tmp_path) as node:
            assert (await node.status()).scrubbed_at_ms > 0, "remembered over a restart"

    asyncio.run(story())


async def _simulated(
    rng: Random, *, capacity_bytes: int | None = None, **faults: int
) -> tuple[LocalNode, CrashableFiles]:
    files = CrashableFiles(rng, **faults)
    node = await open_node_over(
        files,
        MemoryTables,
        IDENTITY,
        TurnEnv(rng),
        lane=None,
        capacity_bytes=capacity_bytes,
        reserve_bytes=64 * 1024 if faults else 0,
    )
    return node, files


def test_no_put_is_answered_before_its_sync_and_nodes_do_not_share_one() -> None:
    async def story() -> None:
        rng = Random(3)
        (one, one_files), (two, two_files) = await _simulated(rng), await _simulated(rng)
        for n in range(20):
            both = [(one, one_files), (two, two_files)]
            before = [files.trace.count(("sync", _volume(files))) for _, files in both]
            await asyncio.gather(*(put(node, n, b"x" * n) for node, _ in both))
            for (_, files), count in zip(both, before, strict=True):
                name = _volume(files)
                assert files.trace.count(("sync", name)) == count + 1
                last_write = max(i for i, e in enumerate(files.trace) if e == ("write", name))
                assert ("sync", name) in files.trace[last_write:]
        waiting = [put(one, n, b"group") for n in range(100, 164)]
        count = one_files.trace.count(("sync", _volume(one_files)))
        await asyncio.gather(*waiting)
        shared = one_files.trace.count(("sync", _volume(one_files))) - count
        assert shared <= 2, "one sync serves all that wait"
        await one.close()
        await two.close()

    asyncio.run(story())


def _volume(files: CrashableFiles) -> str:
    return next((name for name in files.names() if name.endswith(".vol")), "")


def test_unreadable_blocks_are_corrupt_not_fatal() -> None:
    async def story() -> None:
        node, files = await _simulated(Random(4))
        await put(node, 1, bytes(10_000))
        await put(node, 2, b"fine")
        files.content(_volume(files)).bad_reads.add(2)
        await raises(ShardCorrupt, node.get(shard(1), offset=0, length=10_000))
        assert (await node.get(shard(2), offset=0, length=4)).content == b"fine"
        assert (await node.status()).in_service
        await node.close()

    asyncio.run(story())


def test_full_drive_gives_up_its_ballast_for_deletes() -> None:
    async def story() -> None:
        node, files = await _simulated(Random(5), space_bytes=9 * 1024 * 1024)
        assert "ballast" in files.names()
        held = 0
        try:
            while True:
                await put(node, held, bytes(1_000_000))
                held += 1
        except Exception as error:
            assert type(error).__name__ == "DriveFull"
        assert held >= 4
        assert await node.delete([shard(n) for n in range(held)]) == (None,) * held
        assert (await node.status()).in_service
        await node.close()

    asyncio.run(story())


@pytest.mark.parametrize("capacity_bytes", [1 << 40, 4 << 20])
def test_no_more_is_free_than_capacity_and_drive_both_have(capacity_bytes: int) -> None:
    async def story() -> None:
        node, files = await _simulated(
            Random(5), capacity_bytes=capacity_bytes, space_bytes=9 << 20
        )
        await put(node, 1, bytes(1_000_000))
        status = await node.status()
        assert status.capacity_bytes == capacity_bytes
        assert 0 < status.free_bytes <= min(files.space()[1], capacity_bytes - 1_000_000)
        await node.close()

    asyncio.run(story())


def test_reads_in_place_are_served_and_see_damage(tmp_path: Path) -> None:
    content = Random(5).randbytes(9000)

    async def story() -> None:
        async with opened(tmp_path) as node:
            await put(node, 1, content)
            assert node.try_get(shard(1), offset=100, length=8000) == content[100:8100]
            flip(only_volume(tmp_path), content[:64], 5000)
            assert node.try_get(shard(1), offset=4097, length=100) is None
            assert node.try_get(shard(1), offset=0, length=4096) == content[:4096]
            await raises(ShardCorrupt, node.get(shard(1), offset=4097, length=100))

    asyncio.run(story())


def test_a_whole_cell_is_read_in_place_and_its_damage_seen(tmp_path: Path) -> None:
    content = Random(6).randbytes(1_048_832)

    async def story() -> None:
        async with opened(tmp_path) as node:
            await put(node, 1, content)
            await node.get(shard(1), offset=0, length=len(content))  # in the page cache from here
            assert node.try_get(shard(1), offset=0, length=len(content)) == content
            assert node.try_get(shard(1), offset=70_000, length=900_000) == content[70_000:970_000]
            flip(only_volume(tmp_path), content[:64], 1_000_000)
            assert node.try_get(shard(1), offset=0, length=len(content)) is None
            assert node.try_get(shard(1), offset=0, length=900_000) == content[:900_000]

    asyncio.run(story())
