"""`World`: one simulated cluster: its shape, nodes, gateway machines, trace and violations.

Not for what happens in it: clients and the nemesis are in modules of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from gateway.commit.fencing import TakeoverNotConfirmed
from gateway.commit.forming import Sealed
from gateway.commit.opening import IndexEmpty
from gateway.data.topology import Topology, TopologyNode
from gateway.meta import accounts
from gateway.meta.kv import Batch
from gateway.model.bucket import Versioning
from gateway.model.errors import BucketAlreadyOwnedByYou
from gateway.model.layout import Geometry, StripeRow, Tier
from gateway.objects import buckets
from gateway.objects.versioning import set_versioning
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.node import ShardMissing
from tests.sim.history import History
from tests.sim.index import SimIndex
from tests.sim.nodes import DATACENTERS, SimNode
from tests.sim.process import GatewayProcess
from tests.support.gateway import BUCKET, ROOT
from tests.support.log_rig import MemoryHistory
from tests.support.simloop import SimEnv, SimLoop

START_TRIES = 200
SUMS_KEY = bytes(32)


class Violation(Exception):
    """The cluster broke a promise."""


def survives(nodes: Sequence[int], sites: Mapping[int, str], k: int, tier: Tier) -> bool:
    """Whether k shards are left when the datacenter (FULL) or node (NODE) with most of them goes;
    counted without the product's arithmetic.

    Args:
        nodes: node number by shard index, 0 = nowhere. sites: datacenter by node number.
    """
    if tier is Tier.NONE:
        return True
    held = [number for number in nodes if number]
    lost = Counter(sites[number] if tier is Tier.FULL else str(number) for number in held)
    return len(held) - max(lost.values(), default=0) >= k


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a seed says of a cluster before anything happens.

    Args:
        local: number of nodes that are LocalNodes. small_max: bodies above it are striped.
        jobs: background jobs run by themselves, not only when the nemesis says so.
        versioned: the bucket keeps versions.
    """

    geometry: Geometry
    per_site: int
    local: int
    small_max: int
    segment_bytes: int
    jobs: bool
    shuffle: bool
    versioned: bool

    @classmethod
    def of(cls, rng: Random) -> Shape:
        geometry, per_site = rng.choices(
            (
                (Geometry(4, 2), 2),
                (Geometry(2, 1), 1),
                (Geometry(2, 1), 2),
                (Geometry(5, 4), 3),
            ),
            (8, 3, 4, 2),
        )[0]
        return cls(
            geometry=geometry,
            per_site=per_site,
            local=rng.choice((0, 0, 0, 1, 2, per_site * 3)),
            small_max=rng.choice((64, 1000, 20_000, 128 * 1024)),
            segment_bytes=rng.choice((600, 3000, 3 * 1024 * 1024)),
            jobs=rng.random() < 0.7,
            shuffle=rng.random() < 0.7,
            versioned=rng.random() < 0.3,
        )


@dataclass(slots=True)
class Machine:
    """What a gateway's machine keeps: its index and its notes of epochs."""

    index: SimIndex
    history: MemoryHistory
    partial: bool = False  # a rebuild has not ended


