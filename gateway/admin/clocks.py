"""What operators and the journal are told of nodes whose clocks are far from this gateway's.

Not for setting a clock, and nothing waits for one: see `gateway.data.node_clocks`.

Requirement: L-05. Source: docs/security.md, "Clocks"; docs/journal.md.
"""

from __future__ import annotations

import logging

from gateway.data.node_clocks import CLOCK_SKEW_LIMIT_S, NodeClocks
from gateway.data.topology import Topology
from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Journal
from storaged.base.env import Env

CLOCK_OFF = "node.clock-off"  # types of the events
CLOCK_RIGHT = "node.clock-right"

logger = logging.getLogger(__name__)


def clock_warnings(clocks: NodeClocks, topology: Topology) -> list[str]:
    """Nodes whose clocks are off, the one that is furthest first."""
    found = []
    for number, skew_s in sorted(clocks.off().items(), key=lambda one: -abs(one[1])):
        name, apart = topology.by_number[number].node, f"{abs(skew_s):.1f}"
        if skew_s > 0:
            found.append(f"the clock of node {name} is {apart} s ahead of this gateway's")
        else:
            found.append(f"the clock of node {name} is {apart} s behind this gateway's")
    return found


def tell_of_clocks(
    clocks: NodeClocks, topology: Topology, journal: Journal | None, env: Env
) -> None:
    """Have the journal and the log know of those that are off now, and from now on of each that
    goes off or is right again.
    """

    def turned(number: int, is_off: bool, skew_s: float) -> None:
        node = topology.by_number[number]
        if is_off:
            logger.warning("the clock of node %s is off by %.1f s", node.node, skew_s)
        else:
            logger.warning("the clock of node %s is right again", node.node)
        if journal is None:
            return
        body: dict[str, Value] = {
            "node": str(node.node),
            "datacenter": str(node.datacenter),
            "skew_ms": round(skew_s * 1000),
            "limit_ms": round(CLOCK_SKEW_LIMIT_S * 1000),
        }
        kind = CLOCK_OFF if is_off else CLOCK_RIGHT
        journal.note(CLUSTER, Event(env.now_ms(), kind, Phase.NOTE, body))

    clocks.watch(turned)
