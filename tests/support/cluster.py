"""`MemoryCluster`: nodes in memory behind fault switches, with health view and stripe store.

Also a test's `Env` (seeded, on the loop's clock) and `run_virtual`, which runs a coroutine in
virtual time, so that a test of a ten-second deadline takes no second.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from gateway.data.buffers import BufferPool
from gateway.data.health import HealthView
from gateway.data.stripes import StripeStore
from gateway.data.topology import Topology, TopologyNode
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.ids import StripeFamily, StripeId, datacenter_id, node_id
from storaged.memory import MemoryNode
from storaged.node import NodeIdentity
from tests.support.faulty_node import FaultyNode

T = TypeVar("T")

DATACENTERS = ("paris", "lyon", "marseille", "lille", "nantes")


class Deadlock(Exception):
    """Nothing is ready and no timer is left: the coroutine would wait for ever."""


class _VirtualSelector(selectors.SelectSelector):
    """Never blocks: where the loop would sleep, its clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock
            self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only when nothing else can happen."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time. Raises Deadlock where it could never end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class TestEnv:
    """An `Env` on the running loop's clock with seeded entropy; offloaded functions run at once."""

    __test__ = False

    def __init__(self, seed: int = 1) -> None:
        self._rng = Random(seed)
        self.offload_count = 0

    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0

    def random_bytes(self, length: int) -> bytes:
        return self._rng.randbytes(length)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)

    async def offload(self, function: Callable[[], T]) -> T:
        self.offload_count += 1
        await asyncio.sleep(0)
        return function()


@dataclass(slots=True, kw_only=True)
class MemoryCluster:
    """A cluster in memory. Node numbers start at 1, in the order of the datacenters.

    Attributes:
        nodes: fault switches by node number.
        damage: what the stripe store reported, as (stripe, index, reason).
    """

    nodes: dict[int, FaultyNode]
    topology: Topology
    health: HealthView
    store: StripeStore
    pool: BufferPool
    geometry: Geometry
    env: TestEnv
    damage: list[tuple[StripeId, int, str]] = field(default_factory=list)
    counter: int = 0

    def in_datacenter(self, name: str) -> list[FaultyNode]:
        """Nodes of one datacenter."""
        return [node for node in self.nodes.values() if node.identity.datacenter == name]

    def stripe_ids(self, count: int) -> StripeId:
        """The first of `count` consecutive ids of data stripes."""
        self.counter += count
        return StripeId(StripeFamily.DATA, 1, self.counter - count)

    async def write(
        self, payload: bytes, *, tier: Tier = Tier.NODE, common: bytes = b"", **changes: Any
    ) -> StripeRow:
        """Write a payload as one stripe and return its row."""
        stripe = changes.pop("stripe", None) or self.stripe_ids(1)
        cell = -(-len(payload) // self.geometry.k)
        cells = bytearray(self.geometry.n * cell)
        cells[: len(payload)] = payload
        options: dict[str, Any] = {"fence": None, "retain_until_ms": 0, "deadline_s": 30.0}
        nodes, reached = await self.store.write(
            stripe,
            self.geometry,
            cells,
            cell_bytes=cell,
            payload_bytes=len(payload),
            common=common,
            tier=tier,
            **(options | changes),
        )
        return StripeRow(
            stripe=stripe,
            geometry=self.geometry,
            cell_bytes=cell,
            payload_bytes=len(payload),
            nodes=nodes,
            tier=reached,
            live_bytes=len(payload),
        )


def memory_cluster(
    *node_counts: int,
    geometry: Geometry | None = None,
    seed: int = 1,
    pool_buffers: int = 8,
    pool_buffer_bytes: int = 8 * 1024 * 1024,
) -> MemoryCluster:
    """A cluster with so many nodes in each datacenter; by default two in each of three, and 4+2."""
    geometry = geometry or Geometry(4, 2)
    rng = Random(seed)
    faulty: dict[int, FaultyNode] = {}
    places: list[TopologyNode] = []
    for datacenter, count in zip(DATACENTERS, node_counts or (2, 2, 2), strict=False):
        for i in range(count):
            number = len(faulty) + 1
            identity = NodeIdentity(
                node=node_id(f"{datacenter}-{i + 1}"),
                datacenter=datacenter_id(datacenter),
                country="fr",
            )
            faulty[number] = FaultyNode(MemoryNode(identity), Random(rng.random()))
            places.append(
                TopologyNode(
                    number=number,
                    node=identity.node,
                    datacenter=identity.datacenter,
                    country=identity.country,
                )
            )
    env = TestEnv(seed)
    topology = Topology(1, tuple(places))
    health = HealthView(topology, faulty, env)
    damage: list[tuple[StripeId, int, str]] = []
    store = StripeStore(
        faulty,
        topology,
        health,
        integrity_key=b"i" * 32,
        cluster_id=b"c" * 16,
        env=env,
        on_damage=lambda stripe, index, reason: damage.append((stripe, index, reason)),
    )
    return MemoryCluster(
        nodes=faulty,
        topology=topology,
        health=health,
        store=store,
        pool=BufferPool(pool_buffers, pool_buffer_bytes),
        geometry=geometry,
        env=env,
        damage=damage,
    )
