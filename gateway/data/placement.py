"""Which node gets which shard, and what a set of stored shards survives.

Not for health or I/O: the caller says which nodes are usable.

Rules: shards are spread evenly over datacenters, then operators, then nodes; at most 2 shards of a
stripe on one node (and at most m, else losing it loses the stripe); at most k − 1 in one datacenter
where three or more are usable, and at most k − 1 on nodes of one operator where the stripe's region
has three or more, usable or not: so none of them alone can decode a stripe. A placement is a
function of (stripe, topology, geometry, usable nodes, region).

Source: docs/architecture.md, "Tiers".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from zlib import crc32

from gateway.data.topology import OWN_REGION, NodeState, Topology
from gateway.model.layout import Geometry, Tier
from storaged.base.ids import DatacenterId, StripeId

SHARDS_PER_NODE_MAX = 2
OPERATORS_BOUND = 3  # so many of them, and none may hold k shards
ROTATIONS = (
    1024  # distinct placements of one set of usable nodes: even to 1 %, and small enough to keep
)
PLACEMENTS_MAX = 8192


def rotation_of(stripe: StripeId) -> int:
    """Which of the ROTATIONS placements a stripe gets; neighbours get different ones."""
    mixed = (stripe.counter + stripe.epoch * 0x9E37) * 0x9E3779B97F4A7C15
    return (mixed >> 32) % ROTATIONS


def node_shards_max(geometry: Geometry) -> int:
    """Shards of one stripe that a node may hold: losing the node must not lose the stripe."""
    return max(1, min(SHARDS_PER_NODE_MAX, geometry.m))


def datacenter_shards_max(geometry: Geometry, datacenter_count: int) -> int:
    """Shards of one stripe that a datacenter may hold."""
    return max(1, geometry.k - 1) if datacenter_count >= 3 else geometry.n


def operator_shards_max(geometry: Geometry, topology: Topology, region: int) -> int:
    """Shards of one stripe that nodes of one operator may hold. Those that are away count as
    operators too: that some do not answer gives nobody a whole stripe.
    """
    bound = len(topology.operators(region)) >= OPERATORS_BOUND
    return max(1, geometry.k - 1) if bound else geometry.n


def too_much_with_one(
    nodes: Sequence[int], topology: Topology, geometry: Geometry, region: int
) -> str | None:
    """The operator whose nodes hold more shards of a stripe than they may; None: there is none."""
    known = topology.by_number
    held = Counter(known[number].operator for number in nodes if number in known)
    operator, most = max(held.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    return operator if most > operator_shards_max(geometry, topology, region) else None


def place(
    stripe: StripeId,
    topology: Topology,
    geometry: Geometry,
    usable: frozenset[int],
    region: int = OWN_REGION,
) -> tuple[int, ...] | None:
    """Node number for each shard index; 0 for shards that find no place.

    Args:
        usable: nodes that may take shards; others are left out, as are those that are not ACTIVE or
            not of the region.

    Returns:
        k + m numbers that reach tier NODE or more once stored; None where no placement can.
    """
    return _place(rotation_of(stripe), topology, geometry, topology.within(usable, region), region)


def _weight(rotation: int, number: int) -> int:
    """Order of nodes in one rotation (highest random weight hashing)."""
    return crc32(b"%d,%d" % (rotation, number)) * 0x9E3779B1 & 0xFFFFFFFF


@lru_cache(maxsize=PLACEMENTS_MAX)
def _place(
    rotation: int, topology: Topology, geometry: Geometry, usable: frozenset[int], region: int
) -> tuple[int, ...] | None:
    numbers = sorted(usable & topology.active, key=lambda number: _weight(rotation, number))
    datacenter = {number: topology.by_number[number].datacenter for number in numbers}
    per_node = node_shards_max(geometry)
    per_datacenter = datacenter_shards_max(geometry, len(set(datacenter.values())))
    operator = {number: topology.by_number[number].operator for number in numbers}
    per_operator = operator_shards_max(geometry, topology, region)
    on_node: Counter[int] = Counter()
    in_datacenter: Counter[DatacenterId] = Counter()
    with_operator: Counter[str] = Counter()
    placed: list[int] = []
    while len(placed) < geometry.n:
        best = min(
            (
                number
                for number in numbers
                if on_node[number] < per_node
                and in_datacenter[datacenter[number]] < per_datacenter
                and with_operator[operator[number]] < per_operator
            ),
            key=lambda number: (
                in_datacenter[datacenter[number]],
                with_operator[operator[number]],
                on_node[number],
            ),
            default=None,
        )
        if best is None:
            break
        on_node[best] += 1
        in_datacenter[datacenter[best]] += 1
        with_operator[operator[best]] += 1
        placed.append(best)
    nodes = _permuted(placed, rotation) + (0,) * (geometry.n - len(placed))
    return nodes if tier_of(nodes, topology, geometry.k) >= Tier.NODE else None


def _permuted(placed: Sequence[int], rotation: int) -> tuple[int, ...]:
    """Give indexes to places by rotation, else one datacenter would hold data cells only."""
    order = sorted(range(len(placed)), key=lambda i: _weight(rotation, 0x10000 + i))
    return tuple(placed[i] for i in order)


def tier_of(nodes: Sequence[int], topology: Topology, k: int) -> Tier:
    """What a stripe survives with these shards stored (node number per index, 0 = missing).

    Shards on unknown or GONE nodes do not count.
    """
    return _tier_of(tuple(nodes), topology, k)


@lru_cache(maxsize=PLACEMENTS_MAX)
def _tier_of(nodes: tuple[int, ...], topology: Topology, k: int) -> Tier:
    known = topology.by_number
    stored = [known[n] for n in nodes if n in known and known[n].state is not NodeState.GONE]
    if len(stored) < k:
        return Tier.NONE
    most_in_datacenter = max(Counter(node.datacenter for node in stored).values())
    if len(stored) - most_in_datacenter >= k:
        return Tier.FULL
    most_on_node = max(Counter(node.number for node in stored).values())
    return Tier.NODE if len(stored) - most_on_node >= k else Tier.NONE


def replacement(
    stripe: StripeId,
    topology: Topology,
    geometry: Geometry,
    placed: Sequence[int],
    index: int,
    usable: Set[int],
    excluded: Set[int],
    region: int = OWN_REGION,
) -> int | None:
    """Another node for one shard, within the same rules.

    Args:
        placed: node number for each index as it stands, 0 = nowhere; the place at `index` is not
            counted.
        excluded: nodes not to take.
        region: of the stripe; nodes that are not of it are not taken either.

    Returns:
        The node with which the stripe survives most; None where every node is full, excluded or
        away.
    """
    others = [number for i, number in enumerate(placed) if i != index and number]
    known = topology.by_number
    on_node = Counter(others)
    in_datacenter = Counter(known[number].datacenter for number in others if number in known)
    with_operator = Counter(known[number].operator for number in others if number in known)
    allowed = topology.within(topology.active & usable, region)
    candidates = allowed - excluded
    per_node = node_shards_max(geometry)
    per_datacenter = datacenter_shards_max(geometry, len(topology.datacenters(allowed)))
    per_operator = operator_shards_max(geometry, topology, region)
    rotation = rotation_of(stripe) + index

    def preference(number: int) -> tuple[int, int, int, int, int]:
        trial = [number if i == index else other for i, other in enumerate(placed)]
        return (
            -tier_of(trial, topology, geometry.k),
            in_datacenter[known[number].datacenter],
            with_operator[known[number].operator],
            on_node[number],
            _weight(rotation, number),
        )

    fitting = [
        number
        for number in candidates
        if on_node[number] < per_node
        and in_datacenter[known[number].datacenter] < per_datacenter
        and with_operator[known[number].operator] < per_operator
    ]
    return min(fitting, key=preference, default=None)


def reachable_tier(
    topology: Topology, geometry: Geometry, usable: frozenset[int], region: int = OWN_REGION
) -> Tier:
    """The best tier that a write to these nodes can get, as far as they are of the region."""
    nodes = _place(0, topology, geometry, topology.within(usable, region), region)
    return Tier.NONE if nodes is None else tier_of(nodes, topology, geometry.k)


def can_write_without(fenced: Set[int], topology: Topology, geometry: Geometry) -> bool:
    """Whether nodes that are not fenced could by themselves take a stripe at tier NODE.

    Errs to True: every node that is not GONE counts, and no bound per datacenter, for who would
    write there may see another topology or fewer datacenters than we do.
    """
    open_count = sum(
        1 for n in topology.nodes if n.state is not NodeState.GONE and n.number not in fenced
    )
    return any(
        min(geometry.n, per_node * open_count) - per_node >= geometry.k
        for per_node in range(1, node_shards_max(geometry) + 1)
    )


def margin(nodes: Sequence[int], topology: Topology, k: int, alive: Iterable[int]) -> int:
    """Shards on alive nodes, less k: how many may still go; below 0 nobody can read."""
    counted = frozenset(alive) & topology.by_number.keys()
    return sum(1 for number in nodes if number in counted) - k
