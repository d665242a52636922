"""What the shards that were found prove of a group: nothing that was acknowledged is called void.

Counted here anew, without the product's own arithmetic of tiers.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random

import pytest

from gateway.commit.header import GENESIS_DIGEST, GroupHeader, GroupKind
from gateway.commit.recovery import Candidate, Verdict, decide
from gateway.data.topology import Topology, TopologyNode
from gateway.model.layout import Geometry, Tier
from storaged.base.ids import LogId, datacenter_id, node_id

SITES = 3
PLACEMENTS = 12
SHAPES = [(Geometry(2, 1), 1), (Geometry(2, 1), 2), (Geometry(4, 2), 2), (Geometry(5, 4), 3)]


def topology_of(per_site: int) -> Topology:
    nodes = tuple(
        TopologyNode(
            number=number,
            node=node_id(f"n-{number}"),
            datacenter=datacenter_id(f"site-{number % SITES}"),
            country="fr",
        )
        for number in range(1, SITES * per_site + 1)
    )
    return Topology(epoch=1, nodes=nodes)


def survives(places: dict[int, int], k: int, tier: Tier) -> bool:
    """Whether k shards are left when any datacenter (FULL) or any node (NODE) goes."""
    lost = Counter(number % SITES if tier is Tier.FULL else number for number in places.values())
    return len(places) - max(lost.values(), default=0) >= k


def placements(geometry: Geometry, per_site: int, tier: Tier) -> list[dict[int, int]]:
    """Shard index → node, with which a group of this tier may have been acknowledged."""
    rng = Random(geometry.n * 10 + tier)
    found: list[dict[int, int]] = []
    while len(found) < PLACEMENTS:
        pool = [n for n in range(1, SITES * per_site + 1) for _ in range(min(2, geometry.m))]
        rng.shuffle(pool)
        indexes = rng.sample(range(geometry.n), rng.randint(geometry.k, geometry.n))
        places = dict(zip(indexes, pool, strict=False))
        if survives(places, geometry.k, tier):
            found.append(places)
    return found


def verdict(
    geometry: Geometry, tier: Tier, found: dict[int, int], topology: Topology, away: frozenset[int]
) -> Verdict:
    header = GroupHeader(
        log=LogId(bytes(16)),
        epoch=1,
        sequence=1,
        tier=tier,
        kind=GroupKind.CHANGES,
        previous=GENESIS_DIGEST,
        checkpoint=(0, 0),
        bodies_bytes=0,
        records_bytes=1,
    )
    return decide(Candidate(header, b"", geometry, 1, 1, found), topology, away)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tier", [Tier.NODE, Tier.FULL])
def test_no_acknowledged_group_is_void_whoever_is_away(
    shape: tuple[Geometry, int], tier: Tier
) -> None:
    geometry, per_site = shape
    topology = topology_of(per_site)
    numbers = sorted(topology.by_number)
    stopped = 0
    for places in placements(geometry, per_site, tier):
        for count in range(min(len(numbers), 5)):
            for away in map(frozenset, combinations(numbers, count)):
                found = {index: n for index, n in places.items() if n not in away}
                said = verdict(geometry, tier, found, topology, away)
                enough = len(found) >= geometry.k
                assert said is (Verdict.ADOPT if enough else Verdict.STOP), (places, away)
                stopped += said is Verdict.STOP
    assert stopped, "some are away that decide"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tier", [Tier.NODE, Tier.FULL])
def test_what_too_few_hold_is_void_when_all_who_matter_answer(
    shape: tuple[Geometry, int], tier: Tier
) -> None:
    geometry, per_site = shape
    topology = topology_of(per_site)
    for have in range(1, geometry.k):
        found = {index: 1 + index % len(topology.nodes) for index in range(have)}
        allowed = [n for n in topology.by_number if n % SITES == 0 and n not in found.values()]
        away = frozenset(allowed if tier is Tier.FULL else allowed[:1])
        for unreachable in (frozenset[int](), away):
            assert verdict(geometry, tier, found, topology, unreachable) is Verdict.VOID
