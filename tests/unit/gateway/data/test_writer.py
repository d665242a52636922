"""Endings of a body on its way in: back-pressure, cancellation, missed tiers."""

from __future__ import annotations

import asyncio

import pytest

from gateway.data import writer
from gateway.data.buffers import BufferPool
from gateway.data.stripes import TierNotReached
from gateway.data.writer import write_body
from gateway.model.layout import Tier
from tests.support.bodies import (
    FIRST_SHARD,
    KEYS,
    LARGE,
    STRIPE_PLAIN,
    ChunkedBody,
    get,
    put,
)
from tests.support.cluster import memory_cluster, run_virtual


@pytest.mark.parametrize("buffers", [1, 2, 3])
@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_an_exhausted_pool_never_deadlocks(buffers: int, delay_s: float) -> None:
    """More bodies than buffers, slow nodes: `run_virtual` says Deadlock if all wait for ever."""

    async def main() -> None:
        cluster = memory_cluster(pool_buffers=buffers)
        for node in cluster.nodes.values():
            node.slow(delay_s)
        plain = LARGE[: STRIPE_PLAIN + 1000]
        await asyncio.gather(*(put(cluster, plain, 2_000_000) for _ in range(6)))
        assert cluster.pool.leased_count == 0 and cluster.pool.waiting_count == 0

    run_virtual(main())


def test_one_body_holds_a_fixed_number_of_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        cluster = memory_cluster(pool_buffers=10)
        for node in cluster.nodes.values():
            node.slow(0.5)
        most = 0
        acquire = BufferPool.try_acquire

        def counting(pool: BufferPool, length: int) -> object:
            nonlocal most
            lease = acquire(pool, length)
            most = max(most, pool.leased_count)
            return lease

        monkeypatch.setattr(BufferPool, "try_acquire", counting)
        double = memoryview(bytes(LARGE) * 2)
        await put(cluster, double, 3_000_000)
        assert most == 1 + writer.WRITES_IN_FLIGHT_MAX

    run_virtual(main())


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, 0.09])
def test_cancellation_gives_every_buffer_back_once_puts_have_ended(after_s: float) -> None:
    async def main() -> None:
        cluster = memory_cluster(pool_buffers=3)
        for node in cluster.nodes.values():
            node.slow(0.1)
        writing = asyncio.create_task(put(cluster, LARGE, 1_000_000))
        await asyncio.sleep(after_s)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await asyncio.sleep(0.2)
        assert cluster.pool.leased_count == 0 and len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_a_buffer_is_not_used_again_while_a_cancelled_body_s_puts_read_it() -> None:
    async def main() -> None:
        cluster = memory_cluster(pool_buffers=1)
        for node in cluster.nodes.values():
            node.freeze()
        writing = asyncio.create_task(put(cluster, LARGE[:STRIPE_PLAIN], 1_000_000))
        await asyncio.sleep(0.5)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert cluster.pool.try_acquire(100) is None
        waiting = asyncio.create_task(cluster.pool.acquire(100))
        for node in cluster.nodes.values():
            node.unfreeze()
        (await waiting).release()
        for node in cluster.nodes.values():
            page = await node.list(FIRST_SHARD, None, limit=10)
            for info in page.shards:
                await node.verify(info.shard)

    run_virtual(main())


def test_missed_tiers_come_through() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        for number in (1, 2, 3, 4):
            cluster.nodes[number].down = True
        with pytest.raises(TierNotReached):
            await put(cluster, LARGE)
        await asyncio.sleep(0.01)
        assert cluster.pool.leased_count == 0

    run_virtual(main())


def test_a_streaming_body_goes_on_at_the_floor_when_a_datacenter_goes() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        body = ChunkedBody([LARGE[i : i + 1_000_000] for i in range(0, len(LARGE), 1_000_000)])
        read = body.read

        async def read_and_lose() -> object:
            if body.given == 7:
                for node in cluster.in_datacenter("lyon"):
                    node.down = True
            return await read()

        body.read = read_and_lose  # type: ignore[method-assign,assignment]
        stored = await write_body(
            cluster.store,
            cluster.pool,
            cluster.geometry,
            Tier.FULL,
            cluster.stripe_ids,
            KEYS,
            body,
            len(LARGE),
            env=cluster.env,
            floor=Tier.NODE,
        )
        assert stored.tier is Tier.NODE and stored.stripe_rows[0].tier is Tier.FULL
        assert await get(cluster, stored, 0, len(LARGE)) == LARGE
        assert cluster.pool.leased_count == 0

    run_virtual(main())
