"""Repair of stripes that have just enough shards: no one is given up for a better place."""

from __future__ import annotations

import asyncio

from gateway.commit.change import Change, StripeChange
from gateway.commit.forming import CLUSTER_PARTITION
from gateway.data.placement import tier_of
from gateway.jobs.repair import first_steps
from gateway.meta.kv import Batch
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.ids import ShardId, StripeFamily, StripeId
from tests.support.log_rig import LogRig
from tests.unit.gateway.jobs.test_audit_repair import Jobs, rounds


def test_a_stripe_of_k_shards_in_one_datacenter_comes_to_full_strength() -> None:
    async def main() -> None:
        rig = LogRig(geometry=Geometry(2, 1))
        await rig.open()
        stripe = (await rig.put("a", b"", body=b"x" * 900)).places[0].stripe
        row = rig.log.stripe_row(stripe)
        assert row is not None
        # Shard 0 stays, shard 1 goes to the other node of its datacenter, shard 2 is lost.
        home = rig.nodes[row.nodes[0]].identity.datacenter
        beside = next(
            number
            for number, node in rig.nodes.items()
            if node.identity.datacenter == home and number != row.nodes[0]
        )
        shard = ShardId(stripe, 1)
        got = await rig.nodes[row.nodes[1]].get(shard, offset=0, length=row.cell_bytes)
        await rig.nodes[beside].put(
            shard, got.attributes, got.content, fence=None, retain_until_ms=0
        )
        for index in (1, 2):
            await rig.nodes[row.nodes[index]].delete([ShardId(stripe, index)])
        batch = Batch(
            partition=CLUSTER_PARTITION, request_id=rig.env.random_bytes(16), checks=(), writes=()
        )
        moved = StripeChange(stripe=stripe, moved=((1, beside), (2, 0)))
        await rig.log.commit_change(Change(batch=batch, stripes=(moved,)))
        jobs = Jobs(rig)
        await rounds(jobs.repair, 2)
        row = rig.log.stripe_row(stripe)
        assert row is not None and tier_of(row.nodes, rig.topology, 2) is Tier.FULL
        for index, number in enumerate(row.nodes):
            await rig.nodes[number].verify(ShardId(stripe, index))
        assert not jobs.queue.waiting and not jobs.queue.unrecoverable
        await rig.log.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_the_lost_come_first_and_moves_leave_enough_sources() -> None:
    def row(*nodes: int) -> StripeRow:
        return StripeRow(
            stripe=StripeId(StripeFamily.DATA, 1, 1),
            geometry=Geometry(4, 2),
            cell_bytes=10,
            payload_bytes=40,
            nodes=nodes,
            tier=Tier.NODE,
            live_bytes=40,
        )

    assert first_steps(row(1, 2, 3, 4, 0, 0), {0: 5, 4: 6, 5: 5}) == {4: 6, 5: 5}
    assert first_steps(row(1, 1, 2, 2, 3, 3), {0: 4, 2: 5, 4: 6}) == {0: 4, 2: 5}
