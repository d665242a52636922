"""What this gateway has seen of the nodes: who can take shards, who answers, how fast.

Not for safety: a wrong view costs time or margin, never a byte. Tiers are counted by
acknowledgements alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from math import inf

from gateway.data.node_clocks import NodeClocks, Skew, measured_skew
from gateway.data.topology import Topology
from storaged.base.env import Env
from storaged.base.errors import DeadlineExceeded, Kind, StorageError
from storaged.node import DriveFull, DriveOutOfService, Node, NodeBusy, NodeStatus

PROBE_S = 1.0
PROBE_DEADLINE_S = 2.0
# A node too slow to write may answer probes at once: without rest it would stop us each second.
QUARANTINE_S = 10.0
LATENCIES_KEPT = 64
LATENCY_REFRESH = 16  # the 95th percentile is computed again after so many reads

logger = logging.getLogger(__name__)

Transition = Callable[[int, bool, str], None]


class _NodeHealth:
    __slots__ = (
        "answered_s",
        "detail",
        "fresh",
        "is_silent",
        "latencies",
        "p95_s",
        "reachable",
        "rest_until_s",
        "writable",
    )

    def __init__(self) -> None:
        self.reachable = True
        self.writable = True  # in service, and room on it
        self.rest_until_s = 0.0
        self.answered_s = -inf  # the last time that it did
        self.is_silent = False  # a read was late, and no answer has come since it was asked
        self.detail = ""
        self.latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self.fresh = 0
        self.p95_s = 0.0


class HealthView:
    """Health of all nodes of a topology; every node counts as well until it is seen failing.

    Args:
        on_transition: called with (node number, usable, reason) when a node starts or stops being
            usable.

    Attributes:
        clocks: how far those of nodes are from ours.
    """

    def __init__(
        self,
        topology: Topology,
        nodes: Mapping[int, Node],
        env: Env,
        on_transition: Transition | None = None,
    ) -> None:
        self.nodes = nodes
        self._topology = topology
        self._env = env
        self._on_transition = on_transition
        self._health = {number: _NodeHealth() for number in nodes}
        self._usable = frozenset(topology.active & nodes.keys())
        self._statuses: dict[int, NodeStatus] = {}
        self.clocks = NodeClocks()

    def usable(self) -> frozenset[int]:
        """Nodes that can take shards; the same object until something changes."""
        return self._usable

    def readable(self, number: int) -> bool:
        """Whether to try reads from this node; one out of service still gives what it has."""
        health = self._health.get(number)
        return health is not None and health.reachable

    def prompt(self, number: int) -> bool:
        """Whether a read from this node is likely to be answered soon: where it is not, others are
        asked first.
        """
        health = self._health.get(number)
        return health is not None and health.reachable and not health.is_silent

    def statuses(self) -> Mapping[int, NodeStatus]:
        """The last status each node gave; a node that never answered is not in it."""
        return self._statuses

    def details(self) -> dict[int, str]:
        """Why nodes are not usable, for people."""
        return {n: h.detail for n, h in self._health.items() if n not in self._usable and h.detail}

    def p95(self, number: int) -> float:
        """95th percentile of the node's last reads, seconds; 0.0 while nothing is known."""
        health = self._health.get(number)
        if health is None:
            return 0.0
        if health.fresh >= LATENCY_REFRESH or (health.fresh and not health.p95_s):
            ordered = sorted(health.latencies)
            health.p95_s = ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
            health.fresh = 0
        return health.p95_s

    def mark_ok(self, number: int, latency_s: float | None = None) -> None:
        """The node answered; give the time a read took, nothing for other verbs."""
        health = self._health.get(number)
        if health is None:
            return
        health.answered_s, health.is_silent = self._env.monotonic_s(), False
        if latency_s is not None:
            health.latencies.append(latency_s)
            health.fresh += 1
        if not health.reachable:
            health.reachable = True
            health.detail = ""
            self._refresh()

    def mark_late(self, number: int, since_s: float) -> None:
        """A read has waited for the node so long that others are asked. If nothing at all has come
        from it since then, it is not asked first again before it answers something: a process that
        stands still would else cost each read that wait.

        Args:
            since_s: when the wait began, on the monotonic clock.
        """
        health = self._health.get(number)
        if health is not None and health.answered_s <= since_s:
            health.is_silent = True

    def mark_failed(self, number: int, error: StorageError) -> None:
        """The node failed us; only what says something about the node as a whole counts."""
        health = self._health.get(number)
        if health is None:
            return
        is_away = error.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT) and not isinstance(error, NodeBusy)
        if not is_away:
            health.answered_s, health.is_silent = self._env.monotonic_s(), False
        if isinstance(error, DriveFull | DriveOutOfService):
            health.writable = False
        elif isinstance(error, DeadlineExceeded):
            health.rest_until_s = self._env.monotonic_s() + QUARANTINE_S
        elif is_away:
            health.reachable = False
        else:
            return
        health.detail = error.message()
        self._refresh()

    def set_topology(self, topology: Topology) -> None:
        """Follow a change of the topology."""
        self._topology = topology
        self._refresh()

    async def probe(self) -> None:
        """Ask every node for its status once."""
        await asyncio.gather(*(self._probe(number) for number in self.nodes))
        self._refresh()

    async def run(self) -> None:
        """Probe for ever; ends by being cancelled."""
        while True:
            await self.probe()
            await self._env.sleep(PROBE_S)

    async def _probe(self, number: int) -> None:
        health = self._health.setdefault(number, _NodeHealth())
        sent_ms, sent_s = self._env.now_ms(), self._env.monotonic_s()
        try:
            async with asyncio.timeout(PROBE_DEADLINE_S):
                status = await self.nodes[number].status()
        except (TimeoutError, StorageError) as error:
            health.reachable = False
            health.detail = error.message() if isinstance(error, StorageError) else "no answer"
            self.clocks.saw(number, None)
            return
        self.clocks.saw(number, self._skew(status, sent_ms, sent_s))
        self._statuses[number] = status
        health.answered_s, health.is_silent = self._env.monotonic_s(), False
        health.reachable = True
        health.writable = status.in_service and status.writable
        health.detail = "" if health.writable else status.detail

    def _skew(self, status: NodeStatus, sent_ms: int, sent_s: float) -> Skew | None:
        if status.at_ms is None:
            return None
        return measured_skew(
            status.at_ms,
            sent_ms=sent_ms,
            received_ms=self._env.now_ms(),
            took_s=self._env.monotonic_s() - sent_s,
        )

    def _refresh(self) -> None:
        now_s = self._env.monotonic_s()
        active = self._topology.active
        usable = frozenset(
            number
            for number, health in self._health.items()
            if number in active
            and health.reachable
            and health.writable
            and health.rest_until_s <= now_s
        )
        if usable == self._usable:
            return
        before, self._usable = self._usable, usable
        for number in sorted(before ^ usable):
            detail = self._health[number].detail
            logger.warning("node %s usable: %s %s", number, number in usable, detail)
            if self._on_transition is not None:
                self._on_transition(number, number in usable, detail)
