"""Random work on a node whose machine or process stops at random moments, against what was told.

After each restart: what was acknowledged is there, whole; what was deleted stays deleted, with the
index or without it; what was under way is there whole or not at all; promises hold.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from storaged import upkeep, volumes, writer
from storaged.base.errors import StorageError
from storaged.base.ids import LogId, ShardId, StripeFamily, StripeId, datacenter_id, node_id
from storaged.index_tables import MemoryTables
from storaged.local import LocalNode, open_node_over
from storaged.node import Fence, FencedOut, NodeIdentity, ShardMissing
from tests.support.crashable_files import CrashableFiles
from tests.support.turn_env import TurnEnv

IDENTITY = NodeIdentity(node=node_id("c1"), datacenter=datacenter_id("lyon"), country="fr")
LOG = LogId(b"c" * 16)
KEYS = 24
FIRST = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)


@pytest.fixture(autouse=True)
def _small_volumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes that fill up, flushes and punches that happen, within a few dozen operations."""
    monkeypatch.setattr(writer, "VOLUME_BYTES", 160 * 1024)
    monkeypatch.setattr(writer, "GROUP_BYTES_MAX", 64 * 1024)
    monkeypatch.setattr(volumes, "VOLUME_BYTES", 160 * 1024)
    monkeypatch.setattr(volumes, "ALLOCATE_STEP_BYTES", 32 * 1024)
    monkeypatch.setattr(upkeep, "FLUSH_ROWS", 12)
    monkeypatch.setattr(upkeep, "PUNCH_RECORDS_MAX", 5)


class History:
    """One machine's life."""

    def __init__(self, seed: int, trash_ms: int = 0) -> None:
        self.trash_ms = trash_ms
        self.deleted: dict[int, bytes] = {}  # what was acknowledged to be deleted last
        self.rng = Random(seed)
        self.files = CrashableFiles(self.rng)
        self.tables = MemoryTables()
        self.env = TurnEnv(self.rng)
        self.may_hold: dict[int, set[bytes | None]] = {n: {None} for n in range(KEYS)}
        self.promised = 0
        self.promised_at_most = 0
        self.instances: dict[int, bytes] = {}

    def shard(self, key: int) -> ShardId:
        return ShardId(StripeId(StripeFamily.DATA, 1, key), 0)

    async def open(self) -> LocalNode:
        return await open_node_over(
            self.files,
            lambda: self.tables,
            IDENTITY,
            self.env,
            lane=None,
            capacity_bytes=None,
            reserve_bytes=0,
            trash_ms=self.trash_ms,
        )

    async def put(self, node: LocalNode, key: int) -> None:
        content = self.rng.randbytes(self.rng.choice((0, 10, 3000, 5000, 20_000)))
        before = self.may_hold[key]
        self.may_hold[key] = {*before, content}
        fence = Fence(log=LOG, epoch=self.promised_at_most) if self.rng.random() < 0.3 else None
        try:
            await node.put(self.shard(key), b"a", content, fence=fence, retain_until_ms=0)
        except FencedOut:
            self.may_hold[key] = before
            return
        if before == {None}:
            self.may_hold[key] = {content}

    async def delete(self, node: LocalNode, keys: list[int]) -> None:
        held = {key: self.may_hold[key] for key in keys}
        for key in keys:
            self.may_hold[key] = {*self.may_hold[key], None}
            self.deleted.pop(key, None)
        outcomes = await node.delete([self.shard(key) for key in keys])
        assert outcomes == (None,) * len(keys)
        for key in keys:
            self.may_hold[key] = {None}
            if len(held[key]) == 1:
                (content,) = held[key]
                assert content is not None
                self.deleted[key] = content

    async def fence(self, node: LocalNode) -> None:
        epoch, instance = self.promised_at_most + 1, self.rng.randbytes(16)
        self.promised_at_most = epoch
        self.instances[epoch] = instance
        promise = await node.fence(LOG, epoch, instance)
        assert promise.granted, promise
        self.promised = max(self.promised, epoch)

    async def turn(self, node: LocalNode) -> list[asyncio.Future[None]]:
        """Start some work on different shards."""
        keys = self.rng.sample(range(KEYS), self.rng.randint(1, 8))
        calls: list[asyncio.Future[None]] = []
        doomed = []
        for key in keys:
            if self.may_hold[key] == {None}:
                calls.append(asyncio.ensure_future(self.put(node, key)))
            elif self.rng.random() < 0.7:
                doomed.append(key)
        if doomed:
            calls.append(asyncio.ensure_future(self.delete(node, doomed)))
        if self.rng.random() < 0.1:
            calls.append(asyncio.ensure_future(self.fence(node)))
        for _ in range(self.rng.randint(0, 30)):
            await asyncio.sleep(0)
        return calls

    async def live(self, node: LocalNode, turns: int) -> None:
        """Some turns; the last one is cut off by the crash."""
        for _ in range(turns):
            await asyncio.gather(*await self.turn(node))
        if self.rng.random() < 0.8:
            # Between a write and its sync, too: that is where records are torn.
            self.files.stop_after(self.rng.randint(0, 10))
            calls = await self.turn(node)
            await asyncio.gather(*calls, return_exceptions=True)
        else:
            calls = await self.turn(node)
        if self.rng.random() < 0.6:
            self.files.crash()
        else:
            self.files.kill()
        await end_process()
        await asyncio.gather(*calls, return_exceptions=True)
        if self.rng.random() < 0.3:
            self.tables = MemoryTables()

    async def check(self, node: LocalNode) -> None:
        held = set()
        for key, possible in self.may_hold.items():
            try:
                length = (await node.stat(self.shard(key))).content_bytes
                got = await node.get(self.shard(key), offset=0, length=length)
                found: bytes | None = bytes(got.content)
                held.add(self.shard(key))
            except ShardMissing:
                found = None
            assert found in possible, (key, found and len(found))
            self.may_hold[key] = {found}
        page = await node.list(FIRST, None, limit=1000)
        assert {one.shard for one in page.shards} == held
        status = await node.status()
        assert (status.shard_count, status.corrupt_shards) == (len(held), ())
        promise = await node.fence(LOG, 0, b"")
        assert self.promised <= promise.epoch <= self.promised_at_most
        self.promised = promise.epoch
        if promise.epoch:
            assert (await node.fence(LOG, promise.epoch, self.instances[promise.epoch])).granted


