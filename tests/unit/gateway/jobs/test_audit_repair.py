"""Sweep, repair and free over memory nodes: everything named comes back, nothing unnamed stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.commit.change import StripeChange
from gateway.commit.free import Freer
from gateway.data.placement import place, reachable_tier, tier_of
from gateway.jobs.audit import Audit
from gateway.jobs.repair import Repairer, RepairQueue, plan_moves
from gateway.jobs.tier import TierKeeper
from gateway.meta.kv import MetaUnavailable
from gateway.meta.memory import MemoryStore
from gateway.meta.verification import SumsMismatch
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.ids import ShardId, StripeFamily, StripeId
from storaged.base.jobs import Job
from storaged.memory import MemoryNode
from storaged.node import ShardInfo
from tests.support.log_rig import LogRig

Scenario = Callable[[LogRig], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        rig = LogRig()
        await rig.open()
        await scenario(rig)
        await rig.log.close()

    asyncio.run(asyncio.wait_for(main(), 30))


async def rounds(job: Job, count: int = 1) -> None:
    """Steps until the job wants to wait, `count` times."""
    for _ in range(count):
        for _ in range(10_000):
            if await job.step():
                break


class Jobs:
    def __init__(self, rig: LogRig, floor: int = 10**9) -> None:
        self.queue = RepairQueue(rig.topology)
        nodes = rig.store.nodes
        self.audit = Audit(
            log=rig.log,
            nodes=nodes,
            health=rig.health,
            records=rig.records,
            repairs=self.queue,
            env=rig.env,
        )
        self.repair = Repairer(
            log=rig.log,
            store=rig.store,
            health=rig.health,
            records=rig.records,
            queue=self.queue,
            env=rig.env,
            drain_reports=lambda: (),
        )
        self.free = Freer(
            log=rig.log,
            store=rig.store,
            records=rig.records,
            oldest_read_s=lambda: None,
            env=rig.env,
            floor_sequence=lambda: floor,
        )


async def shards_of(rig: LogRig, number: int) -> list[ShardInfo]:
    first = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
    return list((await rig.nodes[number].list(first, None, limit=1000)).shards)


@pytest.mark.proves("B-18")
def test_a_wiped_node_is_found_and_filled_again() -> None:
    async def scenario(rig: LogRig) -> None:
        places = [(await rig.put(f"k{n}", b"", body=b"body %d" % n)).places[0] for n in range(20)]
        held = len(await shards_of(rig, 2))
        rig.nodes[2].node = MemoryNode(rig.nodes[2].identity)
        jobs = Jobs(rig)
        await rounds(jobs.audit)
        assert len(jobs.queue.waiting) == held
        await rounds(jobs.repair, 2)
        assert not jobs.queue.waiting and not jobs.queue.unrecoverable
        for place_ in places:
            row = rig.log.stripe_row(place_.stripe)
            assert row is not None and row.tier is Tier.FULL
            for index, number in enumerate(row.nodes):
                await rig.nodes[number].verify(ShardId(row.stripe, index))
        await rounds(jobs.audit, 2)
        assert jobs.audit.progress().detail.startswith("0 missing")

    run(scenario)


def test_unnamed_shards_are_swept_only_after_a_clean_pass() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.put("a", b"", body=b"x")
        garbage = ShardId(StripeId(StripeFamily.DATA, 0, 77), 1)
        flying = ShardId(rig.log.new_stripe_ids(1), 0)
        for shard in (garbage, flying):
            await rig.nodes[3].put(shard, b"", b"left over", fence=None, retain_until_ms=0)
        jobs = Jobs(rig)
        before = {number: len(await shards_of(rig, number)) for number in rig.nodes}
        await rounds(jobs.audit)
        assert {number: len(await shards_of(rig, number)) for number in rig.nodes} == before
        await rounds(jobs.audit)
        held = {info.shard for info in await shards_of(rig, 3)}
        assert garbage not in held and flying in held
        rig.log.release_stripe_ids(flying.stripe)
        await rounds(jobs.audit)
        held = {info.shard for info in await shards_of(rig, 3)}
        assert garbage not in held and flying not in held

    run(scenario)


def test_sweeping_stays_off_while_something_is_missing() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.put("a", b"", body=b"x")
        garbage = ShardId(StripeId(StripeFamily.DATA, 0, 77), 1)
        await rig.nodes[3].put(garbage, b"", b"left over", fence=None, retain_until_ms=0)
        rig.nodes[2].node = MemoryNode(rig.nodes[2].identity)
        jobs = Jobs(rig)
        await rounds(jobs.audit, 3)
        assert garbage in {info.shard for info in await shards_of(rig, 3)}

    run(scenario)


def test_stripes_written_without_a_datacenter_are_spread_when_it_is_back() -> None:
    async def scenario(rig: LogRig) -> None:
        for node in rig.site("lyon"):
            node.down = True
        done = await rig.put("a", b"", body=b"x" * 1000)
        stripe = done.places[0].stripe
        row = rig.log.stripe_row(stripe)
        assert row is not None and row.tier is Tier.NODE
        for node in rig.site("lyon"):
            node.down = False
        await rig.health.probe()
        reachable = reachable_tier(rig.topology, rig.geometry, rig.health.usable())
        keeper = TierKeeper(log=rig.log, reachable=lambda: reachable, floor=Tier.NODE)
        for _ in range(4):
            await keeper.step()
        assert rig.log.tier is Tier.FULL
        jobs = Jobs(rig)
        await rounds(jobs.repair, 2)
        row = rig.log.stripe_row(stripe)
        assert row is not None
        assert tier_of(row.nodes, rig.topology, 4) is Tier.FULL
        assert bytes(await rig.store.read(row, 0, 1000, verified=True)) == b"x" * 1000
        await rounds(jobs.audit, 2)
        for number in rig.nodes:
            for info in await shards_of(rig, number):
                named = rig.log.stripe_row(info.shard.stripe)
                assert named is not None and named.nodes[info.shard.index] == number

    run(scenario)


def test_freed_stripes_leave_the_nodes_and_named_ones_stay() -> None:
    async def scenario(rig: LogRig) -> None:
        kept = (await rig.put("kept", b"", body=b"kept")).places[0]
        gone = (await rig.put("gone", b"", body=b"gone")).places[0]
        release = StripeChange(stripe=gone.stripe, live_delta=-gone.sealed_bytes)
        jobs = Jobs(rig)
        await rig.log.commit_change(rig.change("gone", None, stripes=(release,)))
        await rounds(jobs.free, 2)
        assert rig.log.stripe_row(gone.stripe) is None
        assert rig.log.stripe_row(kept.stripe) is not None
        held = {info.shard.stripe for number in rig.nodes for info in await shards_of(rig, number)}
        assert gone.stripe not in held and kept.stripe in held

    run(scenario)


def test_commit_stripes_above_the_floor_are_not_freed() -> None:
    async def scenario(rig: LogRig) -> None:
        gone = (await rig.put("gone", b"", body=b"gone")).places[0]
        release = StripeChange(stripe=gone.stripe, live_delta=-gone.sealed_bytes)
        jobs = Jobs(rig, floor=0)
        await rig.log.commit_change(rig.change("gone", None, stripes=(release,)))
        await rounds(jobs.free, 2)
        assert rig.log.stripe_row(gone.stripe) is not None

    run(scenario)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.sets(st.integers(1, 6), max_size=3), st.integers(0, 3))
def test_a_plan_reaches_the_best_tier_and_never_moves_a_shard_for_nothing(
    seed: int, down: set[int], lost: int
) -> None:
    rig = LogRig()
    geometry = Geometry(4, 2)
    stripe = StripeId(StripeFamily.DATA, 1, seed)
    rng = Random(seed)
    usable = frozenset(set(rig.nodes) - down)
    placed = place(stripe, rig.topology, geometry, frozenset(rig.nodes))
    assert placed is not None
    missing = set(rng.sample(range(6), lost))
    row = StripeRow(
        stripe=stripe,
        geometry=geometry,
        cell_bytes=10,
        payload_bytes=40,
        nodes=placed,
        tier=Tier.FULL,
        live_bytes=40,
    )
    plan = plan_moves(row, missing, rig.topology, usable)
    assert set(plan.values()) <= usable
    after = [plan.get(i, 0 if i in missing else number) for i, number in enumerate(placed)]
    if not missing and not down:
        assert plan == {}
    if not down:
        assert tier_of(after, rig.topology, 4) is Tier.FULL and set(plan) == missing


def test_what_is_not_found_in_a_damaged_partition_is_not_called_absent() -> None:
    async def scenario(rig: LogRig) -> None:
        await rig.put("a", b"1")
        assert isinstance(rig.index, MemoryStore)
        key = rig.row_key("a")
        del rig.index._values[key]  # as rot would hide it
        rig.index._keys.remove(key)
        rig.log._pipeline.latest._held.clear()
        assert rig.log.read([key]) == [None], "nobody has looked yet"
        with pytest.raises(SumsMismatch):
            await rounds(Jobs(rig).audit)
        with pytest.raises(MetaUnavailable):
            rig.log.read([key])
        with pytest.raises(MetaUnavailable):
            rig.log.scan(key, key + b"z", limit=1)

    run(scenario)
