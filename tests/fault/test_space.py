"""Space comes back: half of many small objects is deleted, and compaction gives their bytes back to
the drives; what is left is whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from gateway.compose import Gateway, open_gateway
from gateway.objects.bootstrap import read_root
from gateway.objects.buckets import create_bucket
from gateway.objects.context import Context, Principal
from gateway.objects.delete import delete_objects
from gateway.objects.get import get_object
from gateway.objects.put import put_object
from gateway.objects.values import DeleteKey, GetOptions, PutOptions
from gateway.up import UpOptions, lay_out
from storaged.base.env import RealEnv
from tests.support.gateway import BytesBody, content_of

OBJECTS = 100_000
OBJECT_BYTES = 4096
CLIENTS = 64
GIVEN_BACK_MIN = 0.40
SETTLE_S = 30.0
QUIET_S = 4.0  # nothing was given back for so long: nodes have done what they had to do
OVERHEAD_MAX = 2.0  # bytes on the drives per byte of an object, after compaction


def _allocated_bytes(folder: Path) -> int:
    """What the drives have given to the nodes, holes and indexes counted as they are."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*") if path.is_file())


async def _settled_bytes(folder: Path) -> int:
    """What is allocated when nodes have punched the holes: they do so behind their flushes."""
    deadline = time.monotonic() + SETTLE_S
    last, since = _allocated_bytes(folder), time.monotonic()
    while time.monotonic() < min(deadline, since + QUIET_S):
        await asyncio.sleep(0.2)
        seen = _allocated_bytes(folder)
        if seen != last:
            last, since = seen, time.monotonic()
    return last


async def _concurrently(count: int, act: Callable[[int], Awaitable[object]]) -> float:
    """`act` for each number below `count`, by CLIENTS at once; returns how long that took."""
    numbers = iter(range(count))
    began = time.monotonic()

    async def client() -> None:
        for number in numbers:
            await act(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    return time.monotonic() - began


class Caller:
    """The root user of a gateway in this process."""

    def __init__(self, gateway: Gateway) -> None:
        self.services = gateway.services
        key = read_root(gateway.log, gateway.core.records)
        assert key is not None
        self._principal = Principal(
            tenant=key.tenant, access_key_id=key.access_key_id, owner_id="root"
        )

    def ctx(self) -> Context:
        env = self.services.env
        return Context(self.services, self._principal, env.random_bytes(16), env.monotonic_s() + 60)

    async def put(self, number: int) -> None:
        await put_object(self.ctx(), "bucket", _key(number), BytesBody(_body(number)), PutOptions())

    async def check(self, number: int) -> None:
        found = await get_object(self.ctx(), "bucket", _key(number), GetOptions())
        assert await content_of(found) == _body(number), number

    async def delete(self, numbers: range) -> None:
        keys = [DeleteKey(key=_key(number)) for number in numbers]
        for outcome in await delete_objects(self.ctx(), "bucket", keys):
            assert outcome.error is None, outcome


def _key(number: int) -> str:
    return f"{number % 97:02d}/{number:06d}"


def _body(number: int) -> bytes:
    return number.to_bytes(4, "big") * (OBJECT_BYTES // 4)


async def _run(folder: Path) -> None:
    env = RealEnv()
    config = lay_out(UpOptions(folder=folder, port=9000, processes=False, tls=False), env)
    gateway = await open_gateway(config, env)
    try:
        caller = Caller(gateway)
        await create_bucket(caller.ctx(), "bucket", None)
        nodes = folder / "nodes"
        empty = _allocated_bytes(nodes)
        put_s = await _concurrently(OBJECTS, caller.put)
        before = _allocated_bytes(nodes) - empty
        for start in range(0, OBJECTS, 2000):
            await caller.delete(range(start, start + 2000, 2))
        began = time.monotonic()
        await gateway.run_job("compact")
        compact_s = time.monotonic() - began
        after = await _settled_bytes(nodes) - empty
        given_back = 1 - after / before
        overhead = after / (OBJECTS // 2 * OBJECT_BYTES)
        print(f"{OBJECTS} PUTs in {put_s:.0f} s, compaction {compact_s:.0f} s")
        print(f"{before >> 20} MiB, then {after >> 20} MiB: {given_back:.0%} given back")
        print(f"{overhead:.2f} bytes on the drives per byte left")
        assert given_back >= GIVEN_BACK_MIN
        assert overhead <= OVERHEAD_MAX
        for number in range(1, OBJECTS, 198):
            await caller.check(number)
    finally:
        await gateway.close()
        env.close()


@pytest.mark.timeout(400)
def test_half_of_the_objects_deleted_gives_space_back(tmp_path: Path) -> None:
    uvloop.run(_run(tmp_path / "data"))