async def end_process() -> None:
    """What a stop does to the tasks of a node."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(60))
def test_crashes(seed: int) -> None:
    async def life() -> None:
        history = History(seed)
        for _ in range(8):
            node = await history.open()
            await history.check(node)
            await history.live(node, history.rng.randint(0, 6))
        node = await history.open()
        await history.check(node)
        await node.close()
        history.tables = MemoryTables()
        node = await history.open()
        assert node.scanned_all
        await history.check(node)
        await node.close()

    asyncio.run(life())


@pytest.mark.proves("B-08")
@pytest.mark.parametrize("seed", range(40))
def test_what_was_deleted_comes_back_after_any_crashes(seed: int) -> None:
    """And nothing comes back by itself; after its time nothing is left to come back."""

    async def life() -> None:
        history = History(seed, trash_ms=3_600_000)
        for _ in range(6):
            node = await history.open()
            await history.check(node)
            await history.live(node, history.rng.randint(0, 6))
        if history.rng.random() < 0.5:
            history.tables = MemoryTables()
        node = await history.open()
        await history.check(node)
        await node.close()
        node = await history.open()  # so that all is in the tables
        await node.trash.restore(0)
        for key, content in history.deleted.items():
            if history.may_hold[key] == {None}:
                found = await node.get(history.shard(key), offset=0, length=len(content))
                assert bytes(found.content) == content
                history.may_hold[key] = {content}
        await node.close()
        history.env.wall_ms += 3_600_001
        node = await history.open()
        for _ in range(10_000):
            node.store._writer.nudge()
            await asyncio.sleep(0)
            if not node.trash.record_bytes and not node.trash.held().shards:
                break
        assert node.trash.held().shards == 0
        assert (await node.trash.restore(0)).restored == 0
        await node.close()

    asyncio.run(life())


@pytest.mark.parametrize("seed", range(20))
def test_what_a_restart_serves_survives_the_next_crash(seed: int) -> None:
    async def life() -> None:
        history = History(seed)
        node = await history.open()
        await node.put(history.shard(0), b"", b"first", fence=None, retain_until_ms=0)
        history.files.fail("sync")
        with pytest.raises(StorageError):
            await node.put(history.shard(1), b"", bytes(9000), fence=None, retain_until_ms=0)
        history.files.kill()
        await end_process()
        node = await history.open()
        assert (await node.stat(history.shard(1))).content_bytes == 9000
        history.files.crash()
        await end_process()
        node = await history.open()
        assert (await node.verify(history.shard(1))).content_bytes == 9000
        await node.close()

    asyncio.run(life())


def test_space_comes_back() -> None:
    async def life() -> None:
        history = History(7)
        node = await history.open()
        for turn in range(12):
            for key in range(KEYS):
                await node.put(
                    history.shard(key), b"", bytes([turn]) * 9000, fence=None, retain_until_ms=0
                )
            await node.delete([history.shard(key) for key in range(KEYS)])
        for _ in range(20_000):
            if node.store.stored_bytes == 0:
                break
            await asyncio.sleep(0)
        assert node.store.stored_bytes == 0
        assert sum(name.endswith(".vol") for name in history.files.names()) <= 2
        await node.close()

    asyncio.run(life())


def test_failed_sync_ends_writing_and_reads_go_on() -> None:
    async def life() -> None:
        history = History(1)
        node = await history.open()
        await node.put(history.shard(1), b"", b"one", fence=None, retain_until_ms=0)
        history.files.fail("sync")
        waiting = [
            node.put(history.shard(n), b"", b"n", fence=None, retain_until_ms=0)
            for n in range(2, 9)
        ]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(type(one).__name__ == "DriveOutOfService" for one in outcomes)
        history.files.mend()
        syncs = history.files.trace.count(("sync", "x"))
        for call in (
            node.put(history.shard(20), b"", b"n", fence=None, retain_until_ms=0),
            node.delete([history.shard(1)]),
            node.fence(LOG, 1, b"i" * 16),
        ):
            with pytest.raises(StorageError, match="out of service"):
                await call
        assert history.files.trace.count(("sync", "x")) == syncs
        assert (await node.get(history.shard(1), offset=0, length=3)).content == b"one"
        status = await node.status()
        assert (status.in_service, status.writable) == (False, False)
        assert status.detail
        await node.close()

    asyncio.run(life())
