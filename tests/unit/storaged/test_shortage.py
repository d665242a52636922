"""What a node does when something runs short: descriptors, space, an index that takes no rows. A
shortage is told and passes; only a drive that may have lied ends its service.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from storaged import files, upkeep, writer
from storaged.base.env import RealEnv
from storaged.base.ids import LogId, ShardId, StripeFamily, StripeId, datacenter_id, node_id
from storaged.files import PosixFile, PosixFiles
from storaged.index_tables import Changes, IndexUnreadable, LmdbTables
from storaged.local import LocalNode, open_local_node
from storaged.node import DriveOutOfService, NodeBusy, NodeIdentity

IDENTITY = NodeIdentity(node=node_id("d1"), datacenter=datacenter_id("paris"), country="fr")
LOG = LogId(b"L" * 16)
WAIT_S = 20


def shard(counter: int) -> ShardId:
    return ShardId(StripeId(StripeFamily.DATA, 1, counter), 0)


@asynccontextmanager
async def opened(
    directory: Path, *, threads_max: int = 2, reserve_bytes: int = 1 << 20
) -> AsyncIterator[LocalNode]:
    env = RealEnv(threads_max=threads_max)
    try:
        node = await open_local_node(directory, IDENTITY, env, reserve_bytes=reserve_bytes)
        try:
            yield node
        finally:
            await node.close()
    finally:
        env.close()


async def put(node: LocalNode, counter: int, content: bytes = b"x") -> None:
    await node.put(shard(counter), b"a", content, fence=None, retain_until_ms=0)


async def until(node: LocalNode, stored_bytes: int) -> None:
    """Until no more than so much is on the drive."""
    async with asyncio.timeout(WAIT_S):
        while node.store.stored_bytes > stored_bytes:
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _flushes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "FLUSH_AFTER_S", 0.01)
    monkeypatch.setattr(upkeep, "FLUSH_RETRY_S", 0.01)


class NoDescriptors:
    """While it is `on`, nothing can be opened; listing a directory takes a descriptor too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = False
        self.refused = 0
        really_open, really_list = PosixFiles._open, PosixFiles.names

        def opens(of: PosixFiles, name: str, flags: int) -> PosixFile:
            self._refuse("open", name)
            return really_open(of, name, flags)

        def lists(of: PosixFiles) -> list[str]:
            self._refuse("list", ".")
            return really_list(of)

        monkeypatch.setattr(PosixFiles, "_open", opens)
        monkeypatch.setattr(PosixFiles, "names", lists)

    def _refuse(self, operation: str, name: str) -> None:
        if self.on:
            self.refused += 1
            error = OSError(errno.EMFILE, "Too many open files")
            raise files.translate(error, operation=operation, name=name)


def test_without_descriptors_a_drive_refuses_and_stays_in_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new volume and a promise need one; what needs none goes on."""
    monkeypatch.setattr(writer, "VOLUME_BYTES", writer.GROUP_BYTES_MAX + 4 * 4096)
    shortage = NoDescriptors(monkeypatch)

    async def main() -> None:
        async with opened(tmp_path) as node:
            await put(node, 0)
            shortage.on = True
            with pytest.raises(NodeBusy):
                await node.fence(LOG, 1, b"i" * 16)
            busy = 0
            for counter in range(1, 10):
                try:
                    await put(node, counter)
                except NodeBusy:
                    busy += 1
            assert 0 < busy < 9 and shortage.refused > busy, "volumes are full after some puts"
            shortage.on = False
            for counter in range(1, 10):
                await put(node, counter)
            assert (await node.fence(LOG, 2, b"i" * 16)).granted
            assert (await node.status()).in_service
            assert node.store._writer._queued_bytes == 0, "what was refused waits no more"
        async with opened(tmp_path) as node:
            assert node.store.shard_count == 10

    asyncio.run(main())


def test_without_descriptors_space_is_still_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortage = NoDescriptors(monkeypatch)

    async def main() -> None:
        async with opened(tmp_path) as node:
            await put(node, 1, b"x" * 200_000)
            shortage.on = True
            await node.delete([shard(1)])
            await until(node, 2 * 4096)
            assert shortage.refused
            await put(node, 2)
            assert (await node.status()).in_service

    asyncio.run(main())


def test_a_hole_that_finds_no_space_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To split an extent takes a block, which a full file system does not have."""
    really = files._fallocate
    full, refused = True, 0

    def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
        nonlocal refused
        if full and mode:
            refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        really(fd, mode, offset, length)

    monkeypatch.setattr(files, "_fallocate", fallocate)

    async def main() -> None:
        nonlocal full
        async with opened(tmp_path) as node:
            await put(node, 1, b"x" * 200_000)
            await put(node, 2)
            assert (tmp_path / "ballast").exists()
            await node.delete([shard(1)])
            async with asyncio.timeout(WAIT_S):
                while refused < 2:
                    await asyncio.sleep(0.01)
            await node.stat(shard(2))
            assert not (tmp_path / "ballast").exists(), "its space is what is needed"
            assert (await node.status()).in_service
            full = False
            await put(node, 3)
            await until(node, 3 * 4096)
            assert node.store.shard_count == 2

    asyncio.run(main())


