"""Which nodes there are, in which datacenter, whose, whether they may take shards, and of which
regions.

A region is a set of datacenters: what S3 names in a location constraint. Shards of a stripe that
belongs to a region lie on nodes of that region only; every choice of a node goes through `within`.

Not for health: a node that is down for an hour is still in the topology (`gateway.data.health`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from storaged.base.errors import ConfigError
from storaged.base.ids import DatacenterId, NodeId

NODE_NUMBER_MAX = 0xFFFF
OWN_REGION = 0  # the cluster's own: of the log, and of buckets without another location
REGION_NUMBER_MAX = 0xFF
_NO_NODE: frozenset[int] = frozenset()
_NO_OPERATOR: frozenset[str] = frozenset()


class InvalidTopology(ConfigError):
    """The topology is not usable."""


class NodeState(StrEnum):
    """What an operator has decided about a node."""

    ACTIVE = "active"
    DRAINING = "draining"  # takes no shards, gives what it has
    GONE = "gone"  # its shards are lost


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyNode:
    """A node. `number` is never given to another node; 0 means "none" in stripe rows."""

    number: int
    node: NodeId
    datacenter: DatacenterId
    country: str
    operator: str = ""  # who runs it; "": nobody says
    state: NodeState = NodeState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Datacenters and countries that shards may lie in. `number` is written into stripe rows and
    never given to another region; OWN_REGION bounds what no other region is asked for.

    Args:
        datacenters, countries: empty: any. A node is of the region when both name it.
    """

    number: int
    name: str
    datacenters: frozenset[DatacenterId] = frozenset()
    countries: frozenset[str] = frozenset()

    def takes(self, node: TopologyNode) -> bool:
        """Whether shards of the region may lie on a node."""
        if self.datacenters and node.datacenter not in self.datacenters:
            return False
        return not self.countries or node.country in self.countries


@dataclass(frozen=True, eq=False)
class Topology:
    """All nodes as of one epoch; compared by identity, as a change makes another topology."""

    epoch: int
    nodes: tuple[TopologyNode, ...]
    regions: tuple[Region, ...] = ()
    by_number: dict[int, TopologyNode] = field(init=False, repr=False)
    by_id: dict[NodeId, TopologyNode] = field(init=False, repr=False)
    active: frozenset[int] = field(init=False, repr=False)
    _bounds: dict[int, frozenset[int] | None] = field(init=False, repr=False)
    _operators: dict[int, frozenset[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_number = {node.number: node for node in self.nodes}
        by_id = {node.node: node for node in self.nodes}
        if len(by_number) != len(self.nodes) or len(by_id) != len(self.nodes):
            raise InvalidTopology(reason="a number or an id is given twice")
        if any(not 1 <= number <= NODE_NUMBER_MAX for number in by_number):
            raise InvalidTopology(reason="node numbers are 1–65,535")
        active = frozenset(n.number for n in self.nodes if n.state is NodeState.ACTIVE)
        object.__setattr__(self, "by_number", by_number)
        object.__setattr__(self, "by_id", by_id)
        object.__setattr__(self, "active", active)
        object.__setattr__(self, "_bounds", self._bounds_of_regions())
        object.__setattr__(self, "_operators", {n: self._named(n) for n in self._bounds})

    def _bounds_of_regions(self) -> dict[int, frozenset[int] | None]:
        """Node numbers of each region; None: all nodes."""
        if len({region.number for region in self.regions}) != len(self.regions):
            raise InvalidTopology(reason="a region's number is given twice")
        if any(not 0 <= region.number <= REGION_NUMBER_MAX for region in self.regions):
            raise InvalidTopology(reason="region numbers are 0–255")
        bounds: dict[int, frozenset[int] | None] = {OWN_REGION: None}
        for region in self.regions:
            held = frozenset(node.number for node in self.nodes if region.takes(node))
            bounds[region.number] = None if len(held) == len(self.nodes) else held
        return bounds

    def _named(self, region: int) -> frozenset[str]:
        numbers = self.within(frozenset(self.by_number), region)
        nodes = [self.by_number[number] for number in numbers]
        return frozenset(node.operator for node in nodes if node.state is not NodeState.GONE)

    def operators(self, region: int) -> frozenset[str]:
        """Who runs the nodes of a region, those that are away included; nodes of nobody's name are
        one operator's, "".
        """
        return self._operators.get(region, _NO_OPERATOR)

    def within(self, numbers: frozenset[int], region: int) -> frozenset[int]:
        """Those of the nodes that may hold shards of a region: none for a number nobody knows."""
        bound = self._bounds.get(region, _NO_NODE)
        return numbers if bound is None else numbers & bound

    def allows(self, region: int, number: int) -> bool:
        """Whether a node may hold shards of a region."""
        bound = self._bounds.get(region, _NO_NODE)
        return bound is None or number in bound

    def datacenters(self, numbers: Iterable[int]) -> frozenset[DatacenterId]:
        """Datacenters of these nodes; unknown numbers are left out."""
        return frozenset(
            self.by_number[number].datacenter for number in numbers if number in self.by_number
        )
