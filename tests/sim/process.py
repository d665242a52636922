"""`GatewayProcess`: a gateway as one simulated process: log, use cases and jobs, over links.

Not for HTTP. It is made of the parts that `gateway.compose` uses, on an index that its machine
keeps when the process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from gateway.commit.checkpoint import Checkpointer
from gateway.commit.compact import Compacter
from gateway.commit.fencing import EpochHistory
from gateway.commit.free import Freer
from gateway.commit.group_store import GroupStore
from gateway.commit.log import Log
from gateway.commit.opening import LogParts, open_log, rebuild_index
from gateway.data.buffers import BufferPool
from gateway.data.health import HealthView
from gateway.data.placement import reachable_tier
from gateway.data.stripes import StripeStore
from gateway.data.topology import Topology
from gateway.jobs.audit import Audit
from gateway.jobs.garbage import GarbageCollector
from gateway.jobs.repair import Repairer, RepairQueue
from gateway.jobs.tier import TierKeeper
from gateway.limits import SEALED_FRAME_BYTES
from gateway.meta.sealing import NonceSource
from gateway.meta.stripes import StripeCodec, scan_stripes
from gateway.model.layout import Geometry, StripeRow, Tier
from gateway.objects.bucket_keys import BucketKeys
from gateway.objects.context import Context, Services
from gateway.objects.credentials import Credentials
from gateway.objects.damage import DamageQueue
from gateway.objects.target import BucketCache
from storaged.base.ids import StripeId
from storaged.base.jobs import Job, Scheduler
from storaged.node import Node
from tests.sim.index import SimIndex
from tests.sim.link import DeleteWatch, Link
from tests.sim.nodes import SimNode
from tests.support.gateway import CLUSTER_ID, ROOT, MemoryKeyring
from tests.support.log_rig import keys_of
from tests.support.simloop import SimEnv

STRIPE_BUFFERS = 6
INTEGRITY_KEY = b"i" * 32
RECORD_KEY = b"r" * 32


class GatewayProcess:
    """See the module. `start` it, then use `services`; it ends by `SimLoop.kill(owner)`."""

    log: Log
    services: Services

    def __init__(
        self,
        *,
        owner: str,
        nodes: dict[int, SimNode],
        topology: Topology,
        geometry: Geometry,
        index: SimIndex,
        history: EpochHistory,
        env: SimEnv,
        rng: Random,
        on_delete: DeleteWatch,
    ) -> None:
        self.owner = owner
        self.geometry = geometry
        self.topology = topology
        self.index = index
        self.env = env
        self.serving = False
        self.links = {n: Link(node, rng, on_delete) for n, node in nodes.items()}
        ports: dict[int, Node] = dict(self.links)
        self.ports = ports
        self.damage = DamageQueue()
        self.health = HealthView(topology, ports, env)
        self.store = StripeStore(
            ports,
            topology,
            self.health,
            integrity_key=INTEGRITY_KEY,
            cluster_id=CLUSTER_ID,
            env=env,
            on_damage=self.damage.report,
        )
        self.keys = keys_of(b"root")
        self.bucket_keys = BucketKeys(index, MemoryKeyring(), RECORD_KEY, env)
        self.records = self.bucket_keys.records
        self.nonces = NonceSource(0)
        self._history = history
        self._requests = 0
        self.jobs: dict[str, Job] = {}

    def reachable(self) -> Tier:
        return reachable_tier(self.topology, self.geometry, self.health.usable())

    def _parts(self) -> LogParts:
        def codec_of(epoch: int) -> StripeCodec:
            self.nonces = NonceSource(epoch)
            return StripeCodec(self.records, self.nonces)

        groups = GroupStore(
            store=self.store,
            nodes=self.ports,
            geometry=self.geometry,
            log=self.keys.log,
            instance=self.env.random_bytes(16),
            history=self._history,
            tier_floor=Tier.NODE,
            reachable=self.reachable,
        )
        return LogParts(
            index=self.index,
            groups=groups,
            keys=self.keys,
            codec_of=codec_of,
            geometry=self.geometry,
            env=self.env,
        )

    async def start(self, *, rebuild: bool, takeover: bool) -> None:
        """Open the log, and make services and jobs. Raises: StorageError."""
        await self.health.probe()
        if rebuild:
            await rebuild_index(self._parts())
        self.log = await open_log(self._parts(), takeover=takeover or rebuild)
        self._make_services()
        self._make_jobs()

    def _make_services(self) -> None:
        self.services = Services(
            env=self.env,
            log=self.log,
            stripes=self.store,
            pool=BufferPool(STRIPE_BUFFERS, self.geometry.n * SEALED_FRAME_BYTES * 2),
            geometry=self.geometry,
            cluster_id=CLUSTER_ID,
            records=self.records,
            nonces=self.nonces,
            bucket_keys=self.bucket_keys,
            buckets=BucketCache(self.log, self.records),
            credentials=Credentials(self.log, self.records, self.env),
            damage=self.damage,
            region="fr",
            locations=frozenset({"fr"}),
        )

    def _make_jobs(self) -> None:
        log, store, records, env = self.log, self.store, self.records, self.env
        self.checkpointer = Checkpointer(
            log=log, store=store, keys=self.keys, records=records, nonces=self.nonces, env=env
        )
        self.repairs = RepairQueue(self.topology)
        self.repairer = Repairer(
            log=log,
            store=store,
            health=self.health,
            records=records,
            queue=self.repairs,
            env=env,
            drain_reports=lambda: self.damage.take(1000),
        )
        self.audit = Audit(
            log=log,
            nodes=self.ports,
            health=self.health,
            records=records,
            repairs=self.repairs,
            env=env,
        )

        def floor() -> int:
            return self.checkpointer.floor_sequence

        jobs: Sequence[Job] = (
            TierKeeper(log=log, reachable=self.reachable, floor=Tier.NODE),
            self.repairer,
            Freer(
                log=log,
                store=store,
                records=records,
                oldest_read_s=self.services.reads.oldest_s,
                env=env,
                floor_sequence=floor,
            ),
            self.checkpointer,
            Compacter(
                log=log,
                store=store,
                keys=self.keys,
                records=records,
                nonces=self.nonces,
                env=env,
                floor_sequence=floor,
            ),
            self.audit,
            GarbageCollector(self.services),
        )
        self.scheduler = Scheduler(env)
        for job in jobs:
            self.jobs[job.name] = job
            self.scheduler.add(job)

    async def run(self, ready: Callable[[], None], *, jobs: bool) -> None:
        """Serve until killed."""
        self.serving = True
        ready()
        if jobs:
            self.scheduler.start()
        await self.health.run()

    def end(self) -> None:
        """The process is about to be killed: nothing it says arrives any more."""
        self.serving = False
        for link in self.links.values():
            link.dead = True

    async def round(self, name: str) -> None:
        """One whole round of a job. Raises: StorageError."""
        if name == "checkpoint":
            await self.checkpointer.take()
        else:
            await self.scheduler.run_round(name)

    def ctx(self) -> Context:
        """A request of its own."""
        self._requests += 1
        deadline_s = self.env.monotonic_s() + 60
        return Context(self.services, ROOT, self._requests.to_bytes(16, "big"), deadline_s)

    def stripe_rows(self) -> list[StripeRow]:
        """Every stripe row of the index."""
        rows: list[StripeRow] = []
        after: StripeId | None = None
        while page := scan_stripes(self.index, self.records, after, limit=1000):
            rows += [stored.row for stored in page]
            after = rows[-1].stripe
        return rows