def test_a_sync_that_finds_no_space_ends_the_drives_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where space is allocated late, the sync is what learns that there is none. The next sync
    would succeed, over pages that were dropped.
    """
    really = os.fdatasync
    failures = 1

    def fdatasync(fd: int) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        really(fd)

    async def main() -> None:
        async with opened(tmp_path, reserve_bytes=0) as node:
            monkeypatch.setattr(os, "fdatasync", fdatasync)
            with pytest.raises(DriveOutOfService):
                await put(node, 1)
            with pytest.raises(DriveOutOfService):
                await put(node, 2)
            assert not (await node.status()).in_service

    asyncio.run(main())


def test_an_index_that_takes_no_rows_does_not_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "FLUSH_ROWS", 4)
    monkeypatch.setattr(upkeep, "PENDING_ROWS_MAX", 20)
    really = LmdbTables.apply
    failing = True

    def apply(tables: LmdbTables, changes: Changes) -> None:
        if failing:
            raise IndexUnreadable(reason="MDB_MAP_FULL")
        really(tables, changes)

    async def main() -> None:
        nonlocal failing
        async with opened(tmp_path) as node:
            await put(node, 0)
            async with asyncio.timeout(WAIT_S):
                while not node.store.detail:
                    await asyncio.sleep(0.01)
            taken = 1
            with pytest.raises(NodeBusy):
                for counter in range(1, 100):
                    await put(node, counter)
                    taken += 1
            assert taken <= 21
            with pytest.raises(NodeBusy):
                await node.delete([shard(0)])
            assert bytes((await node.get(shard(1), offset=0, length=1)).content) == b"x"
            assert not (await node.status()).writable
            failing = False
            async with asyncio.timeout(WAIT_S):
                while node.store.detail:
                    await asyncio.sleep(0.01)
            await put(node, 100)
            await node.delete([shard(0)])
            assert (await node.status()).writable
            assert node.store.shard_count == taken

    asyncio.run(_first_start(tmp_path))
    monkeypatch.setattr(LmdbTables, "apply", apply)
    asyncio.run(main())


async def _first_start(directory: Path) -> None:
    async with opened(directory):
        pass


def test_a_read_that_was_given_up_before_it_began_holds_no_volume_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, threads_max=1) as node:
            await put(node, 1, b"x" * 3_000_000)
            held = threading.Event()
            before = asyncio.create_task(node.store._env.offload(lambda: held.wait(WAIT_S)))
            read = asyncio.create_task(node.get(shard(1), offset=0, length=3_000_000))
            await asyncio.sleep(0.05)
            assert [volume.readers for volume in node.store._volumes.values()] == [1]
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
            held.set()
            await before
            await node.verify(shard(1))
            await asyncio.sleep(0)
            assert [volume.readers for volume in node.store._volumes.values()] == [0]

    asyncio.run(main())
