"""Which shards of a stripe to make again, to move, and in which order. Pure.

Not for reading or putting them: `gateway.jobs.repair`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gateway.data.placement import (
    operator_shards_max,
    reachable_tier,
    replacement,
    tier_of,
    too_much_with_one,
)
from gateway.data.topology import NodeState, Topology
from gateway.model.layout import StripeRow


def without(nodes: Sequence[int], missing: set[int]) -> tuple[int, ...]:
    """The nodes of a stripe's shards, 0 where one is known to be gone or bad."""
    return tuple(0 if index in missing else number for index, number in enumerate(nodes))


def first_steps(source: StripeRow, plan: dict[int, int]) -> dict[int, int]:
    """What of a plan to do now: what is lost comes first, and no move takes a shard that is needed
    to compute the others, as those of the plan are no sources. Pure.
    """
    lost = {index: number for index, number in plan.items() if not source.nodes[index]}
    if lost:
        return lost
    spare = sum(1 for number in source.nodes if number) - source.geometry.k
    return dict(sorted(plan.items())[: max(1, spare)])


def plan_moves(
    row: StripeRow, missing: set[int], topology: Topology, usable: frozenset[int]
) -> dict[int, int]:
    """Which shards to make again, and on which node: index → node number. Pure.

    First every shard that is nowhere gets a place, and what one operator holds too much of goes to
    another; then, while a better tier is in reach, shards are moved from the datacenter that holds
    most to where they count more. Nothing goes to a node outside of the stripe's region, and what
    lies outside is moved in.
    """
    geometry = row.geometry
    usable = topology.within(usable & topology.active, row.region)
    placed = list(without(row.nodes, missing))
    for index, number in enumerate(placed):
        node = topology.by_number.get(number)
        stays = node is not None and node.state is NodeState.ACTIVE
        if not stays or not topology.allows(row.region, number):
            placed[index] = 0
    plan: dict[int, int] = {}
    for index, number in enumerate(placed):
        if number:
            continue
        # The same node first: its copy was lost or bad, and a fresh one there moves nothing else.
        target = _best(row, placed, index, topology, usable, row.nodes[index])
        if target is not None:
            placed[index] = plan[index] = target
    _part_operators(row, placed, plan, topology, usable)
    best = reachable_tier(topology, geometry, usable, row.region)
    for _ in range(geometry.n):
        if tier_of(placed, topology, geometry.k) >= best:
            break
        move = _improving_move(row, placed, topology, usable)
        if move is None:
            break
        index, target = move
        placed[index] = plan[index] = target
    return _apart(row, plan, missing, topology)


def _apart(
    row: StripeRow, plan: dict[int, int], missing: set[int], topology: Topology
) -> dict[int, int]:
    """The plan without what would give an operator too much while shards that have to leave it find
    no other place: rather a shard less.
    """
    held = without(row.nodes, missing)
    known = topology.by_number
    while True:
        after = [plan.get(index, number) for index, number in enumerate(held)]
        operator = too_much_with_one(after, topology, row.geometry, row.region)
        added = [
            index
            for index, target in plan.items()
            if known[target].operator == operator
            and (held[index] not in known or known[held[index]].operator != operator)
        ]
        if operator is None or not added:
            return plan
        del plan[max(added)]


def _part_operators(
    row: StripeRow,
    placed: list[int],
    plan: dict[int, int],
    topology: Topology,
    usable: frozenset[int],
) -> None:
    """Move shards of the operator that has too many, one at a time, to nodes of others, as far as
    those have room; changes `placed` and `plan`.
    """
    for _ in range(row.geometry.n):
        operator = too_much_with_one(placed, topology, row.geometry, row.region)
        if operator is None:
            return
        moves: list[tuple[tuple[int, int], int, int]] = []
        for index, number in enumerate(placed):
            if not number or topology.by_number[number].operator != operator:
                continue
            trial = list(placed)
            trial[index] = 0
            target = _replacement(row, trial, index, topology, usable)
            if target is not None:
                trial[index] = target
                moves.append((_crowding(trial, topology), index, target))
        if not moves:
            return
        _, index, target = min(moves)
        placed[index] = plan[index] = target


def _replacement(
    row: StripeRow,
    placed: Sequence[int],
    index: int,
    topology: Topology,
    usable: frozenset[int],
) -> int | None:
    return replacement(
        row.stripe, topology, row.geometry, placed, index, usable, frozenset(), row.region
    )


def _best(
    row: StripeRow,
    placed: Sequence[int],
    index: int,
    topology: Topology,
    usable: frozenset[int],
    home: int,
) -> int | None:
    target = _replacement(row, placed, index, topology, usable)
    if home not in usable or target is None or target == home:
        return target
    at_home = [home if i == index else number for i, number in enumerate(placed)]
    if too_much_with_one(at_home, topology, row.geometry, row.region) is not None:
        return target
    elsewhere = [target if i == index else number for i, number in enumerate(placed)]
    k = row.geometry.k
    stays = tier_of(at_home, topology, k) >= tier_of(elsewhere, topology, k)
    return (
        home if stays and _crowding(at_home, topology) <= _crowding(elsewhere, topology) else target
    )


def _crowding(placed: Sequence[int], topology: Topology) -> tuple[int, int]:
    """Sums of squares of shards per datacenter and per node: lower is more even."""
    held = [number for number in placed if number]
    datacenters = Counter(topology.by_number[number].datacenter for number in held)
    nodes = Counter(held)
    return sum(n * n for n in datacenters.values()), sum(n * n for n in nodes.values())


def _improving_move(
    row: StripeRow, placed: Sequence[int], topology: Topology, usable: frozenset[int]
) -> tuple[int, int] | None:
    """The move of one shard that leaves the stripe least crowded; None when none improves it."""
    best: tuple[tuple[int, int], int, int] | None = None
    per_operator = operator_shards_max(row.geometry, topology, row.region)
    held = Counter(topology.by_number[number].operator for number in placed if number)
    for index, number in enumerate(placed):
        if not number:
            continue
        from_operator = topology.by_number[number].operator
        for target in sorted(usable & topology.active):
            to_operator = topology.by_number[target].operator
            if to_operator != from_operator and held[to_operator] >= per_operator:
                continue
            trial = list(placed)
            trial[index] = target
            crowding = _crowding(trial, topology)
            if best is None or crowding < best[0]:
                best = (crowding, index, target)
    if best is None or best[0] >= _crowding(placed, topology):
        return None
    return best[1], best[2]
