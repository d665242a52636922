"""S-05: operators are named in a cluster that has data. Repair moves what one of them must not
have, and objects are read and written meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.admin.produce_shards import count_shards
from gateway.data.placement import too_much_with_one
from gateway.data.topology import Topology
from gateway.meta.stripes import scan_stripes
from gateway.model.layout import StripeRow, Tier
from storaged.base.ids import ShardId
from tests.support.admin_rig import AdminRig, admin_rig
from tests.support.gateway import BUCKET

BODIES = {f"k{number}": bytes([number]) * (1 + number * 90_000) for number in range(6)}


def named(rig: AdminRig) -> Topology:
    """The first two datacenters are alpha's; bravo and charlie have one each."""
    sites = list(dict.fromkeys(node.datacenter for node in rig.view.topology.nodes))
    names = dict(zip(sites, ("alpha", "alpha", "bravo", "charlie"), strict=True))
    nodes = [replace(n, operator=names[n.datacenter]) for n in rig.view.topology.nodes]
    return Topology(2, tuple(nodes))


def rows_of(rig: AdminRig) -> list[StripeRow]:
    stored = scan_stripes(rig.gateway.log, rig.view.records, None, limit=1000)
    return [one.row for one in stored]


def is_against(topology: Topology, row: StripeRow) -> bool:
    return too_much_with_one(row.nodes, topology, row.geometry, row.region) is not None


@pytest.mark.proves("S-05", "B-01", "B-12")
def test_stripes_from_before_operators_were_named_are_parted() -> None:
    async def main() -> None:
        async with admin_rig(2, 2, 2, 2) as rig:
            gateway = rig.gateway
            for key, body in BODIES.items():
                await gateway.put(key, body)
            topology = named(rig)
            alpha = {node.number for node in topology.nodes if node.operator == "alpha"}
            assert (await count_shards(gateway.cluster.store, alpha)).whole > 0
            gateway.cluster.store.set_topology(topology)
            rig.repairs.topology = rig.view.topology = topology
            assert [row for row in rows_of(rig) if is_against(topology, row)]
            rig.repairer.look_again()
            for _ in range(40):
                await rig.repairer.step()
                for key, body in BODIES.items():
                    assert await gateway.get(key) == body
            await gateway.put("later", BODIES["k5"])
            rows = rows_of(rig)
            assert rows and not rig.repairs.waiting and not rig.repairs.unrecoverable
            for row in rows:
                assert not is_against(topology, row)
                assert 0 not in row.nodes and row.tier is Tier.FULL
                for index, number in enumerate(row.nodes):
                    await gateway.cluster.nodes[number].verify(ShardId(row.stripe, index))
            assert (await rig.view.where(BUCKET, "k5"))["stripes_too_much_with_one"] == 0

    asyncio.run(asyncio.wait_for(main(), 60))
