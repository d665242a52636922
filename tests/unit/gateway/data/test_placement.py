"""Placement keeps its rules on every topology; tiers equal brute force over every loss."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.data import placement as pl
from gateway.data.topology import InvalidTopology, NodeState, Topology, TopologyNode
from gateway.model.layout import Geometry, Tier
from storaged.base.ids import DatacenterId, NodeId, StripeFamily, StripeId

GEOMETRIES = [Geometry(2, 1), Geometry(4, 2), Geometry(5, 4), Geometry(6, 3), Geometry(8, 4)]


def topology(*node_counts: int, draining: frozenset[int] = frozenset()) -> Topology:
    """One datacenter for each count; numbers go on from 1."""
    places = [dc for dc, count in enumerate(node_counts) for _ in range(count)]
    return Topology(
        1,
        tuple(
            TopologyNode(
                number=i + 1,
                node=NodeId(f"n{i + 1}"),
                datacenter=DatacenterId(f"dc{dc}"),
                country="fr",
                state=NodeState.DRAINING if i + 1 in draining else NodeState.ACTIVE,
            )
            for i, dc in enumerate(places)
        ),
    )


def stripe(counter: int) -> StripeId:
    return StripeId(StripeFamily.DATA, 1, counter)


topologies = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(lambda c: topology(*c))


def brute_tier(nodes: tuple[int, ...], topo: Topology, k: int) -> Tier:
    """Take every node, then every datacenter, away and count what is left."""
    stored = [topo.by_number[n] for n in nodes if n in topo.by_number]
    if not stored:
        return Tier.NONE
    any_datacenter = all(
        sum(n.datacenter != away for n in stored) >= k for away in {n.datacenter for n in stored}
    )
    any_node = all(sum(n.number != away.number for n in stored) >= k for away in stored)
    return Tier.FULL if any_datacenter else Tier.NODE if any_node else Tier.NONE


@settings(max_examples=300, deadline=None)
@given(topologies, st.sampled_from(GEOMETRIES), st.integers(0, 5000), st.data())
def test_rules_hold_and_tiers_are_true(
    topo: Topology, geometry: Geometry, counter: int, draw: st.DataObject
) -> None:
    numbers = sorted(topo.by_number)
    usable = frozenset(draw.draw(st.sets(st.sampled_from(numbers))))
    nodes = pl.place(stripe(counter), topo, geometry, usable)
    if nodes is None:
        assert pl.reachable_tier(topo, geometry, usable) is Tier.NONE
        return
    stored = [n for n in nodes if n]
    on_node = Counter(stored)
    in_dc = Counter(topo.by_number[n].datacenter for n in stored)
    assert len(nodes) == geometry.n and set(stored) <= usable
    assert max(on_node.values()) <= min(2, geometry.m)
    if len(topo.datacenters(usable)) >= 3:
        assert max(in_dc.values()) <= geometry.k - 1
    tier = pl.tier_of(nodes, topo, geometry.k)
    assert tier is brute_tier(nodes, topo, geometry.k) and tier >= Tier.NODE
    assert tier is pl.reachable_tier(topo, geometry, usable), "the tier does not depend on rotation"


@settings(max_examples=300)
@given(topologies, st.sampled_from(GEOMETRIES), st.data())
def test_tier_of_any_nodes_equals_brute_force(
    topo: Topology, geometry: Geometry, draw: st.DataObject
) -> None:
    numbers = [0, *topo.by_number, 999]
    nodes = tuple(
        draw.draw(
            st.lists(st.sampled_from(numbers), min_size=geometry.n, max_size=geometry.n),
        )
    )
    assert pl.tier_of(nodes, topo, geometry.k) is brute_tier(nodes, topo, geometry.k)


@pytest.mark.parametrize("counts", [(2, 2, 2), (1, 1, 2), (3, 3), (4,), (1, 2, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("geometry", [Geometry(2, 1), Geometry(4, 2)], ids=str)
def test_the_best_tier_is_found(counts: tuple[int, ...], geometry: Geometry) -> None:
    """No assignment within the rules survives more than the one that `place` finds."""
    topo = topology(*counts)
    numbers = sorted(topo.by_number)
    best = Tier.NONE
    per_dc = pl.datacenter_shards_max(geometry, len(counts))
    for counts_of in product(range(min(2, geometry.m) + 1), repeat=len(numbers)):
        if sum(counts_of) > geometry.n:
            continue
        nodes = tuple(n for n, c in zip(numbers, counts_of, strict=True) for _ in range(c))
        in_dc = Counter(topo.by_number[n].datacenter for n in nodes)
        if nodes and max(in_dc.values()) <= per_dc:
            best = max(best, brute_tier(nodes, topo, geometry.k))
    assert pl.reachable_tier(topo, geometry, frozenset(numbers)) is best


def test_default_cluster() -> None:
    topo, geometry = topology(2, 2, 2), Geometry(4, 2)
    everyone = topo.active
    nodes = pl.place(stripe(1), topo, geometry, everyone)
    assert nodes is not None and sorted(nodes) == [1, 2, 3, 4, 5, 6]
    assert pl.tier_of(nodes, topo, 4) is Tier.FULL
    assert pl.reachable_tier(topo, geometry, everyone - {1}) is Tier.FULL
    assert pl.reachable_tier(topo, geometry, everyone - {1, 2}) is Tier.NODE
    assert pl.reachable_tier(topo, geometry, frozenset({1, 2, 3})) is Tier.NODE
    assert pl.reachable_tier(topo, geometry, frozenset({1, 2})) is Tier.NONE
    assert pl.tier_of((1, 2, 3, 4, 5, 0), topo, 4) is Tier.NODE


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_load_is_even_and_indexes_move(geometry: Geometry) -> None:
    topo = topology(4, 4, 4)
    shards: Counter[int] = Counter()
    first_cells: Counter[int] = Counter()
    for counter in range(3000):
        nodes = pl.place(stripe(counter), topo, geometry, topo.active)
        assert nodes is not None
        shards.update(nodes)
        first_cells[nodes[0]] += 1
    for load in (shards, first_cells):
        mean = sum(load.values()) / 12
        assert len(load) == 12 and all(0.75 * mean < c < 1.25 * mean for c in load.values())


def test_draining_and_gone_nodes_take_nothing() -> None:
    topo = topology(2, 2, 3, draining=frozenset({7}))
    for counter in range(50):
        nodes = pl.place(stripe(counter), topo, Geometry(4, 2), frozenset(range(1, 8)))
        assert nodes is not None and 7 not in nodes


@settings(max_examples=200, deadline=None)
@given(topologies, st.sampled_from(GEOMETRIES), st.integers(0, 999), st.data())
def test_replacements_keep_the_rules(
    topo: Topology, geometry: Geometry, counter: int, draw: st.DataObject
) -> None:
    nodes = pl.place(stripe(counter), topo, geometry, topo.active)
    if nodes is None:
        return
    index = draw.draw(st.integers(0, geometry.n - 1))
    excluded = {nodes[index]} | draw.draw(st.sets(st.sampled_from(sorted(topo.by_number))))
    usable = topo.active
    got = pl.replacement(stripe(counter), topo, geometry, nodes, index, usable, excluded)
    moved = [n for i, n in enumerate(nodes) if i != index and n]
    if got is None:
        for number in usable - excluded:
            dc = topo.by_number[number].datacenter
            in_dc = sum(topo.by_number[n].datacenter == dc for n in moved)
            assert moved.count(number) >= min(2, geometry.m) or in_dc >= geometry.k - 1
        return
    moved.append(got)
    assert got in usable and got not in excluded
    assert moved.count(got) <= min(2, geometry.m)
    if len(topo.datacenters(usable)) >= 3:
        assert max(Counter(topo.by_number[n].datacenter for n in moved).values()) < geometry.k


def test_replacement_prefers_the_better_tier() -> None:
    topo = topology(3, 3, 3)
    geometry = Geometry(4, 2)
    got = pl.replacement(stripe(1), topo, geometry, (1, 2, 4, 5, 7, 8), 5, topo.active, {8})
    assert got == 9, "the same datacenter keeps the tier FULL"


@given(topologies, st.sampled_from(GEOMETRIES), st.data())
def test_fencing_is_never_believed_too_early(
    topo: Topology, geometry: Geometry, draw: st.DataObject
) -> None:
    """Where `can_write_without` says no, no view of the unfenced nodes reaches NODE."""
    numbers = sorted(topo.by_number)
    fenced = draw.draw(st.sets(st.sampled_from(numbers)))
    if pl.can_write_without(fenced, topo, geometry):
        return
    seen = frozenset(draw.draw(st.sets(st.sampled_from(numbers)))) - fenced
    assert pl.reachable_tier(topo, geometry, seen) is Tier.NONE


def test_fencing_of_the_default_cluster() -> None:
    topo = topology(2, 2, 2)
    assert pl.can_write_without({1, 2, 3}, topo, Geometry(4, 2))
    assert not pl.can_write_without({1, 2, 3, 4}, topo, Geometry(4, 2))


def test_margin() -> None:
    topo = topology(2, 2, 2)
    assert pl.margin((1, 2, 3, 4, 5, 6), topo, 4, {1, 2, 3, 4, 5, 6}) == 2
    assert pl.margin((1, 2, 3, 4, 5, 0), topo, 4, {1, 2, 3}) == -1
    assert pl.margin((1, 1, 2, 2, 3, 3), topo, 4, {1, 2, 99}) == 0


def test_topology_refuses_doubles() -> None:
    node = TopologyNode(number=1, node=NodeId("a"), datacenter=DatacenterId("paris"), country="fr")
    with pytest.raises(InvalidTopology):
        Topology(1, (node, node))
    zero = TopologyNode(number=0, node=NodeId("b"), datacenter=DatacenterId("paris"), country="fr")
    with pytest.raises(InvalidTopology):
        Topology(1, (node, zero))
    topo = Topology(1, (node,))
    assert topo.by_id[NodeId("a")] is topo.by_number[1]
    assert topo.datacenters({1, 5}) == {DatacenterId("paris")}
