"""What lies below S3 and above the nodes: nodes, keys, health, stripes and the index, opened and
closed together. Part of the composition root: here it is decided whether a node is local or remote.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.commit.fencing import EpochHistory
from gateway.commit.group_store import GroupStore
from gateway.commit.keys import LogKeys
from gateway.commit.opening import LogParts, ReplayProgress, rebuild_index
from gateway.config import GatewayConfig, NodeTlsConfig, topology_of
from gateway.data.health import HealthView
from gateway.data.keyring import RootKey
from gateway.data.placement import reachable_tier
from gateway.data.stripes import StripeStore
from gateway.jobs.certificates import CertificateWatch, LifeOf
from gateway.jobs.enrolments import RegisterLine
from gateway.keyd.keys import KeydKeys
from gateway.keyd.opening import await_keys, open_keys
from gateway.meta.lmdb import LmdbIndex
from gateway.meta.sealing import NonceSource
from gateway.meta.stripes import StripeCodec
from gateway.model.layout import Tier
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.bucket_keys import BucketKeys
from gateway.objects.damage import DamageQueue
from storaged.base.env import Env, RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import datacenter_id, node_id, operator_id
from storaged.enrolment import register_lines
from storaged.local import open_local_node
from storaged.node import Node, NodeIdentity
from storaged.remote import RemoteNode
from storaged.renewal import Pair, RenewalConfig, Renewer, pair_in_use
from storaged.tls import node_client_context

logger = logging.getLogger(__name__)

EPOCH_CIPHERS_MAX = 64


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


def node_pair(tls: NodeTlsConfig) -> Pair:
    """What this gateway shows to nodes: as configured, or renewed since."""
    given = Pair(certificate=tls.certificate, key=tls.key)
    return pair_in_use(given, None if tls.renewal is None else tls.renewal.folder)


def watched_certificates(core: Core) -> tuple[list[Renewer], CertificateWatch]:
    """What keeps this gateway's certificate fresh, for connections to come, if it has one; and what
    looks at that of each node at an address.
    """
    remote = [
        node
        for node in core.nodes.values()
        if isinstance(node, RemoteNode) and node.ssl_context is not None
    ]
    lives: dict[str, LifeOf] = {f"node {one.identity.node}": one.certificate_life for one in remote}
    tls, renewers = core.config.node_tls, []
    if tls is not None:
        where, at = None, tls.renewal
        if at is not None:
            where = RenewalConfig(folder=at.folder, spool=at.spool)
        given = Pair(certificate=tls.certificate, key=tls.key)
        contexts = [] if core.node_context is None else [core.node_context]
        renewers.append(Renewer(given, tls.authority, where, contexts, core.env))
        lives["this gateway"] = renewers[0].certificate_life
    return renewers, CertificateWatch(lives, core.env)


def node_context(tls: NodeTlsConfig | None) -> ssl.SSLContext | None:
    """What connections to nodes and to the key service are made with: one for all of them, so that
    a renewed certificate has to be loaded once. Raises: CertificateUnusable.
    """
    if tls is None:
        return None
    pair = node_pair(tls)
    return node_client_context(pair.certificate, pair.key, tls.authority)


async def open_nodes(
    config: GatewayConfig, env: Env, context: ssl.SSLContext | None
) -> dict[int, Node]:
    """All nodes of the configuration, local ones opened, remote ones connecting by themselves."""
    nodes: dict[int, Node] = {}
    tls = config.node_tls
    for entry in config.cluster.nodes:
        identity = NodeIdentity(
            node=node_id(entry.id),
            datacenter=datacenter_id(entry.datacenter),
            country=entry.country,
            operator=operator_id(entry.operator),
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
                ssl_context=context,
                domain=tls.domain,
                gateway=config.cluster.name,
                env=env,
            )
    return nodes


class Core:
    """Everything below S3 and above the nodes: made by `open_core`, before the log is open."""

    def __init__(
        self,
        config: GatewayConfig,
        env: RealEnv,
        nodes: dict[int, Node],
        context: ssl.SSLContext | None,
    ) -> None:
        self.config = config
        self.node_context = context
        self.env = env
        self.nodes = nodes
        self.geometry = config.cluster.geometry
        self.topology = topology_of(config)
        self.root = RootKey.load(config.storage.keys)
        self.keyring = open_keys(config, self.root, env, context)
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
        self.bucket_keys = BucketKeys(
            self.index,
            self.keyring,
            self.root.cluster_record_key,
            env,
            ttl_s=config.keys.cache_s,
        )
        self.records = self.bucket_keys.records
        self.usage = self.index.keep_usage(self.records)
        self.keys = log_keys(self.root)
        self.nonces: NonceSource | None = None

    def _on_transition(self, number: int, usable: bool, reason: str) -> None:
        if usable:
            self.on_node_back()

    @property
    def tier_floor(self) -> Tier:
        return Tier.FULL if self.config.policy.refuse_reduced_margin else Tier.NODE

    def reachable(self) -> Tier:
        """The best tier that writes of the log can get from the nodes that answer."""
        return reachable_tier(self.topology, self.geometry, self.health.usable())

    def _codec(self, writer_epoch: int) -> StripeCodec:
        self.nonces = NonceSource(writer_epoch)
        return StripeCodec(self.records, self.nonces)

    @property
    def register_copy(self) -> Callable[[], list[RegisterLine]] | None:
        """Reads what has come of the CA's register with renewals; None: nothing can come."""
        tls = self.config.node_tls
        if tls is None or tls.renewal is None:
            return None
        spool = tls.renewal.spool
        return lambda: [RegisterLine(*line) for line in register_lines(spool)]

    def certificate_of(self, number: int) -> str | None:
        """SHA-256, as hex, of the certificate that a remote node showed on its last connection."""
        node = self.nodes.get(number)
        return node.certificate_sha256 if isinstance(node, RemoteNode) else None

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
        if isinstance(self.keyring, KeydKeys):
            self.keyring.close()
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
    context = node_context(config.node_tls)
    nodes = await open_nodes(config, env, context)
    try:
        core = Core(config, env, nodes, context)
    except StorageError:
        for node in nodes.values():
            await node.close()
        raise
    try:
        await await_keys(core.keyring, env)
    except StorageError:
        await core.close()
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
