"""Which nodes there are, in which datacenter, and whether they may take shards.

Not for health: a node that is down for an hour is still in the topology (`gateway.data.health`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from storaged.base.errors import ConfigError
from storaged.base.ids import DatacenterId, NodeId

NODE_NUMBER_MAX = 0xFFFF


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
    state: NodeState = NodeState.ACTIVE


@dataclass(frozen=True, eq=False)
class Topology:
    """All nodes as of one epoch; compared by identity, as a change makes another topology."""

    epoch: int
    nodes: tuple[TopologyNode, ...]
    by_number: dict[int, TopologyNode] = field(init=False, repr=False)
    by_id: dict[NodeId, TopologyNode] = field(init=False, repr=False)
    active: frozenset[int] = field(init=False, repr=False)

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

    def datacenters(self, numbers: Iterable[int]) -> frozenset[DatacenterId]:
        """Datacenters of these nodes; unknown numbers are left out."""
        return frozenset(
            self.by_number[number].datacenter for number in numbers if number in self.by_number
        )
