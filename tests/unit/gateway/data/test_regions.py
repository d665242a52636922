"""S-01, S-02: no shard of a stripe lands outside of its region, whatever the topology, with nodes
lost, during hand-off and in repair. A region that nobody knows takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.data import placement as pl
from gateway.data.stripes import TierNotReached
from gateway.data.topology import (
    OWN_REGION,
    InvalidTopology,
    NodeState,
    Region,
    Topology,
    TopologyNode,
)
from gateway.jobs.repair import plan_moves
from gateway.meta import keyspace
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.meta.stripes import open_stripe, seal_stripe
from gateway.model.layout import Geometry, StripeRow, Tier
from gateway.model.names import BucketId
from storaged.base.errors import StorageError
from storaged.base.ids import DatacenterId, NodeId, ShardId, StripeFamily, StripeId
from tests.support.cluster import MemoryCluster, memory_cluster, run_virtual
from tests.support.faulty_node import FaultyNode

pytestmark = pytest.mark.proves("S-01", "S-02")

COUNTRIES = ("fr", "de", "us")
GEOMETRIES = (Geometry(2, 1), Geometry(4, 2), Geometry(5, 4))
NUMBER = 7


@st.composite
def bounded_topologies(draw: st.DrawFn) -> Topology:
    """Datacenters of one to four nodes in some countries, and one region."""
    nodes: list[TopologyNode] = []
    for datacenter in range(draw(st.integers(1, 5))):
        country = draw(st.sampled_from(COUNTRIES))
        for _ in range(draw(st.integers(1, 4))):
            number = len(nodes) + 1
            nodes.append(
                TopologyNode(
                    number=number,
                    node=NodeId(f"n{number}"),
                    datacenter=DatacenterId(f"dc{datacenter}"),
                    country=country,
                    state=draw(st.sampled_from((NodeState.ACTIVE,) * 4 + (NodeState.DRAINING,))),
                )
            )
    names = sorted({node.datacenter for node in nodes})
    region = Region(
        number=NUMBER,
        name="r",
        datacenters=frozenset(draw(st.sets(st.sampled_from(names)))),
        countries=frozenset(draw(st.sets(st.sampled_from(COUNTRIES), max_size=2))),
    )
    return Topology(1, tuple(nodes), (region,))


def inside(topology: Topology) -> set[int]:
    """What the region says, worked out anew."""
    (region,) = topology.regions
    return {
        node.number
        for node in topology.nodes
        if (not region.datacenters or node.datacenter in region.datacenters)
        and (not region.countries or node.country in region.countries)
    }


def placed(nodes: Iterable[int]) -> set[int]:
    return {number for number in nodes if number}


@settings(max_examples=300, deadline=None)
@given(bounded_topologies(), st.sampled_from(GEOMETRIES), st.integers(0, 5000), st.data())
def test_no_placement_and_no_repair_leaves_the_region(
    topology: Topology, geometry: Geometry, counter: int, draw: st.DataObject
) -> None:
    numbers = sorted(topology.by_number)
    usable = frozenset(draw.draw(st.sets(st.sampled_from(numbers))))
    stripe = StripeId(StripeFamily.DATA, 1, counter)
    within = topology.within(usable, NUMBER)
    assert within == usable & inside(topology)
    nodes = pl.place(stripe, topology, geometry, within)
    if nodes is not None:
        assert placed(nodes) <= inside(topology)
    # Repair of a stripe wherever its shards are, such as after a region was made smaller.
    anywhere = st.lists(st.sampled_from([0, *numbers]), min_size=geometry.n, max_size=geometry.n)
    row = StripeRow(
        stripe=stripe,
        geometry=geometry,
        cell_bytes=1,
        payload_bytes=1,
        nodes=tuple(draw.draw(anywhere)),
        tier=Tier.NONE,
        live_bytes=1,
        region=NUMBER,
    )
    plan = plan_moves(row, set(), topology, usable)
    assert set(plan.values()) <= inside(topology) & usable
    unknown = replace(row, region=NUMBER + 1)
    assert not plan_moves(unknown, set(), topology, usable)


async def shards_on(node: FaultyNode) -> int:
    first = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
    return len((await node.list(first, None, limit=100)).shards)


def paris_only(cluster: MemoryCluster) -> set[int]:
    """Bound region NUMBER to the first datacenter; its node numbers."""
    region = Region(number=NUMBER, name="paris", datacenters=frozenset({DatacenterId("paris")}))
    cluster.topology = Topology(1, cluster.topology.nodes, (region,))
    cluster.store.set_topology(cluster.topology)
    return {n.number for n in cluster.topology.nodes if n.datacenter == "paris"}


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 5), st.data())
def test_nodes_that_fail_hang_or_go_are_replaced_inside_or_not_at_all(
    count: int, draw: st.DataObject
) -> None:
    async def main() -> None:
        cluster = memory_cluster(count, 2, 2)
        allowed = paris_only(cluster)
        numbers = sorted(cluster.nodes)
        for number in draw.draw(st.sets(st.sampled_from(numbers), max_size=3)):
            fault = draw.draw(st.sampled_from(("down", "fails", "hangs")))
            cluster.nodes[number].down = fault == "down"
            cluster.nodes[number].fail_puts = 1 if fault == "fails" else 0
            cluster.nodes[number].delay_s = 20.0 if fault == "hangs" else 0.0
        if draw.draw(st.booleans()):
            await cluster.health.probe()
        row: StripeRow | None = None
        with suppress(TierNotReached):
            written = await cluster.write(b"kept in paris" * 9, region=NUMBER)
            row = replace(written, region=NUMBER)
            assert placed(row.nodes) <= allowed
            assert row.tier >= Tier.NODE
        for node in cluster.nodes.values():
            node.down, node.fail_puts, node.delay_s = False, 0, 0.0
        if row is not None:
            await cluster.health.probe()
            lost = draw.draw(st.sampled_from(sorted(placed(row.nodes))))
            cluster.nodes[lost].deny_shards = True
            indexes = [i for i, number in enumerate(row.nodes) if number == lost]
            with suppress(StorageError):  # where too few are left
                assert set((await cluster.store.restore(row, indexes)).values()) <= allowed
            cluster.nodes[lost].deny_shards = False
        for number, node in cluster.nodes.items():
            if number not in allowed:
                assert not await shards_on(node), number

    run_virtual(main())


def test_a_region_without_enough_nodes_fails_closed() -> None:
    async def main() -> None:
        cluster = memory_cluster(3, 3, 3)
        allowed = paris_only(cluster)
        with pytest.raises(TierNotReached):
            await cluster.write(b"x" * 99, region=NUMBER + 1)  # nobody knows it
        for number in sorted(allowed)[:2]:
            cluster.nodes[number].down = True
        await cluster.health.probe()
        with pytest.raises(TierNotReached):
            await cluster.write(b"x" * 99, region=NUMBER)
        for node in cluster.nodes.values():
            assert node.down or not await shards_on(node)
        assert placed((await cluster.write(b"x" * 99)).nodes) - allowed  # the others may write on

    run_virtual(main())


def test_the_clusters_own_region_bounds_what_has_no_other() -> None:
    nodes = memory_cluster(3, 3).topology.nodes
    assert Topology(1, nodes).within(frozenset({1, 9}), OWN_REGION) == {1, 9}
    own = Region(number=OWN_REGION, name="fr", datacenters=frozenset({DatacenterId("lyon")}))
    assert Topology(1, nodes, (own,)).within(frozenset(range(1, 7)), OWN_REGION) == {4, 5, 6}
    with pytest.raises(InvalidTopology):
        Topology(1, nodes, (own, replace(own, name="again")))
    with pytest.raises(InvalidTopology):
        Topology(1, nodes, (replace(own, number=256),))


def _no_bucket(bucket: BucketId, epoch: int) -> AESGCM:
    raise AssertionError("stripe rows are the cluster's")


@pytest.mark.parametrize("number", [OWN_REGION, 1, 255])
def test_rows_of_stripes_keep_their_region(number: int) -> None:
    row = StripeRow(
        stripe=StripeId(StripeFamily.DATA, 1, 2),
        geometry=Geometry(2, 1),
        cell_bytes=3,
        payload_bytes=5,
        nodes=(1, 2, 3),
        tier=Tier.NODE,
        live_bytes=5,
        region=number,
    )
    keys = RecordKeys(b"c" * 32, _no_bucket)
    value = seal_stripe(keys, NonceSource(1), row)
    assert open_stripe(keys, keyspace.stripe_row(row.stripe), value) == row
