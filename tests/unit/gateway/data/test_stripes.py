"""Stripes on a cluster in memory: tiers, hand-off, degraded reads, evil nodes, repair."""

from __future__ import annotations

import asyncio
from itertools import combinations
from random import Random

import pytest

from gateway.data.placement import tier_of
from gateway.data.stripes import (
    StripeCorrupt,
    StripeGone,
    StripeUnreadable,
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


# Writing


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


# Reading


@pytest.mark.parametrize("lost", list(combinations(range(6), 2)), ids=str)
def test_every_pair_of_lost_shards(lost: tuple[int, int]) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        await lose(cluster, row, *lost)
        await check(cluster, row)
        reported = {index for _, index, _ in cluster.damage}
        assert reported >= {index for index in lost if index < 4}

    run_virtual(main())


@pytest.mark.parametrize("geometry", [Geometry(2, 1), Geometry(5, 4), Geometry(8, 4)], ids=str)
@pytest.mark.parametrize("datacenter", ["paris", "lyon", "marseille"])
def test_a_lost_datacenter(geometry: Geometry, datacenter: str) -> None:
    async def main() -> None:
        cluster = memory_cluster(4, 4, 4, geometry=geometry)
        row = await cluster.write(PAYLOAD, tier=Tier.FULL)
        for node in cluster.in_datacenter(datacenter):
            node.down = True
        await check(cluster, row)
        await check(cluster, row)
        assert not cluster.damage, "nodes that are away are no damage"

    run_virtual(main())


SWITCHES = ["corrupt_gets", "truncate_gets", "swap_gets", "deny_shards"]


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("count", [1, 2])
def test_evil_nodes_never_give_wrong_bytes_in_verified_mode(switch: str, count: int) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        await cluster.write(PAYLOAD[::-1])  # shards to swap with
        for number in row.nodes[:count]:
            setattr(cluster.nodes[number], switch, True)
        for offset, length in [(0, len(PAYLOAD)), (10, 100), (row.cell_bytes, 5)]:
            got = await cluster.store.read(row, offset, length, verified=True)
            assert got == PAYLOAD[offset : offset + length]
        assert {index for _, index, _ in cluster.damage} >= set(range(count))

    run_virtual(main())


@pytest.mark.parametrize("switch", SWITCHES)
def test_evil_sources_never_reach_the_decoder(switch: str) -> None:
    """One data cell is lost and another node lies: decoding takes four good ones of the rest."""

    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        await cluster.write(PAYLOAD[::-1])
        await lose(cluster, row, 0)
        for liar in range(1, 6):
            for node in cluster.nodes.values():
                node.mend()
            setattr(cluster.nodes[row.nodes[liar]], switch, True)
            cell = row.cell_bytes
            assert await cluster.store.read(row, 0, cell) == PAYLOAD[:cell]
            assert await cluster.store.read(row, 70_000, 50) == PAYLOAD[70_000:70_050]

    run_virtual(main())


@pytest.mark.parametrize("switch", SWITCHES)
def test_too_many_evil_nodes_is_an_error_and_no_bytes(switch: str) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        await cluster.write(PAYLOAD[::-1])
        for number in row.nodes[:3]:
            setattr(cluster.nodes[number], switch, True)
        expected = StripeGone if switch == "deny_shards" else StripeCorrupt
        with pytest.raises(expected):
            await cluster.store.read(row, 0, len(PAYLOAD), verified=True)

    run_virtual(main())


def test_another_generation_never_mixes() -> None:
    """Shards of the same stripe id with another header, well tagged: never decoded together."""

    async def main() -> None:
        cluster, other = memory_cluster(), memory_cluster()
        row = await cluster.write(PAYLOAD, common=b"first")
        older = await other.write(PAYLOAD[::-1], common=b"second", stripe=row.stripe)
        for index in (0, 4):
            source = other.nodes[older.nodes[index]].node
            held = await source.get(shard_at(row, index), offset=0, length=row.cell_bytes)
            target = cluster.nodes[row.nodes[index]].node
            await target.delete([shard_at(row, index)])
            await target.put(
                shard_at(row, index), held.attributes, held.content, fence=None, retain_until_ms=0
            )
        await lose(cluster, row, 1)
        with pytest.raises(StripeUnreadable):
            await cluster.store.read(row, row.cell_bytes, 10)
        # With a fourth shard of the first generation there is enough.
        again = await cluster.write(PAYLOAD, common=b"first", stripe=row.stripe)
        assert again.nodes[1] and await cluster.store.read(again, row.cell_bytes, 10)

    run_virtual(main())


def test_rows_that_are_out_of_date_are_told_from_damage() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        await cluster.store.delete([row])
        with pytest.raises(StripeGone):
            await cluster.store.read(row, 0, 10)
        with pytest.raises(StripeGone):
            await cluster.store.read(row, 0, len(PAYLOAD))

    run_virtual(main())


def test_away_is_told_from_corrupt() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        for number in row.nodes[:3]:
            cluster.nodes[number].down = True
        with pytest.raises(StripeUnreadable) as caught:
            await cluster.store.read(row, 0, len(PAYLOAD))
        assert not isinstance(caught.value, StripeCorrupt) and caught.value.retryable

    run_virtual(main())


def test_a_wrong_health_view_costs_time_but_no_read() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        await lose(cluster, row, 4, 5)
        for number, node in cluster.nodes.items():
            node.down = True
            await cluster.health.probe()
            node.down = False
            assert not cluster.health.readable(number)
        await check(cluster, row)

    run_virtual(main())


def test_a_slow_node_is_hedged() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        loop = asyncio.get_running_loop()
        for offset, length in [(0, 100), (0, len(PAYLOAD))]:
            cluster.nodes[row.nodes[0]].freeze()
            started_s = loop.time()
            assert await cluster.store.read(row, offset, length) == PAYLOAD[offset:][:length]
            assert loop.time() - started_s < 0.06
            cluster.nodes[row.nodes[0]].unfreeze()

    run_virtual(main())


def test_the_first_good_answer_wins() -> None:
    """The slow node answers while the alternative hangs: its answer is taken."""

    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        loop = asyncio.get_running_loop()
        for number in row.nodes:
            cluster.nodes[number].delay_s = 5.0
        cluster.nodes[row.nodes[0]].delay_s = 0.2
        started_s = loop.time()
        assert await cluster.store.read(row, 0, 100) == PAYLOAD[:100]
        assert loop.time() - started_s < 0.21

    run_virtual(main())


def test_a_slow_source_is_enough_when_another_cell_is_lost() -> None:
    async def main() -> None:
        cluster = memory_cluster(3, geometry=Geometry(2, 1))
        row = await cluster.write(PAYLOAD)
        await lose(cluster, row, 0)
        cluster.nodes[row.nodes[1]].delay_s = 0.3
        assert await cluster.store.read(row, 0, len(PAYLOAD)) == PAYLOAD

    run_virtual(main())


def test_a_stripe_that_hangs_is_unreadable_in_time() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        for number in row.nodes[:3]:
            cluster.nodes[number].freeze()
        with pytest.raises(StripeUnreadable):
            await cluster.store.read(row, 0, 10)

    run_virtual(main())


def test_a_cancelled_read_leaves_nothing_running() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        for offset, length, delay_s in [(0, 10, 0.01), (0, 10, 1.0), (0, len(PAYLOAD), 1.0)]:
            for node in cluster.nodes.values():
                node.freeze()
            reading = asyncio.create_task(cluster.store.read(row, offset, length))
            await asyncio.sleep(delay_s)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await asyncio.sleep(0.001)
            assert len(asyncio.all_tasks()) == 1
            for node in cluster.nodes.values():
                node.unfreeze()

    run_virtual(main())


# Repair


@pytest.mark.parametrize("lost", list(combinations(range(6), 2)), ids=str)
def test_reconstruct_gives_the_very_shards(lost: tuple[int, int]) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD, common=b"header")
        before = {
            index: await cluster.nodes[row.nodes[index]].node.get(
                shard_at(row, index), offset=0, length=row.cell_bytes
            )
            for index in lost
        }
        await lose(cluster, row, *lost)
        made = await cluster.store.reconstruct(row, lost)
        for index in lost:
            assert made[index] == (before[index].attributes, before[index].content)
        outcome = await cluster.store.put_shards(
            row.stripe,
            made,
            {index: row.nodes[index] for index in lost},
            fence=None,
            retain_until_ms=0,
        )
        assert outcome == dict.fromkeys(lost)
        await check(cluster, row)

    run_virtual(main())


def test_restore_places_within_the_rules() -> None:
    async def main() -> None:
        cluster = memory_cluster(3, 3, 3)
        row = await cluster.write(PAYLOAD)
        gone = row.nodes[2]
        cluster.nodes[gone].down = True
        await cluster.health.probe()
        placed = await cluster.store.restore(row, [2])
        nodes = list(row.nodes)
        nodes[2] = placed[2]
        assert placed[2] != gone and tier_of(nodes, cluster.topology, 4) is Tier.FULL
        held = await cluster.nodes[placed[2]].stat(shard_at(row, 2))
        assert held.content_bytes == row.cell_bytes

    run_virtual(main())


def test_delete_names_what_is_left() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        rows = [await cluster.write(PAYLOAD[:100]) for _ in range(3)]
        held = await cluster.write(PAYLOAD[:100], retain_until_ms=5)
        cluster.nodes[1].down = True
        left = await cluster.store.delete(rows)
        assert {stripe: [f.node for f in failures] for stripe, failures in left.items()} == {
            row.stripe: [1] for row in rows
        }
        cluster.nodes[1].down = False
        assert await cluster.store.delete(rows) == {}
        assert len((await cluster.store.delete([held]))[held.stripe]) == 6

    run_virtual(main())
