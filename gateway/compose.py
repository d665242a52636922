"""The composition root of a gateway: which parts there are, how they hang together, and in which
order they start and stop.

Only here (and in `gateway.main`) is it known whether a node is local or remote.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.commit.checkpoint import Checkpointer
from gateway.commit.compact import Compacter
from gateway.commit.fencing import EpochHistory
from gateway.commit.free import Freer
from gateway.commit.group_store import GroupStore
from gateway.commit.keys import LogKeys
from gateway.commit.log import Log
from gateway.commit.opening import LogParts, ReplayProgress, open_log, rebuild_index
from gateway.config import GatewayConfig, topology_of
from gateway.data.buffers import BufferPool
from gateway.data.health import HealthView
from gateway.data.keyring import FileKeyring, RootKey
from gateway.data.placement import reachable_tier
from gateway.data.stripes import StripeStore
from gateway.jobs.audit import Audit
from gateway.jobs.garbage import GarbageCollector
from gateway.jobs.repair import Repairer, RepairQueue
from gateway.jobs.tier import TierKeeper
from gateway.limits import FULL_CELL_BYTES
from gateway.meta.lmdb import LmdbIndex
from gateway.meta.sealing import NonceSource
from gateway.meta.stripes import StripeCodec
from gateway.model.layout import Tier
from gateway.objects.bootstrap import ensure_root, restore_keyring
from gateway.objects.bucket_keys import BucketKeys
from gateway.objects.context import Services
from gateway.objects.credentials import Credentials
from gateway.objects.damage import DamageQueue
from gateway.objects.target import BucketCache
from storaged.base.env import Env, RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import StripeId, datacenter_id, node_id
from storaged.base.jobs import Scheduler
from storaged.local import LocalNode, open_local_node
from storaged.node import Node, NodeIdentity
from storaged.remote import RemoteNode
from storaged.scrub import ScrubJob
from storaged.tls import node_client_context

logger = logging.getLogger(__name__)

EPOCH_CIPHERS_MAX = 64
DAMAGE_TAKEN_MAX = 1000


class UnopenedNode:
    """Stands for a local node that could not be opened: down, with the reason, until a restart."""

    def __init__(self, identity: NodeIdentity, error: StorageError) -> None:
        self.identity = identity
        self._error = error

    def __getattr__(self, verb: str) -> Callable[..., object]:
        async def refuse(*_: object, **__: object) -> object:
            raise self._error

        return refuse

    async def close(self) -> None:
        """Nothing is open."""


async def open_nodes(config: GatewayConfig, env: Env) -> dict[int, Node]:
    """All nodes of the configuration, local ones opened, remote ones connecting by themselves."""
    nodes: dict[int, Node] = {}
    tls = config.node_tls
    for entry in config.cluster.nodes:
        identity = NodeIdentity(
            node=node_id(entry.id),
            datacenter=datacenter_id(entry.datacenter),
            country=entry.country,
        )
        if entry.directory is not None:
            try:
                nodes[entry.number] = await open_local_node(
                    entry.directory, identity, env, capacity_bytes=entry.capacity_bytes
                )
            except StorageError as error:
                logger.error("node %s cannot be opened: %s", entry.id, error)
                nodes[entry.number] = UnopenedNode(identity, error)  # type: ignore[assignment]
        else:
            assert entry.address is not None and tls is not None
            host, _, port = entry.address.rpartition(":")
            nodes[entry.number] = RemoteNode(
                identity,
                (host, int(port)),
                ssl_context=node_client_context(tls.certificate, tls.key, tls.authority),
                domain=tls.domain,
                gateway=config.cluster.name,
                env=env,
            )
    return nodes


class Core:
    """Everything below S3 and above the nodes: made by `open_core`, before the log is open."""

    def __init__(self, config: GatewayConfig, env: RealEnv, nodes: dict[int, Node]) -> None:
        self.config = config
        self.env = env
        self.nodes = nodes
        self.geometry = config.cluster.geometry
        self.topology = topology_of(config)
        self.root = RootKey.load(config.storage.keys)
        self.keyring = FileKeyring(config.storage.keys, self.root, env)
        self.damage = DamageQueue()
        self.on_node_back: Callable[[], None] = lambda: None
        self.health = HealthView(self.topology, nodes, env, self._on_transition)
        self.store = StripeStore(
            nodes,
            self.topology,
            self.health,
            integrity_key=self.root.integrity_key,
            cluster_id=self.root.cluster_id,
            env=env,
            on_damage=self.damage.report,
        )
        self.index_env = RealEnv(threads_max=1)
        config.storage.index.mkdir(parents=True, exist_ok=True)
        self.index = LmdbIndex(
            config.storage.index,
            map_size_bytes=config.storage.index_map_mib << 20,
            sums_key=self.root.sums_key,
            env=self.index_env,
        )
        self.bucket_keys = BucketKeys(self.index, self.keyring, self.root.cluster_record_key, env)
        self.records = self.bucket_keys.records
        self.keys = log_keys(self.root)
        self.nonces: NonceSource | None = None

    def _on_transition(self, number: int, usable: bool, reason: str) -> None:
        if usable:
            self.on_node_back()

    @property
    def tier_floor(self) -> Tier:
        return Tier.FULL if self.config.policy.refuse_reduced_margin else Tier.NODE

    def reachable(self) -> Tier:
        """The best tier that writes can get from the nodes that answer."""
        return reachable_tier(self.topology, self.geometry, self.health.usable())

    def _codec(self, writer_epoch: int) -> StripeCodec:
        self.nonces = NonceSource(writer_epoch)
        return StripeCodec(self.records, self.nonces)

    def parts(self) -> LogParts:
        """What the log is made of; each call is a run with an instance of its own."""
        groups = GroupStore(
            store=self.store,
            nodes=self.nodes,
            geometry=self.geometry,
            log=self.keys.log,
            instance=self.env.random_bytes(16),
            history=EpochHistory(self.config.storage.index / "epochs"),
            tier_floor=self.tier_floor,
            reachable=self.reachable,
        )
        return LogParts(
            index=self.index,
            groups=groups,
            keys=self.keys,
            codec_of=self._codec,
            geometry=self.geometry,
            env=self.env,
        )

    async def close(self) -> None:
        """Release index, nodes and threads. Idempotent."""
        self.index.close()
        self.index_env.close()
        for node in self.nodes.values():
            await node.close()


def log_keys(root: RootKey) -> LogKeys:
    """Keys of the log, from the root key."""

    @lru_cache(maxsize=EPOCH_CIPHERS_MAX)
    def cipher(epoch: int) -> AESGCM:
        return AESGCM(root.derive("log-epoch", root.log_seal_key, epoch))

    return LogKeys(
        log=root.log_id,
        log_key=root.log_key,
        cipher=cipher,
        segments=AESGCM(root.derive("log-segments")),
    )


async def open_core(config: GatewayConfig, env: RealEnv) -> Core:
    """Nodes, keys and index; what cannot be opened is named. Raises: StorageError."""
    nodes = await open_nodes(config, env)
    try:
        core = Core(config, env, nodes)
    except BaseException:
        for node in nodes.values():
            await node.close()
        raise
    await core.health.probe()
    return core


async def rebuild(
    config: GatewayConfig, env: RealEnv, *, accept_loss: bool, progress: ReplayProgress
) -> list[str]:
    """Fill an empty index from the nodes; returns what was lost."""
    core = await open_core(config, env)
    try:
        _, lost = await rebuild_index(core.parts(), accept_loss=accept_loss, progress=progress)
        restore_keyring(core.index, core.records, core.keyring)
    finally:
        await core.close()
    return lost


class Gateway:
    """A running gateway without its sockets: log, services, jobs."""

    def __init__(self, core: Core, log: Log) -> None:
        assert core.nonces is not None
        self.core = core
        self.log = log
        config, env = core.config, core.env
        self.services = Services(
            env=env,
            log=log,
            stripes=core.store,
            pool=BufferPool(config.policy.stripe_buffers, core.geometry.n * FULL_CELL_BYTES),
            geometry=core.geometry,
            cluster_id=core.root.cluster_id,
            records=core.records,
            nonces=core.nonces,
            bucket_keys=core.bucket_keys,
            buckets=BucketCache(log, core.records),
            credentials=Credentials(log, core.records, env),
            damage=core.damage,
            region=config.cluster.region,
            locations=frozenset({config.cluster.region, *config.cluster.locations}),
            tier_floor=core.tier_floor,
        )
        self.garbage = GarbageCollector(self.services)
        self.repairs = RepairQueue(core.topology)
        self.checkpointer = Checkpointer(
            log=log,
            store=core.store,
            keys=core.keys,
            records=core.records,
            nonces=core.nonces,
            env=env,
        )
        self.freer = Freer(
            log=log,
            store=core.store,
            records=core.records,
            oldest_read_s=self.services.reads.oldest_s,
            env=env,
            floor_sequence=self._floor,
        )
        self.compacter = Compacter(
            log=log,
            store=core.store,
            keys=core.keys,
            records=core.records,
            nonces=core.nonces,
            env=env,
            floor_sequence=self._floor,
        )
        self.repairer = Repairer(
            log=log,
            store=core.store,
            health=core.health,
            records=core.records,
            queue=self.repairs,
            env=env,
            drain_reports=self._damage_reports,
        )
        self.audit = Audit(
            log=log,
            nodes=core.nodes,
            health=core.health,
            records=core.records,
            repairs=self.repairs,
            env=env,
        )
        self.tier_keeper = TierKeeper(log=log, reachable=core.reachable, floor=core.tier_floor)
        self.scheduler = Scheduler(env)
        for job in (
            self.tier_keeper,
            self.repairer,
            self.freer,
            self.checkpointer,
            self.compacter,
            self.audit,
            self.garbage,
        ):
            self.scheduler.add(job)
        for node in core.nodes.values():
            if isinstance(node, LocalNode):
                self.scheduler.add(
                    ScrubJob(
                        node.store,
                        env,
                        name=f"scrub-{node.identity.node}",
                        bytes_per_s=config.policy.scrub_mib_per_s << 20,
                    )
                )
        # A node that was away may have come back without its shards: look at once.
        core.on_node_back = lambda: self.scheduler.wake("sweep")
        self._probing: asyncio.Task[None] | None = None

    def _floor(self) -> int:
        return self.checkpointer.floor_sequence

    def _damage_reports(self) -> Sequence[tuple[StripeId, int, str]]:
        """What reads could not use, and what scrubs have found since."""
        found = [
            (shard.stripe, shard.index, "found by scrub")
            for status in self.core.health.statuses().values()
            for shard in status.corrupt_shards
        ]
        return [*self.core.damage.take(DAMAGE_TAKEN_MAX), *found]

    def start(self) -> None:
        """Jobs and probes begin."""
        self._probing = asyncio.create_task(self.core.health.run(), name="probe")
        self.scheduler.start()

    async def run_job(self, name: str) -> None:
        """One whole round of a job, now. `compact` also takes the checkpoints that free the log."""
        if name == "checkpoint":
            await self.checkpointer.take()
            return
        if name == "compact":
            await self.checkpointer.take()
            await self.checkpointer.take()
            await self.scheduler.run_round("compact")
            await self.checkpointer.take()
            await self.checkpointer.take()
            await self.scheduler.run_round("free")
            return
        await self.scheduler.run_round(name)

    async def close(self) -> None:
        """Finish what is admitted, then release everything. Idempotent."""
        await self.scheduler.close()
        if self._probing is not None:
            self._probing.cancel()
        await self.log.close()
        await self.core.close()


async def open_gateway(
    config: GatewayConfig,
    env: RealEnv,
    *,
    takeover: bool = False,
    progress: ReplayProgress = lambda phase, done, total: None,
) -> Gateway:
    """Open nodes, index and log, and make the root user of a fresh cluster. Raises:
    StorageError.
    """
    core = await open_core(config, env)
    try:
        log = await open_log(core.parts(), takeover=takeover, progress=progress)
        restore_keyring(core.index, core.records, core.keyring)
        gateway = Gateway(core, log)
        assert core.nonces is not None
        await ensure_root(log, core.records, core.nonces, core.keyring, env)
    except BaseException:
        await core.close()
        raise
    return gateway
