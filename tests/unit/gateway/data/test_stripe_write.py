"""Stripes written on a cluster in memory: tiers, hand-off, deadlines, held buffers."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from gateway.data.placement import tier_of
from gateway.data.stripes import (
    TierNotReached,
)
from gateway.limits import HAND_OFF_S, NODE_PUT_S
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.ids import LogId, ShardId
from storaged.node import DriveFull, DriveOutOfService, Fence, FencedOut, NodeBusy
from tests.support.cluster import MemoryCluster, memory_cluster, run_virtual

PAYLOAD = Random(7).randbytes(300_001)  # cells of two tag units, the last one short


async def check(cluster: MemoryCluster, row: StripeRow, payload: bytes = PAYLOAD) -> None:
    """Every kind of range reads back right."""
    cell = row.cell_bytes
    ranges = [(0, len(payload)), (0, 1), (len(payload) - 1, 1), (cell - 1, 2), (5, 4096)]
    ranges += [(i * cell, min(cell, len(payload) - i * cell)) for i in range(row.geometry.k)]
    ranges += [(cell + 65_530, 20), (7, 2 * cell - 9)]
    for verified in (False, True):
        for offset, length in ranges:
            got = await cluster.store.read(row, offset, length, verified=verified)
            assert got == payload[offset : offset + length], (offset, length, verified)


def shard_at(row: StripeRow, index: int) -> ShardId:
    return ShardId(row.stripe, index)


async def lose(cluster: MemoryCluster, row: StripeRow, *indexes: int) -> None:
    for index in indexes:
        await cluster.nodes[row.nodes[index]].node.delete([shard_at(row, index)])


def test_a_healthy_write_is_full_and_complete() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD, tier=Tier.FULL)
        assert sorted(row.nodes) == [1, 2, 3, 4, 5, 6] and row.tier is Tier.FULL
        await check(cluster, row)
        assert cluster.damage == []

    run_virtual(main())


@pytest.mark.parametrize("down", [(1,), (1, 2), (3, 6), (1, 3)])
def test_shards_of_dead_nodes_are_handed_off(down: tuple[int, ...]) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        for number in down:
            cluster.nodes[number].down = True
        row = await cluster.write(PAYLOAD)
        assert 0 not in row.nodes and not {*down} & {*row.nodes}
        assert max(row.nodes.count(number) for number in row.nodes) <= 2
        assert row.tier is tier_of(row.nodes, cluster.topology, 4)
        await check(cluster, row)
        puts = [cluster.nodes[n].puts for n in down]
        again = await cluster.write(PAYLOAD)
        assert puts == [cluster.nodes[n].puts for n in down], "the health view has learnt it"
        await check(cluster, again)

    run_virtual(main())


def test_losing_a_datacenter_leaves_node_tier_and_says_so() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        for node in cluster.in_datacenter("lyon"):
            node.down = True
        with pytest.raises(TierNotReached) as caught:
            await cluster.write(PAYLOAD, tier=Tier.FULL)
        assert caught.value.fields["required"] == "FULL"
        failures = caught.value.fields["failures"]
        assert isinstance(failures, tuple) and {f.node for f in failures} >= {3, 4}
        row = await cluster.write(PAYLOAD, tier=Tier.NODE)
        assert row.tier is Tier.NODE
        for node in cluster.in_datacenter("lyon"):
            node.down = False
        await cluster.health.probe()
        assert (await cluster.write(PAYLOAD, tier=Tier.FULL)).tier is Tier.FULL

    run_virtual(main())


@pytest.mark.parametrize("error", [DriveFull, DriveOutOfService, NodeBusy, FencedOut])
def test_a_refused_put_goes_elsewhere(error: type) -> None:
    async def main() -> None:
        cluster = memory_cluster(3, 3, 3)
        for node in cluster.nodes.values():
            node.put_error = error
        cluster.nodes[1].fail_puts = cluster.nodes[2].fail_puts = 1_000
        for _ in range(5):
            row = await cluster.write(PAYLOAD)
            assert row.tier is Tier.FULL and not {1, 2} & {*row.nodes}
        taken_out = {1, 2} - cluster.health.usable()
        assert bool(taken_out) is (error not in (FencedOut, NodeBusy)), "these say nothing lasting"

    run_virtual(main())


def test_fenced_out_everywhere_is_told_by_the_failures() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        log = LogId(b"l" * 16)
        for node in cluster.nodes.values():
            await node.fence(log, 9, b"x" * 16)
        with pytest.raises(TierNotReached) as caught:
            await cluster.write(PAYLOAD, fence=Fence(log=log, epoch=8))
        failures = caught.value.fields["failures"]
        assert isinstance(failures, tuple)
        assert any(isinstance(failure.error, FencedOut) for failure in failures)

    run_virtual(main())


def test_a_slow_node_delays_by_hand_off_at_most_and_its_late_shard_is_harmless() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        loop = asyncio.get_running_loop()
        cluster.nodes[4].freeze()
        started_s = loop.time()
        row = await cluster.write(PAYLOAD)
        assert HAND_OFF_S <= loop.time() - started_s <= HAND_OFF_S + 0.01
        assert row.nodes.count(0) == 1 and row.tier is Tier.NODE
        started_s = loop.time()
        assert 0 not in (await cluster.write(PAYLOAD)).nodes
        assert loop.time() - started_s < 0.01, "the next write goes around it"
        cluster.nodes[4].unfreeze()
        await asyncio.sleep(0)
        await check(cluster, row)

    run_virtual(main())


def test_a_slow_node_is_replaced_when_the_tier_needs_it() -> None:
    async def main() -> None:
        cluster = memory_cluster(3, 3, 3)
        loop = asyncio.get_running_loop()
        for node in cluster.in_datacenter("paris")[:2]:
            node.freeze()
        started_s = loop.time()
        rows = [await cluster.write(PAYLOAD, tier=Tier.FULL) for _ in range(3)]
        assert all(row.tier is Tier.FULL and not {1, 2} & {*row.nodes} for row in rows)
        assert loop.time() - started_s <= HAND_OFF_S + 0.01

    run_virtual(main())


def test_busy_nodes_are_tried_again_before_the_deadline() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        for node in cluster.nodes.values():
            node.put_error = NodeBusy
            node.fail_puts = 2
        row = await cluster.write(PAYLOAD)
        assert row.tier is Tier.FULL
        await check(cluster, row)

    run_virtual(main())


def test_a_tier_missed_at_the_deadline_is_an_error() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        loop = asyncio.get_running_loop()
        for number in (1, 2, 3, 4):
            cluster.nodes[number].freeze()
        started_s = loop.time()
        with pytest.raises(TierNotReached) as caught:
            await cluster.write(PAYLOAD, deadline_s=5.0)
        assert loop.time() - started_s <= 5.01
        assert caught.value.fields["acknowledged"] == "NONE"

    run_virtual(main())


def test_acknowledged_tier_equals_what_nodes_hold() -> None:
    """Whatever fails, the returned nodes really hold their shards and make the returned tier."""

    async def main(seed: int) -> None:
        rng = Random(seed)
        counts = rng.choice([(2, 2, 2), (3, 3, 3), (1, 2, 3), (4, 4), (6,)])
        geometry = rng.choice([Geometry(4, 2), Geometry(2, 1), Geometry(5, 4)])
        cluster = memory_cluster(*counts, geometry=geometry, seed=seed)
        for node in cluster.nodes.values():
            node.down = rng.random() < 0.15
            node.fail_puts = rng.choice([0, 0, 0, 1, 2])
            node.drop_answers = rng.choice([0, 0, 0, 1])
            node.delay_s = rng.choice([0.0, 0.0, 0.001, 3.0])
        try:
            row = await cluster.write(PAYLOAD[:5000], tier=rng.choice([Tier.NODE, Tier.FULL]))
        except TierNotReached:
            return
        for index, number in enumerate(row.nodes):
            if number:
                await cluster.nodes[number].node.stat(shard_at(row, index))
        assert row.tier is tier_of(row.nodes, cluster.topology, geometry.k)
        assert row.tier >= Tier.NODE
        for node in cluster.nodes.values():
            node.mend()
        assert await cluster.store.read(row, 0, 5000) == PAYLOAD[:5000]

    for seed in range(60):
        run_virtual(main(seed))


def test_the_lease_is_held_until_the_last_put_has_ended() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        lease = await cluster.pool.acquire(6 * 100)
        lease.view[:] = bytes(600)
        lease.view[:400] = bytes(range(100)) * 4
        cluster.nodes[2].freeze()
        nodes, tier = await cluster.store.write(
            cluster.stripe_ids(1),
            cluster.geometry,
            lease,
            cell_bytes=100,
            payload_bytes=400,
            common=b"",
            tier=Tier.NODE,
            fence=None,
            retain_until_ms=0,
            deadline_s=30.0,
        )
        lease.release()
        assert 0 in nodes and tier is Tier.NODE
        assert cluster.pool.leased_count == 1, "a put still reads it"
        cluster.nodes[2].unfreeze()
        await asyncio.sleep(0.001)
        assert cluster.pool.leased_count == 0

    run_virtual(main())


def test_a_put_that_never_ends_spoils_its_buffer_and_frees_the_place() -> None:
    async def main() -> None:
        cluster = memory_cluster(pool_buffers=1, pool_buffer_bytes=600)
        lease = await cluster.pool.acquire(600)
        lease.view[:] = bytes(600)
        buffer = lease.view.obj
        cluster.nodes[2].freeze()
        writing = asyncio.create_task(
            cluster.store.write(
                cluster.stripe_ids(1),
                cluster.geometry,
                lease,
                cell_bytes=100,
                payload_bytes=400,
                common=b"",
                tier=Tier.NODE,
                fence=None,
                retain_until_ms=0,
                deadline_s=30.0,
            )
        )
        await asyncio.sleep(0.01)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        lease.release()
        assert cluster.pool.leased_count == 1
        await asyncio.sleep(NODE_PUT_S)
        assert cluster.pool.leased_count == 0
        again = await cluster.pool.acquire(600)
        assert again.view.obj is not buffer

    run_virtual(main())


def test_a_mistake_of_ours_in_a_put_is_not_swallowed() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        cluster.nodes[3].put_error = ZeroDivisionError  # type: ignore[assignment]
        cluster.nodes[3].fail_puts = 1
        with pytest.raises(ZeroDivisionError):
            await cluster.write(PAYLOAD)

    run_virtual(main())


def test_no_usable_node_is_refused_at_once() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        for node in cluster.nodes.values():
            node.down = True
        await cluster.health.probe()
        with pytest.raises(TierNotReached) as caught:
            await cluster.write(PAYLOAD)
        assert caught.value.fields["failures"] == ()
        assert all(node.puts == 0 for node in cluster.nodes.values())

    run_virtual(main())


def test_puts_to_given_nodes_tell_each_outcome() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        cluster.nodes[2].down = True
        stripe = cluster.stripe_ids(1)
        outcome = await cluster.store.put_shards(
            stripe,
            {0: (b"a", b"x"), 1: (b"b", b"y")},
            {0: 1, 1: 2},
            fence=None,
            retain_until_ms=0,
        )
        assert outcome[0] is None and outcome[1] is not None and outcome[1].retryable

    run_virtual(main())
