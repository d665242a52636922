"""Stripes read from a cluster in memory: lost, slow and evil nodes; repair and deletion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from gateway.data.placement import tier_of
from gateway.data.stripes import (
    StripeCorrupt,
    StripeGone,
    StripeUnreadable,
)
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.ids import ShardId
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


@pytest.mark.proves("C5")
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


@pytest.mark.proves("B-18", "C5")
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


@pytest.mark.proves("B-02")
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


@pytest.mark.proves("B-02", "NOD-06")
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


@pytest.mark.proves("B-02")
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


@pytest.mark.proves("B-02", "NOD-05")
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


def test_a_cell_that_was_never_placed_is_not_asked_for() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        row = replace(row, nodes=(0, *row.nodes[1:]))
        for number in row.nodes[1:3]:
            cluster.nodes[number].down = True
        for verified in (False, True):
            with pytest.raises(StripeUnreadable):
                await cluster.store.read(row, 0, len(PAYLOAD), verified=verified)

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
            await cluster.store.read(row, 0, len(PAYLOAD))
            await cluster.health.probe()
        await check(cluster, row)

    run_virtual(main())


@pytest.mark.proves("B-02")
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


def test_a_node_that_stands_still_is_waited_for_once() -> None:
    """Until it answers something, reads go to others first: one burst waits, not each read."""

    async def main() -> None:
        cluster, loop = memory_cluster(), asyncio.get_running_loop()
        row = await cluster.write(PAYLOAD)
        number = row.nodes[0]
        for offset, length in [(0, 100), (0, len(PAYLOAD))]:
            cluster.nodes[number].freeze()
            assert await cluster.store.read(row, offset, length) == PAYLOAD[offset:][:length]
            assert not cluster.health.prompt(number) and cluster.health.readable(number)
            for _ in range(3):
                started_s = loop.time()
                assert await cluster.store.read(row, offset, length) == PAYLOAD[offset:][:length]
                assert loop.time() - started_s < 0.01
            cluster.nodes[number].unfreeze()
            await cluster.health.probe()
            assert cluster.health.prompt(number)

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


def test_cells_that_come_while_decoding_fails_are_sources_again() -> None:
    """Two cells are away and the two others late: taken for lost, they leave too few; then they
    come, in the very moment in which decoding without them gives up.
    """

    async def main(parity_delay_s: float) -> None:
        cluster = memory_cluster()
        row = await cluster.write(PAYLOAD)
        for index in (0, 1):
            cluster.nodes[row.nodes[index]].down = True
        await cluster.health.probe()
        by_number = {row.nodes[2]: 0.06, row.nodes[3]: 0.06}
        for number, delay_s in by_number.items():
            cluster.nodes[number].delay_s = delay_s
        for index in (4, 5):
            if row.nodes[index] not in by_number:
                cluster.nodes[row.nodes[index]].delay_s = parity_delay_s
        assert await cluster.store.read(row, 0, len(PAYLOAD)) == PAYLOAD

    for tenth_ms in range(80, 120):
        run_virtual(main(tenth_ms / 10_000))