class World:
    """See the module."""

    def __init__(self, seed: int, shape: Shape) -> None:
        self.rng = Random(seed * 7919 + 1)
        self.shape = shape
        self.env = SimEnv(self.rng)
        self.history = History()
        # (key, version id) of what was acknowledged and not taken away → body; see `Client.prune`.
        self.versions: dict[tuple[str, str], int] = {}
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._digest = hashlib.sha256()
        self.lines: list[str] = []
        self.nodes = {
            number: SimNode(number, DATACENTERS[(number - 1) % 3], self.rng, self.env)
            for number in range(1, 3 * shape.per_site + 1)
        }
        places = tuple(
            TopologyNode(
                number=n,
                node=node.identity.node,
                datacenter=node.identity.datacenter,
                country="fr",
            )
            for n, node in self.nodes.items()
        )
        self.topology = Topology(1, places)
        self.sites = {place.number: str(place.datacenter) for place in places}
        self.machine = self.new_machine()
        self.gateway: GatewayProcess | None = None
        self.finished = False
        self._starts = 0
        self._looks: set[asyncio.Task[None]] = set()

    # Trace

    def trace(self, line: str) -> None:
        """Note what happened, with its time."""
        text = f"{self.env.monotonic_s():.6f} {line}"
        self._digest.update(text.encode())
        self.lines.append(text)

    @property
    def trace_hash(self) -> str:
        return self._digest.hexdigest()[:16]

    def violate(self, what: str) -> None:
        """The cluster broke a promise."""
        self.trace(f"VIOLATION {what}")
        self.violations.append(what)

    # Nodes

    async def open_nodes(self) -> None:
        """Make some of them LocalNodes."""
        for number in self.rng.sample(sorted(self.nodes), min(self.shape.local, len(self.nodes))):
            await self.nodes[number].make_local()

    def site(self, name: str) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.identity.datacenter == name]

    def new_machine(self) -> Machine:
        """A gateway machine with an empty index."""
        return Machine(SimIndex(SUMS_KEY, self.env), MemoryHistory())

    # Gateways

    @property
    def loop(self) -> SimLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        return loop

    async def serving(self) -> GatewayProcess:
        """The gateway that serves; waits for one."""
        while self.gateway is None or not self.gateway.serving:
            await asyncio.sleep(0.05)
        return self.gateway

    async def start_gateway(self, *, rebuild: bool = False, takeover: bool = False) -> None:
        """Start a gateway on the machine, again and again until it serves.

        `rebuild`: with an empty index, filled from the nodes.
        """
        self._starts += 1
        mine = self._starts
        for attempt in range(START_TRIES):
            if self._starts != mine:
                return  # something else has happened to the gateway since
            rebuild = rebuild or self.machine.partial
            if rebuild:
                index = SimIndex(SUMS_KEY, self.env)
                self.machine = Machine(index, self.machine.history, partial=True)
            gateway = GatewayProcess(
                owner=f"gateway-{mine}-{attempt}",
                nodes=self.nodes,
                topology=self.topology,
                geometry=self.shape.geometry,
                index=self.machine.index,
                history=self.machine.history,
                env=self.env,
                rng=self.rng,
                on_delete=self._watch_deletes,
            )
            self.gateway = gateway
            task = self.loop.spawn(gateway.owner, gateway.start(rebuild=rebuild, takeover=takeover))
            await asyncio.wait({task})
            if task.cancelled():
                self.trace("gateway start was killed")
                return
            error = task.exception()
            if error is None:
                self.trace(f"gateway serves, epoch {gateway.log.epoch}, {gateway.log.tier.name}")
                self.machine.partial = False
                gateway.log.on_applied.append(partial(self._watch_applied, gateway))
                ready = asyncio.Event()
                self.loop.spawn(gateway.owner, gateway.run(ready.set, jobs=self.shape.jobs))
                await ready.wait()
                return
            if not isinstance(error, StorageError) or isinstance(error, IndexEmpty):
                raise error
            self.trace(f"gateway does not start: {type(error).__name__}")
            self.last_start_error = f"{type(error).__name__}: {error}"
            if isinstance(error, TakeoverNotConfirmed) and not takeover:
                raise error
            gateway.end()
            await self.loop.kill(gateway.owner)
            if self._starts == mine:
                self.machine.index = self.machine.index.reopened(drop_last=False)
            await asyncio.sleep(1.0)
        raise Violation(f"the gateway does not start: {self.last_start_error}")

    async def crash_gateway(self, *, drop_last: bool) -> None:
        """The gateway's process ends; its machine keeps what it keeps."""
        self._starts += 1
        gateway, self.gateway = self.gateway, None
        if gateway is not None:
            gateway.end()
            await self.loop.kill(gateway.owner)
        self.machine.index = self.machine.index.reopened(drop_last=drop_last)

    async def first_start(self) -> None:
        """A fresh cluster: tenant and bucket."""
        await self.start_gateway()
        gateway = await self.serving()
        tenant = accounts.Tenant(
            tenant_id=ROOT.tenant, name="tests", owner_id=ROOT.owner_id, created_at_ms=1
        )
        write = accounts.set_tenant(gateway.records, gateway.nonces, tenant)
        batch = Batch(
            partition=bytes(16),
            request_id=self.env.random_bytes(16),
            checks=(),
            writes=(write,),
        )
        await gateway.log.commit(batch)
        try:
            await buckets.create_bucket(gateway.ctx(), BUCKET, None)
        except BucketAlreadyOwnedByYou:
            return
        if self.shape.versioned:
            await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)

    # What is watched all the time

    def _watch_deletes(self, number: int, shards: Sequence[ShardId]) -> None:
        """No gateway asks a node to forget what its own index still names (D3)."""
        gateway = self.gateway
        if gateway is None or not gateway.serving or gateway.links[number].dead:
            return
        for shard in shards:
            row = gateway.log.stripe_row(shard.stripe)
            if row is not None and row.nodes[shard.index] == number:
                self.violate(f"delete of {shard} on node {number}, which a row names (D3)")

    def _watch_applied(
        self, gateway: GatewayProcess, sealed: Sealed, stripes: Mapping[StripeId, StripeRow | None]
    ) -> None:
        """What is acknowledged is where its tier needs it, counted anew (D1)."""
        self.counts["groups"] += 1
        header = sealed.header
        own = gateway.log.stripe_row(header.stripe)
        claims = [] if own is None else [(own, header.tier)]
        claims += [(row, row.tier) for row in stripes.values() if row is not None]
        for row, tier in claims:
            if not survives(row.nodes, self.sites, row.geometry.k, tier):
                self.violate(f"{row.stripe} counts as {tier.name}, but lies on {row.nodes} (D1)")
            look = self.loop.create_task(self._look(gateway, row))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _look(self, gateway: GatewayProcess, row: StripeRow) -> None:
        """What a row has just named is there, where a node has acknowledged it (D1)."""
        for index, number in enumerate(row.nodes):
            node, shard = self.nodes.get(number), ShardId(row.stripe, index)
            if node is None or shard not in node.stored:
                continue
            try:
                await node.faulty.node.stat(shard)
            except ShardMissing:
                if gateway is not self.gateway or not gateway.serving:
                    return
                after = gateway.log.stripe_row(row.stripe)
                named = after is not None and after.nodes[index] == number
                if named and shard in node.stored:
                    self.violate(f"{shard} is named on node {number} and is not there (D1)")
            except StorageError:
                continue  # the node is being restarted

    async def physical(self) -> dict[int, set[ShardId]]:
        """What each node holds."""
        return {number: await node.shards() for number, node in self.nodes.items()}

    async def strength(self, rows: Sequence[StripeRow], without: frozenset[int]) -> int:
        """The lowest number of spare shards of any stripe when some nodes are lost; negative: data
        would be lost. Counts what is really there.
        """
        held = await self.physical()
        return min(
            (
                sum(
                    number not in without and ShardId(row.stripe, index) in held.get(number, ())
                    for index, number in enumerate(row.nodes)
                )
                - row.geometry.k
                for row in rows
                if row.live_bytes or row.stripe.family.name != "DATA"
            ),
            default=0,
        )


class LogWatch(logging.Handler):
    """Reads the log of the code under test: errors that no fault explains are violations."""

    ALWAYS_WRONG = ("RowCorrupt", "SumsMismatch", "NonceExhausted")

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """Judge one line."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        if not isinstance(error, StorageError) or type(error).__name__ in self.ALWAYS_WRONG:
            where = "".join(traceback.format_exception(error)[-3:])
            self._world.violate(f"{record.getMessage()}: {type(error).__name__}: {error}\n{where}")


UNEXPECTED = frozenset({Kind.INVALID, Kind.CORRUPT})
