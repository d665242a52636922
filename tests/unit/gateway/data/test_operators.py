"""S-02, S-05: where three operators or more run the nodes, none is given k shards of a stripe, with
nodes lost, during hand-off and in repair; old stripes that are against it are moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.data import placement as pl
from gateway.data.stripes import TierNotReached
from gateway.data.topology import NodeState, Region, Topology, TopologyNode
from gateway.jobs.repair_plan import first_steps, plan_moves
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.errors import StorageError
from storaged.base.ids import DatacenterId, NodeId, StripeFamily, StripeId
from tests.support.cluster import MemoryCluster, memory_cluster, run_virtual

GEOMETRIES = (Geometry(2, 1), Geometry(4, 2), Geometry(5, 4), Geometry(6, 3))
OPERATORS = ("alpha", "bravo", "charlie", "delta", "")
NUMBER = 3


def node_of(number: int, datacenter: str, operator: str, **changes: object) -> TopologyNode:
    node = TopologyNode(
        number=number,
        node=NodeId(f"n{number}"),
        datacenter=DatacenterId(datacenter),
        country="fr",
        operator=operator,
    )
    return replace(node, **changes)  # type: ignore[arg-type]


@st.composite
def run_topologies(draw: st.DrawFn) -> Topology:
    """Operators anywhere: several in a datacenter, one in several; and a region of some sites."""
    nodes: list[TopologyNode] = []
    for datacenter in range(draw(st.integers(1, 5))):
        for _ in range(draw(st.integers(1, 4))):
            state = draw(st.sampled_from((NodeState.ACTIVE,) * 6 + tuple(NodeState)))
            operator = draw(st.sampled_from(OPERATORS))
            nodes.append(node_of(len(nodes) + 1, f"dc{datacenter}", operator, state=state))
    names = sorted({node.datacenter for node in nodes})
    bound = frozenset(draw(st.sets(st.sampled_from(names))))
    return Topology(1, tuple(nodes), (Region(number=NUMBER, name="r", datacenters=bound),))


def with_operators(topology: Topology, nodes: Iterable[int]) -> Counter[str]:
    known = topology.by_number
    return Counter(known[number].operator for number in nodes if number in known)


def bound_of(topology: Topology, geometry: Geometry, region: int) -> int:
    """The rule, said anew: k − 1 where three operators or more have nodes in the region."""
    (held,) = topology.regions
    inside = [
        node
        for node in topology.nodes
        if node.state is not NodeState.GONE and (region == 0 or held.takes(node))
    ]
    return max(1, geometry.k - 1) if len({n.operator for n in inside}) >= 3 else geometry.n


def row_of(nodes: Sequence[int], geometry: Geometry, counter: int, region: int) -> StripeRow:
    return StripeRow(
        stripe=StripeId(StripeFamily.DATA, 1, counter),
        geometry=geometry,
        cell_bytes=1,
        payload_bytes=1,
        nodes=tuple(nodes),
        tier=Tier.NONE,
        live_bytes=1,
        region=region,
    )


@pytest.mark.proves("S-02", "S-05", "B-01", "B-12")
@settings(max_examples=400, deadline=None)
@given(
    run_topologies(),
    st.sampled_from(GEOMETRIES),
    st.integers(0, 5000),
    st.sampled_from((0, NUMBER)),
    st.data(),
)
def test_no_operator_is_given_a_whole_stripe(
    topology: Topology, geometry: Geometry, counter: int, region: int, draw: st.DataObject
) -> None:
    numbers = sorted(topology.by_number)
    usable = frozenset(draw.draw(st.sets(st.sampled_from(numbers))))
    most = bound_of(topology, geometry, region)
    stripe = StripeId(StripeFamily.DATA, 1, counter)
    nodes = pl.place(stripe, topology, geometry, usable, region)
    if nodes is not None:
        assert max(with_operators(topology, nodes).values()) <= most
        assert {n for n in nodes if n} <= topology.within(usable, region)
        assert pl.too_much_with_one(nodes, topology, geometry, region) is None
        index = draw.draw(st.integers(0, geometry.n - 1))
        other = pl.replacement(
            stripe, topology, geometry, nodes, index, usable, {nodes[index]}, region
        )
        if other is not None:
            moved = [other if i == index else number for i, number in enumerate(nodes)]
            assert max(with_operators(topology, moved).values()) <= most


@pytest.mark.proves("S-02", "S-05")
@settings(max_examples=400, deadline=None)
@given(run_topologies(), st.sampled_from(GEOMETRIES), st.sampled_from((0, NUMBER)), st.data())
def test_repair_gives_no_operator_more_than_it_may_have(
    topology: Topology, geometry: Geometry, region: int, draw: st.DataObject
) -> None:
    """Wherever the shards of a stripe are, such as after operators were named."""
    numbers = sorted(topology.by_number)
    usable = frozenset(draw.draw(st.sets(st.sampled_from(numbers))))
    anywhere = st.lists(st.sampled_from([0, *numbers]), min_size=geometry.n, max_size=geometry.n)
    row = row_of(draw.draw(anywhere), geometry, draw.draw(st.integers(0, 99)), region)
    plan = plan_moves(row, set(), topology, usable)
    assert set(plan.values()) <= topology.within(usable & topology.active, region)
    after = [plan.get(index, number) for index, number in enumerate(row.nodes)]
    most = bound_of(topology, geometry, region)
    before = with_operators(topology, row.nodes)
    for operator, count in with_operators(topology, after).items():
        assert count <= max(most, before[operator])


@pytest.mark.proves("S-05")
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_what_lies_too_much_with_one_is_moved_away_and_no_tier_is_lost(geometry: Geometry) -> None:
    """Three operators; the shards lie as if nobody had asked whose the nodes are."""
    sites = [("a1", "alpha"), ("a2", "alpha"), ("a3", "alpha"), ("b", "bravo"), ("c", "charlie")]
    nodes = [
        node_of(3 * at + i + 1, name, operator)
        for at, (name, operator) in enumerate(sites)
        for i in range(3)
    ]
    topology = Topology(1, tuple(nodes))
    row = row_of([1 + i for i in range(geometry.n)], geometry, 5, 0)
    assert pl.too_much_with_one(row.nodes, topology, geometry, 0) == "alpha"
    placed = list(row.nodes)
    for _ in range(geometry.n):
        plan = plan_moves(replace(row, nodes=tuple(placed)), set(), topology, topology.active)
        if not plan:
            break
        for index, target in first_steps(replace(row, nodes=tuple(placed)), plan).items():
            placed[index] = target
    assert pl.too_much_with_one(placed, topology, geometry, 0) is None
    best = pl.reachable_tier(topology, geometry, topology.active)
    assert pl.tier_of(placed, topology, geometry.k) is best and 0 not in placed


@pytest.mark.proves("S-05")
def test_what_cannot_leave_an_operator_counts_when_others_are_made_again() -> None:
    """Five shards are lost, the sixth is on a node of alpha's that is drained, and only alpha's
    nodes answer: two of the lost are made again, not three.
    """
    nodes = [node_of(1, "a", "alpha"), node_of(2, "b", "alpha")]
    nodes += [node_of(3, "c", "alpha", state=NodeState.DRAINING)]
    nodes += [node_of(4, "d", "bravo"), node_of(5, "e", "charlie")]
    topology, geometry = Topology(1, tuple(nodes)), Geometry(4, 2)
    row = row_of((0, 0, 0, 0, 0, 3), geometry, 1, 0)
    plan = plan_moves(row, set(), topology, frozenset({1, 2}))
    after = [plan.get(index, number) for index, number in enumerate(row.nodes)]
    assert with_operators(topology, after)["alpha"] == 3 and len(plan) == 2


def test_operators_that_are_away_count() -> None:
    """With two of three operators away the third is not given what it must not have."""
    nodes = [node_of(i + 1, f"dc{i}", ("alpha", "bravo", "charlie")[i // 2]) for i in range(6)]
    topology, geometry = Topology(1, tuple(nodes)), Geometry(4, 2)
    assert pl.reachable_tier(topology, geometry, frozenset({1, 2, 3, 4})) is Tier.FULL
    more = [*nodes, *(node_of(7 + i, f"dc{6 + i}", "alpha") for i in range(4))]
    alone = frozenset({1, 2, 7, 8, 9, 10})
    assert pl.reachable_tier(Topology(1, tuple(more)), geometry, alone) is Tier.NONE
    unnamed = Topology(1, tuple(replace(node, operator="") for node in more))
    assert pl.reachable_tier(unnamed, geometry, alone) is Tier.FULL


def test_a_region_of_two_operators_is_not_bound_by_a_third_elsewhere() -> None:
    nodes = [
        node_of(i + 1, f"dc{i // 2}", ("alpha", "bravo", "charlie")[i // 4]) for i in range(12)
    ]
    region = Region(number=NUMBER, name="r", datacenters=frozenset({DatacenterId("dc0")}))
    topology = Topology(1, tuple(nodes), (region,))
    assert topology.operators(NUMBER) == {"alpha"} and len(topology.operators(0)) == 3
    assert topology.operators(99) == frozenset()
    geometry = Geometry(2, 1)
    assert pl.operator_shards_max(geometry, topology, NUMBER) == 3
    assert pl.operator_shards_max(geometry, topology, 0) == 1


def name_operators(cluster: MemoryCluster, *operators: str) -> Topology:
    """Operators of the cluster's datacenters, in turn."""
    sites = list(dict.fromkeys(node.datacenter for node in cluster.topology.nodes))
    of = {site: operators[i % len(operators)] for i, site in enumerate(sites)}
    nodes = tuple(replace(n, operator=of[n.datacenter]) for n in cluster.topology.nodes)
    cluster.topology = Topology(1, nodes)
    cluster.store.set_topology(cluster.topology)
    return cluster.topology


@pytest.mark.proves("S-02", "S-05")
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_hand_off_and_restore_keep_it(draw: st.DataObject) -> None:
    async def main() -> None:
        cluster = memory_cluster(3, 3, 2, 2)
        topology = name_operators(cluster, "alpha", "alpha", "bravo", "charlie")
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
            row = await cluster.write(b"shared out" * 9)
            assert max(with_operators(topology, row.nodes).values()) <= 3
        for node in cluster.nodes.values():
            node.down, node.fail_puts, node.delay_s = False, 0, 0.0
        if row is None:
            return
        await cluster.health.probe()
        lost = draw.draw(st.sampled_from(sorted({n for n in row.nodes if n})))
        cluster.nodes[lost].deny_shards = True
        indexes = [i for i, number in enumerate(row.nodes) if number == lost]
        with suppress(StorageError):
            restored = await cluster.store.restore(row, indexes)
            after = [restored.get(i, number) for i, number in enumerate(row.nodes)]
            assert max(with_operators(topology, after).values()) <= 3

    run_virtual(main())
